"""Plays the matrix of bad days and writes docs/reliability.md from what happened: `reliability.py [-k ROWS | --check]`.

Rows that are not chosen (`-k`, as pytest takes it) keep what the page has of them; the page is written after each row.
`--check` plays nothing and ends with 1 where the page's rows are not those of the matrix.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path(os.environ.get("SPARKRAY_RELIABILITY_PAGE", ROOT / "docs" / "reliability.md"))
MODULE = ROOT / "tests" / "e2e" / "test_bad_days.py"
NEVER = "not yet"
HEAD = """# Reliability

<!-- Generated from the matrix that ran. Run it again: .venv/bin/python scripts/reliability.py -->

What follows when something goes wrong during a sweep. Each row is a test in `tests/e2e/test_bad_days.py`, on real processes;
the last column says when it last ran. Status: 0 all runs are ok, 1 some are not, 2 the input is wrong, 3 the machine cannot,
130 interrupted; -9 is the kernel's kill. After each row of a sweep, containers, processes, mounts, the spool and the lock
are checked for leftovers.

{counts}

| fault | when | what must follow | played |
|---|---|---|---|
"""


class Day(Protocol):
    """A row of the matrix."""

    fault: str
    when: str
    must: str


def key_of(day: Day) -> str:
    """The cells of a row that are the matrix's own."""
    return " | ".join(cell.replace("|", "\\|") for cell in (day.fault, day.when, day.must))


def known() -> dict[str, str]:
    """What the page has of each row."""
    lines = PAGE.read_text().splitlines() if PAGE.is_file() else []
    rows = [line.strip("| ").rpartition(" | ") for line in lines if line.startswith("| ")]
    return {key: played for key, _, played in rows}


def write(cells: Mapping[str, str]) -> None:
    """The page."""
    ran = [cell for cell in cells.values() if cell != NEVER]
    failed = sum("failed" in cell for cell in ran)
    counts = (
        f"{len(cells)} rows; when they were last played, {len(ran) - failed} passed and {failed} failed. "
        f"{len(cells) - len(ran)} have not been played yet."
    )
    PAGE.write_text(HEAD.format(counts=counts) + "".join(f"| {key} | {cell} |\n" for key, cell in cells.items()))


@dataclass
class Recorder:
    """A plugin of pytest: every row there is, and how those that are played end."""

    days: dict[str, str] = field(default_factory=dict)
    cells: dict[str, str] = field(default_factory=dict)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: Iterable[pytest.Item]) -> None:
        """Before rows are chosen."""
        self.days = {item.nodeid: key_of(item.callspec.params["day"]) for item in items if hasattr(item, "callspec")}
        before = known()
        self.cells = {key: before.get(key, NEVER) for key in self.days.values()}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The worst of a row's phases counts."""
        on = f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} CPUs"
        key = self.days[report.nodeid]
        if report.failed:
            self.cells[key] = f"**failed** ({on})"
        elif report.when == "call" and report.passed:
            self.cells[key] = f"passed in {report.duration:.0f} s ({on})"
        if report.when == "teardown":
            write(self.cells)


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-k", default="", metavar="ROWS", help="rows to play, as pytest takes it")
    parser.add_argument("--check", action="store_true", help="play nothing")
    asked = parser.parse_args()
    os.environ["SPARKRAY_SLOW"] = "1"
    recorder = Recorder()
    more = ["--collect-only", "-q"] if asked.check else ["-k", asked.k, "-q"]
    status = pytest.main([str(MODULE), "-p", "no:cacheprovider", *more], plugins=[recorder])
    if not asked.check:
        return int(status)
    is_stale = list(known())[1:] != list(recorder.days.values())
    print(f"{PAGE.name} is {'stale' if is_stale else 'current'}")
    return int(is_stale)


if __name__ == "__main__":
    sys.exit(main())
