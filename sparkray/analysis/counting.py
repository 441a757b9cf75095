"""Numbers for sentences: a cell of a row, how many rows have these values, a constant of the method; each with its trace."""

from collections.abc import Mapping, Sequence
from typing import Any

from sparkray.analysis.keys import CONTEXT, METHOD, distinct_id, tally_id
from sparkray.analysis.text import Part, Text, number_of, say

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]
CONFIDENCE = number_of(95.0, "level", trace=f"{METHOD}confidence", column="value")


def cell(row: Row, column: str, form: str) -> Part:
    """A value of a row; words as they stand there; a dash where there is none."""
    return number_of(row.get(column), form, trace=str(row["trace"]), column=column)


def interval(row: Row, low: str, high: str, form: str) -> Text:
    """`0.9949 to 1.0012`."""
    return say("{low} to {high}", low=cell(row, low, form), high=cell(row, high, form))


def chosen(tables: Tables, name: str, /, **where: object) -> list[Row]:
    """Rows of a table that have these values; None asks for null."""
    return [row for row in tables[name] if all(row.get(column) == value for column, value in where.items())]


def count(tables: Tables, name: str, /, **where: object) -> Part:
    """How many rows of a table have these values."""
    found = len(chosen(tables, name, **where))
    return number_of(found, "count", trace=tally_id(name, where), column="count")


def fact(context: Mapping[str, Any], path: str) -> Part:
    """What was done, by its key in the context."""
    return number_of(context.get(path), "count", trace=CONTEXT + path, column="value")


def models(tables: Tables, name: str, /, **where: object) -> Text:
    """`10 models`; where a load has levels, `70 cells (10 models at 7 levels of the load)`: a level is no further model."""
    rows = chosen(tables, name, **where)

    def different(column: str) -> Part:
        found = len({row[column] for row in rows})
        return number_of(found, "count", trace=distinct_id(name, column, where), column="count")

    if len({row["level"] for row in rows}) > 1:
        return say(
            "{cells} cells ({models} models at {levels} levels of the load)",
            cells=count(tables, name, **where),
            models=different("model"),
            levels=different("level"),
        )
    noun = "model" if len({row["model"] for row in rows}) == 1 else "models"
    return say("{models} {noun}", models=different("model"), noun=noun)
