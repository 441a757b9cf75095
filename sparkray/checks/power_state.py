"""Was the machine as fast as usual? A control probe (fixed work without an engine) runs before and after each run.

Some slow states show nowhere else: a GPU that its power supply holds at 513 MHz, or one that decodes at 94 instead of
63 ms a step with normal counters. The probe then takes longer.

All is on the log scale. A run's *level* is the mean of its probes before and after, its *drift* their difference. Both
are compared with the median of earlier runs, which removes usual effects (a GPU is warm after a run). Runs of every
model on this machine count, since a probe depends on none. The limit is six robust standard deviations of those runs,
within a floor and a cap: on a shared machine CPU probes scatter by 10 %, sometimes 30 %, GPU probes by 1 %.

A faster level is not invalid. Re-validation marks every run of a block whose levels disagree, since which one is usual is
unknown.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence, Late, Row
from sparkray.checks._finding import Finding, combined, limited, median, number, robust_sd
from sparkray.plan import Study
from sparkray.records import Verdict

SPREADS = 6.0
# Earlier runs needed to know a usual level and a usual drift; few noisy drifts would mislead.
FEWEST_EARLIER, FEWEST_DRIFTS = 3, 8
_ROOT_2 = math.sqrt(2)


@dataclass(frozen=True)
class Probe:
    """One control probe. Factors of time: `floor` and `cap` bound a level's limit, `change` and `cap` a difference's.

    `unknown` is the limit of a drift before enough runs are known.
    """

    name: str
    what: str
    floor: float
    change: float
    unknown: float
    cap: float

    def _times(self, row: Row) -> list[float | None]:
        return [_log(number(row, f"probe_{self.name}_{when}_ms")) for when in ("before", "after")]

    def level(self, row: Row) -> float | None:
        """Log of the geometric mean time, ms, before and after; None without probes."""
        known = [time for time in self._times(row) if time is not None]
        return sum(known) / len(known) if known else None

    def drift(self, row: Row) -> float | None:
        """Log of the time after over the time before; None unless both exist."""
        before, after = self._times(row)
        return None if before is None or after is None else after - before

    def limit(self, floor: float, sd: float) -> float:
        """Six standard deviations on the log scale, within floor and cap."""
        return min(math.log(self.cap), max(math.log(floor), SPREADS * sd))


PROBES = (
    Probe("gpu_memory", "GPU memory probe", 1.25, 1.25, unknown=1.4, cap=1.4),
    Probe("gpu_compute", "GPU compute probe", 1.25, 1.25, unknown=1.4, cap=1.4),
    Probe("cpu", "CPU probe", 1.6, 1.6**_ROOT_2, unknown=1.6**_ROOT_2, cap=3.0),
    Probe("memory", "memory probe", 1.6, 1.6**_ROOT_2, unknown=1.6**_ROOT_2, cap=3.0),
)


class Check(BaseCheck):
    """See the module."""

    name = "power_state"
    remedy = "Shut down, pull the power cord for a minute and restart; to accept the machine's current state: --fresh"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None without probes."""
        return combined(self.name, (finding for probe in PROBES for finding in _judged(evidence, probe)))

    def revalidate(self, study: Study, rows: Sequence[Row]) -> Sequence[Late]:
        """Where probes of two environments of a block disagree, all runs of the block are measured again."""
        del study
        by_run: dict[tuple[str, int], list[Finding]] = {}
        for probe in PROBES:
            for row, finding in _disagreeing(probe, rows):
                by_run.setdefault((row["run_id"], row["attempt"]), []).append(finding)
        verdicts = ((key, combined(self.name, findings)) for key, findings in by_run.items())
        return [Late(*key, verdict) for key, verdict in verdicts if verdict is not None]


def _log(time_ms: float | None) -> float | None:
    return math.log(time_ms) if time_ms is not None and time_ms > 0 else None


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _judged(evidence: Evidence, probe: Probe) -> Iterator[Finding]:
    level, drift = probe.level(evidence.row), probe.drift(evidence.row)
    if level is not None:
        yield _of_level(probe, level, _known([probe.level(row) for row in evidence.of_machine]))
    if drift is not None:
        yield _of_drift(probe, drift, _known([probe.drift(row) for row in evidence.of_machine]))


def _of_level(probe: Probe, level: float, earlier: Sequence[float]) -> Finding:
    text = f"{probe.what} took {math.exp(level):.4g} ms"
    if len(earlier) < FEWEST_EARLIER:
        return Finding("pass", text)
    usual, limit = median(earlier), probe.limit(probe.floor, robust_sd(earlier))
    times = f"{math.exp(level - usual):.2f} times the usual {math.exp(usual):.4g} ({len(earlier)} runs)"
    return limited(f"{text}, {times}", level - usual, limit, shown=f"{math.exp(limit):.2f}")


def _of_drift(probe: Probe, drift: float, earlier: Sequence[float]) -> Finding:
    text = f"{probe.what} took {math.exp(drift):.2f} times as long after the run as before it"
    if len(earlier) < FEWEST_DRIFTS:
        return limited(text, drift, math.log(probe.unknown), shown=f"{probe.unknown:.2f}")
    usual, limit = median(earlier), probe.limit(probe.change, robust_sd(earlier))
    detail = f"{text}, usually {math.exp(usual):.2f} times"
    return limited(detail, abs(drift - usual), limit, shown=f"{math.exp(limit):.2f} times off that")


def _disagreeing(probe: Probe, rows: Sequence[Row]) -> Iterator[tuple[Row, Finding]]:
    """Runs of one block whose levels differ by more than the scatter of other blocks."""
    levels = [(row, level) for row in rows if (level := probe.level(row)) is not None]
    for block in dict.fromkeys(row.get("block") for row, _ in levels):
        within = [(row, level) for row, level in levels if row.get("block") == block]
        elsewhere = [level for row, level in levels if row.get("block") != block]
        limit = probe.limit(probe.change, robust_sd(elsewhere) * _ROOT_2)
        for (one, a), (other, b) in combinations(within, 2):
            if abs(a - b) > limit:
                yield one, _pair(probe, (a, b), other, limit)
                yield other, _pair(probe, (b, a), one, limit)


def _pair(probe: Probe, levels: tuple[float, float], partner: Row, limit: float) -> Finding:
    mine, its = (math.exp(level) for level in levels)
    text = f"{probe.what} took {mine:.4g} ms here and {its:.4g} in {partner.get('environment')} of the same block"
    return Finding("invalid", f"{text}, limit {math.exp(limit):.2f} times: the pair is measured again")
