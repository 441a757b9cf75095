"""Checks: one reason to refuse a run a file. Pure: what was planned and measured in, a verdict with its evidence out.

A check sees what its run left and nothing else: no file, no clock, no process. `execute` stores every verdict with the
run, and a run that one of them calls invalid does not count.

Adding one is one new file here: the module's name is the check's name, and the module holds a class `Check`.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Protocol, cast

from sparkray.errors import UnknownNameError
from sparkray.plan import PlannedRun, Study
from sparkray.records import Measurement, Verdict


@dataclass(frozen=True)
class Evidence:
    """One run as it was planned, and what its engine left."""

    study: Study
    planned: PlannedRun
    measurement: Measurement


class Check(Protocol):
    """What every check module's class `Check` does."""

    name: str
    """The module's name."""

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict on one run; None when there is nothing to judge it by."""
        ...


def check_names() -> list[str]:
    """The checks there are: the public modules of this package."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load_check(name: str) -> Check:
    """The check of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in check_names():
        raise UnknownNameError("check", name, check_names())
    return cast("Check", importlib.import_module(f"{__name__}.{name}").Check())
