"""Tables derived from the analysis, the model cards and the printed commands, one subject a file.

Each is in the form of the analysis's own tables: a `trace` column that is a row's id, and in `supports` the traces of the
rows that it rests on. They hold arithmetic on estimates and on cards, and rules applied to verdicts; no statistics.
"""

from collections.abc import Mapping

import polars as pl

from sparkray.analysis import Analysis
from sparkray.analysis.derived.costs import costs
from sparkray.analysis.derived.fit import fit
from sparkray.analysis.derived.flags import flags
from sparkray.analysis.derived.load import load
from sparkray.analysis.derived.memory_split import memory_split
from sparkray.analysis.derived.method import method


def derived(analysis: Analysis) -> Mapping[str, pl.DataFrame]:
    """Every derived table by its name."""
    return {
        "method": method(),
        "fit": fit(analysis),
        "flags": flags(analysis),
        "costs": costs(analysis),
        "load": load(analysis),
        "memory_split": memory_split(analysis),
    }
