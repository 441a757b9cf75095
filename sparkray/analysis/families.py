"""P-values adjusted within the families that the experiment declared: over models, levels and arms of their metrics."""

from collections.abc import Sequence
from typing import Any

from sparkray.analysis.context import Protocol
from sparkray.stats.multiplicity import benjamini_hochberg, bonferroni, holm

Row = dict[str, Any]
_ALPHA = 0.05
_RULES = (("bonferroni", bonferroni), ("holm", holm), ("bh", benjamini_hochberg))
# The columns that are made of a p-value.
MADE_OF = {
    "p": (*(f"p_{ending}" for ending, _ in _RULES), "significant"),
    "p_paired": (*(f"p_paired_{ending}" for ending, _ in _RULES), "significant_paired"),
}


def adjust(rows: Sequence[Row], protocol: Protocol) -> None:
    """Give each comparison its family and the adjusted p of both tests: the paired one, and the protocol's own.

    A metric of no family has neither.
    """
    for row in rows:
        row["family"] = protocol.family(row["metric"])
    for name in protocol.families:
        members = [row for row in rows if row["family"] == name]
        for p in ("p", "p_paired"):
            p_values = [row.get(p) for row in members]
            for ending, rule in _RULES:
                for row, value in zip(members, rule(p_values), strict=True):
                    row[f"{p}_{ending}"] = value
    for row in rows:
        for column, p in (("significant", "p_holm"), ("significant_paired", "p_paired_holm")):
            row[column] = row[p] < _ALPHA if row.get(p) is not None else None
