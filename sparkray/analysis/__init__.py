"""Analysis of a dataset: tables of estimates and verdicts.

`analyse` reads a dataset's folder and returns tables (`sparkray.analysis.schema` declares their columns) and what was
done; `write` puts them beside the dataset; `trace` opens the rows that a number was computed from. What a sweep prints at
its end is made in `summary`.
"""

from sparkray.analysis.frames import REFERENCE_ORDER, frames_of_rows
from sparkray.analysis.outputs import write
from sparkray.analysis.provenance import Trace, trace
from sparkray.analysis.study import Analysis, analyse
from sparkray.analysis.summary import (
    ALWAYS_SHOWN,
    as_document,
    cell_name,
    cells,
    comparisons,
    shown_metrics,
)

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
