"""What gankit prints for the user to type can be typed: flags and commands in its output, its messages and its docs."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from gankit import build, cli, explore, lab, models, translation
from gankit.cli import flags as command_line
from gankit.exchange import card
from gankit.losses import ADVERSARIAL
from gankit.penalties import PENALTIES
from gankit.recipe import Images, flags, short
from gankit.training.diagnosis import diagnose
from gankit.training.settings import Settings, plan
from tests.test_loop import TROUBLE

HOUSE = Path(__file__).parents[1]
DOCS = [HOUSE / "README.md", *sorted((HOUSE / "docs").rglob("*.md"))]


@pytest.fixture
def typed(monkeypatch):
    """What `gankit train` makes of words, by its own parser, without training."""

    @cache
    def parse(model: str, words: tuple[str, ...]) -> dict[str, object]:
        taken: dict[str, object] = {}

        def begin(kind: type, preset: str, settings: Settings, arguments: dict[str, object], *_: object) -> None:
            taken.update(preset=preset, **dataclasses.asdict(settings), **arguments)

        with monkeypatch.context() as patch:
            patch.setattr("gankit.training.loop.begin", begin)
            cli.main(["train", model, *words])
        return taken

    return lambda model, words: parse(model, tuple(words))


def plain(options: dict[str, object]) -> dict[str, object]:
    """Options with tuples for lists, as the parser gives them."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


@pytest.mark.parametrize("model", models.names())
def test_train_takes_every_flag_that_show_prints_and_means_the_same(model, capsys, typed):
    cli.main(["show", model])
    kind = models.find(model)
    lines = capsys.readouterr().out.split("its own settings: ")[1].splitlines()
    lines = [
        line[line.index("--") :] for line in lines if "--" in line and not line.startswith("and those of every run")
    ]
    shown = [shlex.split(line, comments=True) for line in lines]
    expected = [plain(kind.defaults)] if kind.defaults else []
    for name, preset in kind.presets.items():
        expected += [{"preset": name}] + [plain(preset.model | preset.settings)] * bool(preset.model or preset.settings)
    expected += [{name: default} for name, default in build.defaults(kind).items()]
    assert len(shown) == len(expected)
    single = len(shown) - len(build.defaults(kind))  # the first line of one flag
    for words, options in zip(shown[:single], expected[:single]):
        taken = typed(model, words)
        assert {name: taken[name] for name in options} == options, words
    assert all(words[0].startswith("--") for words in shown[single:])
    taken = typed(model, [word for words in shown[single:] for word in words])  # one parse: each takes a tenth second
    for words, options in zip(shown[single:], expected[single:]):
        assert {name: taken[name] for name in options} == options, words


@pytest.mark.parametrize("model", models.names())
def test_train_takes_the_command_of_a_card(model, typed):
    """Typed out in full, without its preset, each preset is what it was."""
    kind = models.find(model)
    for preset in ("", *kind.presets):
        settings, arguments = plan(kind, preset, {})
        whole = dataclasses.asdict(settings) | arguments
        config = {
            "preset": "",
            "own": "",
            "model": model,
            "data": {"name": settings.data},
            "settings": dataclasses.asdict(settings),
            "arguments": arguments,
        }
        words = shlex.split(card.training_command(SimpleNamespace(recipe=kind.__new__(kind), config=config)))
        assert words[:3] == ["gankit", "train", model]
        taken = typed(model, words[3:])
        assert {name: taken[name] for name in whole} == whole, preset


def test_flags_are_quoted_and_counts_are_short():
    hints = {
        "a": bool,
        "b": bool,
        "c": tuple[int, ...],
        "d": Images,
        "e": int,
        "f": str,
        "g": str,
        "h": bool | None,
        "i": tuple[int, ...],
    }
    values = {
        "a": True,
        "b": False,
        "c": (8, 16),
        "d": 200_000,
        "e": 200_000,
        "f": "4:1 8:2",
        "g": "",
        "h": None,
        "i": (),
    }
    assert flags(values, hints) == "--a --no-b --c 8 16 --d 200k --e 200000 --f '4:1 8:2' --g '' --h None --i"
    assert [short(n) for n in (0, 999, 1000, 1500, 5_313_000, 7_000_000)] == ["0", "999", "1k", "1500", "5313k", "7M"]
    assert all(command_line.count(short(n)) == n for n in (0, 999, 1000, 1500, 5_313_000, 7_000_000))


@pytest.mark.parametrize("model", models.names())
def test_warnings_name_flags_that_the_model_takes(model, typed):
    kind = models.find(model)
    for records in TROUBLE.values():
        for preset in kind.presets.values():
            for sentence in diagnose(records, kind, build.defaults(kind) | preset.model).values():
                named = re.findall(r"\([^()]*?(--[^()]*)\)", sentence)
                assert len(re.findall("--[a-z]", sentence)) == len(re.findall("--[a-z]", " ".join(named)))
                words = " ".join(text + " 1" * text.split()[-1].startswith("--") for text in named).split()
                taken = typed(model, words)
                assert taken.get("penalty", "none") in (*PENALTIES, "none", "clip", "gp") and taken.get(
                    "loss", "hinge"
                ) in (*ADVERSARIAL, "wgan_gp", "lsgan")
                assert "--penalty" not in words or taken["penalty_weight"] > 0  # a penalty of no weight is none


class Parsed(Exception):
    """The words were taken by the parser."""


@pytest.fixture
def parser(monkeypatch):
    """A command's own parser, which is left as soon as it has taken the words."""
    read = command_line.read

    def parse(*arguments: object) -> None:
        read(*arguments)
        raise Parsed

    monkeypatch.setattr(command_line, "read", parse)
    monkeypatch.setattr(cli, "explain", lambda error: pytest.fail(str(error)))
    monkeypatch.chdir(HOUSE)


@pytest.mark.parametrize("model", translation.able())
def test_translate_takes_the_example_that_show_prints(model, parser):
    with pytest.raises(Parsed):
        cli.main(shlex.split(translation.example(models.find(model)))[1:])


def commands(path: Path) -> list[str]:
    """The commands in a page: lines of code blocks, and code within sentences, that begin with gankit."""
    text = path.read_text(encoding="utf-8")
    return [
        *re.findall(r"^ {4,}(gankit .*)", text, re.M),
        *(" ".join(code.split()) for code in re.findall(r"`(gankit [^`]*)`", text)),
    ]


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.stem)
def test_commands_in_the_docs_are_taken(path, parser, monkeypatch, capsys):
    monkeypatch.setattr("gankit.runs.folders.locate", lambda run, outdir="runs": Path(run))
    monkeypatch.setattr("gankit.runs.config.read_config", lambda folder: {"settings": {}})
    monkeypatch.setattr("gankit.cli.train.spawn", lambda gpus, words: None)  # else this process becomes torchrun
    for command in dict.fromkeys(commands(path)):
        words = [
            word
            for word in shlex.split(re.sub(r"\b[A-Z]\b", "1", command), comments=True)[1:]
            if word not in ("...", "[flags]")
        ]
        if words[0] == "COMMAND" or (len(words) == 1 and words[0] not in ("models", "metrics")):
            continue  # a command's name alone
        try:
            cli.main(words)
        except Parsed:
            pass
        except SystemExit as left:
            assert not left.code, f"{command}: {capsys.readouterr().err}"


def names_of(kind: type) -> set[str]:
    """The flags of a dataclass, with their other names and the negatives of those that are on or off."""
    found = set()
    for field in dataclasses.fields(kind):
        metadata = getattr(field.type, "__metadata__", ())
        also = [
            name for meta in metadata for name in (getattr(meta, "name", None), *(getattr(meta, "aliases", None) or ()))
        ]
        flags = {f"--{name.strip('-').replace('_', '-')}" for name in (field.name, *also) if name}
        found |= flags | {flag.replace("--", "--no-", 1) for flag in flags if isinstance(field.default, bool)}
    return found


@pytest.fixture
def known(monkeypatch):
    """The flags of each model's own arguments, and under "" those of every other command, tool and setting."""
    found = {
        "": {"--help", "--version", "--kimg", "--as", "--metrics", "--outdir"}
    }  # these are taken before the parser

    def parse(groups: dict[str, type], prog: str, *_: object) -> None:
        for name, group in groups.items():
            found.setdefault(prog.split()[-1] if name == "model" else "", set()).update(names_of(group))
        raise Parsed

    monkeypatch.setattr(command_line, "read", parse)
    words = [["train", model] for model in models.names()] + [["explore", "RUN", tool] for tool in explore.TOOLS]
    words += [["lab", experiment] for experiment in lab.entries()]
    others = set(cli.COMMANDS) - {"train", "explore", "resume", "lab"}
    words += [[command, "RUN", "WHAT"] for command in others]
    for one in words:
        with pytest.raises(Parsed):
            cli.main(one)
    return found


FLAG = re.compile(r"(?<![\w-])--[a-z](?:[\w-]*\w)?(?![\w-])")
# Of other programs, which are named beside them.
ELSEWHERE = {
    "--no-deps",
    "--index-url",
    "--max-restarts",
    "--nproc-per-node",
    "--standalone",
    "--no-dropout",
    "--norm",
    "--signal",
    "--cfg",
}


def test_every_flag_in_a_message_or_a_page_exists(known):
    """Of a model's file and page the flags are its own, or those of every run."""
    programs = "".join(
        path.read_text() for folder in ("benchmarks", "scripts") for path in (HOUSE / folder).glob("*.py")
    )
    shared = known[""] | ELSEWHERE | set(re.findall(r"""add_argument\(\s*"(--[\w-]+)""", programs))
    every, wrong = shared.union(*known.values()), []
    for path in [*DOCS, *(HOUSE / "gankit").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            constants = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
            text = "\n".join(value for value in constants if isinstance(value, str))
        text = re.sub(r"var\(--[\w-]+\)|--[\w-]+: #\w+", "", text)  # the variables of a style sheet
        own = shared | known[path.stem] if path.parent.name == "models" and path.stem in known else every
        wrong += [
            f"{path.relative_to(HOUSE)} {flag}" for flag in FLAG.findall(text) if flag.replace("_", "-") not in own
        ]
    assert not wrong, "; ".join(wrong)
