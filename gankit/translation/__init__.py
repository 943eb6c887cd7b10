"""Image-to-image translation with trained models: files of any size, tiles, faces in place, videos, strips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gankit.delayed import delayed

__all__ = ["Options", "Outcome", "Translator", "able", "example", "translate"]

if TYPE_CHECKING:
    from gankit.translation.abilities import able, example
    from gankit.translation.apply import translate
    from gankit.translation.options import Options
    from gankit.translation.outcome import Outcome
    from gankit.translation.translator import Translator

# `gankit translate --help` and `gankit show` need the options and abilities, and no torch.
__getattr__ = delayed(
    __name__,
    {
        "gankit.translation.abilities": "able example",
        "gankit.translation.apply": "translate",
        "gankit.translation.options": "Options",
        "gankit.translation.outcome": "Outcome",
        "gankit.translation.translator": "Translator",
    },
)
