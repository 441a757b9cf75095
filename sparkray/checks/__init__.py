"""Validity checks: what a run must show before its number is believed. Pure; the verdicts are stored with the run.

Adding one is one new file here: the module's name is the check's name. The module holds a class `Check`, which judges one
run by itself and by those before it, or a class `Review`, which looks back over all runs of a model whenever one has
ended (an outlier is often seen late), or both. Each says what it found at its full weight; the experiment's policy for it
decides what that means: `invalid` lets it stand (the run is measured again), `warn` holds it down to a warning, `off`
does not ask.
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
    """What a run was to be, as far as the plan alone does not say it.

    `rootfs_digest`, `weights_digest` and `model_sha256` (None where they cannot be known before) are what every arm must
    show, `mismatches`
    what the engine itself says is not as it was told, `environment` the variables and `start` the start state
    (`runtimes.StartState` as a dictionary) that were declared, `options` the Docker flags that were really given.
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
    """One run as it was planned, and everything that is known of it when it has ended.

    `row` is the run's row as it will be stored, metrics computed, but for its status; `samples` are rows of `samples` in
    time order; `state` is the effective state of its process; `earlier` are the rows of ok runs of the same model and
    level on this machine, of every environment, oldest first; `of_machine` are those of every model and level, for what
    does not depend on them. `refused_by` are the checks that the last attempt at this very run fell to (`refused_before`):
    what one of them finds again has stayed so.
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
    """A verdict on a run that had ended before."""

    run_id: str
    attempt: int
    verdict: Verdict


class Check(Protocol):
    """What every check module's class `Check` does."""

    name: str
    """The module's name."""
    policy: Policy
    """What holds where the experiment says nothing."""
    remedy: str
    """What to do where it refuses run after run."""

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict on one run; None when there is nothing to judge it by."""
        ...


class Review(Protocol):
    """What a check module's class `Review` does."""

    name: str
    """The module's name."""
    policy: Policy
    """What holds where the experiment says nothing."""
    remedy: str
    """What to do where it refuses run after run."""

    def revalidate(self, study: Study, rows: Sequence[Row]) -> Sequence[Late]:
        """Verdicts other than `pass` on runs that have ended.

        Args:
            study: The study.
            rows: Rows of ok runs of one model and level, oldest first.
        """
        ...


def check_names() -> list[str]:
    """The checks there are: the public modules of this package."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def _class_of(name: str, kind: str) -> Any:  # noqa: ANN401 - a class of whatever module
    if name not in check_names():
        raise UnknownNameError("check", name, check_names())
    return getattr(importlib.import_module(f"{__name__}.{name}"), kind, None)


def load_check(name: str) -> Check | None:
    """The check of that name; None where it only looks back.

    Raises:
        UnknownNameError: There is none.
    """
    made = _class_of(name, "Check")
    return None if made is None else cast("Check", made())


def load_review(name: str) -> Review | None:
    """The review of that name; None where the check judges runs one by one only.

    Raises:
        UnknownNameError: There is none.
    """
    made = _class_of(name, "Review")
    return None if made is None else cast("Review", made())


def remedy_of(name: str) -> str:
    """What to do where a check refuses run after run.

    Raises:
        UnknownNameError: There is no check of that name.
    """
    found = load_check(name) or load_review(name)
    return found.remedy if found is not None else ""


def policy_of(study: Study, check: Check | Review) -> Policy:
    """The experiment's policy for a check, else the check's own."""
    return study.experiment.checks.get(check.name, check.policy)


def policies_of(study: Study) -> dict[str, Policy]:
    """The policy of every check there is, as it holds in a study."""
    found = [load_check(name) or load_review(name) for name in check_names()]
    return {check.name: policy_of(study, check) for check in found if check is not None}


def held(verdict: Verdict, policy: Policy) -> Verdict:
    """A verdict as the policy has it: never graver than that."""
    if verdict.verdict == "invalid" and policy == "warn":
        return replace(verdict, verdict="warn")
    return verdict


def judge_all(evidence: Evidence) -> tuple[Verdict, ...]:
    """Every check's verdict on one run, as the experiment's policies have them."""
    found = []
    for check in filter(None, map(load_check, check_names())):
        policy = policy_of(evidence.study, check)
        if policy != "off" and (verdict := _judged(check, evidence)) is not None:
            found.append(held(verdict, policy))
    return tuple(found)


def _judged(check: Check, evidence: Evidence) -> Verdict | None:
    """A check that fails has no say; the run stands, with a warning."""
    try:
        return check.judge(evidence)
    except Exception as error:  # noqa: BLE001 - hours of a sweep are not lost to a check that met what it did not foresee
        return Verdict(check.name, "warn", f"could not judge: {type(error).__name__}: {error}")


def refused_before(verdicts: Iterable[Row]) -> frozenset[str]:
    """Checks whose last word on a run was to refuse it; a warning is no word, and an attempt that was not judged none.

    Args:
        verdicts: Rows of `checks` of every attempt at the run, late ones included, in any order.
    """
    in_order = sorted(verdicts, key=lambda row: (row["attempt"], row["verdict"] == "invalid"))
    last = {row["check"]: row["verdict"] for row in in_order if row["verdict"] != "warn"}
    return frozenset(check for check, word in last.items() if word == "invalid")


def late_verdicts(study: Study, rows: Sequence[Row]) -> tuple[Late, ...]:
    """Every review's verdicts, as the experiment's policies have them."""
    found: list[Late] = []
    for review in filter(None, map(load_review, check_names())):
        policy = policy_of(study, review)
        if policy != "off":
            found += [replace(late, verdict=held(late.verdict, policy)) for late in _looked_back(review, study, rows)]
    return tuple(found)


def _looked_back(review: Review, study: Study, rows: Sequence[Row]) -> Sequence[Late]:
    """A review that fails has no say, as a check has none; the latest run carries the warning."""
    try:
        return review.revalidate(study, rows)
    except Exception as error:  # noqa: BLE001 - as for a check; and the rows that it fell over are there in every later sweep
        said = Verdict(review.name, "warn", f"could not look back: {type(error).__name__}: {error}")
        return [Late(row["run_id"], row["attempt"], said) for row in rows[-1:]]
