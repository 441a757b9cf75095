"""Frames in, estimates and verdicts out.

`analyse` reads a dataset's folder and returns tables (`sparkray.analysis.schema` says which columns they have) and what was
done; `write` puts them beside the dataset; `trace` opens the rows that a number was computed from. What a sweep prints at
its end is made in `summary`.
"""

from sparkray.analysis.frames import REFERENCE_ORDER
from sparkray.analysis.outputs import write
from sparkray.analysis.study import Analysis, analyse
from sparkray.analysis.summary import (
    ALWAYS_SHOWN,
    Cell,
    as_document,
    cells,
    comparisons,
    frame_of,
    shown_metrics,
)
from sparkray.analysis.tracing import Trace, trace

__all__ = [
    "ALWAYS_SHOWN",
    "REFERENCE_ORDER",
    "Analysis",
    "Cell",
    "Trace",
    "analyse",
    "as_document",
    "cells",
    "comparisons",
    "frame_of",
    "shown_metrics",
    "trace",
    "write",
]
