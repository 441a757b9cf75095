"""A hundred runs of a shared machine through every check, clean and with one fault each: who is marked, and by what?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from builders import MS, S
from check_cases import LIMITS, WEIGHTS, clean_run, measured, question, row_of, samples_of

from sparkray.checks import Evidence, apply_policy, check_names, load_check, refused_before
from sparkray.config.experiment import Protocol
from sparkray.plan import PlannedRun, Study, make_plan
from sparkray.records import Verdict

NOISELESS = {"identity", "readback", "start_state", "environment", "tokens", "roofline"}
GROWTH_GIB = 0.01
Spoil = Callable[[Evidence], Evidence]
Mark = tuple[int, int, str, str]
"""Position, attempt, check, word."""


@dataclass
class Sweep:
    """What a sweep does with verdicts: a run that is invalid is measured again, at most three times in all."""

    study: Study
    seed: int
    spoil: dict[tuple[int, int], Spoil] = field(default_factory=dict)
    stays_gib: tuple[int, float] = (0, 0.0)
    """From which position on another program's file is in the page cache, and how much of it."""
    marks: dict[Mark, str] = field(default_factory=dict)
    kept: list[dict[str, Any]] = field(default_factory=list)
    said: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random, self.plan = Random(self.seed), make_plan(self.study)

    def go(self) -> "Sweep":
        """Every run of the plan."""
        for planned in self.plan:
            self._until_ok(planned, planned.position, 1)
        return self

    def _until_ok(self, planned: PlannedRun, now: int, attempt: int) -> None:
        if attempt > 3:
            return
        found = self._run(planned, now, attempt)
        verdicts = list(_judged(found))
        self._mark(planned, attempt, verdicts)
        self._say(planned, attempt, verdicts)
        if any(verdict.verdict == "invalid" for verdict in verdicts):
            self._until_ok(planned, now, attempt + 1)
            return
        self.kept.append(dict(found.row))
        for again, before in self._looked_back():
            self._until_ok(again, now, before + 1)

    def _run(self, planned: PlannedRun, now: int, attempt: int) -> Evidence:
        begin, stays = self.stays_gib
        drifted = GROWTH_GIB * now + (stays if now >= begin else 0.0)
        found = clean_run(self.study, planned, self.random, drifted_gib=drifted)
        refused_by = refused_before(self.said.get(planned.run_id, ()))
        row, past = {**found.row, "attempt": attempt}, tuple(self.kept)
        found = replace(found, row=row, earlier=past, of_machine=past, refused_by=refused_by)
        return self.spoil.get((planned.position, attempt), lambda same: same)(found)

    def _say(self, planned: PlannedRun, attempt: int, verdicts: list[Verdict]) -> None:
        """As `checks/` would hold it."""
        rows = [{"attempt": attempt, "check": verdict.check, "verdict": verdict.verdict} for verdict in verdicts]
        self.said.setdefault(planned.run_id, []).extend(rows)

    def _mark(self, planned: PlannedRun, attempt: int, verdicts: list[Verdict]) -> None:
        for verdict in verdicts:
            if verdict.verdict != "pass":
                self.marks[planned.position, attempt, verdict.check, verdict.verdict] = verdict.evidence

    def _looked_back(self) -> list[tuple[PlannedRun, int]]:
        lost: dict[str, int] = {}
        by_id = {planned.run_id: planned for planned in self.plan}
        for review in map(load_check, check_names()):
            for late in review.revalidate(self.study, self.kept):
                verdict = apply_policy(late.verdict, review.policy)
                self._mark(by_id[late.run_id], late.attempt, [verdict])
                self._say(by_id[late.run_id], late.attempt, [verdict])
                if verdict.verdict == "invalid":
                    lost[late.run_id] = late.attempt
        self.kept = [row for row in self.kept if row["run_id"] not in lost]
        return [(by_id[run_id], attempt) for run_id, attempt in lost.items()]

    def refused(self) -> set[tuple[int, int, str]]:
        """Position, attempt and check of what was marked invalid."""
        return {mark[:3] for mark in self.marks if mark[3] == "invalid"}

    def of(self, position: int) -> set[tuple[int, str]]:
        """Attempt and check of whatever a run was marked with."""
        return {(attempt, check) for place, attempt, check, _ in self.marks if place == position}


def _judged(found: Evidence) -> Iterator[Verdict]:
    for check in map(load_check, check_names()):
        verdict = check.judge(found)
        if verdict is not None:
            yield apply_policy(verdict, check.policy)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4, 5))])
@pytest.mark.parametrize(
    "protocol", [Protocol(), Protocol(page_cache="drop", cooldown="adaptive")], ids=["leave", "drop"]
)
def test_fifty_clean_runs(seed: int, protocol: Protocol) -> None:
    done = Sweep(question(25, protocol=protocol), seed).go()
    assert [mark for mark in done.marks if mark[2] in NOISELESS] == []
    assert len({mark[:3] for mark in done.marks}) <= 2, done.marks
    assert len(done.kept) == 50
    for rows in done.said.values():
        assert {row["check"] for row in rows} >= NOISELESS, "what is not judged gives no alarm either"


def with_row(**changes: Any) -> Spoil:
    return lambda found: replace(found, row={**found.row, **changes})


def remeasured(found: Evidence, measurement: Any, **changes: Any) -> Evidence:
    samples = samples_of(measurement.requests, **changes)
    kept = {name: value for name, value in found.row.items() if name.startswith(("probe_", "mem_", "page_", "swap_"))}
    row = row_of(found.planned, measurement, samples, **kept)
    return replace(found, measurement=measurement, samples=samples, row=row)


def wrong_model(found: Evidence) -> Evidence:
    return remeasured(found, measured(model_sha256="2" * 64))


def busy_core(found: Evidence) -> Evidence:
    """Two engine threads and a program that spins share two cores."""
    return remeasured(found, found.measurement, foreign=2 / 3, engine=4 / 3)


def swapping(found: Evidence) -> Evidence:
    return replace(found, samples=[{**sample, "swap_used_gib": 0.2} for sample in found.samples])


def leaked(**changes: Any) -> Spoil:
    return lambda found: replace(found, state={**found.state, **changes})


def truncated(found: Evidence) -> Evidence:
    requests = list(found.measurement.requests)
    last = requests[-1]
    requests[-1] = replace(last, output_tokens=31, token_ns=last.token_ns[:-1])
    return replace(found, measurement=replace(found.measurement, requests=tuple(requests)))


def too_fast(found: Evidence) -> Evidence:
    """2 ms a token, where reading the weights takes 13.5."""
    return remeasured(found, measured([2.0] * 12))


def slow_gpu(found: Evidence) -> Evidence:
    """94 ms a step in place of 63, and nothing else to be seen."""
    slow = {name: value * 94 / 63 for name, value in found.row.items() if name.startswith("probe_gpu")}
    return replace(found, row={**found.row, **slow})


def backwards(found: Evidence) -> Evidence:
    first, *rest = found.measurement.requests
    broken = replace(first, end_ns=first.end_ns - 900 * MS)
    return replace(found, measurement=replace(found.measurement, requests=(broken, *rest)))


def fallen_off(found: Evidence) -> Evidence:
    events = [{"t_ns": place * S, "device": "a", "gpu_xid_events": place // 2, "gpu_xid": 79} for place in range(4)]
    return replace(found, samples=[*found.samples, *events])


def throttled(found: Evidence) -> Evidence:
    masks = [{"t_ns": place * S, "device": "a", "gpu_throttle_reasons": 0x20 * (place < 5)} for place in range(50)]
    return replace(found, samples=[*found.samples, *masks])


FAULTS: dict[str, tuple[Spoil, str]] = {
    "wrong weights": (wrong_model, "identity"),
    "another byte": (with_row(rootfs_digest="sha256:other"), "identity"),
    "a busy core": (busy_core, "exclusive"),
    "page cache emptied": (with_row(page_cache_before_gib=0.3, mem_free_before_gib=21.7), "memory_state"),
    "page cache filled": (with_row(page_cache_before_gib=5.0, mem_free_before_gib=17.0), "memory_state"),
    "swapped out before": (with_row(swap_used_before_gib=0.2), "memory_state"),
    "swapping": (swapping, "memory_state"),
    "beyond the memory's bandwidth": (too_fast, "roofline"),
    "a model that can be written on": (leaked(model_read_only=False), "readback"),
    "a quota that nobody asked for": (leaked(cgroup_limits=LIMITS | {"cpus": 1.0}), "readback"),
    "leaked nice": (leaked(nice=15), "start_state"),
    "leaked affinity": (leaked(cpus_allowed="0"), "start_state"),
    "a variable more": (leaked(environment={"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}), "environment"),
    "a truncated generation": (truncated, "tokens"),
    "a clock jump": (with_row(wall_clock_step_s=-3600.0), "tokens"),
    "a clock that runs backwards": (backwards, "tokens"),
    "a slow GPU": (slow_gpu, "power_state"),
    "a throttled GPU": (throttled, "thermal"),
    "a GPU error": (fallen_off, "hardware"),
    "a kill for memory": (with_row(oom_kills=1, container_oom_killed=True), "hardware"),
    "a low clock": (with_row(gpu_sm_clock_mean_mhz=513.0), "thermal"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_marks_its_own_run_and_check(fault: str) -> None:
    spoil, check = FAULTS[fault]
    done = Sweep(question(10), 1, spoil={(12, 1): spoil}).go()
    assert done.refused() == {(12, 1, check)}
    assert len(done.kept) == 20


def test_the_wrong_weights_in_one_arm_mark_every_run_of_it_and_none_of_the_other() -> None:
    asked = question(5)
    wrong = {
        (planned.position, attempt): wrong_model
        for planned in make_plan(asked)
        if planned.environment == "native"
        for attempt in (1, 2, 3)
    }
    done = Sweep(asked, 1, spoil=wrong).go()
    assert done.refused() == {(*place, "identity") for place in wrong}
    assert {row["environment"] for row in done.kept} == {"container_baseline"}
    assert {row["model_sha256"] for row in done.kept} == {WEIGHTS}


def test_an_engine_twice_as_slow_in_one_run_stands_apart() -> None:
    def slow(found: Evidence) -> Evidence:
        return remeasured(found, measured([40.0] * 12))

    done = Sweep(question(10), 3, spoil={(12, 1): slow}).go()
    assert done.of(12) == {(1, "outliers")}
    assert {mark[0] for mark in done.marks} == {12}


def test_a_busy_core_is_seen_in_the_first_run_of_all() -> None:
    done = Sweep(question(3), 1, spoil={(0, 1): busy_core}).go()
    assert done.refused() == {(0, 1, "exclusive")}


@pytest.mark.parametrize("begin", [20, 21])
def test_a_change_that_stays_costs_a_pair_and_no_more(begin: int) -> None:
    """Another program's file: the run is tried again, stands then, and its partner is measured in the new state too."""
    done = Sweep(question(20), 1, stays_gib=(begin, 4.0)).go()
    assert {position for position, _, _ in done.refused()} <= {20, 21, 22}
    assert {check for _, _, check in done.refused()} == {"memory_state"}
    assert len(done.kept) == 40
    cached = {row["position"]: row["page_cache_before_gib"] for row in done.kept}
    assert all(abs(cached[2 * block] - cached[2 * block + 1]) < 1 for block in range(20))


def test_a_first_run_that_filled_the_cache_is_measured_again() -> None:
    """Nobody is blamed before it is known what is usual; then the run that found the cache empty is."""
    cold = with_row(page_cache_before_gib=0.2, mem_free_before_gib=21.8)
    done = Sweep(question(10), 1, spoil={(0, 1): cold}).go()
    assert done.refused() == {(0, 1, "memory_state")}


def test_a_pair_of_which_one_was_slow_is_measured_again_before_it_is_known_which() -> None:
    done = Sweep(question(10), 1, spoil={(1, 1): slow_gpu}).go()
    assert done.refused() == {(0, 1, "power_state"), (1, 1, "power_state")}
    assert len(done.kept) == 20
