"""Analysis of a dataset: tables of estimates and verdicts.

`analyse` reads a dataset's folder and returns tables (`sparkray.analysis.schema` declares their columns) and what was
done; `write` puts them beside the dataset; `trace` opens the rows that a number was computed from. What a sweep prints at
its end is made in `summary`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparkray.analysis.frames import REFERENCE_ORDER, frames_of_rows
    from sparkray.analysis.outputs import write
    from sparkray.analysis.provenance import Trace, trace
    from sparkray.analysis.study import Analysis, analyse
    from sparkray.analysis.summary import ALWAYS_SHOWN, as_document, cell_name, cells, comparisons, shown_metrics

__all__ = [
    "ALWAYS_SHOWN",
    "REFERENCE_ORDER",
    "Analysis",
    "Trace",
    "analyse",
    "as_document",
    "cell_name",
    "cells",
    "comparisons",
    "frames_of_rows",
    "shown_metrics",
    "trace",
    "write",
]
_MODULES = {
    "frames": ("REFERENCE_ORDER", "frames_of_rows"),
    "outputs": ("write",),
    "provenance": ("Trace", "trace"),
    "study": ("Analysis", "analyse"),
    "summary": ("ALWAYS_SHOWN", "as_document", "cell_name", "cells", "comparisons", "shown_metrics"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes have any type
    """Each name's module, imported when first used: interim analyses need neither tables nor their evidence."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
