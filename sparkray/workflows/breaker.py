"""Ends a sweep in which run after run falls to one and the same check.

A cause that lasts (a latched clock, a neighbour that stays) refuses every run that is left, each as often as it may be
tried: hours, for rows that count for nothing. So when three planned runs in succession were given up and one
check refused the last attempt at each, the sweep ends and says so. So it does when the three are of one environment,
whatever ran between them: a cause that is in one arm alone leaves no pair to compare. What was measured is stored, and the
same command goes on, with as many attempts again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sparkray.checks import remedy_of
from sparkray.errors import RefusedError
from sparkray.plan import PlannedRun
from sparkray.store import Dataset

MOST = 3


@dataclass(frozen=True)
class Ended:
    """How a planned run ended: what the checks that refused it saw, by name; nothing for one that is ok."""

    environment: str
    refusals: Mapping[str, str]


@dataclass
class Breaker:
    """How the last planned runs ended, in order.

    A run that ended in another way (failed, interrupted) is not in it: it says nothing of any check.
    """

    most: int = MOST
    ended: dict[str, Ended] = field(default_factory=dict)

    def stands(self, planned: PlannedRun) -> None:
        """A run is ok, as far as is known now."""
        self.doubted(planned)
        self.ended[planned.run_id] = Ended(planned.environment, {})

    def doubted(self, planned: PlannedRun) -> None:
        """A run that is to be measured again has not ended yet."""
        self.ended.pop(planned.run_id, None)

    def gave_up(self, planned: PlannedRun, refusals: Mapping[str, str]) -> None:
        """A run is not tried again: it has used up its attempts, or would fail for the same reason.

        Args:
            planned: The run.
            refusals: The checks that refused its last attempt, with what they saw.

        Raises:
            RefusedError: It is one too many.
        """
        self.doubted(planned)
        self.ended[planned.run_id] = Ended(planned.environment, refusals)
        of_all = list(self.ended.values())
        of_own = [run for run in of_all if run.environment == planned.environment]
        for runs, whose in ((of_all, "runs"), (of_own, f"runs in {planned.environment}")):
            if (check := self._lasting(runs)) is not None:
                raise RefusedError(
                    f"{self.most} {whose} in succession were given up, the last attempt at each refused by the check "
                    f"{check}: {refusals[check]}",
                    f"{remedy_of(check)}. What was measured is stored: the same command goes on where this one stopped",
                )

    def _lasting(self, runs: Sequence[Ended]) -> str | None:
        """The check that refused each of the last runs, if there is one."""
        last = [run.refusals for run in runs[-self.most :]]
        shared = [check for check in last[-1] if all(check in one for one in last)]
        return shared[0] if len(last) == self.most and shared else None


def refusals_of(dataset: Dataset, planned: PlannedRun) -> dict[str, str]:
    """The checks that refused the last attempt at a run, late ones included, with what they saw.

    Raises:
        DatasetError: A file of `checks` cannot be read.
    """
    last = dataset.attempts(planned.run_id)
    rows = dataset.read("checks", run_id=planned.run_id)
    return {row["check"]: row["evidence"] for row in rows if row["attempt"] == last and row["verdict"] == "invalid"}
