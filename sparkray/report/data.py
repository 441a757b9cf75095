"""The tables of a report and the evidence of their rows.

`rows` reads a table of the analysis or one that the report derived; `evidence` finds for a row's trace id which table, which
rows and how many are behind it, and `open` opens them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import polars as pl
import yaml

from sparkray.analysis import Analysis, trace
from sparkray.analysis.provenance import Trace
from sparkray.analysis.provenance_ids import AGAINST, CONTEXT, TALLY, against, scope_of, tally_of
from sparkray.errors import InputError

_CONTEXT_HOW = "As the experiment's definition and its runs tell it; the values stand in analysis.json under context"
_EMPTY = pl.DataFrame(schema={"trace": pl.String})
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """Where a number comes from.

    Attributes:
        trace: Its id; `report --trace ID` prints the rows.
        table: The table whose rows they are.
        where: Which rows, in words.
        count: How many; None where the source is no table.
        how: What was done with them, where that is not plain.
        supports: Where the row was derived from others, their traces.
    """

    trace: str
    table: str
    where: str
    count: int | None
    how: str = ""
    supports: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """All of it in a line."""
        rows = "" if self.count is None else f", {self.count} row{'' if self.count == 1 else 's'}"
        return f"{self.table}: {self.where}{rows}{f'. {self.how}' if self.how else ''}"


@dataclass
class ReportData:
    """What one report is made of.

    Args:
        analysis: Estimates and verdicts.
        own: Tables that the report derives from them and from the model cards, by name, in the same form, with a
            `trace` column.
        others: The studies that this one is held against, whose rows its differences rest on too.
    """

    analysis: Analysis
    own: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    others: tuple[Analysis, ...] = ()

    @property
    def context(self) -> Mapping[str, Any]:
        """What was done."""
        return self.analysis.context

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """Every value of the context by its path (`margins/latency_mean_ms`)."""
        return dict(_leaves(self.context))

    def table(self, name: str) -> pl.DataFrame:
        """A table by name; one without rows when there is none of that name."""
        return self.own[name] if name in self.own else self.analysis.tables.get(name, _EMPTY)

    def rows(self, name: str, /, **where: object) -> list[Row]:
        """Rows of a table that have these values, in the table's order."""
        frame = self.table(name)
        if any(column not in frame.columns for column in where):
            return []
        return list(chosen(frame, where).iter_rows(named=True))

    def evidence(self, trace_id: str, column: str = "") -> Evidence:
        """Where the number of that id comes from; a column of a row may rest on other rows than most of it.

        Raises:
            InputError: Nothing has that id.
        """
        return self._evidence(trace_id + scope_of(trace_id, column))

    def behind(self, trace_id: str) -> Iterator[tuple[Evidence, pl.DataFrame]]:
        """The evidence, with rows, of what a derived row was made from; nothing where a row was made from runs."""
        for support in self.evidence(trace_id).supports:
            yield self.open(support)

    def _evidence(self, trace_id: str) -> Evidence:
        if trace_id.startswith(TALLY):
            name, where = tally_of(trace_id)
            words = " AND ".join(map(_condition, where.items())) or "all rows"
            return Evidence(trace_id, name, words, len(self.rows(name, **where)), "The number counts these rows")
        if trace_id.startswith(CONTEXT):
            path = trace_id.removeprefix(CONTEXT)
            return Evidence(trace_id, "context", f"path = '{path}' or below", len(self._below(path)), _CONTEXT_HOW)
        for name, frame in self.own.items():
            found = frame.filter(pl.col("trace") == trace_id) if "trace" in frame.columns else frame.clear()
            if len(found):
                supports = json.loads(found["supports"][0] or "[]") if "supports" in found.columns else ()
                how = provenance(name, found.row(0, named=True))
                return Evidence(trace_id, name, f"trace = '{trace_id}'", len(found), how, tuple(supports))
        seen = self._rows_of(trace_id)
        theirs = self._study_of(trace_id)[0]
        how = "" if theirs is self.analysis else f"In the other study's dataset, {theirs.path.name}"
        return Evidence(trace_id, seen.table, seen.filter, seen.count, how)

    def open(self, trace_id: str) -> tuple[Evidence, pl.DataFrame]:
        """The evidence and the rows themselves.

        Raises:
            InputError: Nothing has that id.
        """
        evidence = self.evidence(trace_id)
        if trace_id.startswith(TALLY):
            name, where = tally_of(trace_id)
            return evidence, chosen(self.table(name), where)
        if trace_id.startswith(CONTEXT):
            return evidence, self._context_rows(trace_id.removeprefix(CONTEXT))
        if evidence.table in self.own:
            return evidence, self.own[evidence.table].filter(pl.col("trace") == trace_id)
        return evidence, self._rows_of(trace_id).rows

    def _rows_of(self, trace_id: str) -> Trace:
        """The dataset's rows behind a trace: of this study, or of one that it is held against."""
        study, own_id = self._study_of(trace_id)
        return replace(trace(study, own_id), id=trace_id)

    def _study_of(self, trace_id: str) -> tuple[Analysis, str]:
        """The study that an id leads to, and the id there."""
        for number, other in enumerate(self.others):
            if trace_id.startswith(against(number)):
                return other, trace_id.removeprefix(against(number))
        if trace_id.startswith(AGAINST.rstrip("/")):
            raise InputError(f"{trace_id!r} leads to another study", "Name its dataset: --against DIR")
        return self.analysis, trace_id

    def _below(self, path: str) -> Mapping[str, Any]:
        """Every value of the context at a path or below it."""
        return {key: value for key, value in self.facts.items() if key == path or key.startswith(f"{path}/")}

    def _context_rows(self, path: str) -> pl.DataFrame:
        values = self._below(path)
        if not values:
            raise InputError(f"nothing in the context has the path {path!r}", "The paths stand in analysis.json")
        return pl.DataFrame({"path": list(values), "value": [str(value) for value in values.values()]})


@cache
def _provenance() -> Mapping[str, str]:
    text = files("sparkray.report").joinpath("templates", "provenance.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def provenance(table: str, row: Row) -> str:
    """How a row of a derived table was made."""
    texts = _provenance()
    if table not in texts:
        table = "optimisation" + ("" if row["condition"] is None else "_column" if row["column"] else "_runs")
    return texts[table].format_map(row)


def chosen(frame: pl.DataFrame, where: Mapping[str, object]) -> pl.DataFrame:
    """Rows that have these values; None asks for null."""
    for column, value in where.items():
        frame = frame.filter(pl.col(column).is_null() if value is None else pl.col(column) == value)
    return frame


def _condition(pair: tuple[str, object]) -> str:
    """A condition as SQL has it."""
    column, value = pair
    if value is None:
        return f"{column} IS NULL"
    return f"{column} = '{value}'" if isinstance(value, str) else f"{column} = {json.dumps(value)}"


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}/{key}" if path else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}/{index}")
    else:
        yield path, value
