"""Image-to-image translation with trained models: files of any size, tiles, faces in place, videos, strips."""

from gankit.translation.abilities import able, example
from gankit.translation.apply import translate
from gankit.translation.options import Options
from gankit.translation.outcome import Outcome
from gankit.translation.translator import Translator

__all__ = ["Options", "Outcome", "Translator", "able", "example", "translate"]
