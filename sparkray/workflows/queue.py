"""What is left to run, in order, and how often each was tried."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sparkray.plan import PlannedRun


@dataclass
class Queue:
    """Runs that wait. `most` is how often one may be tried in a sweep; one that an earlier sweep measured was tried once."""

    waiting: list[PlannedRun]
    most: int
    tries: dict[str, int] = field(default_factory=dict)

    def take(self) -> PlannedRun:
        """The next run, which counts as tried."""
        planned = self.waiting.pop(0)
        self.tries[planned.run_id] = self.tries.get(planned.run_id, 0) + 1
        return planned

    def give_up(self, planned: PlannedRun) -> bool:
        """A run is not to be tried again. Returns whether it would have been."""
        tried, self.tries[planned.run_id] = self.tries.get(planned.run_id, 0), self.most
        return tried < self.most

    def again(self, doubtful: Iterable[PlannedRun]) -> Sequence[PlannedRun]:
        """Puts runs that do not stand before all others, as far as they may be tried again; those that it put there."""
        back = [run for run in doubtful if self.tries.setdefault(run.run_id, 1) < self.most]
        self.waiting[:0] = back
        return back
