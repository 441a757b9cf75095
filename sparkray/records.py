"""Records of a run in memory, before the store writes them. Pure.

The columns of the stored tables are declared in `sparkray/columns/dataset/`. A quantity's column ends in its unit; missing
data is null, never 0. The first number of the schema version changes when a column changes its meaning or is removed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

SCHEMA_VERSION = "1.5"

Status = Literal["ok", "saturated", "failed", "timeout", "oom", "unready", "invalid", "interrupted", "warmup"]
STATUSES: tuple[Status, ...] = get_args(Status)
WARMUP: Status = "warmup"
"""An uncounted start before the counted runs, which filled the engine's compile cache."""
SATURATED: Status = "saturated"
"""The load ended early because the server could not carry it: an answer, so the run is not made again."""


@dataclass(frozen=True)
class Request:
    """One request. Times in ns on the machine's monotonic clock; `token_ns` has one per token.

    `error_kind` of a request over HTTP: `status`, `connection`, `truncated`, `timeout`, `server`, `no_stream`,
    `usage_missing`, `usage_contradicts` or `interrupted`.
    """

    index: int
    warmup: bool
    input_tokens: int | None
    output_tokens: int | None
    submit_ns: int
    first_token_ns: int | None
    end_ns: int
    token_ns: tuple[int, ...] = ()
    error: str | None = None
    error_kind: str | None = None
    due_ns: int | None = None
    chunks: int | None = None


@dataclass(frozen=True)
class EngineFacts:
    """What an engine reports about itself and its model; None where it does not."""

    version: str | None = None
    model_path: str | None = None
    model_sha256: str | None = None
    model_architecture: str | None = None
    kv_cache_bytes: int | None = None
    threads: int | None = None
    load_s: float | None = None
    lifetime_s: float | None = None
    reported_peak_bytes: int | None = None
    reported: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """An engine's parsed output.

    `simulated`: a simulated engine made it. `exact_input`: prompts were token ids, not text whose tokens only it counts.
    `saturated`: why the load ended early because the server could not carry it; empty where it did not.
    """

    requests: tuple[Request, ...]
    facts: EngineFacts
    simulated: bool = False
    notes: tuple[str, ...] = ()
    exact_input: bool = True
    saturated: str = ""


@dataclass(frozen=True)
class Verdict:
    """One check's verdict on one run, with its evidence."""

    check: str
    verdict: Literal["pass", "warn", "invalid"]
    evidence: str


@dataclass(frozen=True)
class Outcome:
    """Everything that will be stored of a run.

    `row` holds the columns of `runs` (missing ones are null), `samples` rows of `samples` without run_id and attempt.
    `refused` are earlier runs that this one invalidates, with the reason.
    """

    row: Mapping[str, Any]
    requests: tuple[Request, ...] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    checks: tuple[Verdict, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """Status of the row; only `ok` counts."""
        status: Status = self.row["status"]
        return status
