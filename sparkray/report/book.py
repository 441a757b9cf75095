"""The book of a report: the tables that it may quote, and the evidence of every number that it does quote.

Numbers come out of here and from nowhere else. `number` quotes a row's value, `count` tallies rows, `fact` quotes what was
done (the analysis's context), `linked` quotes a cell that is a sentence with numbers in it, as a whole. What was quoted is
remembered by its trace id, and `evidence` tells for each id which table, which rows, how many.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import polars as pl
import yaml

from sparkray.analysis import Analysis, trace
from sparkray.analysis.keys import AGAINST, CONTEXT, DISTINCT, TALLY, distinct_id, tally_id, tally_of
from sparkray.analysis.text import Number, Part, Text, number_of
from sparkray.analysis.tracing import Trace, scope_of
from sparkray.errors import InputError

NUMERAL = re.compile(r"(?<![\w.\-/@:=])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w/@]|\.\d|:\d|-\w)")
"""A number that stands alone in a sentence: not part of a name (`Qwen2-1.5B`), a path, a time or an image's tag."""
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
    def anchor(self) -> str:
        """Id of its entry in the page."""
        return "ev-" + hashlib.sha256(self.trace.encode()).hexdigest()[:10]

    @property
    def line(self) -> str:
        """All of it in a line."""
        rows = "" if self.count is None else f", {self.count} row{'' if self.count == 1 else 's'}"
        return f"{self.table}: {self.where}{rows}{f'. {self.how}' if self.how else ''}"


@dataclass
class Book:
    """What one report quotes from.

    Args:
        analysis: Estimates and verdicts.
        own: Tables that the report derives from them and from the model cards, by name, in the same form, with a
            `trace` column.
        other: The study that this one is held against, whose rows its differences rest on too.
    """

    analysis: Analysis
    own: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    quoted: dict[str, Evidence] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    other: Analysis | None = None

    @property
    def context(self) -> Mapping[str, Any]:
        """What was done."""
        return self.analysis.context

    @property
    def looked(self) -> bool:
        """Whether looks were taken at the primary metrics, in place of a fixed number of pairs."""
        return bool(self.context.get("sequential"))

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

    def number(self, row: Row, column: str, form: str) -> Part:
        """A value of a row, as a number with the row's evidence; a dash where there is none."""
        return number_of(row[column], form, trace=str(row["trace"]), column=column)

    def count(self, name: str, /, **where: object) -> Part:
        """How many rows of a table have these values."""
        return number_of(len(self.rows(name, **where)), "count", trace=tally_id(name, where), column="count")

    def fact(self, path: str, form: str = "count") -> Part:
        """What was done, by its path in the context; a dash where it is not known."""
        value = self.facts.get(path)
        return number_of(value, form, trace=CONTEXT + path, column="value")

    def count_of(self, path: str) -> Part:
        """How many things the context lists under a path."""
        found: Any = self.context
        for step in path.split("/"):
            found = (found or {}).get(step)
        return number_of(len(found or ()), "count", trace=CONTEXT + path, column="count")

    def constant(self, name: str, form: str = "level") -> Part:
        """A constant of the method (`derived.method`) by its name."""
        return self.number(self.rows("method", name=name)[0], "value", form)

    def distinct(self, name: str, column: str, /, **where: object) -> Part:
        """How many different values a column has in the rows that have these values."""
        found = len({row[column] for row in self.rows(name, **where)})
        return number_of(found, "count", trace=distinct_id(name, column, where), column="count")

    def linked(self, text: str | None, trace_id: str) -> Text:
        """A cell that is a sentence. With numbers in it the whole of it is quoted, with the row's evidence."""
        if not text:
            return ()
        return (Number(text, trace_id),) if NUMERAL.search(text) else (text,)

    def evidence(self, trace_id: str, column: str = "") -> Evidence:
        """Where the number of that id comes from, remembered; a column of a row may rest on other rows than most of it.

        Raises:
            InputError: Nothing has that id.
        """
        key = trace_id + scope_of(trace_id, column)
        if key not in self.quoted:
            self.quoted[key] = self._evidence(key)
        return self.quoted[key]

    def first_place(self, evidence: Evidence) -> str:
        """The id of a number's place in the page, the first time that its evidence is quoted; later nothing."""
        if evidence.trace in self.places:
            return ""
        self.places[evidence.trace] = evidence.anchor.replace("ev-", "at-", 1)
        return self.places[evidence.trace]

    def behind(self, trace_id: str) -> Iterator[tuple[Evidence, pl.DataFrame]]:
        """The evidence, with rows, of what a derived row was made from; nothing where a row was made from runs."""
        for support in self.evidence(trace_id).supports:
            yield self.open(support)

    def _evidence(self, trace_id: str) -> Evidence:
        if trace_id.startswith((TALLY, DISTINCT)):
            name, column, where = tally_of(trace_id)
            words = " AND ".join(map(_condition, where.items())) or "all rows"
            how = f"The number counts the different values of {column} in" if column else "The number counts"
            return Evidence(trace_id, name, words, len(self.rows(name, **where)), f"{how} these rows")
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
        how = f"In the other study's dataset, {self.other.path.name}" if self.other and _is_theirs(trace_id) else ""
        return Evidence(trace_id, seen.table, seen.filter, seen.count, how)

    def open(self, trace_id: str) -> tuple[Evidence, pl.DataFrame]:
        """The evidence and the rows themselves.

        Raises:
            InputError: Nothing has that id.
        """
        evidence = self.evidence(trace_id)
        if trace_id.startswith((TALLY, DISTINCT)):
            name, _, where = tally_of(trace_id)
            return evidence, chosen(self.table(name), where)
        if trace_id.startswith(CONTEXT):
            return evidence, self._told(trace_id.removeprefix(CONTEXT))
        if evidence.table in self.own:
            return evidence, self.own[evidence.table].filter(pl.col("trace") == trace_id)
        return evidence, self._rows_of(trace_id).rows

    def _rows_of(self, trace_id: str) -> Trace:
        """The dataset's rows behind a trace: of this study, or of the one that it is held against."""
        if not _is_theirs(trace_id):
            return trace(self.analysis, trace_id)
        if self.other is None:
            raise InputError(f"{trace_id!r} leads to another study", "Name its dataset: --against DIR")
        return replace(trace(self.other, trace_id.removeprefix(AGAINST)), id=trace_id)

    def _below(self, path: str) -> Mapping[str, Any]:
        """Every value of the context at a path or below it."""
        return {key: value for key, value in self.facts.items() if key == path or key.startswith(f"{path}/")}

    def _told(self, path: str) -> pl.DataFrame:
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


def _is_theirs(trace_id: str) -> bool:
    return trace_id.startswith(AGAINST)


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
