"""What each column of results is, with the reason: parameter, metric, identity, state. Pure.

A format's reader knows the roles of its own keys. For other columns the name decides (`roles.yaml`), else the type: numbers
are a metric, text is an identity. `--by` and `--role` overrule both.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import polars as pl

from sparkray.audit.names import plain
from sparkray.audit.results import Results, Role
from sparkray.audit.wordlists import word_list
from sparkray.errors import UnknownNameError
from sparkray.metrics import BY_NAME

ROLES: tuple[Role, ...] = ("parameter", "metric", "identity", "state", "time")
_MOST_LEVELS = 12
_FEWEST_STEPS = 2
_MEASURED = re.compile(
    r"_(ns|us|ms|s|gib|gb|mib|mb|kib|kb|w|j|kj|pct|c)$|per_|throughput|latency|ttft|itl|tpot|time|duration|tok|mem|rss|power|energy"
    r"|util|score|accura|perplex|count|complet|success|succeed|fail|error|loss|lost|drop|rate$|total|mean|median|avg|std|p\d\d"
)
# Of answers: how many were right, and benchmarks that count them.
_SCORE = re.compile(
    r"(^|_)(scores?|accuracy|acc|perplexity|ppl|passed|pass_(at_)?\d+|correct(ness|ly)?|solved|resolved|exact_match|f1|bleu|rouge(_?\w)?|elo"
    r"|human_?eval(_?plus)?|mbpp(_?plus)?|mmlu(_?(pro|redux))?|gsm8k|gpqa|math_?500|aime(_?\d+)?|ifeval|bbh|arc_?(c|e|agi)|hella_?swag"
    r"|wino_?grande|truthful_?qa|swe_?bench\w*|live_?code_?bench|mt_?bench|alpaca_?eval)(_|$)"
)
# The same, where cells are parts of a whole: `31/164` below `tests`.
_ASKED = re.compile(r"(^|_)(tests|tasks|problems|questions|answers|cases|items|pass(es)?)(_|$)")

# Numbers with such names are outcomes, whatever else the names hold: `tokens_per_s_per_gpu`, `power_gpu`, `wall_clock_s`.
_OUTCOME: Mapping[Role, re.Pattern[str]] = {
    "identity": re.compile(
        r"per_|throughput|latency|ttft|itl|tpot|time|duration|(?<!memory_)util|power|energy|_(ms|s|w|j|pct)$"
    ),
    "state": re.compile(r"wall_clock|(cold|warm)_start"),
    "parameter": re.compile(r"(?!)"),
    "time": re.compile(r"(?!)"),
    "metric": re.compile(r"(?!)"),
}
# Numbers below these names alone say how busy a device was, not which it was.
_DEVICE = re.compile(r"^(cpu|gpu|image|device)$")
# Settings that are written with a decimal point, or in percent.
_FRACTION = re.compile(r"version|release|cuda|driver|firmware|kernel$|quant|limit|size|fraction|memory_utili")


@dataclass(frozen=True)
class Column:
    """A column with its role and why it has that role."""

    name: str
    role: Role
    reason: str


@dataclass(frozen=True)
class _Pattern:
    """The role of columns by a pattern of their names; a `fixed` one holds whatever the cells show."""

    role: Role
    pattern: re.Pattern[str]
    reason: str
    fixed: bool


def columns_of(results: Results, asked: Mapping[str, Role] | None = None) -> list[Column]:
    """Every column outside the normal form with its role and the reason.

    Args:
        results: As they were read.
        asked: Roles that the user gives.

    Raises:
        UnknownNameError: `asked` names a column that there is not.
    """
    for name in asked or {}:
        if name not in results.others:
            raise UnknownNameError("column of the results", name, list(results.others))
    columns = [_column(results, name, (asked or {}).get(name)) for name in results.others]
    for counts_on in (False, True):  # what counts on may number the runs of cells that the other columns make
        cells = with_roles(results, [column for column in columns if column.role == "parameter"])
        columns = [
            _swept(cells, column, asked or {}) if _counts_on(cells.frame[column.name]) == counts_on else column
            for column in columns
        ]
    return columns


def is_state(name: str) -> bool:
    """Whether a name is that of a state of the machine."""
    return next((one.role for one in _patterns() if one.pattern.search(plain(name))), None) == "state"


def is_setting(name: str) -> bool:
    """Whether a name is that of a setting or of a parameter of the test."""
    first = next((one for one in _patterns() if one.pattern.search(plain(name))), None)
    return first is not None and first.role in ("identity", "parameter") and not first.fixed


def is_score(name: str, *, of_whole: bool = False) -> bool:
    """Whether a name is that of a score, an outcome of the runs; of parts of a whole also what was asked."""
    words = plain(name)
    return _SCORE.search(words) is not None or (of_whole and _ASKED.search(words) is not None)


def is_measured(name: str, values: pl.Series) -> bool:
    """Whether numbers below the name of a setting were rather measured: in percent, with decimals, or of a device."""
    words, given = plain(name), values.drop_nulls()
    numbers = given.cast(pl.Float64, strict=False)  # identities are text
    by_name = next((one.role for one in _patterns() if one.pattern.search(words)), None)
    if numbers.null_count() or by_name == "parameter" or _FRACTION.search(words):
        return False
    return "%" in name or bool(_DEVICE.search(words)) or not bool((numbers % 1 == 0).all())


def is_run_number(name: str) -> bool:
    """Whether a name is that of a number of the run, which no cell is made of."""
    return any(one.fixed and one.pattern.search(plain(name)) for one in _patterns())


def with_roles(results: Results, columns: Iterable[Column]) -> Results:
    """The results with the roles of their columns; each level of a parameter becomes a cell of its own."""
    return results.with_roles({column.name: column.role for column in columns})


def _column(results: Results, name: str, asked: Role | None) -> Column:
    if asked is not None:
        return Column(name, asked, "as you said")
    if name in results.roles:
        return Column(name, results.roles[name], f"known from the format ({results.source})")
    return _inferred(results, name)


def _inferred(results: Results, name: str) -> Column:
    if name in BY_NAME:
        return Column(name, "metric", "a metric of sparkray's")
    words = plain(name)
    is_outcome = _MEASURED.search(words) or _SCORE.search(words)
    measured = results.frame.schema[name] == pl.Float64 and is_outcome is not None
    by_name = next(
        (
            Column(name, one.role, one.reason)
            for one in _patterns()
            if one.pattern.search(words) and not (measured and _OUTCOME[one.role].search(words))
        ),
        None,
    )
    if by_name is not None:
        return by_name
    if results.frame.schema[name] != pl.Float64:
        return Column(name, "identity", "text")
    if not is_outcome and _differs_by_arm_alone(results, name):
        return Column(name, "identity", "one number in all runs of an arm")
    return Column(name, "metric", "numbers, and its name is that of no setting")


def _swept(results: Results, column: Column, asked: Mapping[str, Role]) -> Column:
    """A parameter in place of a setting or number that the runs of every cell were swept over; else the same column."""
    name, words = column.name, plain(column.name)
    given = name in asked or name in results.roles or name in BY_NAME or is_run_number(name)
    measured = results.frame.schema[name] == pl.Float64 and (_MEASURED.search(words) or _SCORE.search(words))
    if column.role in ("identity", "metric") and not given and not measured and _is_crossed(results, name):
        return Column(name, "parameter", "every arm has each of its levels equally often")
    return column


def _is_crossed(results: Results, name: str) -> bool:
    """Whether runs of every cell split evenly into the same few levels: a test that was swept over them.

    A cell has one model, arm, and level of the load and of the known parameters. Levels that occur once a cell may number
    its runs, unless they are numbers with unequal steps (1024, 8192, 32768), or occur in several cells and do not count on.
    """
    frame = results.frame.drop_nulls(["model", "environment"])
    levels = frame[name].drop_nulls().unique()
    if frame[name].null_count() or not 1 < len(levels) <= _MOST_LEVELS:
        return False
    cells = frame.group_by("model_name", "model", "environment", name).agg(count=pl.len())
    cells = cells.group_by("model_name", "model", "environment").agg(
        levels=pl.len(), least=pl.col("count").min(), most=pl.col("count").max()
    )
    if not bool((cells["levels"] == len(levels)).all() and (cells["least"] == cells["most"]).all()):
        return False
    several = bool((cells.group_by("model_name", "environment").len()["len"] > 1).all())
    return bool((cells["least"] > 1).all()) or _steps_differ(levels) or (several and not _counts_on(levels))


def _steps_differ(levels: pl.Series) -> bool:
    return (
        levels.dtype.is_numeric() and len(levels) > _FEWEST_STEPS and levels.sort().diff().drop_nulls().n_unique() > 1
    )


def _counts_on(column: pl.Series) -> bool:
    """Whether levels are 1, 2, 3 or `r1`, `r2`, `r3`, as numbers of runs are."""
    levels = column.drop_nulls().unique()
    if len(levels) > _MOST_LEVELS:
        return False
    numbers = levels if levels.dtype.is_numeric() else levels.str.extract(r"(\d+)\D*$").cast(pl.Int64, strict=False)
    return not numbers.null_count() and bool((numbers.sort().diff().drop_nulls() == 1).all())


def _differs_by_arm_alone(results: Results, name: str) -> bool:
    """Whether every arm of a model has one number, several times, and arms differ in it."""
    frame = results.ok.drop_nulls(name)
    arms = frame.group_by("model_name", "environment").agg(values=pl.col(name).n_unique(), runs=pl.len())
    return len(frame) > 0 and arms["values"].max() == 1 and arms["runs"].min() != 1 and _by_arm(frame, name)


def _by_arm(frame: pl.DataFrame, name: str) -> bool:
    return bool((frame.group_by("model_name").agg(pl.col(name).n_unique())[name] > 1).any())


def candidates(results: Results) -> Iterator[str]:
    """Columns that split the runs of every arm evenly and tell apart rows that share model, arm and iteration.

    Such a column is likely a factor of the study that nobody named: it is asked for, and no replicate is accused.
    """
    run = ["model", "environment", "iteration"]
    frame = results.ok.drop_nulls("iteration")
    several = frame.filter(pl.len().over(run) > 1)
    if several.is_empty():
        return
    metrics = results.metrics
    for name in frame.columns:
        if name in (*run, "row", "stated_level", "level", "model_name", "started_s", "position") or name in metrics:
            continue
        values = several.drop_nulls(name)
        if len(values) < len(several) or not 1 < values[name].n_unique() <= _MOST_LEVELS:
            continue
        sizes = values.group_by("model", "environment", name).agg(count=pl.len())["count"]
        if values.select(*run, name).n_unique() == len(values) and sizes.min() == sizes.max():
            yield name


@cache
def _patterns() -> tuple[_Pattern, ...]:
    """Roles by patterns of names, in the order in which they are tried."""
    return tuple(
        _Pattern(one["role"], re.compile(one["name"]), one["reason"], "fixed" in one) for one in word_list("roles.yaml")
    )
