"""The commands. Each is a function: its flags come from its signature, its help from its docstring."""

# torch, tyro and rich are imported where they are used: `gankit --help` must answer at once.
from __future__ import annotations

import dataclasses
import difflib
import inspect
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, get_type_hints

import gankit
from gankit.text import aside, let_go, put, shown


def main(argv: list[str] | None = None) -> None:
    """The console script: the first word is the command."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait starve a shared machine
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `gankit models | head`: as a program that SIGPIPE ended
        sys.exit(128 + 13)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        explain(error)
    finally:
        let_go()


def run(words: list[str]) -> None:
    """Run the command that the first word names."""
    if not words or words[0] in ("-h", "--help", "help"):
        return put(overview())
    if words[0] in ("--version", "version"):
        return put(f"gankit {gankit.__version__}")
    command = COMMANDS.get(words[0])
    if command is None:
        near = difflib.get_close_matches(words[0], COMMANDS, 1)
        hint = f"Did you mean `gankit {near[0]}`?" if near else f"There are {', '.join(COMMANDS)}."
        fail(f"no command {words[0]!r}. {hint}", 2)
    command(words[1:])


NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "unable to allocate",
)  # a GPU, PyTorch, the system, numpy


def explain(error: Exception) -> None:
    """One line for errors that the user can fix, exit code 2; 1 for a run that broke; a fault of gankit's own is shown whole."""
    state, processes = sys.modules.get("gankit.runs.state"), sys.modules.get("gankit.processes")
    text = str(error)
    if state and isinstance(error, state.Diverged):
        fail(text, 1)
    if processes and isinstance(error, processes.Lost):
        fail(
            f"{text}. Start it again with the same command: under torchrun --max-restarts it goes on from the last save.",
            1,
        )
    if isinstance(error, MemoryError) or any(words in text.lower() for words in NO_MEMORY):
        about = f" ({text.splitlines()[0]})" if text else ""
        fail(
            f"out of memory{about}. Try a smaller --batch, more --pieces, a smaller --resolution or --width, or fewer samples.",
            1,
        )
    if isinstance(error, (ValueError, OSError)):
        fail(text, 2)
    raise error


def fail(text: str, code: int) -> None:
    """Say it on stderr, once for all processes that know of each other, and leave."""
    processes = sys.modules.get("gankit.processes")
    several = processes is not None and processes.world() > 1
    if not several or processes.rank() == 0 or code == 1:
        aside(f"gankit: {text}")
    if several:
        os._exit(code)  # taking the process group apart now could hang on the processes that are gone
    sys.exit(code)


def overview() -> str:
    lines = [
        "Every classic GAN, by the same few commands.",
        "",
        "usage: gankit COMMAND ...   (gankit COMMAND --help says more)",
        "",
    ]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:<12} {(command.__doc__ or '').splitlines()[0]}")
    return "\n".join(
        [
            *lines,
            "",
            "start:   gankit train dcgan --data digits --preset small",
            "         gankit sample latest -o grid.png",
        ]
    )


# Commands ------------------------------------------------------------------------------------------------------------


def train(words: list[str]) -> None:
    """Train a model: gankit train MODEL|./my_gan.py [--data DATA] [flags]"""
    if not words or words[0].startswith("-"):
        if words and words[0] in ("-h", "--help"):
            words = ["dcgan", *words]
        else:
            fail("train what? gankit train MODEL [flags]; `gankit models` lists the models", 2)
    name, flags = words[0], words[1:]
    flags, gpus = take(flags, "--gpus")
    if gpus and "RANK" not in os.environ:
        spawn(gpus, ["train", name, *flags])

    from gankit import models, training
    from gankit.training import Settings
    from gankit.training.setup import plan

    kind = models.find(name)
    preset = take(flags, "--preset")[1] or ""
    settings, arguments = plan(kind, preset, {})  # so that help shows the defaults that hold with this preset

    @dataclasses.dataclass
    class Command:
        """How the command behaves.

        Args:
            preset: sizes from the model's file; the defaults shown below are those with it.
            outdir: folder in which the run's folder is made.
            desc: words to add to the run folder's name.
            gpus: start this many processes on this machine.
            dry_run: say what would be trained, and stop.
            quiet: print nothing.
        """

        preset: str = ""
        outdir: str = "runs"
        desc: str = ""
        gpus: int = 1
        dry_run: Annotated[bool, alias("-n")] = False
        quiet: bool = False

    hints = get_type_hints(kind.__init__)
    model = dataclasses.make_dataclass(
        "Model",
        [
            (k, describe(hints.get(k, str), args_of(kind).get(k)), dataclasses.field(default=v))
            for k, v in arguments.items()
        ],
    )
    model.__doc__ = f"What {name} takes, besides the data."
    groups = {"command": described(Command), "run": described(Settings, settings), "model": model}
    parsed = parse(groups, f"gankit train {name}", flags)
    command = parsed["command"]
    options = dataclasses.asdict(parsed["run"]) | dataclasses.asdict(parsed["model"])
    if command.dry_run:
        return dry_run(kind, options)
    training.train(
        kind, preset=command.preset, outdir=command.outdir, desc=command.desc, quiet=command.quiet, **options
    )


def resume(words: list[str]) -> None:
    """Go on with a run that stopped: gankit resume RUN [--images 2M]"""
    from gankit import training
    from gankit.runs.config import locate, read_config
    from gankit.training import Settings
    from gankit.training.settings import settings_of

    run, flags = first(words, "resume", "RUN")
    if run is None:
        folder, settings = Path("RUN"), Settings()
    else:
        folder = locate(run, take(flags, "--outdir")[1] or "runs")
        settings = settings_of(read_config(folder))
        settings = dataclasses.replace(
            settings, **{k: shown(v) for k, v in vars(settings).items() if isinstance(v, str)}
        )  # help prints them

    @dataclasses.dataclass
    class Command:
        """How the command behaves.

        Args:
            model: the file of a model that is not gankit's own; its code is executed.
            outdir: folder in which RUN is looked for.
            quiet: print nothing.
        """

        model: str = ""
        outdir: str = "runs"
        quiet: bool = False

    parsed = parse(
        {"command": described(Command), "run": described(Settings, settings)}, f"gankit resume {folder}", flags
    )
    options = dataclasses.asdict(parsed["run"])
    options = {
        name: value for name, value in options.items() if value != getattr(settings, name) or is_typed(flags, name)
    }
    training.resume(folder, model=parsed["command"].model or None, quiet=parsed["command"].quiet, **options)


def sample(words: list[str]) -> None:
    """Draw samples of a trained model: gankit sample RUN [--seeds 0-63 | --text "a red square"] [-o grid.png|samples.npz]"""

    @dataclasses.dataclass
    class Sample:
        """What to draw, and where to.

        Args:
            n: how many, with seeds from 0; 64, or 8 of each text, without it.
            seeds: which seeds, like 0-15,42; in place of n.
            label: the class; without it the classes in turn.
            condition: a .npz with features `condition` (N, C), taken in turn, for models that draw from such.
            text: what to draw, for models that draw from texts: a sentence, or several, each in quotes.
            text_file: a file of such sentences, one a line.
            to_text: a sentence to go to from the one of text, step by step.
            steps: pictures from one sentence to the other.
            text_encoder: the encoder that the run learnt with, where it learnt from vectors of texts; it is opened only if named here.
            domain: a or b of models of two domains, or pairs, a above b; a without it.
            trunc: below 1, latents nearer to the prior's mean: cleaner and less diverse.
            standing: take batch norm's statistics anew from this many batches of 64 samples so truncated; 100 in BigGAN.
            outdir: folder for one PNG a seed.
            output: one file instead: a grid as .png, or all samples as .npz.
            columns: columns of the grid.
            batch: samples drawn at once; it changes no picture.
            weights: file of weights in the run folder.
            model: the file of a model that is not gankit's own; its code is executed.
            device: auto, cpu, cuda or mps.
        """

        n: int | None = None
        seeds: str = ""
        label: Annotated[int | None, alias(name="class")] = None
        condition: str = ""
        text: tuple[str, ...] = ()
        text_file: str = ""
        to_text: str = ""
        steps: int = 8
        text_encoder: str = ""
        domain: str = ""
        trunc: float = 1.0
        standing: int = 0
        outdir: str = "out"
        output: Annotated[str, alias("-o")] = ""
        columns: int = 0
        batch: int = 64
        weights: str = "weights.safetensors"
        model: str = ""
        device: str = "auto"

    run, flags = first(words, "sample", "RUN")
    options = parse({"sample": described(Sample)}, "gankit sample RUN", flags)["sample"]

    from gankit import build, latent, pictures
    from gankit import data as library
    from gankit.nn import standing

    if (options.n is not None and options.n < 1) or options.batch < 1 or options.standing < 0:
        raise ValueError("--n and --batch must be at least 1, --standing at least 0")
    told = bool(options.text or options.text_file or options.to_text)
    seeds = numbers(options.seeds) if options.seeds else list(range(options.n or (8 if told else 64)))
    trained = gankit.load(run, model=options.model or None, device=options.device, weights=options.weights)
    drawn = len(seeds) * (max(1, len(options.text)) * (options.steps if options.to_text else 1) if told else 1)
    build.refuse_large(
        COPIES * drawn * trained.recipe.spec.size, f"{drawn:,} samples", "Draw fewer at once: --n, --seeds or --steps"
    )
    if told:
        return sample_texts(trained, options, seeds)
    condition = library.read_conditions(Path(options.condition)) if options.condition else None
    if options.standing:
        latent.check(trained.recipe, options.label, condition)

        def draw(i: int) -> None:
            latent.sample(trained.recipe, range(64 * i, 64 * i + 64), None, options.trunc, 64, condition)

        standing(trained.recipe, draw, options.standing)
    samples = latent.sample(
        trained.recipe, seeds, options.label, options.trunc, options.batch, condition, options.domain
    )
    if options.output:
        return write_samples(Path(options.output), samples, seeds, options.columns)
    outdir = Path(options.outdir)
    outdir.mkdir(parents=True, exist_ok=True)
    if samples.ndim == 2:
        return write_samples(outdir / "samples.npz", samples, seeds, 0)
    for seed, picture in zip(seeds, samples):
        pictures.save_one(outdir / f"seed{seed:04d}.png", picture)
    put(f"{len(seeds)} pictures in {outdir}")


def sample_texts(trained: object, options: object, seeds: list[int]) -> None:
    """What `sample` draws of texts: a row for each, or for each seed from one text to another."""
    from gankit import pictures
    from gankit.data import captions
    from gankit.runs import texts

    recipe, encoder = trained.recipe, options.text_encoder
    said = [*options.text, *(texts.read(Path(options.text_file)) if options.text_file else [])]
    for flag in ("label", "condition", "domain", "standing"):
        if getattr(options, flag):
            raise ValueError(f"--{'class' if flag == 'label' else flag} does not go with texts; leave it out")
    if options.to_text and len(said) != 1:
        raise ValueError(f"--to-text goes there from one sentence, --text 'A' --to-text 'B'; found {len(said)}")
    if options.to_text:
        drawn = texts.between(
            recipe, said[0], options.to_text, seeds, options.steps, options.trunc, options.batch, encoder
        )
        columns, sides, names = (
            options.steps,
            [f"seed {seed}" for seed in seeds],
            [f"step{i:02d}-seed{seed:04d}" for seed in seeds for i in range(options.steps)],
        )
    else:
        drawn = texts.draw(recipe, said, seeds, options.trunc, options.batch, encoder)
        columns, sides, names = (
            len(seeds),
            said,
            [f"text{i:03d}-seed{seed:04d}" for i in range(len(said)) for seed in seeds],
        )
    for note in (
        captions.flaws(filter(None, [*said, options.to_text]), recipe.spec.caption[0]) if recipe.spec.caption[1] else ()
    ):
        aside(f"- {note}")
    output = Path(options.output or options.outdir)
    if not options.output:
        output.mkdir(parents=True, exist_ok=True)
        for name, picture in zip(names, drawn):
            pictures.save_one(output / f"{name}.png", picture)
        put(f"{len(names)} pictures in {output}")
    elif options.to_text and output.suffix in (".webp", ".gif", ".mp4"):
        output.parent.mkdir(parents=True, exist_ok=True)
        frames = drawn.unflatten(0, (len(seeds), options.steps)).transpose(0, 1)
        pictures.animate(output, [pictures.grid(frame) for frame in frames], 8)
        put(output)
    elif output.suffix == ".png":
        output.parent.mkdir(parents=True, exist_ok=True)
        shown = [side if len(side) <= 60 else side[:57] + "..." for side in sides]
        heads = (
            [options.text[0] if options.text else said[0], *[""] * (options.steps - 2), options.to_text]
            if options.to_text
            else []
        )
        pictures.save(output, drawn, columns, heads, shown)
        put(output)
    else:
        write_samples(
            output,
            drawn,
            [seed for _ in range(len(drawn) // len(seeds)) for seed in seeds]
            if not options.to_text
            else [seed for seed in seeds for _ in range(columns)],
            0,
        )


def translate(words: list[str]) -> None:
    """Make pictures of pictures: gankit translate RUN INPUT ... -o OUTPUT [--to DOMAIN | --set blond=1 | --au AU12=0.8 | --style IMG]"""

    @dataclasses.dataclass
    class Command:
        """How the command behaves.

        Args:
            output: a file, for one picture, or a folder, in which names and folders are kept.
            weights: file of weights in the run folder.
            model: the file of a model that is not gankit's own; its code is executed.
            device: auto, cpu, cuda or mps.
        """

        output: Annotated[str, alias("-o")] = "out"
        weights: str = "weights.safetensors"
        model: str = ""
        device: str = "auto"

    run, flags = first(words, "translate", "RUN INPUT")
    inputs = list(itertools.takewhile(lambda word: not word.startswith("-"), flags))
    if run and not inputs and not {"-h", "--help"} & set(flags):
        fail("translate what? gankit translate RUN INPUT ... -o OUTPUT: pictures, folders, patterns or videos", 2)

    from gankit import translation

    groups = {"command": described(Command), "translation": described(translation.Options)}
    parsed = parse(groups, "gankit translate RUN INPUT", flags[len(inputs) :])
    command, options = parsed["command"], dataclasses.asdict(parsed["translation"])
    given = dict(model=command.model or None, device=command.device, weights=command.weights, quiet=False)
    done = translation.translate(run, inputs, command.output, **given, **options)
    for name, text in done.measured:
        put(f"{name}: {text}")
    for note in done.notes:
        aside(f"- {note}")
    if done.written:
        put(done.written[0] if len(done.written) == 1 else f"{len(done.written)} files in {command.output}")
    if done.skipped:
        from gankit.data.reading.files import listed

        lines = "".join(
            f"\n  {line}" for line in listed((f"{name}: {reason}" for name, reason in done.skipped), len(done.skipped))
        )
        fail(f"{len(done.skipped)} of {done.inputs} inputs could not be used:{lines}", 1)


def interpolate(words: list[str]) -> None:
    """Walk between latents: gankit interpolate RUN [--seeds 0-5] [-o walk.png|.webp|.gif|.mp4]"""

    @dataclasses.dataclass
    class Walk:
        """What to walk through, and where to draw it.

        Args:
            seeds: the seeds to pass through, like 0-5.
            steps: pictures from one seed to the next.
            space: z, or w for models with styles; w where there is one.
            mode: slerp, on arcs, keeps the length that random latents have; lerp goes straight. Slerp in z, lerp in w.
            label: the class; for models with labels the first seed's own without it.
            trunc: below 1, latents nearer to the prior's mean.
            loop: come back to the first seed.
            fps: pictures a second in the animation.
            output: a strip as .png, or an animation as .webp, .gif or .mp4; all that can be written without it.
            outdir: folder for what is written without output.
            model: the file of a model that is not gankit's own; its code is executed.
            device: auto, cpu, cuda or mps.
        """

        seeds: str = "0-5"
        steps: int = 10
        space: Literal["", "z", "w"] = ""
        mode: Literal["", "slerp", "lerp"] = ""
        label: Annotated[int | None, alias(name="class")] = None
        trunc: float = 1.0
        loop: bool = False
        fps: int = 12
        output: Annotated[str, alias("-o")] = ""
        outdir: str = "out"
        model: str = ""
        device: str = "auto"

    run, flags = first(words, "interpolate", "RUN")
    options = parse({"walk": described(Walk)}, "gankit interpolate RUN", flags)["walk"]

    import shutil

    from gankit import build, latent, pictures

    seeds = numbers(options.seeds)
    if len(seeds) < 2 or options.steps < 1 or options.fps < 1:
        raise ValueError(
            f"a walk needs two seeds, one step and one picture a second at least; got --seeds {options.seeds}"
        )
    recipe = gankit.load(run, model=options.model or None, device=options.device).recipe
    latent.check(recipe, options.label)
    if latent.takes_caption(recipe):
        raise ValueError(
            f"{type(recipe).__name__} draws texts: walk from one to another by gankit sample {run} --text 'A' --to-text 'B' -o walk.png"
        )
    frames = len(seeds) * options.steps
    build.refuse_large(
        COPIES * frames * recipe.spec.size, f"{frames:,} pictures", "Draw fewer at once: --seeds or --steps"
    )
    space = latent.space_of(recipe, options.space)
    of_first = options.label if options.label is not None else latent.labels(recipe, seeds[:1])
    points, _ = latent.points(recipe, seeds, None if of_first is None else int(of_first), options.trunc, space)
    spherical = (options.mode or ("slerp" if space == "z" else "lerp")) == "slerp"
    way = latent.path(points.flatten(1), options.steps, spherical, options.loop).unflatten(1, points.shape[1:])
    frames = latent.render(recipe, way, latent.labels(recipe, seeds[:1] * len(way), options.label))
    single = (
        [pictures.grid(frame[None]) for frame in frames]
        if frames.ndim == 4
        else [pictures.dots(frames[: i + 1]) for i in range(len(frames))]
    )
    stem = Path(options.outdir) / "walk"
    outputs = [Path(options.output)] if options.output else [stem.with_suffix(s) for s in (".png", ".webp")]
    if not options.output and shutil.which("ffmpeg"):
        outputs.append(stem.with_suffix(".mp4"))
    for output in outputs:
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.suffix == ".png":
            pictures.save(output, frames, options.steps)
        else:
            pictures.animate(output, single, options.fps)
        put(output)


def explore(words: list[str]) -> None:
    """See what a model learned: gankit explore RUN TOOL [flags]; without RUN and TOOL the list of tools"""
    named = [word for word in words[:2] if not word.startswith("-")]
    if len(named) < 2:
        from gankit import explore as library

        tools = "\n".join(
            f"  {name:<12} {(tool.__doc__ or '').splitlines()[0]}" for name, tool in library.TOOLS.items()
        )
        if words and words[-1] not in ("-h", "--help"):
            fail(
                f"explore {words[0]} with which tool? gankit explore RUN TOOL [flags]; there are {', '.join(library.TOOLS)}",
                2,
            )
        put(f"{explore.__doc__}\n\n{tools}\n\ngankit explore RUN TOOL --help shows a tool's flags.")
        return
    run, name, flags = *named, words[2:]

    import torch

    from gankit import explore as library

    if name not in library.TOOLS:
        near = difflib.get_close_matches(name, library.TOOLS, 1)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(library.TOOLS)}."
        raise ValueError(f"there is no tool {name!r}. {hint}")
    tool = library.TOOLS[name]

    @dataclasses.dataclass
    class Explore:
        """How the command behaves.

        Args:
            outdir: folder for TOOL.png, TOOL.json with the numbers, and what else the tool makes.
            animation: kinds of animation with commas between, of webp, gif and mp4, where the tool makes one; or none.
            weights: file of weights in the run folder.
            model: the file of a model that is not gankit's own; its code is executed.
            device: auto, cpu, cuda or mps.
        """

        outdir: str = "out"
        animation: str = "webp"
        weights: str = "weights.safetensors"
        model: str = ""
        device: str = "auto"

    hints, said = get_type_hints(tool, include_extras=True), args_of(tool)
    own = [
        (
            k,
            describe(Annotated[hints[k], alias(name="class")] if k == "label" else hints[k], said.get(k)),
            dataclasses.field(default=p.default),
        )
        for k, p in inspect.signature(tool).parameters.items()
        if p.kind is p.KEYWORD_ONLY
    ]
    kind = dataclasses.make_dataclass("Tool", own)
    kind.__doc__ = (tool.__doc__ or "").splitlines()[0]
    parsed = parse({"tool": kind, "explore": described(Explore)}, f"gankit explore RUN {name}", flags)
    options, given = parsed["explore"], {k: getattr(parsed["tool"], k) for k, *_ in own}
    kinds = [part.strip() for part in options.animation.split(",") if part.strip() not in ("", "none")]
    if unknown := set(kinds) - {"webp", "gif", "mp4"}:
        raise ValueError(f"--animation takes webp, gif and mp4, or none; not {', '.join(sorted(unknown))}")
    trained = gankit.load(run, model=options.model or None, device=options.device, weights=options.weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        result = tool(trained, **given)
    flags_used = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
    result.numbers = {
        "tool": name,
        "run": trained.folder.name,
        "model": trained.config["model"],
        "images": trained.images,
        "flags": flags_used,
    } | result.numbers
    for line in result.say:
        put(line)
    for path in result.write(Path(options.outdir) / name, kinds):
        put(path)


def models(words: list[str]) -> None:
    """List the models: paper, year, data, abilities: gankit models [--json]"""

    @dataclasses.dataclass
    class Table:
        """How to list them.

        Args:
            json: for programs, with presets and parameter counts.
        """

        json: bool = False

    options = parse({"table": described(Table)}, "gankit models", words)["table"]

    from gankit import models as library

    rows = []
    for name in library.names():
        kind, paper = library.find(name), library.paper(name)
        presets = {
            key: {"about": p.about, "model": p.model, "settings": p.settings, "parameters": p.parameters}
            | ({"shape": p.spec.shape, "classes": p.spec.num_classes} if p.spec else {})
            for key, p in kind.presets.items()
        }
        rows.append(
            paper._asdict()
            | {
                "name": name,
                "data": kind.data.split(),
                "labels": kind.labels,
                "abilities": kind.abilities(),
                "presets": presets,
            }
        )
    if options.json:
        put(json.dumps(rows, indent=2))
        return

    rows.sort(key=lambda row: row["year"])
    columns = {
        name: {"no_wrap": name in ("model", "year")} for name in ("model", "year", "paper", "data", "labels", "can")
    }
    show_sheet(
        columns,
        (
            (row["name"], row["year"], row["title"], " ".join(row["data"]), row["labels"], " ".join(row["abilities"]))
            for row in rows
        ),
    )


def show(words: list[str]) -> None:
    """Show one model: its paper, losses, sizes and options: gankit show MODEL [--ledger]"""

    @dataclasses.dataclass
    class Look:
        """What to show.

        Args:
            ledger: the paper's training procedure beside gankit's, quantity by quantity, with sources and reasons.
            json: the ledger for programs.
        """

        ledger: bool = False
        json: bool = False

    name, more = first(words, "show", "MODEL")
    look = parse({"look": described(Look)}, "gankit show MODEL", more)["look"]

    from gankit import build, ledger, translation
    from gankit import models as library
    from gankit.recipe import flags
    from gankit.training import Settings

    kind = library.find(name)
    if look.ledger or look.json:
        rows = ledger.rows(name)
        return (
            put(json.dumps(ledger.records(rows), indent=2))
            if look.json
            else show_sheet(ledger.COLUMNS, map(ledger.cells, rows))
        )
    hints = get_type_hints(Settings) | get_type_hints(kind.__init__)
    put(inspect.cleandoc(inspect.getmodule(kind).__doc__ or "").strip() + "\n")
    put(f"learns from: {kind.data.replace(' ', ' or ')}; labels: {kind.labels}; can: {', '.join(kind.abilities())}")
    if {"translate", "segment"} & set(kind.abilities()):
        put(f"on pictures of your own: {translation.example(kind)}")
    put(f"settings of its own: {flags(kind.defaults, hints) or 'none'}\n")
    put("presets")
    for key, preset in kind.presets.items():
        put(f"  --preset {key}  # {preset.about}")
        if preset.parameters:
            shape = "x".join(map(str, preset.spec.shape)) + (
                f", {preset.spec.num_classes} classes" if preset.spec.num_classes else ""
            )
            put(f"      parameters at {shape}: {', '.join(f'{n} {c:,}' for n, c in preset.parameters.items())}")
        if preset.model or preset.settings:
            put(f"      {flags(preset.model | preset.settings, hints)}")
    put("\noptions")
    docs = args_of(kind)
    for key, default in build.defaults(kind).items():
        put(f"  {flags({key: default}, hints)}  # {docs.get(key, '')}")
    put(f"\nand those of every run: gankit train {name} --help")


def data(words: list[str]) -> None:
    """Show what would be read before anything trains: gankit data PATH [--resolution 64] [--as pairs] [--model dcgan]"""

    @dataclasses.dataclass
    class Look:
        """What to look at.

        Args:
            resolution: side of the images, 64 or 64x96.
            fit: how images of another shape are fitted.
            alpha: what stands behind transparent pixels.
            skip_bad: go on without unreadable files.
            want: read files as pairs, as two domains, as images with label maps or with captions; without it as the model does, if one is given.
            model: measure what a step of this model needs in memory and time.
            preset: sizes of that model.
            batch: images in its step.
            sheet: where to write the contact sheet, a PNG.
        """

        resolution: str = ""
        fit: Literal["crop", "pad", "squash"] = "crop"
        alpha: Literal["white", "black", "keep"] = "white"
        skip_bad: bool = False
        want: Annotated[Literal["", "pairs", "domains", "masks", "captions"], alias(name="as")] = ""
        model: str = ""
        preset: str = ""
        batch: int = 0
        sheet: str = "out/contact-sheet.png"

    path, flags = first(words, "data", "PATH")
    options = parse({"look": described(Look)}, "gankit data PATH", flags)["look"]

    from gankit import data as library

    want, size = options.want, options.resolution or None
    if options.model and not want:
        from gankit import models

        want = models.find(options.model).data.split()[0]
    put(library.describe(path, size, options.alpha, want))
    dataset = library.open(path, size, options.fit, alpha=options.alpha, skip_bad=options.skip_bad, want=want)
    if options.want and dataset.kind != want:
        raise ValueError(f"{path} holds {dataset.kind}. {library.HOW[want]}")
    kind = library.KINDS.get(dataset.kind, dataset.kind)
    put(f"\nread as: {len(dataset):,} {kind} of {'x'.join(map(str, dataset.shape))}")
    if dataset.kind in library.KINDS and options.sheet:
        Path(options.sheet).parent.mkdir(parents=True, exist_ok=True)
        library.contact_sheet(dataset, Path(options.sheet))
        put(f"contact sheet: {options.sheet}")
    if options.model:
        put(cost(options, path))


def report(words: list[str]) -> None:
    """Write a run's report.html: pictures, curves, settings: gankit report RUN"""
    run, flags = first(words, "report", "RUN")
    parse({}, "gankit report RUN", flags)

    from gankit import report as library
    from gankit.runs.config import locate

    put(library.write(locate(run)))


def evaluate(words: list[str]) -> None:
    """Judge a run or images: gankit evaluate RUN|FOLDER|FILE.npz [--against DATA] [--metrics fd,precision|all]"""

    @dataclasses.dataclass
    class Evaluate:
        """What to measure, and against what.

        Args:
            against: the reals: a folder, zip, tar, .npz or built-in set; a run's own data without it.
            metrics: names with commas between, or all; `gankit metrics` lists them. Translators take l1, psnr, ssim, cycle and others.
            features: the network to look through: digits, inception, inception-clean, vgg16, timm:NAME, dinov2:NAME;
                without it digits for data of that name and inception for all other.
            n: samples; 0 for 50k with inception and 10k with others.
            seed: the first seed of the samples, and of every choice.
            trunc: below 1, latents nearer to the prior's mean.
            held_out: reals that were not trained on, and what translators are given; digits:test for digits without it.
            resolution: side that folders are fitted to; the run's own without it.
            batch: samples that go through the networks at once.
            precision: fp64 to check exactness.
            weights: file of weights in the run folder.
            model: the file of a model that is not gankit's own; its code is executed.
            segmenter: a run that segments photographs, for fcn_score; a small one is fitted without it.
            device: auto, cpu, cuda or mps.
            json: print the records instead of the table.
        """

        against: str = ""
        metrics: str = "fd,kd,is,precision,density"
        features: str = ""
        n: gankit.Images = 0
        seed: int = 0
        trunc: float = 1.0
        held_out: str = ""
        resolution: str = ""
        batch: int = 64
        precision: Literal["fp32", "fp64"] = "fp32"
        weights: str = "weights.safetensors"
        model: str = ""
        segmenter: str = ""
        device: str = "auto"
        json: bool = False

    what, flags = first(words, "evaluate", "RUN|FOLDER|FILE.npz")
    options = parse({"evaluate": described(Evaluate)}, "gankit evaluate RUN", flags)["evaluate"]
    from gankit import evaluation, processes

    given = dataclasses.asdict(options)
    as_json = given.pop("json")

    def say(text: str) -> None:
        if not processes.rank():
            aside(f"- {text}")

    scores = evaluation.evaluate(what, **given, quiet=False, say=say)
    if not scores:  # they are told by the first process
        return
    path = evaluation.records_of(what)
    if as_json:
        put(json.dumps(evaluation.read(path)[-len(scores) :], indent=2))
        return

    right = {"justify": "right", "no_wrap": True}
    columns = {
        "metric": {"no_wrap": True},
        "value": right,
        "+-": right,
        "samples": right,
        "reals": right,
        "better": {"no_wrap": True},
        "note": {},
    }
    rows = []
    for s in scores:
        error = "" if s.error is None else f"{s.error:.3g}"
        said = "; ".join(filter(None, (s.error_of and f"+-: {s.error_of}", s.note)))
        rows.append(
            (
                s.name,
                f"{s.value:.4g}",
                error,
                f"{s.n_fake:,}" if s.n_fake else "",
                f"{s.n_real:,}" if s.n_real else "",
                s.better,
                said,
            )
        )
    show_sheet(columns, rows)
    put(f"recorded in {path}")


def score(words: list[str]) -> None:
    """Find what does not belong: gankit score RUN IMAGES [-o scores.csv] [--maps maps/] [--normal MORE --fpr 0.05]"""

    @dataclasses.dataclass
    class Score:
        """What to score, and where to write it. A larger score is more anomalous.

        Args:
            output: table with a line for each image; numbers (.json), a picture (.png) and a page (.html) go beside it.
            maps: folder for a heat map of each image.
            normal: further normal images, which the model was not trained on: they set the threshold.
            fpr: rate of false alarms that the threshold of --normal is to have on new normal images; 0.05 without it.
            threshold: the threshold itself, in place of normal.
            normal_class: classes of the images that are normal, with commas between; good, normal or ok without it.
            n: how many images at most; 0 for all.
            batch: images at once; it changes no score.
            weights: file of weights in the run folder.
            model: the file of a model that is not gankit's own; its code is executed.
            device: auto, cpu, cuda or mps.
        """

        output: Annotated[str, alias("-o")] = "out/scores.csv"
        maps: str = ""
        normal: str = ""
        fpr: float | None = None
        threshold: float | None = None
        normal_class: str = ""
        n: int = 0
        batch: int = 64
        weights: str = "weights.safetensors"
        model: str = ""
        device: str = "auto"

    run, flags = first(words, "score", "RUN IMAGES")
    name, flags = first(flags, "score RUN", "IMAGES") if run else (None, flags)
    options = parse({"score": described(Score)}, "gankit score RUN IMAGES", flags)["score"]

    from gankit import anomaly
    from gankit.anomaly import pages

    path = Path(options.output)
    if path.suffix != ".csv" or options.batch < 1 or options.n < 0:
        raise ValueError(
            f"--output is a .csv, --batch at least 1 and --n at least 0; found {options.output}, {options.batch} and {options.n}"
        )
    if options.normal and options.threshold is not None:
        raise ValueError("--normal fits a threshold and --threshold gives one: take one of them")
    if options.fpr is not None and not options.normal:
        raise ValueError("--fpr is of a threshold that further normal images set: name those with --normal")
    if options.threshold is not None and not math.isfinite(options.threshold):
        raise ValueError(f"--threshold is {options.threshold}; give a score")
    trained = gankit.load(run, model=options.model or None, device=options.device, weights=options.weights)
    limit = options.threshold
    if options.normal:
        limit = anomaly.threshold(
            anomaly.score_run(trained, options.normal, batch=options.batch).score,
            0.05 if options.fpr is None else options.fpr,
        )
    classes = tuple(part.strip() for part in options.normal_class.split(",") if part.strip())
    found = anomaly.score_run(trained, name, classes, options.batch, options.n)
    numbers = anomaly.numbers(found, limit)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = anomaly.write(found, numbers, path, f"{trained.folder.name} on {name}")
    if options.maps:
        written.append(pages.save_maps(trained, name, found, Path(options.maps)))
    for note in found.notes:
        aside(f"- {note}")
    for key, value in numbers.items():
        put(f"{key:<18} {value:.4g}")
    put("\n".join(map(str, written)))


def compare(words: list[str]) -> None:
    """Put the scores of several runs, folders or files beside each other: gankit compare A B ... [--metrics fd]"""
    flags, metrics = take(words, "--metrics")
    flags, outdir = take(flags, "--outdir")
    subjects = [word for word in flags if not word.startswith("-")]
    parse({}, "gankit compare A B", [word for word in flags if word.startswith("-")])
    if len(subjects) < 2:
        fail(
            "compare what? gankit compare A B ... [--metrics fd,precision]: runs, folders or files that were evaluated",
            2,
        )

    from gankit import evaluation

    lines, rows = evaluation.compare(subjects, outdir or "runs", metrics or ""), []
    for line in lines:
        cells = [
            "" if v is None else f"{v['value']:.4g}" + ("" if v["error"] is None else f" +- {v['error']:.2g}")
            for v in line.values
        ]
        better = next(v["better"] for v in line.values if v is not None)
        rows.append((line.name, *cells, better, line.unlike))
    show_sheet(
        {"metric": {}, **{subject: {"justify": "right"} for subject in subjects}, "better": {}, "taken with": {}}, rows
    )
    if any(line.unlike for line in lines):
        put("Numbers in different lines of one metric were taken differently, and cannot be compared.")


def import_(words: list[str]) -> None:
    """Use published weights, read without running anything in them: gankit import FILE --as KIND [-o FOLDER]"""
    file, given = first(words, "import", "FILE --as KIND")
    flags, kind = take(given, "--as")
    if not kind or kind.startswith("-"):
        flags, kind = [flag for flag in given if flag not in ("--as", "--as=")], None

    @dataclasses.dataclass
    class Import:
        """What the file is, and where to write the run folder. --as KIND says whose the weights are.

        Args:
            output: the folder to write; a new one in outdir without it.
            outdir: folder in which that is made.
            discriminator: the file of the discriminator where it has its own: BigGAN-PyTorch's D.pth, those of translators;
                of cyclegan two with a comma between, D_A and D_B.
            trunc: for BigGAN-deep alone, which of its 51 batch statistics to take: those for this truncation of its own.
            license: the licence to note, in place of the one known for such files.
            back: for cyclegan, the file of the generator from b to a.
            attributes: for stargan and ganimation, the names of what G is asked for: a,b,c, or a,b+c,d of joined data sets.
            encoder: for adain, the encoder that the decoder was trained with: vgg19, small, or a file.
        """

        output: Annotated[str, alias("-o")] = ""
        outdir: str = "runs"
        discriminator: str = ""
        trunc: float = 1.0
        license: str = ""
        back: str = ""
        attributes: str = ""
        encoder: str = ""

    options = parse({"source": described(Import)}, "gankit import FILE --as KIND", flags)["source"]

    from gankit import models, recipe
    from gankit.exchange import imports, translators
    from gankit.translation.options import example

    if kind is None:
        sources = [*imports.SOURCES.items(), ("biggan", imports.DEEP)]
        known = "".join(f"\n  --as {name:<10} {source.about}" for name, source in sources)
        raise ValueError(f"import {file} as what? Whose weights are they?{known}")
    done = imports.import_weights(file, kind, **dataclasses.asdict(options))
    shape = "x".join(map(str, done.found.spec.shape)) + (
        f", {done.found.spec.num_classes} classes" if done.found.spec.num_classes else ""
    )
    put(f"{kind} for {shape}; parameters: {', '.join(f'{name} {count:,}' for name, count in done.parameters.items())}")
    put(f"sizes, from the file: {recipe.flags(done.found.arguments, get_type_hints(models.find(kind).__init__))}")
    for note in done.found.notes:
        put(f"- {note}")
    if done.found.fresh:
        put(f"- not in the file, so as first initialised: {', '.join(name.rstrip('.') for name in done.found.fresh)}")
    unused = done.found.unused
    put(
        f"- not used: {', '.join(unused[:6])}{f' and {len(unused) - 6} more' if len(unused) > 6 else ''}"
        if unused
        else "- everything in the file was used"
    )
    put(f"licence of the source: {done.license}")
    then = f"gankit sample {done.folder} -o grid.png"
    if kind in translators.CONVERT:
        then = example(models.find(kind)).replace("RUN", str(done.folder))
    put(f"{done.folder}   (next: {then})")


def export(words: list[str]) -> None:
    """Give a generator to other programs: gankit export RUN --to safetensors|onnx|torch.export|hub-folder [-o PATH]"""

    @dataclasses.dataclass
    class Export:
        """The form, and where to write it.

        Args:
            to: safetensors: weights for sampling and config.json; onnx; torch.export: a .pt2 program; hub-folder: weights,
                config, card, samples and a script.
            output: the file or folder to write, which must not be there yet; one named after the run in out/ without it.
            n: random latents on which what was written is compared with the model.
            license: the licence that a hub folder's card states.
            weights: file of weights in the run folder.
            model: the file of a model that is not gankit's own; its code is executed.
        """

        to: Literal["safetensors", "onnx", "torch.export", "hub-folder"] = "safetensors"
        output: Annotated[str, alias("-o")] = ""
        n: int = 16
        license: str = ""
        weights: str = "weights.safetensors"
        model: str = ""

    run, flags = first(words, "export", "RUN")
    options = parse({"export": described(Export)}, "gankit export RUN", flags)["export"]

    from gankit.exchange import export as exports

    trained = gankit.load(run, model=options.model or None, device="cpu", weights=options.weights)
    done = exports.export(trained, options.to, options.output, options.n, options.license)
    put(f"{done.path}   takes {done.inputs}")
    put(
        f"largest difference from the model's samples on {done.latents} random latents: {done.difference:.2g} of a range of 2"
    )


def metrics(words: list[str]) -> None:
    """List the metrics, and what each needs: gankit metrics"""
    parse({}, "gankit metrics", words)

    from gankit import evaluation

    rows = ((name, evaluation.about(name), ", ".join(metric.needs)) for name, metric in evaluation.METRICS.items())
    show_sheet({"metric": {"no_wrap": True}, "what it is": {}, "needs": {}}, rows)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    f.__name__.rstrip("_"): f
    for f in (
        train,
        resume,
        sample,
        interpolate,
        translate,
        explore,
        evaluate,
        score,
        compare,
        metrics,
        models,
        show,
        data,
        report,
        import_,
        export,
    )
}


MOST = 10**15  # of anything that is counted
FEWER = {"n": 10**7, "steps": 10**6, "fps": 1000, "batch": 10**7, "standing": 10**6, "restarts": 10**6}  # of these

COPIES = 3  # of its samples that a command holds at once: drawn, joined, as bytes

# StyleGAN's names for two intervals. Torchrun takes --log and --n for its own, even behind `-m gankit`.
ALSO = {"log": "--tick", "save": "--snap", "n": "--samples"}


# What the commands share ---------------------------------------------------------------------------------------------


def show_sheet(columns: dict[str, dict[str, object]], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: as wide as the terminal, and 160 letters where there is none; nothing in a cell is markup.

    Args:
        columns: heading to rich's options for that column.
        rows: cells as they are printed.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    sheet = Table(box=None, pad_edge=False)
    for heading, options in columns.items():
        sheet.add_column(Text(shown(heading)), **options)
    for row in rows:
        sheet.add_row(*(Text(shown(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(sheet)


def first(words: list[str], command: str, what: str) -> tuple[str | None, list[str]]:
    """The first word, and the flags after it; no word is fine when only help is asked for."""
    if words and not words[0].startswith("-"):
        return words[0], words[1:]
    if words and words[0] in ("-h", "--help"):
        return None, words
    fail(f"{command} what? gankit {command} {what} [flags]; gankit {command} --help says more", 2)


def take(flags: list[str], name: str) -> tuple[list[str], str | None]:
    """The flags without one of them, and its value."""
    for i, flag in enumerate(flags):
        if flag == name and i + 1 < len(flags):
            return flags[:i] + flags[i + 2 :], flags[i + 1]
        if flag.startswith(name + "="):
            return flags[:i] + flags[i + 1 :], flag.split("=", 1)[1]
    return flags, None


def is_typed(flags: list[str], name: str) -> bool:
    """Whether a flag is among the words, with - or _ in its name."""
    return any(flag.partition("=")[0].replace("_", "-") == f"--{name.replace('_', '-')}" for flag in flags)


def alias(*short: str, name: str | None = None) -> object:
    """A flag's short form, or its other name."""
    import tyro

    return tyro.conf.arg(aliases=list(short) or None, name=name)


def described(kind: type, defaults: object = None) -> type:
    """A dataclass whose fields carry the help of its docstring's Args, and the defaults of an instance."""
    docs, hints = args_of(kind), get_type_hints(kind, include_extras=True, localns={"alias": alias})
    fields = [
        (
            f.name,
            describe(hints[f.name], docs.get(f.name), ALSO.get(f.name)),
            dataclasses.field(default=getattr(defaults, f.name, f.default)),
        )
        for f in dataclasses.fields(kind)
    ]
    made = dataclasses.make_dataclass(kind.__name__, fields)
    made.__doc__ = (kind.__doc__ or "").splitlines()[0]
    return made


def describe(hint: object, text: str | None, also: str | None = None) -> object:
    """A flag's type with its help and other name; images and intervals also take 200k and 5M, seeds 0-3,7."""
    import tyro

    if getattr(hint, "__name__", "") == "Seeds":
        hint = Annotated[
            tuple,
            tyro.constructors.PrimitiveConstructorSpec(
                nargs=1,
                metavar="SEEDS",
                instance_from_str=lambda words: tuple(numbers(words[0])),
                is_instance=lambda value: isinstance(value, tuple),
                str_from_instance=lambda value: [ranges(value)],
            ),
        ]
    recipe = sys.modules.get("gankit.recipe")  # not imported here: some commands answer --help without torch
    if recipe and hint is recipe.Images:
        hint = Annotated[
            int,
            tyro.constructors.PrimitiveConstructorSpec(
                nargs=1,
                metavar="IMAGES",
                instance_from_str=lambda words: count(words[0]),
                is_instance=lambda value: isinstance(value, int),
                str_from_instance=lambda value: [recipe.short(value)],
            ),
        ]
    return Annotated[hint, tyro.conf.arg(help=text or " ", aliases=[also] if also else None)]


def args_of(kind: type) -> dict[str, str]:
    """The `Args:` of a docstring: name to text."""
    text = inspect.cleandoc(kind.__doc__ or "")
    found: dict[str, str] = {}
    block = re.search(r"^Args:\n((?:    .*\n?|\n)+)", text, re.M)
    for line in block.group(1).splitlines() if block else []:
        if match := re.match(r"    (\w+): (.*)", line):
            name = match.group(1)
            found[name] = match.group(2)
        elif line.strip() and found:
            found[name] += " " + line.strip()
    return found


def parse(groups: dict[str, type], prog: str, flags: list[str]) -> dict[str, object]:
    """Flags to an instance of each group. Bad flags end the program with a hint and exit code 2."""
    import tyro

    names = {f.name for group in groups.values() for f in dataclasses.fields(group)}
    bools = {f.name for group in groups.values() for f in dataclasses.fields(group) if isinstance(f.default, bool)}
    whole = dataclasses.make_dataclass(
        "Flags",
        [
            (name, tyro.conf.OmitArgPrefixes[group], dataclasses.field(default_factory=group))
            for name, group in groups.items()
        ],
    )
    whole.__doc__ = (COMMANDS[prog.split()[1]].__doc__ or "").strip()
    flags = [word for flag in flags for word in modern(flag, bools)]
    if "images" in names:
        flags = kimg(flags)
    parsed = tyro.cli(
        whole, prog=prog, args=flags, config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.HelptextFromCommentsOff)
    )
    values = {name: getattr(parsed, name) for name in groups}
    for group in values.values():
        for name, value in vars(group).items():
            refuse_odd(name, value)
    return values


def refuse_odd(name: str, value: object) -> None:
    """Refuse numbers of a flag that are not finite or out of all bounds, before anything is made of that size."""
    flag = f"--{name.replace('_', '-')}"
    for number in value if isinstance(value, tuple) else (value,):
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            continue
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{flag} is {number}; give a finite number")
        most = FEWER.get(name, 2**63 - 1 if name == "seed" else MOST)
        if abs(number) > most:
            raise ValueError(f"{flag} is {str(number)[:40]}; {most:,} is the most")


def modern(flag: str, bools: set[str]) -> list[str]:
    """`--mirror=1` and `--mirror=0` as `--mirror` and `--no-mirror`."""
    name, _, value = flag.partition("=")
    plain_name = name.removeprefix("--").replace("-", "_")
    if plain_name in bools and value:
        yes = value.lower() in ("1", "true", "yes", "on")
        if not yes and value.lower() not in ("0", "false", "no", "off"):
            raise ValueError(
                f"{name} is {value!r}; write {name} or --no-{plain_name.replace('_', '-')}, or {name}=1 or {name}=0"
            )
        return [name if yes else f"--no-{plain_name.replace('_', '-')}"]
    return [flag]


def kimg(flags: list[str]) -> list[str]:
    """`--kimg 200` as `--images 200000`."""
    flags, value = take(flags, "--kimg")
    return flags if value is None else [*flags, "--images", f"{value}k"]


def count(text: str) -> int:
    """A whole number; k and M stand for thousands and millions."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmM]?)", text.replace("_", ""))
    if not match:
        raise ValueError(f"{text!r} is no count; write 50000, 200k or 5M")
    number = float(match.group(1)) * {"": 1, "k": 1_000, "m": 1_000_000}[match.group(2).lower()]
    if number > MOST:
        raise ValueError(f"{text[:40]!r} is more than {MOST:.0e}")
    return int(match.group(1)) if match.group(1).isdigit() and not match.group(2) else round(number)


def numbers(text: str) -> list[int]:
    """Seeds as 0-3,7: [0, 1, 2, 3, 7]."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if not match:
            raise ValueError(f"{text!r} are no seeds; write them like 0-15,42")
        low, high = int(match.group(1)), int(match.group(2) or match.group(1))
        if high < low or high - low > 1_000_000:
            raise ValueError(f"{part.strip()!r} is no range of seeds; write the smaller first, and a million at most")
        found += range(low, high + 1)
    return found


def ranges(seeds: tuple[int, ...]) -> str:
    """Seeds as `numbers` reads them: (0, 1, 2, 7) as 0-2,7."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def write_samples(path: Path, samples: object, seeds: list[int], columns: int) -> None:
    """All samples in one file: a grid as .png, or as .npz with `samples` (uint8 NHWC, or float) and `seeds`."""
    import numpy as np

    from gankit import data as library
    from gankit import pictures
    from gankit.runs.files import replacing

    if path.suffix not in (".png", ".npz"):
        raise ValueError(f"cannot write samples as {path.name}; use .png for a grid or .npz for arrays")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        pictures.save(path, samples, min(columns, len(samples)))
    else:
        arrays = library.quantise(samples).permute(0, 2, 3, 1).numpy() if samples.ndim == 4 else samples.numpy()
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, samples=arrays, seeds=np.array(seeds))
    put(path)


def spawn(gpus: str, words: list[str]) -> None:
    """Become torchrun with this many processes on this machine."""
    if not gpus.isdigit() or int(gpus) < 1:
        raise ValueError(f"--gpus takes a whole number, not {gpus!r}")
    if int(gpus) > 1:
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            gpus,
            "-m",
            "gankit",
        ]
        os.execv(sys.executable, [*command, *(re.sub(r"^--log(?=$|=)", "--tick", word) for word in words)])


def dry_run(kind: type, options: dict[str, object]) -> None:
    from gankit.training.setup import build_recipe, open_for, plan, spec_of

    settings, arguments = plan(kind, "", options)
    dataset, settings, arguments = open_for(kind, settings, arguments)
    recipe = build_recipe(kind, spec_of(dataset), arguments, settings.seed)
    put(
        json.dumps(
            {
                "settings": dataclasses.asdict(settings),
                "arguments": arguments,
                "shape": dataset.shape,
                "classes": dataset.num_classes,
            },
            indent=2,
        )
    )
    put({name: sum(p.numel() for p in net.parameters()) for name, net in recipe.named_children()})


def cost(options: object, path: str) -> str:
    """What a step of a model needs on this machine, measured on a few."""
    import resource
    import tempfile
    import time

    from gankit import models as library
    from gankit.recipe import short
    from gankit.training.setup import plan

    kind = library.find(options.model)
    extra = {"resolution": options.resolution, "fit": options.fit, "alpha": options.alpha, "skip_bad": options.skip_bad}
    extra |= {"batch": options.batch} if options.batch else {}
    settings, _ = plan(kind, options.preset, {"data": path} | extra)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for steps in (1, 1, 9):  # the first is slower than any further one
            start = time.perf_counter()
            images = settings.batch * steps
            gankit.train(
                kind,
                preset=options.preset,
                outdir=folder,
                quiet=True,
                data=path,
                images=images,
                preview=0,
                save=images,
                log=images,
                **extra,
            )
            seconds.append(time.perf_counter() - start)
    step = max(seconds[2] - seconds[1], 1e-9) / 8
    unit = 1024 if sys.platform == "darwin" else 1
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit / 1024
    hours = settings.images / settings.batch * step / 3600
    return (
        f"{options.model} at batch {settings.batch}: about {step:.3f} s a step, {settings.batch / step:.0f} images/s, "
        f"{memory:.0f} MB more memory; {short(settings.images)} images take about {hours:.1f} h here"
    )
