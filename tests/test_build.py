"""A model's arguments: whatever is typed, it is built or refused in one line, before memory is taken."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from gankit import build, data, models
from gankit.nn.init import Undrawn
from gankit.recipe import Recipe, Spec
from gankit.training import Settings
from gankit.training.settings import plan
from gankit.training.setup import spec_of

ODD = (
    -1,
    0,
    1,
    7,
    10**6,
    10**12,
    10**30,
    -0.5,
    1e-300,
    1e300,
    math.nan,
    math.inf,
    -math.inf,
    True,
    None,
    "",
    "x",
    (),
    (0,),
    (-1,),
    (10**9, 10**9),
    ("x",),
)


def small_model(model: str) -> tuple[type[Recipe], Spec, dict[str, object]]:
    """A model with a spec of data that ships and the arguments of its smallest preset."""
    kind = models.find(model)
    settings, arguments = plan(kind, "small" if "small" in kind.presets else "paper", {})
    name = settings.data or {"points": "ring", "domains": "digits-negative"}.get(kind.data.split()[0], "digits")
    return kind, spec_of(data.open(name, settings.resolution or None, want=kind.data.split()[0])), arguments


@pytest.mark.parametrize("model", models.names())
def test_an_outline_has_the_shapes_of_the_model(model):
    kind, spec, arguments = small_model(model)
    outline = build.outline(kind, spec, arguments).state_dict()
    whole = kind(spec, **arguments).state_dict()
    shapes = [
        {name: (t.shape, t.dtype) for name, t in state.items() if isinstance(t, torch.Tensor)}
        for state in (outline, whole)
    ]
    assert shapes[0] == shapes[1] and set(outline) == set(whole)


def test_in_an_outline_only_weights_without_memory_are_not_drawn():
    with torch.device("meta"), Undrawn():
        layer, numbers = torch.nn.Linear(2, 2), torch.zeros(4, device="cpu")
        assert layer.weight.is_meta and torch.nn.init.ones_(numbers).sum() == 4
        assert torch.nn.init.normal_(numbers).std() > 0 and (numbers / 2).equal(numbers * 0.5)


@pytest.mark.parametrize("model", models.names())
def test_any_value_of_any_argument_is_built_or_refused(model):
    kind, spec, small = small_model(model)
    tried = 0
    for name in build.defaults(kind):
        for value in ODD:
            tried += 1
            try:
                build.check(kind, small | {name: value})
                with torch.device("meta"):
                    build.construct(kind, spec, small | {name: value}, build.TRAINED)
            except ValueError as error:
                assert str(error), f"{name}={value!r}: refused without a word"
                assert len(str(error).splitlines()) == 1, error
    assert tried >= 3 * len(ODD)


@pytest.mark.parametrize("setting", [field.name for field in dataclasses.fields(Settings)])
def test_any_value_of_any_setting_is_taken_or_refused(setting):
    for value in (*ODD, 2**70, -(2**70), 99_999, 10**9):
        try:
            taken = getattr(Settings(**{setting: value}), setting)
        except ValueError as error:
            assert setting in str(error) and len(str(error).splitlines()) == 1
        else:
            assert type(taken) in (bool, int, float, str)
            assert isinstance(taken, str) or (math.isfinite(taken) and 0 <= taken < 2**63)


def test_sizes_are_positive_and_numbers_finite():
    kind = models.find("dcgan")
    for name, value, said in [
        ("z_dim", 0, "from 1"),
        ("z_dim", -1, "from 1"),
        ("width", 2.5, "a whole number"),
        ("width", True, "a whole number"),
        ("lr_g", math.nan, "a finite number"),
        ("lr_g", -1e-4, "from 0"),
        ("lr_g", "fast", "a number"),
        ("kernel", 3, "expected 5 or 4"),
        ("z_dmi", 3, "did you mean z_dim"),
    ]:
        with pytest.raises(ValueError, match=said):
            plan(kind, "", {name: value}) if name != "z_dmi" else build.check(kind, {name: value})
    assert plan(models.find("lsgan"), "", {"a": -1.0})[1]["a"] == -1.0


def test_a_model_that_does_not_fit_is_refused_before_it_is_made(monkeypatch):
    kind = models.find("dcgan")
    with pytest.raises(ValueError, match=r"--width 1000000 takes [\d,]+ GB .* this machine has"):
        build.construct(kind, Spec((3, 64, 64)), build.defaults(kind) | {"width": 10**6}, build.TRAINED)
    monkeypatch.setattr(build, "memory", lambda: 300e6)
    build.construct(kind, Spec((3, 64, 64)), build.defaults(kind))  # 145 MB to use it
    with pytest.raises(ValueError, match="and their optimizers"):
        build.construct(kind, Spec((3, 64, 64)), build.defaults(kind), build.TRAINED)


def test_building_twice_draws_the_same_first_weights():
    kind = models.find("dcgan")
    torch.manual_seed(0)
    plain = kind(Spec((1, 16, 16)), **kind.presets["small"].model)
    torch.manual_seed(0)
    checked = build.construct(kind, Spec((1, 16, 16)), build.defaults(kind) | kind.presets["small"].model)
    for a, b in zip(plain.state_dict().values(), checked.state_dict().values()):
        assert torch.equal(a, b)
