"""Traces: the keys by which every number finds the rows it was computed from.

A key is a table's name and what names the row in it, with slashes between: `comparisons/Mistral-7B//native/ttft_mean_ms`
(the empty part is the level of an experiment that has but one).
"""

from sparkray.errors import InputError


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
