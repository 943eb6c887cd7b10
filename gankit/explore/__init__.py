"""Tools to explore what a trained generator learned: each takes a run and gives a picture, numbers, maybe an animation.

model = gankit.load("latest")
result = gankit.explore.truncation(model, seeds=range(4))
result.picture().show(); result.numbers; result.write(Path("out/truncation"))
"""

from collections.abc import Callable

from gankit.explore.directions import ganspace, sefa, sliders
from gankit.explore.examine import drop, features, filters
from gankit.explore.nearest import neighbours
from gankit.explore.planes import boundary
from gankit.explore.projection import project
from gankit.explore.result import Result
from gankit.explore.single import animate, edit, enlarge, harmonise, paint, sizes
from gankit.explore.start import Seeds
from gankit.explore.styles import layers, mix, noise, truncation
from gankit.explore.sums import arithmetic

TOOLS: dict[str, Callable[..., Result]] = {
    f.__name__: f
    for f in (
        truncation,
        arithmetic,
        neighbours,
        project,
        sefa,
        ganspace,
        boundary,
        sliders,
        mix,
        layers,
        noise,
        features,
        filters,
        drop,
        sizes,
        enlarge,
        paint,
        harmonise,
        edit,
        animate,
    )
}

__all__ = ["TOOLS", "Result", "Seeds", *TOOLS]
