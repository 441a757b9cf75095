"""Estimates to tables, figures and documents. Renders; computes no statistic of its own.

`write_report` makes one folder of one analysis: `index.html` (self-contained), `figures/` (SVG at the widths of IEEE's
templates; PDF with the manuscript, PNG when asked), `tables/` (Parquet, CSV, JSON, LaTeX) and, when asked, `paper/` (a
manuscript whose numbers are macros). `ReportData` holds the tables and finds the evidence of each row; the words are in
`templates`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparkray.report.page import markdown
    from sparkray.report.writing import Written, report_data, write_report

__all__ = ["Written", "markdown", "report_data", "write_report"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes have any type
    """What makes reports, imported when first used: number formats, which the terminal shares, need no Matplotlib."""
    if name in __all__:
        module = "page" if name == "markdown" else "writing"
        return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
