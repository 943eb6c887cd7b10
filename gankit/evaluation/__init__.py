"""Evaluation of runs, folders and files: scores, each recorded with everything it depends on."""

from gankit.evaluation.catalogue import METRICS, about
from gankit.evaluation.comparison import compare
from gankit.evaluation.during import During, Standing, during, standing_of
from gankit.evaluation.evaluator import evaluate
from gankit.evaluation.records import read, records_of
from gankit.evaluation.subject import Score

__all__ = [
    "METRICS",
    "During",
    "Score",
    "Standing",
    "about",
    "compare",
    "during",
    "evaluate",
    "read",
    "records_of",
    "standing_of",
]
