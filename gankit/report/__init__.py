"""HTML pages that open offline: the page of a run, and the parts that all pages share."""

from gankit.report.html import figure, page, table
from gankit.report.run_page import read_stats, write

__all__ = ["figure", "page", "read_stats", "table", "write"]
