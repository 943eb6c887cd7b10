"""Judging samples: `evaluate` takes metrics of a run, a folder or a file; every value is recorded with everything it depends on."""

from gankit.evaluation.comparison import compare
from gankit.evaluation.evaluator import during, evaluate, wanted
from gankit.evaluation.judges import METRICS, about
from gankit.evaluation.records import read, records_of
from gankit.evaluation.subject import Score

__all__ = ["METRICS", "Score", "about", "compare", "during", "evaluate", "read", "records_of", "wanted"]
