"""Traces: the keys by which every number finds the rows it was computed from; and those of counts of rows.

A key is a table's name and what names the row in it, with slashes between: `comparisons/Mistral-7B//native/ttft_mean_ms`
(the empty part is the level of an experiment that has but one).
"""

import json
from collections.abc import Mapping

from sparkray.errors import InputError

TALLY, CONTEXT = "tally/", "context/"
"""How traces begin that a report opens: counts of rows, what was done."""
AGAINST = "against/"
"""How those begin that lead to the rows of another study, which a report is held against."""


def key(table: str, *parts: object) -> str:
    """The trace of a row; a slash inside a part is escaped."""
    return "/".join([table, *(str(part).replace("%", "%25").replace("/", "%2F") for part in parts)])


def parts_of(trace_id: str) -> tuple[str, list[str]]:
    """Table and parts of a trace.

    Raises:
        InputError: It has no parts.
    """
    table, *parts = trace_id.split("/")
    if not parts:
        raise InputError(f"{trace_id!r} is no trace", "Write TABLE/..., as in the tables' column `trace`")
    return table, [part.replace("%2F", "/").replace("%25", "%") for part in parts]


def tally_id(name: str, where: Mapping[str, object]) -> str:
    """Id of a count of rows: the table and the values that its rows have."""
    return TALLY + name + "".join(f"&{column}={json.dumps(value)}" for column, value in where.items())


def tally_of(trace_id: str) -> tuple[str, dict[str, object]]:
    """Table and values of a count's id.

    Raises:
        InputError: The id is not well-formed.
    """
    name, *parts = trace_id.removeprefix(TALLY).split("&")
    try:
        return name, {key: json.loads(value) for key, _, value in (part.partition("=") for part in parts)}
    except ValueError:
        raise InputError(f"{trace_id!r} is not a trace id", "Copy one from the report's page") from None
