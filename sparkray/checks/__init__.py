"""Validity checks: conditions that a run must meet before its result counts. Pure; the verdicts are stored with the run.

To add a check, add a file here: the module's name is the check's name. The module holds a class `Check`, which judges
one run against those before it, a class `Review`, which re-validates all runs of a model whenever one has ended (many
outliers show only later), or both. Each reports at full severity; the experiment's policy decides: `invalid` keeps it
(the run is measured again), `warn` reduces it to a warning, `off` skips the check.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from sparkray.config.docker import DockerOptions
from sparkray.config.experiment import Policy
from sparkray.errors import UnknownNameError
from sparkray.plan import PlannedRun, Study
from sparkray.records import Measurement, Verdict

Row = Mapping[str, Any]
"""Columns of `runs`, metrics included; what is missing is null or absent."""


@dataclass(frozen=True)
class Asked:
    """What a run was asked to be, beyond the plan.

    `rootfs_digest`, `weights_digest` and `model_sha256` (None where unknown in advance) must match in every arm.
    `mismatches` are the differences that the engine reports, `environment` the declared variables, `start` the declared
    start state (`runtimes.StartState` as a dictionary), `options` the Docker flags that were given.
    """

    rootfs_digest: str = ""
    model_sha256: str | None = None
    weights_digest: str | None = None
    mismatches: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    start: Mapping[str, Any] = field(default_factory=dict)
    options: DockerOptions = field(default_factory=DockerOptions)


@dataclass(frozen=True)
class Evidence:
    """One run as planned, and everything known of it at its end.

    `row` is the run's row with metrics, before its status is set; `samples` are rows of `samples` in time order;
    `state` is the effective state of its process; `earlier` are the ok runs of the same model and level on this
    machine, in every environment, oldest first; `of_machine` those of every model and level. `refused_by` are the
    checks that refused the last attempt at this run (`refused_before`).
    """

    study: Study
    planned: PlannedRun
    measurement: Measurement
    row: Row = field(default_factory=dict)
    samples: Sequence[Row] = ()
    state: Mapping[str, Any] = field(default_factory=dict)
    asked: Asked = field(default_factory=Asked)
    earlier: Sequence[Row] = ()
    of_machine: Sequence[Row] = ()
    refused_by: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Late:
    """A verdict on an earlier run."""

    run_id: str
    attempt: int
    verdict: Verdict


class Check(Protocol):
    """Interface of every check module's class `Check`."""

    name: str
    """The module's name."""
    policy: Policy
    """What holds where the experiment says nothing."""
    remedy: str
    """What to do where it refuses run after run."""

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict on one run; None without data to judge."""
        ...


class Review(Protocol):
    """Interface of a check module's class `Review`."""

    name: str
    """The module's name."""
    policy: Policy
    """What holds where the experiment says nothing."""
    remedy: str
    """What to do where it refuses run after run."""

    def revalidate(self, study: Study, rows: Sequence[Row]) -> Sequence[Late]:
        """Verdicts other than `pass` on earlier runs.

        Args:
            study: The study.
            rows: Rows of ok runs of one model and level, oldest first.
        """
        ...


def check_names() -> list[str]:
    """Names of all checks: the public modules of this package."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def _class_of(name: str, kind: str) -> Any:  # noqa: ANN401 - a class of whatever module
    if name not in check_names():
        raise UnknownNameError("check", name, check_names())
    return getattr(importlib.import_module(f"{__name__}.{name}"), kind, None)


def load_check(name: str) -> Check | None:
    """The check of that name; None where it only re-validates.

    Raises:
        UnknownNameError: No check has that name.
    """
    made = _class_of(name, "Check")
    return None if made is None else cast("Check", made())


def load_review(name: str) -> Review | None:
    """The review of that name; None where the check only judges single runs.

    Raises:
        UnknownNameError: No check has that name.
    """
    made = _class_of(name, "Review")
    return None if made is None else cast("Review", made())


def remedy_of(name: str) -> str:
    """What to do when a check refuses run after run.

    Raises:
        UnknownNameError: No check has that name.
    """
    found = load_check(name) or load_review(name)
    return found.remedy if found is not None else ""


def policy_of(study: Study, check: Check | Review) -> Policy:
    """The experiment's policy for a check, else the check's own."""
    return study.experiment.checks.get(check.name, check.policy)


def policies_of(study: Study) -> dict[str, Policy]:
    """The effective policy of every check in a study."""
    found = [load_check(name) or load_review(name) for name in check_names()]
    return {check.name: policy_of(study, check) for check in found if check is not None}


def apply_policy(verdict: Verdict, policy: Policy) -> Verdict:
    """Limit a verdict to the policy's severity."""
    if verdict.verdict == "invalid" and policy == "warn":
        return replace(verdict, verdict="warn")
    return verdict


def judge_all(evidence: Evidence) -> tuple[Verdict, ...]:
    """Every check's verdict on one run, policies applied."""
    found = []
    for check in filter(None, map(load_check, check_names())):
        policy = policy_of(evidence.study, check)
        if policy != "off" and (verdict := _judged(check, evidence)) is not None:
            found.append(apply_policy(verdict, policy))
    return tuple(found)


def _judged(check: Check, evidence: Evidence) -> Verdict | None:
    """The verdict of a check; a check that raises becomes a warning."""
    try:
        return check.judge(evidence)
    except Exception as error:  # noqa: BLE001 - a defect in a check must not end a sweep of hours
        return Verdict(check.name, "warn", f"could not judge: {type(error).__name__}: {error}")


def refused_before(verdicts: Iterable[Row]) -> frozenset[str]:
    """Checks whose last verdict on a run was `invalid`, ignoring warnings and attempts without a verdict.

    Args:
        verdicts: Rows of `checks` of every attempt at the run, late ones included, in any order.
    """
    in_order = sorted(verdicts, key=lambda row: (row["attempt"], row["verdict"] == "invalid"))
    last = {row["check"]: row["verdict"] for row in in_order if row["verdict"] != "warn"}
    return frozenset(check for check, word in last.items() if word == "invalid")


def late_verdicts(study: Study, rows: Sequence[Row]) -> tuple[Late, ...]:
    """Every review's verdicts, policies applied."""
    found: list[Late] = []
    for review in filter(None, map(load_review, check_names())):
        policy = policy_of(study, review)
        if policy != "off":
            found += [
                replace(late, verdict=apply_policy(late.verdict, policy)) for late in _revalidated(review, study, rows)
            ]
    return tuple(found)


def _revalidated(review: Review, study: Study, rows: Sequence[Row]) -> Sequence[Late]:
    """A review's verdicts; a review that raises becomes a warning on the latest run."""
    try:
        return review.revalidate(study, rows)
    except Exception as error:  # noqa: BLE001 - as for a check; later sweeps would meet the same rows
        verdict = Verdict(review.name, "warn", f"could not re-validate: {type(error).__name__}: {error}")
        return [Late(row["run_id"], row["attempt"], verdict) for row in rows[-1:]]
