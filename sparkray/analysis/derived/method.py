"""The constants of the method, so that they too can be asked where they come from."""

import polars as pl

from sparkray.analysis.schema import DERIVED, frame_of
from sparkray.config.model import RESERVE_GIB
from sparkray.stats.nested import LEAST_RESAMPLED

_CONSTANTS = (
    ("confidence", 95.0, "two-sided confidence of every interval; docs/explanation/methods.md"),
    ("confidence_of_equivalence", 90.0, "the two one-sided tests at 5 % read the 90 % interval (Schuirmann 1987)"),
    ("alpha", 5.0, "risk of calling arms equivalent that differ by just the margin; docs/explanation/methods.md"),
    ("power", 80.0, "power at which numbers of pairs are given; docs/explanation/methods.md"),
    (
        "least_clusters",
        float(LEAST_RESAMPLED),
        "fewest machines or days for a verdict over others; docs/explanation/methods.md",
    ),
    ("resamples", 10_000.0, "resamples of the BCa bootstrap; docs/explanation/methods.md"),
    (
        "reserve_gib",
        RESERVE_GIB,
        "memory that no model may count on: 8 GiB for the host, 4 for CUDA; sparkray.config.model",
    ),
    ("bits_16", 16.0, "unquantised weights"),
    ("bits_8", 8.0, "weights of 8 bits, scales left out"),
    ("bits_4", 4.0, "weights of 4 bits, scales left out"),
    ("seconds_a_day", 86_400.0, "24 hours of 3600 s"),
    ("million", 1_000_000.0, "tokens that energy is given for"),
)


def method() -> pl.DataFrame:
    """One row a constant."""
    names = ("name", "value", "note")
    rows = (dict(zip(names, constant, strict=True)) | {"trace": f"method/{constant[0]}"} for constant in _CONSTANTS)
    return frame_of(DERIVED["method"], rows)
