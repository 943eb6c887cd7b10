"""HTML pages that open offline: the page of a run, its summary for notebooks, and the parts that all pages share."""

from gankit.html import figure, grid, page, table
from gankit.report.meanings import meaning_of
from gankit.report.run_page import read_stats, summary_html, write

__all__ = ["figure", "grid", "meaning_of", "page", "read_stats", "summary_html", "table", "write"]
