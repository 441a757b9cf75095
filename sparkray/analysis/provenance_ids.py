"""Provenance ids: the values of the column `trace`, by which a number leads to its rows; and those of counts of rows.

An id is a table's name and the parts that identify the row in it, with slashes between (an empty part is the level of an
experiment that has but one): `comparisons/Mistral-7B//native/ttft_mean_ms`.
"""

import json
from collections.abc import Mapping, Sequence

from sparkray.analysis.context import GROUPINGS
from sparkray.errors import InputError

# Beginnings of ids that a report opens: counts of rows, and the context of the study.
TALLY, CONTEXT = "tally/", "context/"
# Beginning of ids of the other study, which a report compares with; a second one has `against-2/`.
AGAINST = "against/"
# In front of a scope: the rows that some columns of a row rest on in place of its own
# (`sparkray.analysis.provenance`).
SCOPE = "#"
# Where an id of `size` has what models are grouped by.
_GROUP_BY = 2
_ARMS = (
    *("test", "rule", "statistic", "p", "shapiro_p_a", "shapiro_p_b", "levene_p", "bootstrap_low", "bootstrap_high"),
    *("cohen_d", "d_low", "d_high", "hedges_g", "g_low", "g_high", "power_post_hoc", "p_bonferroni", "p_holm", "p_bh"),
)
_SHARES = ("share_between_blocks_pct", "share_within_pct", "share_run_request_pct")
_SCOPED: Mapping[str, Mapping[str, Sequence[str]]] = {
    "comparisons": {"arms": _ARMS},
    "diagnostics": {"blocks": _SHARES},
    "gap": {
        "three": ("closed_pct", "closed_low_pct", "closed_high_pct"),
        "verdicts": ("gap_shown", "closed", "gap_p_holm"),
    },
    "size": {"groups": ("ratio", "low", "high", "i2_pct", "tau")},
    "contrasts": {"groups": ("ratio", "low", "high", "df", "tau", "p", "p_holm")},
}


def against(number: int) -> str:
    """The beginning of ids of the other study of that number, from 0."""
    return AGAINST if number == 0 else f"{AGAINST.rstrip('/')}-{number + 1}/"


def provenance_id(table: str, *parts: object) -> str:
    """The id of a row; a slash inside a part is escaped."""
    return "/".join([table, *(str(part).replace("%", "%25").replace("/", "%2F") for part in parts)])


def parts_of(trace_id: str) -> tuple[str, list[str]]:
    """Table and parts of an id.

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


def scope_of(trace_id: str, column: str) -> str:
    """The scope of a column's evidence in the row of that key, with its mark in front; empty where it is the row's own."""
    table, *parts = trace_id.split("/")
    if table == "size" and parts[_GROUP_BY] not in GROUPINGS:
        return ""
    return next((f"{SCOPE}{scope}" for scope, columns in _SCOPED.get(table, {}).items() if column in columns), "")
