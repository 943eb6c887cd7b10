"""Each model's fidelity ledger holds of the built model, stands in its docs page, and notices what is changed."""

from __future__ import annotations

import dataclasses
import inspect
import json
from functools import lru_cache
from pathlib import Path

import pytest

from gankit import cli, ledger, models
from gankit.ledger import readers, reading
from gankit.recipe import Recipe

PAGES = Path(__file__).parents[1] / "docs" / "models"


@lru_cache
def rows(model: str) -> list[ledger.Row]:
    """A model's ledger, read once for both tests."""
    return ledger.rows(model)


@pytest.mark.parametrize("model", models.names())
def test_the_paper_s_value_is_gankit_s_or_there_is_a_reason(model):
    assert not (found := ledger.faults(model, rows(model))), "\n".join(found)


@pytest.mark.parametrize("model", models.names())
def test_the_docs_page_has_the_ledger(model):
    page = (PAGES / f"{model}.md").read_text(encoding="utf-8")
    block = ledger.BEGIN + page.partition(ledger.BEGIN)[2].partition(ledger.END)[0] + ledger.END
    assert block == ledger.markdown(model, rows(model)), f"write it anew: python scripts/write_ledgers.py {model}"


def changed(
    kind: type[Recipe], monkeypatch: pytest.MonkeyPatch, model: dict | None = None, settings: dict | None = None
) -> None:
    """The preset "paper" with other arguments and settings, as a slip in a model's file would have them."""
    preset = kind.presets["paper"]
    wrong = dataclasses.replace(preset, model=preset.model | (model or {}), settings=preset.settings | (settings or {}))
    monkeypatch.setattr(kind, "presets", kind.presets | {"paper": wrong})


BREAKS = {  # each way of reading is shown a model that does otherwise: (model, what is changed, the quantity that must be noticed)
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
    ledger.opened.cache_clear()
    try:
        found = ledger.faults(model, ledger.rows(model))
        assert any(fault.startswith(quantity) for fault in found), f"{quantity} of {model} is as before"
    finally:
        ledger.opened.cache_clear()


def test_changed_code_is_noticed(monkeypatch):
    """An update more, a term more and a norm's constant, which no argument has."""
    kind = models.find("lsgan")
    step, loss_of_d, norm = kind.step, kind.d_loss, "batch norm, eps 0.001"

    def twice(self: Recipe, batch: object, run: object) -> None:
        step(self, batch, run), step(self, batch, run)

    def d_loss(self: Recipe, batch: object, z: object) -> tuple:
        loss, outputs = loss_of_d(self, batch, z)
        return loss + 0.5 * self.d(batch.real).square().mean(), outputs

    monkeypatch.setattr(kind, "step", twice), monkeypatch.setattr(kind, "d_loss", d_loss)
    built = ledger.Reading("lsgan", "paper", ledger.data("lsgan")["small"]["paper"])
    for layer in built.built.modules():
        if hasattr(layer, "eps"):
            layer.eps = 1e-3
    assert readers.read(built, "order") == "d 2 times, g 2 times"
    assert readers.read(built, "loss d").endswith("+ 0.5 mean pow squeeze")
    assert readers.read(built, "norms") == norm


def test_a_reason_is_given_where_it_is_needed_and_nowhere_else(monkeypatch):
    stored = ledger.data("adain")
    rows = {row["quantity"]: row for row in stored["rows"]}

    def said(**change: object) -> list[str]:
        wrong = stored | {"rows": [row | change if row is rows["optimizer"] else row for row in stored["rows"]]}
        monkeypatch.setattr(ledger, "data", lambda model: wrong)
        return ledger.faults("adain", ledger.rows("adain"))

    assert said() == []
    assert "there is no reason" in said(paper="SGD")[0]
    assert said(paper="SGD", reason="it is faster") == []
    assert "a reason is given" in said(reason="it is faster")[0]
    assert "no source" in said(source="")[0]
    assert "there is no reason" in said(paper="not checked", source="")[0]
    assert "is unknown" in said(rate=1)[0]
    monkeypatch.setattr(ledger, "data", lambda model: stored | {"rows": stored["rows"][1:]})
    assert ledger.faults("adain", ledger.rows("adain")) == ["no row for 'optimizer'"]
    with pytest.raises(ValueError, match="there is no reader 'optimiser'"):
        said(read="optimiser")


def test_a_small_build_differs_in_sizes_alone():
    with pytest.raises(ValueError, match="changes 'lr_g', which is no size"):
        ledger.Reading("dcgan", "paper", {"shape": [3, 16, 16], "lr_g": 1.0})
    for model in models.names():
        stored = ledger.data(model)
        assert set(stored) == {"code", "small", "rows"}


def test_every_reader_says_what_it_reads_and_is_used():
    used = set()
    for model in models.names():
        for row in ledger.data(model)["rows"]:
            used |= {
                words.split()[0]
                for words in ([row["read"]] if isinstance(row.get("read"), str) else row.get("read", []))
            }
    assert used == set(readers.READERS)
    assert all(inspect.getdoc(reader) for reader in readers.READERS.values())
    assert reading.FUNCTIONS  # every loss and penalty has a name in a formula
    assert len(set(readers.NAMES.values())) >= len(readers.NAMES) - 1


def test_the_command_shows_it(capsys):
    cli.main(["show", "lsgan", "--ledger"])
    shown = capsys.readouterr().out
    assert "learning rates" in shown and "0.001" in shown and "train_lsun.py:15" in shown
    cli.main(["show", "lsgan", "--json"])
    assert json.loads(capsys.readouterr().out)[1]["gankit"] == "0.001"
    with pytest.raises(SystemExit):
        cli.main(["show", "nothing", "--ledger"])
