"""The one form that every reader produces: a frame of runs, typed, with null for what is not there. Pure.

Columns: those of `COLUMNS`; one Float64 column per metric under the names of `metrics` (or the input's own name, where
sparkray has none); and whatever else the input has, as text. `row` is the label by which a finding names a row. `roles`
has the role of a column where its format shows it. `level` is the level of the load and of the test's own parameters where
the rows are of several; `model` names it too, so that a cell is of one level, while `model_name` does not. `study_number`
numbers studies of several arms that are judged together: other machines or days, so that arms are compared within one.
Values that cannot be read are null: a finding where a metric is lost, else counted in `remarks`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl

from sparkray.audit.finding import Finding, NotJudged
from sparkray.metrics import BY_NAME

# What a column is: a parameter of the test (it makes cells), a measured value, an identity or setting (engine, image),
# a state of the machine, a time of day.
Role = Literal["parameter", "metric", "identity", "state", "time"]
THROUGHPUT = "output_throughput_tok_s"
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
    "stated_level",
    "level",
    "status",
    "site",
    "image",
    "image_digest",
    "rootfs_digest",
)
# Of the requests of a run: asked for, answered, failed.
REQUESTS = ("requests_asked", "requests_completed", "requests_failed")
INTEGER = ("iteration", "block", "position", "study_number", "batch", "devices", *REQUESTS)
SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(_TEXT, pl.String),
    **dict.fromkeys(INTEGER, pl.Int64),
    "started_s": pl.Float64,
    "simulated": pl.Boolean,
    "speculative": pl.Boolean,
    **dict.fromkeys(STATE, pl.Float64),
}
COLUMNS = tuple(SCHEMA)
# What a study is about, the most telling first.
_A_SPEED = re.compile(
    r"throughput|latency|ttft|tpot|(^|[^a-z])itl|tok|(per|/)_?\s?s|(^|[^a-z])(t?tps|rps|qps|m?s|time|speed|duration|score|tflops)([^a-z]|$)"
)
_PRIMARY = (THROUGHPUT, "request_throughput_req_s", "latency_mean_ms", "latency_p50_ms", "tpot_mean_ms", "itl_mean_ms")


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
    remarks: tuple[Finding | NotJudged, ...] = ()
    default_site: str | None = None
    planned: tuple[tuple[str, str], ...] = ()
    gpus: tuple[str, ...] = ()
    own_images: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)

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
        return tuple(name for name in self.others if self._is_metric(name))

    @property
    def others(self) -> tuple[str, ...]:
        """Columns outside the normal form that hold any value: metrics, parameters, identities, states."""
        return tuple(name for name in self.frame.columns if name not in SCHEMA and self.frame[name].count())

    @property
    def primary(self) -> str | None:
        """The metric that the study is about: throughput, else a latency, else the first one that is known or is a speed."""
        metrics = self.metrics
        known = (name for name in metrics if name in BY_NAME or _A_SPEED.search(name.casefold()))
        return next((name for name in (*_PRIMARY, *known) if name in metrics), None)

    def _is_metric(self, name: str) -> bool:
        return self.roles.get(name, "metric") == "metric" and self.frame.schema[name] == pl.Float64

    def with_roles(self, roles: Mapping[str, Role]) -> "Results":
        """The same rows with further roles of columns; each level of a parameter becomes a cell of its own."""
        every = {**self.roles, **roles}
        return replace(self, roles=every, frame=levelled(self.frame, every))


def levelled(frame: pl.DataFrame, roles: Mapping[str, Role]) -> pl.DataFrame:
    """Each level of the load and of the parameters under a name of its own: no replicate of what another level measured.

    What has one value in every arm of every model makes no level: arms may differ in it (then it is an alternative cause of
    their difference), and models may each have their own batch and still be one cell an arm.
    """
    stated = frame["stated_level"].null_count() < len(frame)
    names = [name for name, role in roles.items() if role == "parameter" and name in frame.columns]
    names = [*([] if stated else ["batch"]), *names]
    parts = [_part(frame, name) for name in names if _varies_in_an_arm(frame, name)]
    level = pl.concat_str("stated_level", *parts, separator=" ", ignore_nulls=True)
    named = pl.format("{} {}", "model_name", "level")
    return frame.with_columns(level=pl.when(level != "").then(level)).with_columns(
        model=pl.when(pl.col("level").is_null()).then("model_name").otherwise(named)
    )


def _varies_in_an_arm(frame: pl.DataFrame, name: str) -> bool:
    counts = frame.drop_nulls(name).group_by("model_name", "environment").agg(pl.col(name).n_unique())[name]
    return bool((counts > 1).any())


def _part(frame: pl.DataFrame, name: str) -> pl.Expr:
    """`name=value`, whole numbers without a point; null where there is no value."""
    column = frame[name]
    whole = column.dtype == pl.Float64 and bool((column.drop_nulls() % 1 == 0).all())
    return pl.format("{}={}", pl.lit(name), pl.col(name).cast(pl.Int64) if whole else pl.col(name))
