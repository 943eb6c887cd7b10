"""StyleGAN2's convolution, whose input channels are scaled by each sample's style (Karras et al. 2020, section 2.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.nn.equalised import EqualisedLinear
from gankit.nn.precision import widened
from gankit.nn.resample import Fir


class ModulatedConv2d(nn.Module):
    """A convolution with weights w_oik s_i / sqrt(sum_ik (w_oik s_i)^2 + 1e-8), where s is linear in w, and a bias.

    The weights of each sample are never computed. Equivalently, the map is scaled by s before a convolution shared by
    all samples and divided by the root after it; the sum is a matrix product, sum_i s_i^2 (sum_k w_oik^2).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: side of the kernel, odd.
        w_dim: length of the style w.
        up: double height and width by a transposed convolution and the filter (1, 3, 3, 1).
        demodulate: divide by the root; otherwise s is divided by the constant sqrt(fan-in).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, w_dim: int, up: bool = False, demodulate: bool = True
    ):
        super().__init__()
        self.style = EqualisedLinear(w_dim, in_channels, gain=1)
        nn.init.ones_(self.style.bias)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.blur = Fir(pad=((5 - kernel) // 2,) * 2, gain=4) if up else None
        self.demodulate = demodulate

    def scales(self, w: Tensor, gain: float) -> tuple[Tensor, Tensor | None]:
        """(N, in_channels) factors before the convolution and, if it demodulates, (N, out_channels) after it."""
        with torch.autocast(w.device.type, enabled=False):  # bfloat16 has too few bits for a norm
            s = self.style(widened(w))
            if not self.demodulate:
                return s * (gain / self.weight[0].numel() ** 0.5), None
            return s, gain * torch.rsqrt(s.square() @ self.weight.square().sum((2, 3)).T + 1e-8)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None, gain: float = 1.0) -> Tensor:
        """(N, in_channels, H, W) maps and (N, w_dim) styles to (N, out_channels, H, W), or 2H, 2W where `up`.

        Args:
            x: the maps.
            w: the styles.
            noise: added before the bias; it broadcasts to the output.
            gain: factor on the output, including noise and bias.
        """
        before, after = self.scales(w, gain)
        h = x * before.to(x.dtype)[:, :, None, None]
        if self.blur is None:
            h = F.conv2d(h, self.weight, padding=self.weight.shape[2] // 2)
        else:
            h = self.blur(F.conv_transpose2d(h, self.weight.transpose(0, 1), stride=2))
        bias = (self.bias * gain).to(h.dtype)[:, None, None]
        h = h + bias if after is None else torch.addcmul(bias, h, after.to(h.dtype)[:, :, None, None])
        return h if noise is None else h + (noise * gain).to(h.dtype)
