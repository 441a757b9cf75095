"""Ends a sweep in which run after run falls to one and the same check.

A cause that lasts (a latched clock, a neighbour that stays) refuses every run that is left, each as often as it may be
tried: hours, for rows that count for nothing. So when three planned runs in succession have used up their attempts and one
check refused the last attempt at each, the sweep ends and says so. What was measured is stored, and the same command goes
on, with as many attempts again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from sparkray.checks import remedy_of
from sparkray.errors import RefusedError
from sparkray.plan import PlannedRun
from sparkray.store import Dataset

MOST = 3


@dataclass
class Breaker:
    """How the last planned runs ended, in order: what the checks that refused them saw, by name; nothing for one that is ok.

    A run that ended in another way (failed, interrupted) is not in it: it says nothing of any check.
    """

    most: int = MOST
    ended: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def stands(self, planned: PlannedRun) -> None:
        """A run is ok, as far as is known now."""
        self.doubted(planned)
        self.ended[planned.run_id] = {}

    def doubted(self, planned: PlannedRun) -> None:
        """A run that is to be measured again has not ended yet, whatever was said of it before."""
        self.ended.pop(planned.run_id, None)

    def gave_up(self, planned: PlannedRun, refusals: Mapping[str, str]) -> None:
        """A run has used up its attempts.

        Args:
            planned: The run.
            refusals: The checks that refused its last attempt, with what they saw.

        Raises:
            RefusedError: It is one too many.
        """
        self.doubted(planned)
        self.ended[planned.run_id] = refusals
        last = list(takewhile(bool, reversed(self.ended.values())))[: self.most]
        shared = [check for check in refusals if all(check in told for told in last)]
        if len(last) == self.most and shared:
            raise RefusedError(
                f"{self.most} runs in succession have used up their attempts, the last of each refused by the check "
                f"{shared[0]}: {refusals[shared[0]]}",
                f"{remedy_of(shared[0])}. What was measured is stored: the same command goes on where this one stopped",
            )


def refusals_of(dataset: Dataset, planned: PlannedRun) -> dict[str, str]:
    """The checks that refused the last attempt at a run, late ones included, with what they saw.

    Raises:
        DatasetError: A file of `checks` cannot be read.
    """
    last = dataset.attempts(planned.run_id)
    rows = dataset.read("checks", run_id=planned.run_id)
    return {row["check"]: row["evidence"] for row in rows if row["attempt"] == last and row["verdict"] == "invalid"}
