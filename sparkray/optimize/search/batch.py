"""A batch under way: its block, its results as they come, and who of it has had enough.

Batches go from model to model in the order of the settings, so that what is hopeless, fails or breaks a constraint on the
first is not measured on the next. New configurations have one block; finalists go on, block after block.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from sparkray.optimize.search.feasible_space import FeasibleSpace
from sparkray.optimize.search.history import Configuration, History, Known
from sparkray.optimize.search.race import hopeless, mean
from sparkray.optimize.search.turns import put_back
from sparkray.optimize.search.types import Batch, Place, Result, Settings, Trial, Worker

# A block that was begun longer ago is not continued: the machine may have drifted since its baseline ran.
NEAR_S = 3600.0
# Numbers of blocks to a batch: those of the first trial in it, which no other batch has.
_BLOCKS = 64
# Log ratio that a configuration may be behind on some models while others have not been asked.
_OTHER_MODELS = 0.1
# Likewise while the noise is as good as a guess, which below so many degrees of freedom it is.
_UNSURE, _KNOWN_DF = 0.1, 4.0
# Batches in which a configuration may be without a run that counts.
_PATIENCE = 2
RUNS = ("run_id", "baseline_id")


@dataclass(frozen=True)
class Member:
    """A trial of Optuna that is ours to measure. `again`: it is a finalist."""

    handle: optuna.Trial
    trial: Trial
    key: str
    again: bool


class Batches:
    """Measures batches of one driver.

    Args:
        study: Optuna's.
        feasible_space: What may be chosen.
        worker: Measures what is left of a batch.
        settings: Of the search.
        clock: s since the epoch.
    """

    def __init__(
        self,
        study: optuna.Study,
        feasible_space: FeasibleSpace,
        worker: Worker,
        *,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._study, self._space, self._worker = study, feasible_space, worker
        self._settings, self._clock = settings, clock

    def taken(self, handle: optuna.Trial, trial: Trial) -> Member | None:
        """A trial as a member of the next batch; None if everything of it is known already, and then it is closed.

        What is known of its configuration is reported to Optuna, as are the rows of a block that is over.
        """
        member = Member(handle, trial, self._space.key(trial.choices), again="again" in handle.user_attrs)
        for step, value in enumerate(self._own(member).values.values()):
            handle.report(value, step)
        block = handle.user_attrs.get("block")
        if block is not None and not self._near(block):
            for model in self._settings.models:
                for one in self._wanting([member], model, block["number"]):
                    [result] = self._worker.submit(Batch(model, block["number"], (trial,), over=True))
                    if result.answered:
                        self._store(one, (model, block["number"]), result)
        return next(iter(self._sifted([member], last=True)), None)

    def measure(self, members: list[Member]) -> None:
        """Block after block until all have had enough."""
        block, models = self._block(members), self._settings.models
        while members:
            for model in models:
                mine = self._wanting(members, model, block)
                if mine:
                    self._write(mine, block)
                    gone = self._measured(mine, model, block)
                    left = [member for member in members if member not in gone]
                    members = self._sifted(left, last=model == models[-1])
            if len(members) == 1:
                self._close(members.pop(), "complete")
            block += 1

    def _measured(self, mine: list[Member], model: str, block: int) -> list[Member]:
        """Measures one block of one model; who of it is out of the batch, since no run of it counts."""
        results = self._worker.submit(Batch(model, block, tuple(member.trial for member in mine)))
        gone = []
        for member, result in zip(mine, results, strict=True):
            if result.answered:
                self._store(member, (model, block), result)
            else:
                self._unanswered(member, result)
                gone.append(member)
        return gone

    def _block(self, members: list[Member]) -> int:
        """The block that a dead driver left, where it is near enough; else one of our own."""
        stored = [member.handle.user_attrs.get("block") for member in members]
        near = [int(block["number"]) for block in stored if block is not None and self._near(block)]
        own = self._settings.first_block + _BLOCKS * min(member.trial.number for member in members)
        return near[0] if near else own

    def _near(self, block: Mapping[str, Any]) -> bool:
        here = (block["host"], block["boot"]) == (self._worker.host, self._worker.boot)
        return bool(here and self._clock() - block["opened"] < NEAR_S)

    def _write(self, members: list[Member], block: int) -> None:
        """Who is in a block, before its first run; one that is gone on with keeps its age."""
        for member in members:
            known = member.handle.user_attrs.get("block") or {}
            if known.get("number") != block:
                where = {"host": self._worker.host, "boot": self._worker.boot}
                stored = {"number": block, "opened": self._clock(), **where}
                member.handle.set_user_attr("block", stored)

    def _history(self) -> History:
        return History(self._study.get_trials(deepcopy=False), self._settings)

    def _own(self, member: Member) -> Configuration:
        return self._history().by_key[member.key]

    def _wanting(self, members: list[Member], model: str, block: int) -> list[Member]:
        """Those that are to be measured in a block: finalists in every one, others once on each model."""
        history = self._history()
        facts = [history.by_key[member.key].facts for member in members]
        return [
            member
            for member, known in zip(members, facts, strict=True)
            if (model, block) not in known and (member.again or all(place[0] != model for place in known))
        ]

    def _store(self, member: Member, place: Place, result: Result) -> None:
        """All of one result in one attribute, so that a kill leaves all of it or nothing; what it came from beside it."""
        handle, before = member.handle, self._own(member)
        stored = {"model": place[0], "block": place[1], **asdict(result)}
        handle.set_user_attr("evaluations", [*handle.user_attrs.get("evaluations", ()), stored])
        if result.log_ratio is not None:
            handle.report(result.log_ratio, len(before.values))
        every = [*before.facts.values(), stored]
        handle.set_user_attr("runs", [facts[name] for facts in every for name in RUNS if facts[name]])
        handle.set_user_attr("docker_command", result.docker_command)
        handle.set_user_attr("effective_state", result.effective_state)

    def _unanswered(self, member: Member, result: Result) -> None:
        """No run of it counts: it is tried in another batch, and given up when that happens again."""
        own = self._own(member)
        if own.values and own.everywhere and member.again:
            self._close(member, "complete")
            return
        times = 1 + int(member.handle.user_attrs.get("unanswered", 0))
        if times < _PATIENCE:
            frozen = self._study.get_trials(deepcopy=False)[member.trial.number]
            put_back(self._study, frozen, block=None, unanswered=times)
            member.handle.set_user_attr("put_back", value=True)
        else:
            member.handle.set_user_attr("refused", f"no run of it counts in {times} blocks: {result.reason}")
        self._study.tell(member.handle, state=TrialState.FAIL)

    def _sifted(self, members: list[Member], *, last: bool) -> list[Member]:
        """Those that go on; the others are closed. `last`: every model of the block is done."""
        history, left = self._history(), []
        known = history.known(self._space) if members else None
        for member in members:
            reason = self._enough(member, history.by_key[member.key], known, last=last)
            if reason is None:
                left.append(member)
            else:
                self._close(member, reason)
        return left

    def _enough(self, member: Member, own: Configuration, known: Known | None, *, last: bool) -> str | None:
        """Why a configuration is not measured further: `failed`, `infeasible`, `complete`, or the reason to stop it."""
        if own.reason_failed is not None:
            return "failed"
        if not own.feasible:
            return "infeasible"
        if not own.values or known is None:
            return None
        leader = known.leader(own.key)
        behind = hopeless(
            own.values,
            leader.values if leader else None,
            known.noise,
            tests=len(self._settings.models) * (1 + self._settings.rounds),
            slack=(0.0 if own.everywhere else _OTHER_MODELS) + (0.0 if known.df >= _KNOWN_DF else _UNSURE),
        )
        if behind is not None:
            return behind
        if not last or not own.everywhere:
            return None
        return None if member.again and self._rounds_left(own) else "complete"

    def _rounds_left(self, own: Configuration) -> bool:
        """Whether a finalist was in fewer blocks than it may, beside the one in which it was found."""
        explored = any("again" not in trial.user_attrs for trial in own.trials)
        return len({block for _, block in own.facts}) - explored < self._settings.rounds

    def _close(self, member: Member, reason: str) -> None:
        handle, own = member.handle, self._own(member)
        for name, value in own.constraints.items():
            handle.set_constraint(name, value)
        if reason == "failed":
            handle.set_user_attr("reason", own.reason_failed)
            self._study.tell(handle, state=TrialState.FAIL)
        elif reason in ("complete", "infeasible"):
            self._study.tell(handle, mean(own.values))
        else:
            handle.set_user_attr("stopped", reason)
            self._study.tell(handle, state=TrialState.PRUNED)
