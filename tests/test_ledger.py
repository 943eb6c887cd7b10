"""Each model's fidelity ledger matches the built model and its docs page, and the readers notice changes to a model."""

from __future__ import annotations

import dataclasses
import inspect
import json
from functools import lru_cache
from pathlib import Path

import pytest

from gankit import cli, ledger, models
from gankit.recipe import Recipe
from tests.ledger import page, readers, text, trace
from tests.ledger.built import BuiltPreset

PAGES = Path(__file__).parents[1] / "docs" / "models"
QUANTITIES = (
    "optimizer", "learning rates", "optimizer's constants", "batch", "update order", "losses and weights", "noise",
    "first weights", "norms", "schedules", "averaging", "data", "length", "sampling",
)  # fmt: skip
"""The quantities of every ledger, in this order; "data" is augmentation and preprocessing."""
UNKNOWN = ("not stated", "not checked")
"""In place of the paper's value: paper and code do not give it, or neither was read."""
KEYS = {"quantity", "of", "preset", "paper", "gankit", "source", "read", "yours", "reason"}

read_rows = lru_cache(readers.read_rows)  # the tests share each model's readings


def faults(model: str, rows: list[ledger.Row]) -> list[str]:
    """What is wrong with a model's ledger, whose rows have the given values; empty where all is well."""
    entries = ledger.data(model)["rows"]
    quantities = [entry["quantity"] for entry in entries]
    faults = [f"no row for {quantity!r}" for quantity in QUANTITIES if quantity not in quantities]
    for entry in entries:
        if unknown := (set(entry) - KEYS) | ({entry["quantity"]} - {*QUANTITIES}):
            faults.append(f"{entry['quantity']}: {', '.join(sorted(unknown))} is unknown")
        if ("read" in entry) == ("yours" in entry):
            faults.append(f"{entry['quantity']}: a row has either `read` or `yours`")
    for row, entry in zip(rows, entries, strict=True):
        differs = "yours" not in entry and row.paper != row.gankit
        if not row.source and row.paper not in UNKNOWN:
            faults.append(f"{row.name}: no source for {row.paper!r}")
        if differs and not row.reason:
            faults.append(f"{row.name}: the paper has {row.paper!r}, gankit {row.gankit!r}, and there is no reason")
        if row.reason and not differs:
            faults.append(f"{row.name}: a reason is given, and gankit has the paper's {row.paper!r}")
    order = [QUANTITIES.index(quantity) for quantity in quantities if quantity in QUANTITIES]
    return faults + ["rows are not in the order of the quantities"] * (order != sorted(order))


@pytest.mark.parametrize("model", models.names())
def test_the_paper_s_value_is_gankit_s_or_there_is_a_reason(model):
    assert not (wrong := faults(model, read_rows(model))), "\n".join(wrong)


@pytest.mark.parametrize("model", models.names())
def test_the_stored_values_are_those_of_the_built_model(model):
    assert ledger.rows(model) == read_rows(model), f"write it anew: python scripts/write_ledgers.py {model}"
    for entry in ledger.data(model)["rows"]:
        assert ("gankit" in entry) == ("read" in entry), f"{model}: {entry['quantity']} stores a value that is not read"


@pytest.mark.parametrize("model", models.names())
def test_the_docs_page_has_the_ledger(model):
    docs = (PAGES / f"{model}.md").read_text(encoding="utf-8")
    block = page.BEGIN + docs.partition(page.BEGIN)[2].partition(page.END)[0] + page.END
    assert block == page.markdown(model, read_rows(model)), f"write it anew: python scripts/write_ledgers.py {model}"


def changed(
    kind: type[Recipe], monkeypatch: pytest.MonkeyPatch, model: dict | None = None, settings: dict | None = None
) -> None:
    """Change arguments and settings of the preset "paper", as a mistake in a model's file would."""
    preset = kind.presets["paper"]
    wrong = dataclasses.replace(preset, model=preset.model | (model or {}), settings=preset.settings | (settings or {}))
    monkeypatch.setattr(kind, "presets", kind.presets | {"paper": wrong})


BREAKS = {  # a mistake for each way of reading: (model, what is changed, the quantity that must be reported)
    "rate": ("dcgan", dict(model=dict(lr_g=1e-3)), "learning rates"),
    "beta": ("dcgan", dict(model=dict(beta1=0.0)), "optimizer's constants"),
    "batch": ("lsgan", dict(settings=dict(batch=32)), "batch"),
    "order": ("wgan", dict(model=dict(n_critic=4)), "update order"),
    "weight": ("pix2pix", dict(model=dict(l1_weight=10.0)), "losses and weights"),
    "clipping": ("wgan", dict(model=dict(clip_value=0.1)), "losses and weights"),
    "loss": ("dcgan", dict(model=dict(loss="hinge")), "losses and weights"),
    "noise": ("dcgan", dict(model=dict(prior="normal")), "noise"),
    "dropout": ("gan", dict(model=dict(dropout=0.3)), "noise: dropout"),
    "first weights": ("gan", dict(model=dict(d_init=0.05)), "first weights"),
    "schedule": ("wgan_gp", dict(model=dict(decay=False)), "schedules"),
    "averaging": ("dcgan", dict(settings=dict(ema=10_000)), "averaging"),
    "mirror": ("lsgan", dict(settings=dict(mirror=True)), "data"),
    "length": ("lsgan", dict(settings=dict(images=1_000_000)), "length"),
}


@pytest.mark.parametrize("name", [*BREAKS])
def test_a_changed_preset_is_noticed(name, monkeypatch):
    model, change, quantity = BREAKS[name]
    changed(models.find(model), monkeypatch, **change)
    reported = faults(model, readers.read_rows(model))
    assert any(fault.startswith(quantity) for fault in reported), f"{quantity} of {model} is as before"


def test_changed_code_is_noticed(monkeypatch):
    """One more update, one more term, and another eps, none of which is an argument."""
    kind = models.find("lsgan")
    step, loss_of_d, norm = kind.step, kind.d_loss, "batch norm, eps 0.001"

    def twice(self: Recipe, batch: object, run: object) -> None:
        step(self, batch, run), step(self, batch, run)

    def d_loss(self: Recipe, batch: object, z: object) -> tuple:
        loss, outputs = loss_of_d(self, batch, z)
        return loss + 0.5 * self.d(batch.real).square().mean(), outputs

    monkeypatch.setattr(kind, "step", twice), monkeypatch.setattr(kind, "d_loss", d_loss)
    built = BuiltPreset("lsgan", "paper", ledger.data("lsgan")["small"]["paper"])
    for layer in built.built.modules():
        if hasattr(layer, "eps"):
            layer.eps = 1e-3
    assert readers.read(built, "order") == "d 2 times, g 2 times"
    assert readers.read(built, "loss d").endswith("+ 0.5 mean pow squeeze")
    assert readers.read(built, "norms") == norm


def test_a_reason_is_given_where_it_is_needed_and_nowhere_else(monkeypatch):
    stored = ledger.data("adain")
    rows = {row["quantity"]: row for row in stored["rows"]}

    def faults_with(**change: object) -> list[str]:
        wrong = stored | {"rows": [row | change if row is rows["optimizer"] else row for row in stored["rows"]]}
        monkeypatch.setattr(ledger, "data", lambda model: wrong)
        return faults("adain", ledger.rows("adain"))

    assert faults_with() == []
    assert "there is no reason" in faults_with(paper="SGD")[0]
    assert faults_with(paper="SGD", reason="it is faster") == []
    assert "a reason is given" in faults_with(reason="it is faster")[0]
    assert "no source" in faults_with(source="")[0]
    assert "there is no reason" in faults_with(paper="not checked", source="")[0]
    assert "is unknown" in faults_with(rate=1)[0]
    monkeypatch.setattr(ledger, "data", lambda model: stored | {"rows": stored["rows"][1:]})
    assert faults("adain", ledger.rows("adain")) == ["no row for 'optimizer'"]
    monkeypatch.setattr(ledger, "data", lambda model: stored | {"rows": [rows["optimizer"] | {"read": "optimiser"}]})
    with pytest.raises(ValueError, match="there is no reader 'optimiser'"):
        readers.read_rows("adain")


def test_a_small_build_differs_only_in_sizes():
    with pytest.raises(ValueError, match="changes 'lr_g', which is no size"):
        BuiltPreset("dcgan", "paper", {"shape": [3, 16, 16], "lr_g": 1.0})
    for model in models.names():
        stored = ledger.data(model)
        assert set(stored) == {"code", "small", "rows"}


def test_every_reader_is_used_and_has_a_docstring():
    used = set()
    for model in models.names():
        for row in ledger.data(model)["rows"]:
            words = row.get("read", [])
            used |= {reader.split()[0] for reader in ([words] if isinstance(words, str) else words)}
    assert used == set(readers.READERS)
    assert all(inspect.getdoc(reader) for reader in readers.READERS.values())
    assert trace.FUNCTIONS  # every loss and penalty has a name in a formula
    assert len(set(text.TERMS.values())) >= len(text.TERMS) - 1


def test_the_command_shows_the_ledger(capsys):
    cli.main(["show", "lsgan", "--ledger"])
    shown = capsys.readouterr().out
    assert "learning rates" in shown and "0.001" in shown and "train_lsun.py:15" in shown
    cli.main(["show", "lsgan", "--json"])
    assert json.loads(capsys.readouterr().out)[1]["gankit"] == "0.001"
    with pytest.raises(SystemExit):
        cli.main(["show", "nothing", "--ledger"])
