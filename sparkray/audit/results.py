"""The one form that every reader produces: a frame of runs, typed, with null for what is not there. Pure.

Columns: those of `COLUMNS`, and one Float64 column per metric under the names of `metrics` (or the input's own name,
where sparkray has none). `row` is the label by which a finding names a row. `level` is the level of the load (batch,
concurrency) where the rows are of several; `model` names it too, so that a cell is of one level, while `model_name` does
not. Values that cannot be read are null and counted in `remarks`.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from sparkray.audit import values
from sparkray.audit.finding import NotJudged
from sparkray.metrics import BY_NAME

Row = Mapping[str, Any]
# Source name of a sparkray dataset.
DATASET = "sparkray dataset"

# State of the machine: numbers that should be alike in the arms, and that no study reports as an effect.
STATE: Mapping[str, str] = {
    "gpu_temp_start_c": "temperature at the start",
    "gpu_temp_end_c": "temperature at the end",
    "gpu_temp_max_c": "highest temperature",
    "mem_free_before_gib": "free memory before the start",
    "mem_available_before_gib": "available memory before the start",
    "page_cache_before_gib": "page cache before the start",
    "swap_used_before_gib": "swap in use before the start",
}

_TEXT = (
    "row",
    "model",
    "model_name",
    "model_id",
    "model_path",
    "model_sha256",
    "stated_model",
    "environment",
    "level",
    "status",
    "site",
    "image",
    "image_digest",
    "rootfs_digest",
)
_INTEGER = ("iteration", "block", "position", "batch", "devices")
_SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(_TEXT, pl.String),
    **dict.fromkeys(_INTEGER, pl.Int64),
    "started_s": pl.Float64,
    "simulated": pl.Boolean,
    "speculative": pl.Boolean,
    **dict.fromkeys(STATE, pl.Float64),
}
COLUMNS = tuple(_SCHEMA)
_POSITIVE = ("throughput", "latency", "ttft", "itl")
_ENOUGH_NUMBERS = 0.8
_EDGE = "(start|begin|end|finish|stop|submit|creat|complet)(ed|ing|ning|e|s)?"
_MOMENT = re.compile(
    rf"(^|_)(timestamp|datetime|date|epoch)(_|$)|^(run_|job_)?{_EDGE}_?(time|at|ts|date|utc|unix|epoch)(_(s|ms|us|ns))?$"
    rf"|^{_EDGE}(_(s|ms|us|ns))?$"
)
_TIME_WORD = re.compile(rf"time|when|clock|_at$|_ts$|(^|_){_EDGE}(_|$)")
# Seconds and milliseconds since 1970 from 2001 to 2065.
_EPOCHS = ((1e9, 3e9), (1e12, 3e12))
_OK = ("ok", "success", "succeeded", "completed", "done", "pass", "passed")


@dataclass(frozen=True)
class Claim:
    """A sentence of the study about its numbers, as far as the input has it.

    `kind` is `difference` or `equality`; `n` what the study counted as its sample in each arm; `correction` and
    `equivalence_test` name what was done about multiplicity and equality, empty when nothing was.
    """

    kind: str
    text: str
    metric: str | None = None
    p: float | None = None
    n: int | None = None
    correction: str = ""
    equivalence_test: str = ""


@dataclass(frozen=True)
class Results:
    """Rows in the normal form, claims if the input has any, and remarks on what could not be read.

    `planned` are the cells that were to be measured, where the input has them; `gpus` the machine's, by name. `own_images`
    are images by environment that the experiment declares in place of the site's.
    """

    source: str
    frame: pl.DataFrame
    claims: tuple[Claim, ...] | None = None
    remarks: tuple[NotJudged, ...] = ()
    default_site: str | None = None
    planned: tuple[tuple[str, str], ...] = ()
    gpus: tuple[str, ...] = ()
    own_images: Mapping[str, str] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether sparkray measured them, so that each metric is known to have been measured by itself."""
        return self.source == DATASET

    @property
    def ok(self) -> pl.DataFrame:
        """The rows that count: status ok, with a model and an environment."""
        return self.frame.filter(
            (pl.col("status") == "ok") & pl.col("model").is_not_null() & pl.col("environment").is_not_null()
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metric columns that hold any value."""
        frame = self.frame
        return tuple(name for name in frame.columns if name not in _SCHEMA and frame[name].null_count() < len(frame))


class _Dirt:
    """Counts values that could not be read, with one example a column."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def read(self, name: str, value: Any, parse: Callable[[Any], Any]) -> Any:  # noqa: ANN401
        if value is None or value == "":
            return None
        parsed = parse(value)
        if parsed is None:
            self.counts[name] += 1
            self.examples.setdefault(name, _shown(value))
        return parsed

    def remarks(self) -> tuple[NotJudged, ...]:
        return tuple(
            NotJudged("dirty_values/values", {"column": name, "count": count, "example": self.examples[name]})
            for name, count in self.counts.items()
        )


def _shown(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, int) and abs(value) > values.GREATEST:
        return "an integer beyond 1e15"
    shown = repr(value).encode("utf-8", "replace").decode()
    return shown if len(shown) <= 40 else f"{shown[:40]}…"  # noqa: PLR2004


def results_of(source: str, rows: Sequence[Row], **known: Any) -> Results:  # noqa: ANN401
    """Rows under the names of this module (any other name that holds numbers is a metric) as `Results`.

    Args:
        source: What kind of input it was, for people.
        rows: One mapping a run.
        known: Further fields of `Results`; `remarks` are added to.
    """
    dirt = _Dirt()
    rows = [{_plain(name): value for name, value in row.items()} for row in rows]
    names = _metric_names(rows)
    moments = [name for name in names if _is_moment(name, [row.get(name) for row in rows])]
    parsers = _parsers() | {name: _metric_parser(name) for name in names if name not in moments}
    typed = [{name: dirt.read(name, row.get(name), parse) for name, parse in parsers.items()} for row in rows]
    frame = pl.DataFrame(typed, schema=_SCHEMA | {name: pl.Float64 for name in parsers if name not in _SCHEMA})
    frame = frame.with_columns(
        pl.col("status").fill_null("ok"),
        pl.col("model_name").fill_null(pl.col("model")),
        pl.coalesce("row", pl.format("row {}", pl.int_range(1, pl.len() + 1))).alias("row"),
    )
    frame = _levelled(frame)
    times = (NotJudged("columns", {"column": name}) for name in moments)
    remarks = (*known.pop("remarks", ()), *dirt.remarks(), *times, *_unplaced(frame))
    return Results(source, frame, remarks=remarks, **known)


def _levelled(frame: pl.DataFrame) -> pl.DataFrame:
    """Each level of the load under a name of its own: what was measured at one batch is no replicate of another's.

    Batches are levels only where one model has several: models may each have their own batch and still be one cell an arm.
    """
    batches = frame.drop_nulls("batch").group_by("model_name").agg(pl.col("batch").n_unique())["batch"]
    if frame["level"].null_count() == len(frame) and bool((batches > 1).any()):
        frame = frame.with_columns(level=pl.format("batch={}", "batch"))
    named = pl.format("{} {}", "model", "level")
    return frame.with_columns(model=pl.when(pl.col("level").is_null()).then("model").otherwise(named))


def _plain(name: str) -> str:
    """A column's name without what polars takes for a pattern."""
    return re.sub(r"[*^$]", "_", values.text(name) or "unnamed")


def _parsers() -> dict[str, Callable[[Any], Any]]:
    return {
        **dict.fromkeys(_TEXT, values.text),
        "status": _status,
        **dict.fromkeys(_INTEGER, values.integer),
        "started_s": values.seconds,
        "simulated": values.flag,
        "speculative": values.flag,
        **dict.fromkeys(STATE, values.number),
    }


def _status(value: Any) -> str | None:  # noqa: ANN401
    word = values.text(value)
    return "ok" if word is not None and word.casefold() in _OK else word


def _metric_parser(name: str) -> Callable[[Any], float | None]:
    if not any(word in name for word in _POSITIVE):
        return values.number

    def above_zero(value: Any) -> float | None:  # noqa: ANN401
        parsed = values.number(value)
        return parsed if parsed is not None and parsed >= values.LEAST else None

    return above_zero


def _metric_names(rows: Sequence[Row]) -> list[str]:
    """Numeric columns outside the normal form; those of `metrics` always."""
    names = dict.fromkeys(name for row in rows for name in row if name not in _SCHEMA)
    return [name for name in names if name in BY_NAME or _holds_numbers([row.get(name) for row in rows])]


def _holds_numbers(column: Sequence[Any]) -> bool:
    known = [value for value in column if value is not None and value != ""]
    return bool(known) and sum(values.number(v) is not None for v in known) >= _ENOUGH_NUMBERS * len(known)


def _is_moment(name: str, column: Sequence[Any]) -> bool:
    """Whether a column holds times of day, by its name, or by a hint in it and values that are dates.

    Times rise from run to run, so that as a metric they would be nothing but drift.
    """
    if name in BY_NAME:
        return False
    lowered = name.casefold().replace(" ", "_").replace("-", "_")
    numbers = [number for value in column if (number := values.number(value)) is not None]
    dated = all(any(low <= number < high for low, high in _EPOCHS) for number in numbers)
    return bool(_MOMENT.search(lowered)) or (dated and bool(_TIME_WORD.search(lowered)))


def _unplaced(frame: pl.DataFrame) -> list[NotJudged]:
    lost = frame.filter(pl.col("model").is_null() | pl.col("environment").is_null())
    return [NotJudged("dirty_values/unnamed", {"count": len(lost)})] if len(lost) else []
