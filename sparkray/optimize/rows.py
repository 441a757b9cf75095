"""Stored runs as stages ask for them.

A dataset may hold runs of an environment as it was before its flags were changed under the same name, and of more blocks
than are asked for now. So rows are chosen by the ids of a plan, never by a name alone.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sparkray.config.equivalence import differing_fields, state_signature
from sparkray.config.site import CONTAINER_BASELINE
from sparkray.errors import HostError
from sparkray.metrics import BY_NAME
from sparkray.plan import PlannedRun, Treatment, canonical_sha256, without_later
from sparkray.store import Dataset

Row = Mapping[str, Any]
# (model, block).
Pair = tuple[str, int]
_KEPT = ("run_id", "attempt", "status", "reason", "environment", "model", "block", "position", "effective_state")
_COLUMNS = [*_KEPT, "docker_command", "simulated", "host", "started_at", "ended_at", "duration_s", *BY_NAME]
# An answer, where flags are what is asked about; `invalid` and `interrupted` are none, and are tried again. Neither is
# `unready` where the baseline was so for the same reason: its model was not there, whatever the flags.
FAILED = ("failed", "saturated", "oom", "timeout", "unready")
_KEY_CHARACTERS = 16
# Blocks in which an environment may fail before it is given up, when none has succeeded.
PATIENCE = 2


@dataclass(frozen=True)
class Rows:
    """Attempts at runs, one that is ok standing for its run."""

    rows: Sequence[Row]

    @cached_property
    def ok(self) -> list[Row]:
        """Runs that count, each once."""
        return list({row["run_id"]: row for row in self.rows if row["status"] == "ok"}.values())

    def of(self, environment: str) -> dict[Pair, Row]:
        """Ok runs of an environment by block."""
        return {(row["model"], row["block"]): row for row in self.ok if row["environment"] == environment}

    def values(self, environment: str, metric: str) -> dict[Pair, float]:
        """A metric of an environment by block, where there is a value."""
        return {pair: float(row[metric]) for pair, row in self.of(environment).items() if row[metric] is not None}

    @cached_property
    def _last(self) -> Mapping[str, Row]:
        in_order = sorted(self.rows, key=lambda row: (row["status"] == "ok", row["attempt"]))
        return {row["run_id"]: row for row in in_order}

    def last(self, run_id: str) -> Row | None:
        """The ok attempt at a run, else the last one."""
        return self._last.get(run_id)

    @cached_property
    def answered(self) -> set[str]:
        """Run ids that are ok, or that failed in a way that another try would not mend."""
        return {row["run_id"] for row in self.rows if row["status"] == "ok" or self.fails(row)}

    def fails(self, row: Row) -> bool:
        """Whether an attempt speaks against its flags."""
        excused = row["status"] == "unready" and row["reason"] in self._not_there.get(row["model"], ())
        return row["status"] in FAILED and not excused

    @cached_property
    def _not_there(self) -> Mapping[str, set[str]]:
        """Why the baseline could not be started, by model."""
        found: dict[str, set[str]] = {}
        for row in self.rows:
            if row["environment"] == CONTAINER_BASELINE and row["status"] == "unready":
                found.setdefault(row["model"], set()).add(row["reason"])
        return found

    def failures(self, environment: str) -> dict[Pair, Row]:
        """The last attempt in each block in which an environment failed; a run that a check refused has not failed."""
        works = self.of(environment)
        mine = [row for row in self.rows if row["environment"] == environment and self.fails(row)]
        bad = {(row["model"], row["block"]): row for row in sorted(mine, key=lambda row: row["attempt"])}
        return {pair: row for pair, row in bad.items() if pair not in works}

    def failing(self, environment: str, patience: int = PATIENCE) -> str | None:
        """Why an environment is given up: it failed in so many blocks and worked in none; None while it may still work."""
        bad = self.failures(environment)
        if len(bad) < patience or self.of(environment):
            return None
        last = max(bad.values(), key=lambda row: (row["block"], row["attempt"]))
        return f"none of its {len(bad)} runs was ok; the last: {last['status']}, {last['reason']}"

    def same_state(self, treatment: Treatment, baseline: Treatment) -> bool | None:
        """Whether a process of the treatment gets what the baseline's gets in the same block; None where it is not told."""
        mine, base = self.of(treatment.environment), self.of(baseline.environment)
        for pair, row in mine.items():
            other = base.get(pair)
            if other is not None and row["effective_state"] and other["effective_state"]:
                one = state_signature(treatment.options, json.loads(row["effective_state"]))
                return not differing_fields(
                    one, state_signature(baseline.options, json.loads(other["effective_state"]))
                )
        return None


def rows_of(dataset: Dataset, plan: Iterable[PlannedRun]) -> Rows:
    """What a dataset holds now of the runs of a plan."""
    wanted = {run.run_id for run in plan}
    return Rows([row for row in dataset.read("runs", _COLUMNS) if row["run_id"] in wanted])


def all_rows(*datasets: Dataset) -> Rows:
    """Everything that datasets hold now, for whoever goes by the ids of runs."""
    return Rows([row for dataset in datasets for row in dataset.read("runs", _COLUMNS)])


def must_run(rows: Rows, environment: str, path: Path, models: Sequence[str]) -> None:
    """Refuses to go on without an arm that everything is compared with.

    A model that was refused before it started, as one is that does not fit into the machine, has no runs in any arm and
    is left out of every comparison.

    Raises:
        HostError: No run of it is ok, or none on a model that was tried.
    """
    works = {model for model, _ in rows.of(environment)}
    mine = [row for row in rows.rows if row["environment"] == environment]
    if not works:
        raise _nothing_to_compare_with(environment, mine, path)
    for model in models:
        tried = [row for row in mine if row["model"] == model and row["status"] != "unready"]
        if tried and model not in works:
            raise _nothing_to_compare_with(f"{environment} on {model}", tried, path)


def _nothing_to_compare_with(what: str, rows: Sequence[Row], path: Path) -> HostError:
    why = f"{rows[-1]['status']}, {rows[-1]['reason']}" if rows else "none was made"
    return HostError(f"no run of {what} is ok ({why}): there is nothing to compare with", f"Look into {path}")


def key_of(treatment: Treatment) -> str:
    """Hash of a treatment, flags included: two sets of flags under one name have two keys."""
    return canonical_sha256(without_later(asdict(treatment)))[:_KEY_CHARACTERS]
