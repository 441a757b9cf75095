"""Frames in, estimates and verdicts out.

`analyse` reads a dataset's folder and returns tables (`sparkray.analysis.schema` says which columns they have) and what was
done; `write` puts them beside the dataset; `trace` opens the rows that a number was computed from. What a sweep prints at
its end is made in `glance`.
"""

from sparkray.analysis.frames import REFERENCE_ORDER
from sparkray.analysis.glance import (
    ALWAYS_SHOWN,
    Cell,
    Comparison,
    as_document,
    cells,
    comparisons,
    frame_of,
    sentence,
    shown_metrics,
)
from sparkray.analysis.outputs import write
from sparkray.analysis.study import Analysis, analyse
from sparkray.analysis.tracing import Trace, trace

__all__ = [
    "ALWAYS_SHOWN",
    "REFERENCE_ORDER",
    "Analysis",
    "Cell",
    "Comparison",
    "Trace",
    "analyse",
    "as_document",
    "cells",
    "comparisons",
    "frame_of",
    "sentence",
    "shown_metrics",
    "trace",
    "write",
]
