"""Tables that a report derives from the analysis, the model cards and the printed commands, one subject a file.

Each is in the form of the analysis's own tables: a `trace` column that is a row's id, and beside it `source`, which says in
words how the row came to be. They hold arithmetic on estimates and on cards, no statistics.
"""

from collections.abc import Mapping

import polars as pl

from sparkray.analysis import Analysis
from sparkray.report.derived.audited import audited
from sparkray.report.derived.costs import costs
from sparkray.report.derived.decisions import decisions
from sparkray.report.derived.fit import fit
from sparkray.report.derived.flags import flags
from sparkray.report.derived.load import load
from sparkray.report.derived.memory_split import memory_split
from sparkray.report.derived.method import method


def derived(analysis: Analysis) -> Mapping[str, pl.DataFrame]:
    """Every derived table by its name."""
    return {
        "method": method(),
        "fit": fit(analysis),
        "flags": flags(analysis),
        "decisions": decisions(analysis),
        "costs": costs(analysis),
        "load": load(analysis),
        "memory_split": memory_split(analysis),
        "audit": audited(analysis),
    }
