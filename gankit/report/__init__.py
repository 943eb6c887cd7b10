"""The HTML page of a run, which opens offline, and its summary for notebooks."""

from gankit.report.meanings import meaning_of
from gankit.report.run_page import read_stats, summary_html, write

__all__ = ["meaning_of", "read_stats", "summary_html", "write"]
