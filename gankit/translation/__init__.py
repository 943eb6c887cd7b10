"""Trained translators on anybody's pictures: files of any size in and out, tiles, faces in place, videos, strips."""

from gankit.translation.apply import Outcome, translate
from gankit.translation.options import Options, able, example
from gankit.translation.translator import Translator

__all__ = ["Options", "Outcome", "Translator", "able", "example", "translate"]
