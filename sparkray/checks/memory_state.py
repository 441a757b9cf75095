"""Did the run start from the same memory state as its partners? Page cache, MemFree, MemAvailable, swap.

The page cache decides whether weights are read from disk, and free memory decides how much an engine on unified memory
takes, so a pair that differs in either compares memory states, not environments.

A run is compared with its partners in the block and with the median of the last three runs. It is invalid only when it
differs from both: where only a partner differs, the partner was unusual. While the page cache is not dropped, the first
runs fill it, so fewer than three earlier runs give no verdict; the review settles the pair later.

Some changes persist: swapped-out memory stays swapped, another program's file stays cached. A run refused by this check
that starts from the same changed state again passes with a warning, and re-validation marks the partners that started from
the older state, so that the pair is measured in one state. An attempt that ended for another reason does not count.
Swapping during a run and a page cache that could not be dropped are refused every time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence, Late, Row
from sparkray.checks._finding import Finding, combined, limited, median, number, numbers
from sparkray.plan import Study
from sparkray.records import Verdict
from sparkray.units import GIB, MIB

MOST_SWAP_GIB = 64 * MIB / GIB
RECENT = 3
_DROPPED = "page_cache_dropped"


@dataclass(frozen=True)
class Quantity:
    """A memory column of `runs` and its tolerance: `share` of MemTotal, at least `least_gib`."""

    column: str
    what: str
    share: float
    least_gib: float
    direction: Literal["either", "lower"] = "either"
    settles: bool = False

    def limit_gib(self, row: Row) -> float:
        """Tolerance on the machine of a row, GiB."""
        return max(self.least_gib, self.share * (number(row, "mem_total_gib") or 0.0))

    def unlike(self, value: float, reference: float, row: Row) -> bool:
        """Whether a value exceeds the tolerance around a reference, both GiB."""
        off = reference - value if self.direction == "lower" else abs(value - reference)
        return off > self.limit_gib(row)


# `settles`: the first runs change it while the page cache is not dropped.
QUANTITIES = (
    Quantity("page_cache_before_gib", "page cache", 0.05, 0.5, settles=True),
    Quantity("mem_free_before_gib", "MemFree", 0.10, 1.0, settles=True),
    Quantity("mem_available_before_gib", "MemAvailable", 0.10, 0.5, direction="lower"),
    Quantity("swap_used_before_gib", "used swap", 0.0, MOST_SWAP_GIB),
)


class Check(BaseCheck):
    """See the module."""

    name = "memory_state"
    remedy = "Free memory and swap, or drop the page cache: --set experiment.protocol.page_cache=drop"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None without memory and swap data."""
        before = [finding for quantity in QUANTITIES for finding in _before(evidence, quantity)]
        return combined(self.name, (*before, *_swapping(evidence), *_dropped(evidence)))

    def revalidate(self, study: Study, rows: Sequence[Row]) -> Sequence[Late]:
        """See `BaseCheck`."""
        del study
        blocks: dict[object, list[Row]] = {}
        for row in rows:
            blocks.setdefault(row.get("block"), []).append(row)
        late = [(row, self._against(row, block[-1])) for block in blocks.values() for row in block[:-1]]
        return [Late(row["run_id"], row["attempt"], verdict) for row, verdict in late if verdict is not None]

    def _against(self, row: Row, latest: Row) -> Verdict | None:
        findings = (_unlike_latest(quantity, row, latest) for quantity in QUANTITIES)
        return combined(self.name, filter(None, findings))


def _unlike_latest(quantity: Quantity, row: Row, latest: Row) -> Finding | None:
    mine, now = number(row, quantity.column), number(latest, quantity.column)
    if mine is None or now is None:
        return None
    if not (quantity.unlike(mine, now, row) or quantity.unlike(now, mine, row)):
        return None
    text = f"{quantity.what} {mine:.2f} GiB before this run, {now:.2f} before its partner in block {row.get('block')}"
    return Finding("invalid", f"{text} ({latest.get('environment')}), limit {quantity.limit_gib(row):.2f} apart")


def _before(evidence: Evidence, quantity: Quantity) -> Iterator[Finding]:
    """One quantity against the partners and the last runs."""
    value = number(evidence.row, quantity.column)
    if value is None:
        return
    text = f"{quantity.what} {value:.2f} GiB before the run"
    references = _references(evidence, quantity)
    if not references:
        yield Finding("pass", text)
        return
    against = " and ".join(f"{reference:.2f} {whose}" for whose, reference in references)
    detail = f"{text}, {against}, limit {quantity.limit_gib(evidence.row):.2f} apart"
    if not all(quantity.unlike(value, reference, evidence.row) for _, reference in references):
        yield Finding("pass", detail)
    elif Check.name in evidence.refused_by:
        yield Finding("warn", f"{detail}: unchanged after a repeated run")
    else:
        yield Finding("invalid", detail)


def _references(evidence: Evidence, quantity: Quantity) -> list[tuple[str, float]]:
    """(label, GiB) to compare with; none before the state has settled."""
    earlier = [row for row in evidence.earlier if number(row, quantity.column) is not None]
    waits = quantity.settles and evidence.study.experiment.protocol.page_cache == "leave"
    if not earlier or (waits and len(earlier) < RECENT):
        return []
    partners = [row for row in earlier if row.get("block") == evidence.planned.block]
    groups = (("before its partner", partners), ("before the last runs", earlier[-RECENT:]))
    return [(label, median(numbers(rows, quantity.column))) for label, rows in groups if rows]


def _swapping(evidence: Evidence) -> Iterator[Finding]:
    """Swap growth during the run."""
    before, during = number(evidence.row, "swap_used_before_gib"), numbers(evidence.samples, "swap_used_gib")
    if before is None or not during:
        return
    grown = max(during) - before
    grown_mib, limit_mib = grown * GIB / MIB, MOST_SWAP_GIB * GIB / MIB
    yield limited(f"swap grew by {max(0.0, grown_mib):.0f} MiB during the run", grown_mib, limit_mib)


def _dropped(evidence: Evidence) -> Iterator[Finding]:
    if evidence.study.experiment.protocol.page_cache != "drop":
        return
    mine = evidence.row.get(_DROPPED)
    others = [row[_DROPPED] for row in evidence.earlier if row.get(_DROPPED) is not None]
    if mine is False and any(others):
        yield Finding("invalid", f"page cache not dropped, but before {sum(others)} earlier runs")
    elif mine is not None:
        yield Finding("pass", f"page cache {'' if mine else 'not '}dropped, as before {len(others)} earlier runs")
