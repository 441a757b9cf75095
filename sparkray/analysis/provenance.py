"""Provenance: from a number back to the table, filter and rows of the dataset that it was computed from.

A filter is SQL, so that any tool can run it on the dataset's Parquet; it is also what is executed here (by Polars), so text
and rows agree. One thing it cannot express: of several attempts at a run the first ok one counts, as in `runs`.

Most columns of a row rest on the same rows. Where some rest on others, a scope behind the id names them: every run of both
arms (`comparisons/...#arms`), every arm (`diagnostics/...#blocks`), the blocks of all three arms (`gap/...#three`), both
comparisons with the reference (`gap/...#verdicts`), every group of models (`size/...#groups`, `contrasts/...#groups`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from sparkray.analysis.arms import arms_between
from sparkray.analysis.context import GROUPINGS, Cards, protocol_of
from sparkray.analysis.frames import Cell, Frames, open_frames
from sparkray.analysis.gap import logs_by_block
from sparkray.analysis.interim import InterimAnalyses
from sparkray.analysis.knee import THROUGHPUT, levels_of
from sparkray.analysis.provenance_ids import SCOPE, parts_of
from sparkray.analysis.study import Analysis
from sparkray.config.site import CONTAINER_BASELINE
from sparkray.errors import InputError, UnknownNameError
from sparkray.store.tables import TABLES

MOST_ROWS = 1000
_OK = "status = 'ok'"
_WHERE = ("run_id", "attempt", "model", "level", "environment", "block", "position")
_REQUEST = ("run_id", "attempt", "request", "submit_ns", "first_token_ns", "end_ns")
_SAMPLE = ("run_id", "attempt", "sampler", "t_ns", "gpu_temp_c", "gpu_power_w", "gpu_util_pct", "cpu_busy_pct")
_CHECK = ("run_id", "attempt", "check", "verdict", "evidence")


@dataclass(frozen=True)
class Trace:
    """The evidence of a number.

    Attributes:
        id: Its key.
        table: Table of the dataset: runs, requests, samples or checks.
        filter: SQL over that table (over `runs` joined to it by run_id and attempt, where it names the run's columns).
        columns: The columns that went in.
        rows: The rows, at most 1000 of them.
        count: How many rows there are.
    """

    id: str
    table: str
    filter: str
    columns: tuple[str, ...]
    rows: pl.DataFrame
    count: int


@dataclass(frozen=True)
class _Evidence:
    """What a key asks for: a table, a filter over runs and one over the table's own rows, columns."""

    runs: str
    columns: tuple[str, ...]
    table: str = "runs"
    own: str = ""

    @property
    def text(self) -> str:
        return " AND ".join(part for part in (self.runs, self.own) if part) or "TRUE"


def trace(analysis: Analysis | Path, trace_id: str) -> Trace:
    """The rows that a number was computed from.

    Args:
        analysis: An analysis, or the dataset's folder.
        trace_id: A value of a table's column `trace`.

    Raises:
        InputError: It is no such key.
        DatasetError: The dataset cannot be read.
    """
    frames = _frames_of(analysis)
    key, _, scope = trace_id.partition(SCOPE)
    table, parts = parts_of(key)
    rules = _RULES if not scope else _SCOPES.get(scope, {})
    if table not in rules:
        raise UnknownNameError("table", f"{table}{SCOPE if scope else ''}{scope}", list(rules))
    margins = None if isinstance(analysis, Path) else analysis.context.get("margins")
    try:
        evidence = rules[table](_Dataset(frames, margins), parts)
    except (ValueError, IndexError):
        raise InputError(
            f"{trace_id!r} is no trace", f"Take one from the column `trace` of the table {table!r}"
        ) from None
    return _open(frames, trace_id, evidence)


def _frames_of(analysis: Analysis | Path) -> Frames:
    if isinstance(analysis, Path):
        return open_frames(analysis)
    return analysis.frames or open_frames(analysis.path)


def _open(frames: Frames, trace_id: str, evidence: _Evidence) -> Trace:
    source = frames.attempts if evidence.table == "checks" or trace_id.startswith("order/") else frames.ok
    runs = _filtered(source.lazy(), evidence.runs).collect()
    if evidence.table == "runs":
        rows, count = runs.select(evidence.columns), runs.height
    else:
        lazy = frames.scan(evidence.table, runs)
        if lazy is None:
            rows, count = pl.DataFrame(schema=dict.fromkeys(evidence.columns, pl.String)), 0
        else:
            found = _filtered(lazy, evidence.own)
            count = int(found.select(pl.len()).collect(engine="streaming").item())
            rows = found.select(evidence.columns).head(MOST_ROWS).collect()
    return Trace(trace_id, evidence.table, evidence.text, evidence.columns, rows.head(MOST_ROWS), count)


@dataclass(frozen=True)
class _Dataset:
    """A dataset with the margins of its analysis, which interim analyses end by."""

    frames: Frames
    margins: Mapping[str, float] | None

    def used(self, cell: Cell, against: Cell, metric: str, first: int | None) -> list[int]:
        """The blocks whose pairs went into a comparison, or into its verdict after the first so many."""
        protocol = protocol_of(self.frames, self.margins, 0)
        arms = arms_between(self.frames, cell, against, metric)
        last = InterimAnalyses(self.frames, protocol).last(arms)
        if first is not None:
            arms = arms.first(first) if last is None else arms.completed_first(first)
        elif last is not None:
            arms = arms.used(last)
        return list(map(int, arms.blocks))


def _filtered(lazy: pl.LazyFrame, sql: str) -> pl.LazyFrame:
    return lazy.filter(pl.sql_expr(sql)) if sql else lazy


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _is(**values: str) -> str:
    return " AND ".join(f"{name} = {_quoted(value)}" for name, value in values.items())


def _with(metric: str, *conditions: str) -> _Evidence:
    """The ok runs that meet conditions and have a metric."""
    return _Evidence(" AND ".join((_OK, *conditions, f"{_metric(metric)} IS NOT NULL")), (*_WHERE, metric))


def _in(column: str, values: Iterable[str]) -> str:
    listed = ", ".join(map(_quoted, dict.fromkeys(values)))
    return f"{column} IN ({listed})" if listed else "FALSE"


def _references(frames: Frames) -> set[str]:
    return {found.environment for cell in frames.cells if (found := frames.reference_of(cell))}


def _known(frames: Frames, model: str, level: str, environment: str) -> Cell:
    """Raises ValueError for a cell that the dataset does not have."""
    cell = Cell(model, level, environment)
    if cell not in frames.cells:
        raise ValueError(cell)
    return cell


def _metric(name: str) -> str:
    """Raises ValueError for a column that `runs` does not have."""
    if name not in {column.name for column in TABLES["runs"]}:
        raise ValueError(name)
    return name


def _cell(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    """The runs of a cell that have a metric."""
    model, level, environment, metric = parts
    _known(data.frames, model, level, environment)
    return _with(metric, _is(model=model, level=level, environment=environment))


def _of_arms(cells: Sequence[Cell], metric: str, blocks: Sequence[int] | None) -> _Evidence:
    """The runs of arms of one model and level; of some blocks, or whatever block they are in."""
    one = cells[0]
    some = _with(
        metric, _is(model=one.model, level=one.level), _in("environment", (cell.environment for cell in cells))
    )
    if blocks is None:
        return some
    listed = f"block IN ({', '.join(map(str, blocks))})" if blocks else "FALSE"
    return replace(some, runs=f"{some.runs} AND {listed}")


def _every_load(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    """The runs of an environment at every load of a model."""
    model, environment = parts
    levels = levels_of(data.frames, model, environment)
    return _with(THROUGHPUT, _is(model=model, environment=environment), _in("level", levels))


def _compared(data: _Dataset, parts: Sequence[str]) -> tuple[Cell, Cell, str]:
    """Cell, reference and metric of a comparison."""
    model, level, environment, metric = parts
    cell = _known(data.frames, model, level, environment)
    return cell, data.frames.reference_of(cell) or cell, _metric(metric)


def _comparison(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    """The pairs that the verdict rests on; those after so many where the key names a number."""
    cell, against, metric = _compared(data, parts[:4])
    first = int(parts[4]) if len(parts) > 4 else None  # noqa: PLR2004 - what a comparison's key has
    if len(parts) > 5:  # noqa: PLR2004 - likewise
        raise ValueError(parts)
    return _of_arms((against, cell), metric, data.used(cell, against, metric, first))


def _both_arms(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    """Every run of both arms, paired or not: what the protocol's own tests take."""
    cell, against, metric = _compared(data, parts)
    return _of_arms((against, cell), metric, None)


def _gap(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    cell, baseline, metric = _containers(data, parts)
    arms = arms_between(data.frames, cell, baseline, metric)
    return _of_arms((baseline, cell), metric, list(map(int, arms.blocks)))


def _containers(data: _Dataset, parts: Sequence[str]) -> tuple[Cell, Cell, str]:
    """Optimised container, baseline container and metric of a gap."""
    model, level, environment, metric = parts
    baseline = _known(data.frames, model, level, CONTAINER_BASELINE)
    return _known(data.frames, model, level, environment), baseline, _metric(metric)


def _three_arms(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    """Both containers and their reference in the blocks that hold all three: what a part of a gap is made of."""
    cell, baseline, metric = _containers(data, parts)
    reference = data.frames.reference_of(cell) or baseline
    before, after = (logs_by_block(arms_between(data.frames, one, reference, metric)) for one in (baseline, cell))
    return _of_arms((reference, baseline, cell), metric, sorted(before.keys() & after.keys()))


def _both_verdicts(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    """The pairs of either container's comparison with the reference: whether there is a gap, and whether it is closed."""
    cell, baseline, metric = _containers(data, parts)
    reference = data.frames.reference_of(cell) or baseline
    sides = [_of_arms((reference, one), metric, data.used(one, reference, metric, None)) for one in (baseline, cell)]
    return _Evidence(" OR ".join(f"({side.runs})" for side in sides), sides[0].columns)


def _every_arm(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    """The runs of every environment of the model: variance between blocks is theirs together."""
    model, level, environment, metric = parts
    _known(data.frames, model, level, environment)
    return _with(metric, _is(model=model, level=level))


def _across(frames: Frames, models: Sequence[str], environment: str, *, metric: str, level: str) -> _Evidence:
    """The runs of an environment and of its references, of some models at one level."""
    arms = _in("environment", sorted({*_references(frames), environment}))
    return _with(metric, _in("model", models), arms, _is(level=level))


def _power(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    environment, metric, level, _, _ = parts
    return _across(data.frames, _models(data.frames), environment, metric=metric, level=level)


def _models(frames: Frames) -> list[str]:
    return sorted({cell.model for cell in frames.cells})


def _size(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    environment, metric, group_by, level, group = parts
    models = _models(data.frames)
    if group_by in GROUPINGS:
        models = _members(data.frames, group_by, (group,))
    elif group_by == "size":
        models = [group]
    return _across(data.frames, models, environment, metric=metric, level=level)


def _members(frames: Frames, group_by: str, groups: Sequence[str] | None) -> list[str]:
    """Models of some architectures or precisions; of all of them when None."""
    cards = Cards(frames.document.get("cards", []))
    named = {model: getattr(cards.of(model), group_by) for model in _models(frames)}
    return [model for model, name in named.items() if name is not None and (groups is None or str(name) in groups)]


def _every_group(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    """The runs of every model that is in a group of that kind: all of them tell how models scatter inside of groups."""
    environment, metric, *rest = parts
    group_by, level = (rest[0], rest[1]) if len(rest) == _OF_GROUP else (rest[1], rest[0])
    if group_by not in GROUPINGS:
        raise ValueError(group_by)
    return _across(data.frames, _members(data.frames, group_by, None), environment, metric=metric, level=level)


def _contrast(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    """The runs of both groups."""
    environment, metric, level, group_by, first, second = parts
    if group_by not in GROUPINGS:
        raise ValueError(group_by)
    return _across(
        data.frames, _members(data.frames, group_by, (first, second)), environment, metric=metric, level=level
    )


def _request_rows(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    model, level, environment, metric, _ = parts
    _known(data.frames, model, level, environment)
    own = "NOT warmup AND error IS NULL" + (" AND first_token_ns IS NOT NULL" if metric == "ttft_ms" else "")
    return _Evidence(f"{_OK} AND {_is(model=model, level=level, environment=environment)}", _REQUEST, "requests", own)


def _sample_rows(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    """Every sample of the cell: which stretch of its run one lies in follows from the run's first and last."""
    model, level, environment, _ = parts
    _known(data.frames, model, level, environment)
    return _Evidence(f"{_OK} AND {_is(model=model, level=level, environment=environment)}", _SAMPLE, "samples")


def _run(_: _Dataset, parts: Sequence[str]) -> _Evidence:
    where = _is(run_id=parts[0]) + (f" AND attempt = {int(parts[1])}" if len(parts) > 1 else f" AND {_OK}")
    return _Evidence(where, tuple(column.name for column in TABLES["runs"]))


def _check(_: _Dataset, parts: Sequence[str]) -> _Evidence:
    check, verdict = parts
    return _Evidence("", _CHECK, "checks", _is(check=check, verdict=verdict))


def _question(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    """Every ok run of the environments and metric that an answer is of."""
    number, environment, metric, level, _ = parts
    int(number)
    where = [_OK, *([_is(level=level)] if level else [])]
    if environment:
        beside = {CONTAINER_BASELINE} if number == "3" else set[str]()
        where.append(_in("environment", sorted({*_references(data.frames), environment, *beside})))
    if metric:
        where.append(f"{_metric(metric)} IS NOT NULL")
    return _Evidence(" AND ".join(where), (*_WHERE, *([metric] if metric else [])))


def _decision(data: _Dataset, parts: Sequence[str]) -> _Evidence:
    """The ok runs behind a decision: of all, of one model, or of one of its cells with the reference."""
    model, level, environment = (*parts, "", "")[:3]
    if parts == ["all"]:
        return _Evidence(_OK, _WHERE)
    if model not in {cell.model for cell in data.frames.cells}:
        raise ValueError(model)
    where = [_OK, _is(model=model)]
    if environment:
        reference = data.frames.reference_of(_known(data.frames, model, level, environment))
        names = [environment, *([reference.environment] if reference else [])]
        where += [_is(level=level), _in("environment", names)]
    return _Evidence(" AND ".join(where), _WHERE)


_OF_GROUP = 3  # parts of an id of `size` behind environment and metric
_Rule = Callable[[_Dataset, Sequence[str]], _Evidence]
_RULES: Mapping[str, _Rule] = {
    "descriptive": _cell,
    "comparisons": _comparison,
    "diagnostics": _cell,
    "verdict_by_n": _comparison,
    "power_curve": _power,
    "size": _size,
    "contrasts": _contrast,
    "gap": _gap,
    "knee": _every_load,
    "memory": _cell,
    "order": _run,
    "requests": _request_rows,
    "temperatures": _sample_rows,
    "questions": _question,
    "decisions": _decision,
    "recommendations": _decision,
    "study": _decision,
    "threats": lambda data, parts: _cell(data, parts[1:]),  # the cell that shows a threat most clearly
    "checks": _check,
    "runs": _run,
}

_SCOPES: Mapping[str, Mapping[str, _Rule]] = {
    "arms": {"comparisons": _both_arms},
    "blocks": {"diagnostics": _every_arm},
    "three": {"gap": _three_arms},
    "verdicts": {"gap": _both_verdicts},
    "groups": {"size": _every_group, "contrasts": _every_group},
}
