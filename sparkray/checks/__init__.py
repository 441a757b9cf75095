"""Validity checks: conditions that a run must meet before its result counts. Pure; the verdicts are stored with the run.

To add a check, add a file here: the module's name is the check's name. Its class `Check` judges one run against those before
it (`judge`), re-validates all runs of a model whenever one has ended (`revalidate`; many outliers show only later), or both.
Each reports at full severity; the experiment's policy decides: `invalid` keeps it (the run is measured again), `warn`
reduces it to a warning, `off` skips the check.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, cast

from sparkray.config.docker import DockerOptions
from sparkray.config.experiment import Policy
from sparkray.errors import UnknownNameError
from sparkray.plan import PlannedRun, Study
from sparkray.records import Measurement, Verdict

# Columns of `runs`, metrics included; what is missing is null or absent.
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """What a run was asked to be, beyond the plan.

    `weights_digest` and `model_sha256` (None where unknown in advance) must match in every arm, `rootfs_digest` in every arm
    of one image.
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

    @property
    def earlier_alike(self) -> Sequence[Row]:
        """Earlier runs of environments of the same image and the same options of the engine."""
        mine, every = self.planned.environment, {row.get("environment", "") for row in self.earlier}
        alike = {name for name in every if self.study.setup_of(name) == self.study.setup_of(mine)}
        return [row for row in self.earlier if row.get("environment", "") in alike]


@dataclass(frozen=True)
class Late:
    """A verdict on an earlier run."""

    run_id: str
    attempt: int
    verdict: Verdict


class Check:
    """Base class of every check module's class `Check`, which overrides `judge`, `revalidate` or both.

    `name` is the module's name, `policy` holds where the experiment has none, `remedy` is for a check that refuses run after
    run. `repeats`: what it refuses a run for follows from the arm and not from the moment, so that the same evidence twice
    will be there a third time.
    """

    name: str
    policy: Policy = "invalid"
    repeats: bool = False
    remedy: str

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict on one run; None without data to judge."""
        del evidence
        return None

    def revalidate(self, study: Study, rows: Sequence[Row]) -> Sequence[Late]:
        """Verdicts other than `pass` on earlier runs.

        Args:
            study: The study.
            rows: Rows of ok runs of one model and level, oldest first.
        """
        del study, rows
        return ()


@cache
def check_names() -> tuple[str, ...]:
    """Names of all checks: the public modules of this package. Asked some 80 times a run, so the folder is listed once."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def load_check(name: str) -> Check:
    """The check of that name.

    Raises:
        UnknownNameError: No check has that name.
    """
    if name not in check_names():
        raise UnknownNameError("check", name, list(check_names()))
    return cast("Check", importlib.import_module(f"{__name__}.{name}").Check())


def remedy_of(name: str) -> str:
    """What to do when a check refuses run after run. Raises UnknownNameError."""
    return load_check(name).remedy


def repeating(verdicts: Iterable[Verdict]) -> frozenset[Verdict]:
    """Verdicts that refuse a run for what follows from its arm (`Check.repeats`)."""
    return frozenset(one for one in verdicts if one.verdict == "invalid" and load_check(one.check).repeats)


def policies_of(study: Study) -> dict[str, Policy]:
    """The effective policy of every check in a study: the experiment's, else the check's own."""
    checks = study.experiment.checks
    return {name: checks.get(name, load_check(name).policy) for name in check_names()}


def apply_policy(verdict: Verdict, policy: Policy) -> Verdict:
    """Limit a verdict to the policy's severity."""
    if verdict.verdict == "invalid" and policy == "warn":
        return replace(verdict, verdict="warn")
    return verdict


def judge_all(evidence: Evidence) -> tuple[Verdict, ...]:
    """Every check's verdict on one run, policies applied."""
    policies = policies_of(evidence.study)
    verdicts = {name: _judged(load_check(name), evidence) for name, policy in policies.items() if policy != "off"}
    return tuple(apply_policy(verdict, policies[name]) for name, verdict in verdicts.items() if verdict is not None)


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
    """Every check's verdicts on earlier runs, policies applied."""
    return tuple(
        replace(late, verdict=apply_policy(late.verdict, policy))
        for name, policy in policies_of(study).items()
        if policy != "off"
        for late in _revalidated(load_check(name), study, rows)
    )


def _revalidated(check: Check, study: Study, rows: Sequence[Row]) -> Sequence[Late]:
    """A check's verdicts on earlier runs; a check that raises becomes a warning on the latest run."""
    try:
        return check.revalidate(study, rows)
    except Exception as error:  # noqa: BLE001 - as for a check; later sweeps would meet the same rows
        verdict = Verdict(check.name, "warn", f"could not re-validate: {type(error).__name__}: {error}")
        return [Late(row["run_id"], row["attempt"], verdict) for row in rows[-1:]]
