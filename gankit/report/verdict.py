"""What the scores of a run say in words: whether it overfits, how much of the data it covers, whether it collapsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gankit.evaluation.comparison import conditions
from gankit.runs.schema import Config, Record
from gankit.text import escaped

LOW, HIGH = 0.3, 0.6  # shares below and from which precision, recall and coverage are called low and high
TINY = 0.05  # deviation of samples, pixels in [-1, 1], below which they are all the same
FALL = 0.25  # of the deviation of samples: below this share of its highest value they are called alike


class Statement(NamedTuple):
    """A sentence on one question.

    Args:
        topic: the question.
        text: the answer, with its numbers.
        kind: "good", "bad", "" for neither, or "missing" where nothing was measured.
        commands: what to type to measure it.
    """

    topic: str
    text: str
    kind: str = ""
    commands: tuple[str, ...] = ()


def verdict(config: Config, folder_name: str, lines: Sequence[Record], deviations: Sequence[float]) -> list[Statement]:
    """What is known of a run, one statement for each question; a question without numbers says how to get them.

    Args:
        config: the run's.
        folder_name: of the run folder.
        lines: the records of its evaluations, in order.
        deviations: the logged values of samples/std, in order.
    """
    latest = {line["name"]: line for line in lines}
    is_translator = config.get("preview") == "strips"
    statements = [quality(latest, folder_name), memorisation(latest, folder_name)]
    if not is_translator:
        statements += [held_out(config, lines, folder_name), coverage(latest, folder_name), spread(deviations)]
    return statements


def named(latest: dict[str, Record], *starts: str) -> Record | None:
    """The latest of the records of a score, whatever its feature extractor."""
    found = [
        line for line in latest.values() if any(line["name"] == s or line["name"].startswith(f"{s}_") for s in starts)
    ]
    return found[-1] if found else None


def value_of(line: Record) -> str:
    """A score with its uncertainty and the number of images that the weights had seen."""
    error = f" ± {line['error']:.2g}" if line["error"] is not None else ""
    return f"{line['name']} {line['value']:.4g}{error} after {line['fake'].get('images', 0):,} images"


def missing(topic: str, folder_name: str, *options: str) -> Statement:
    return Statement(topic, "Not measured.", "missing", tuple(f"gankit evaluate {folder_name} {o}" for o in options))


def quality(latest: dict[str, Record], folder_name: str) -> Statement:
    topic = "How good are the samples?"
    line = named(latest, "fd", "fid") or named(latest, "kd", "kid", "l1", "fd_ab", "sifid", "modes")
    if line is None:
        return missing(topic, folder_name, "--metrics fd,precision")
    better = f"; {line['better']} is better" if line["better"] else ""
    return Statement(
        topic,
        f"{value_of(line)}{better}. Its size has a meaning only beside a score under the same conditions: that of "
        "another run, or of held-out reals.",
    )


def memorisation(latest: dict[str, Record], folder_name: str) -> Statement:
    """By the distances of samples to training images and to held-out ones."""
    topic = "Does it copy training images?"
    line = named(latest, "memorised")
    if line is None:
        return missing(topic, folder_name, "--metrics memorisation")
    kind = "good" if line["note"].startswith("no sign") else "bad"
    return Statement(topic, f"By pixels, of {line['n_fake'] or 0:,} samples: {line['note']}.", kind)


def held_out(config: Config, lines: Sequence[Record], folder_name: str) -> Statement:
    """The Frechet distance to the training images beside that to other ones, of the same weights and counts."""
    topic = "Is it nearer to its training images than to unseen ones?"
    distances = [line for line in lines if line["metric"] == "fd" and line.get("real")]
    own = [line for line in distances if fingerprint(line) == config["data"]["fingerprint"]]
    for other in reversed([line for line in distances if fingerprint(line) != config["data"]["fingerprint"]]):
        for line in reversed(own):
            if alike(line, other):
                return compared(topic, line, other)
    is_digits = config["data"]["name"] == "digits"
    others, count = ("digits:test", "390") if is_digits else ("OTHERS", "COUNT")
    return missing(topic, folder_name, f"--metrics fd --n {count}", f"--metrics fd --n {count} --against {others}")


def fingerprint(line: Record) -> object:
    return (line.get("real") or {}).get("fingerprint")


def alike(a: Record, b: Record) -> bool:
    """Whether two distances differ only in the reals."""
    same = ("n_fake", "n_real", "features", "trunc", "precision")
    weights = [line["fake"].get("weights") or line["fake"].get("images") for line in (a, b)]
    return weights[0] == weights[1] and all(conditions(a)[name] == conditions(b)[name] for name in same)


def compared(topic: str, own: Record, other: Record) -> Statement:
    gap, error = other["value"] - own["value"], ((own["error"] or 0) ** 2 + (other["error"] or 0) ** 2) ** 0.5
    text = (
        f"Distance to training images {own['value']:.4g} ± {own['error'] or 0:.2g}, to "
        f"{(other.get('real') or {}).get('data', 'others')} {other['value']:.4g} ± {other['error'] or 0:.2g} "
        f"({own['name']}, {own['n_real'] or 0:,} reals each). "
    )
    if gap > 2 * error:
        hint = (
            "The training images are nearer by more than two standard errors: a sign of overfitting, unless the sets "
        )
        return Statement(topic, f"{text}{hint}differ by themselves.", "bad")
    return Statement(topic, f"{text}No sign of overfitting: they differ by less than two standard errors.", "good")


def coverage(latest: dict[str, Record], folder_name: str) -> Statement:
    """By known modes, else by recall, else by coverage."""
    topic = "Does it cover the data?"
    if line := named(latest, "modes"):
        total = "".join(c for c in line["note"].split(";")[0] if c.isdigit())
        is_whole = total.isdigit() and line["value"] >= int(total)
        return Statement(topic, f"It found {line['value']:.0f} modes {line['note']}.", "good" if is_whole else "bad")
    fidelity, diversity = named(latest, "precision"), named(latest, "recall")
    if diversity is None or fidelity is None:
        return missing(topic, folder_name, "--metrics precision,density")
    words = {True: "low", False: "high"}
    p, r = fidelity["value"], diversity["value"]
    fair = [words[v < LOW] if v < LOW or v >= HIGH else "fair" for v in (p, r)]
    text = (
        f"Precision {p:.2f} ({fair[0]}): the share of samples that lie among the reals. "
        f"Recall {r:.2f} ({fair[1]}): the share of reals that lie among the samples. "
    )
    if r < LOW:
        return Statement(topic, f"{text}Much of the data is never drawn: modes are missing.", "bad")
    if p < LOW:
        return Statement(topic, f"{text}The data is covered, but most samples are unlike any real image.", "bad")
    return Statement(topic, f"{text}No large part of the data is missing.", "good" if r >= HIGH else "")


def spread(deviations: Sequence[float]) -> Statement:
    topic = "Have the samples become alike?"
    if not deviations:
        return Statement(topic, "Not measured: previews measure it.", "missing", ("gankit train ... --preview 5k",))
    last, most = deviations[-1], max(deviations)
    numbers = f"the deviation between samples of the preview is {last:.3g}, at its highest it was {most:.3g}"
    if most < TINY:
        return Statement(topic, f"They hardly differ yet: {numbers}.")
    if len(deviations) > 1 and last < FALL * most:
        return Statement(topic, f"Yes: {numbers}. The generator has collapsed to few modes.", "bad")
    return Statement(topic, f"No: {numbers}.", "good")


def as_html(statements: Sequence[Statement]) -> str:
    """The statements as a list."""
    items = []
    for statement in statements:
        typed = " and ".join(f"<code>{escaped(command)}</code>" for command in statement.commands)
        typed = f" Type {typed}." if typed else ""
        text = f"<b>{escaped(statement.topic)}</b> {escaped(statement.text)}{typed}"
        items.append(f"<li class='{statement.kind}'>{text}")
    return f"<h2>In words</h2><ul class=verdict>{''.join(items)}</ul>"
