"""Layers and networks that several papers share."""

from gankit.nn.across import at_work, average, has_batch_norm, look, own, several, whole
from gankit.nn.attention import SelfAttention
from gankit.nn.conditioned import ConditionedTrunk, PatchCritic
from gankit.nn.convnet import DCGANDiscriminator, DCGANGenerator, nearest_size, stages
from gankit.nn.crop import larger_size, random_crop
from gankit.nn.dropout import Dropout, Dropout2d
from gankit.nn.equalised import EqualisedConv2d, EqualisedLinear, PixelNorm
from gankit.nn.growing import at_side, by_side, double, faded, grown
from gankit.nn.init import init_glorot, init_normal
from gankit.nn.maxout import Maxout
from gankit.nn.minibatch import MinibatchDiscrimination, MinibatchStddev
from gankit.nn.modulated import ModulatedConv2d
from gankit.nn.norm import (
    BatchNorm1d,
    BatchNorm2d,
    ConditionalBatchNorm2d,
    OwnBatchNorm2d,
    VirtualBatchNorm,
    instance_norm,
    standing,
)
from gankit.nn.once import once
from gankit.nn.patch import PATCHES, PatchDiscriminator, patch_layers
from gankit.nn.penalised import PenalisedConv2d, input_gradients_only
from gankit.nn.pool import Pool
from gankit.nn.precision import widened
from gankit.nn.resample import DoublingConv2d, Fir, HalvingConv2d, doubling_conv, halving_conv, mirrored
from gankit.nn.residual import DBlock, GBlock, OptimizedDBlock, SNGANGenerator, residual_trunk
from gankit.nn.residual_translator import ResidualTranslator, nearest_fours
from gankit.nn.spectral import spectral_norm
from gankit.nn.unet_generator import UNetGenerator, unet_levels, unet_size

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "ConditionalBatchNorm2d",
    "ConditionedTrunk",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DBlock",
    "DoublingConv2d",
    "Dropout",
    "Dropout2d",
    "EqualisedConv2d",
    "EqualisedLinear",
    "Fir",
    "GBlock",
    "HalvingConv2d",
    "Maxout",
    "MinibatchDiscrimination",
    "MinibatchStddev",
    "ModulatedConv2d",
    "OptimizedDBlock",
    "OwnBatchNorm2d",
    "PATCHES",
    "PatchCritic",
    "PatchDiscriminator",
    "PenalisedConv2d",
    "PixelNorm",
    "Pool",
    "ResidualTranslator",
    "SNGANGenerator",
    "SelfAttention",
    "UNetGenerator",
    "VirtualBatchNorm",
    "at_side",
    "at_work",
    "average",
    "by_side",
    "double",
    "doubling_conv",
    "faded",
    "grown",
    "halving_conv",
    "has_batch_norm",
    "init_glorot",
    "init_normal",
    "input_gradients_only",
    "instance_norm",
    "look",
    "mirrored",
    "larger_size",
    "nearest_fours",
    "nearest_size",
    "once",
    "own",
    "patch_layers",
    "random_crop",
    "residual_trunk",
    "several",
    "spectral_norm",
    "stages",
    "standing",
    "unet_levels",
    "unet_size",
    "whole",
    "widened",
]
