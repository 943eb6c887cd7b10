"""The command `gankit metrics`."""

from __future__ import annotations

from gankit.cli.flags import parse
from gankit.cli.output import show_table


def metrics(words: list[str]) -> None:
    """List the metrics and what each needs: gankit metrics"""
    parse(metrics, "", words)

    from gankit import evaluation

    rows = ((name, evaluation.about(name), ", ".join(metric.needs)) for name, metric in evaluation.METRICS.items())
    show_table({"metric": {"no_wrap": True}, "what it is": {}, "needs": {}}, rows)
