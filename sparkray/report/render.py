"""Jinja environments: templates hold the words, these filters hold the number formats and labels.

`{{ row.ratio|num("ratio") }}` formats a number, `{{ row.metric|metric }}` and `{{ row.environment|arm }}` name things for a
reader. HTML is escaped by Jinja, LaTeX by `finalize`, whose delimiters are `<< >>` and `<% %>`; Markdown and the terminal
take plain text.
"""

from collections.abc import Callable
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from sparkray.report.format import interval, listed, shown
from sparkray.report.labels import arm, arm_in_full, axis_label, better, cell, metric_name
from sparkray.schema import capital, unit_of

Kind = Literal["html", "latex", "text"]
_LATEX_DELIMITERS = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


def environment(kind: Kind, *, finalize: Callable[[Any], Any] | None = None) -> Environment:
    """An environment over `report/templates`, strict about what is missing.

    Args:
        kind: What is written: HTML (escaped), LaTeX (other delimiters), or text.
        finalize: What becomes of a value before it is written, such as LaTeX's escapes.
    """
    delimiters: dict[str, Any] = dict(_LATEX_DELIMITERS) if kind == "latex" else {}
    made = Environment(
        loader=PackageLoader("sparkray.report"),
        undefined=StrictUndefined,
        autoescape=kind == "html",  # noqa: S701 - LaTeX is escaped by `finalize`; text needs no escapes
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
        **delimiters,
    )
    made.filters |= {
        "num": shown,
        "interval": lambda row, low, high, form: interval(row[low], row[high], form),
        "listed": listed,
        "metric": metric_name,
        "axis": axis_label,
        "unit": unit_of,
        "better": better,
        "arm": arm,
        "arm_in_full": arm_in_full,
        "cell": lambda row: cell(row["model"], row["level"]),
        "capital": capital,
        "words": lambda code: str(code).replace("_", " "),
    }
    return made
