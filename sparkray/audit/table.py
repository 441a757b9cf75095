"""Types the columns that a reader found: rows of anything in, `Results` out. Pure.

Numbers may be written in any of the ways of `quantities`. A metric whose values cannot be read is a finding, since what is
left may be a selection; any other value that cannot be read is a remark.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import polars as pl

from sparkray.audit import statuses, values
from sparkray.audit.finding import Finding, NotJudged
from sparkray.audit.quantities import Numbers, plain_numbers, read_numbers
from sparkray.audit.results import COLUMNS, INTEGER, SCHEMA, STATE, THROUGHPUT, Results, Role, levelled
from sparkray.audit.rows import Row, as_columns
from sparkray.metrics import BY_NAME

Remark = Finding | NotJudged
_POSITIVE = ("throughput", "latency", "ttft", "itl", "tpot")
_ENOUGH_NUMBERS = 0.8
_EDGE = "(start|begin|end|finish|stop|submit|creat|complet)(ed|ing|ning|e|s)?"
_MOMENT = re.compile(
    rf"(^|_)(timestamp|datetime|date|epoch)(_|$)|^(run_|job_)?{_EDGE}_?(time|at|ts|date|utc|unix|epoch)(_(s|ms|us|ns))?$"
    rf"|^{_EDGE}(_(s|ms|us|ns))?$"
)
_TIME_WORD = re.compile(rf"time|when|clock|_at$|_ts$|(^|_){_EDGE}(_|$)")
# Seconds and milliseconds since 1970 from 2001 to 2065.
_EPOCHS = ((1e9, 3e9), (1e12, 3e12))
_LIKE_A_METRIC = re.compile(
    r"throughput|latency|ttft|tpot|(^|_)itl|tok(en)?s?_?(/|per)?_?s(ec)?(ond)?($|_)|(^|_)t?tps($|_)|_(ms|gib|gb|mib|mb|w|j)$"
)
_VERSION = re.compile(r"version|revision|release|commit|build|digest|(^|_)tag$")
_LONGEST_TEXT = 200
_SAMPLE, _FEW_NUMBERS = 50, 0.2


def results_of(source: str, rows: Sequence[Row], *, roles: Mapping[str, Role] | None = None, **known: Any) -> Results:  # noqa: ANN401
    """Rows under the names of `results` as `Results`; any other name that holds numbers is a metric, else text.

    Args:
        source: What kind of input it was, for people.
        rows: One mapping a run.
        roles: Roles of columns, as far as the format shows them.
        known: Further fields of `Results`; `remarks` are added to.
    """
    table = {_plain(name): cells for name, cells in as_columns(rows).items()}
    given = {_plain(name): role for name, role in (roles or {}).items()}
    typing = _Typing(list(known.pop("remarks", ())))
    typed = {name: typing.known(name, table[name]) for name in COLUMNS if name in table}
    typed |= {name: [statuses.OK if name == "status" else None] * len(rows) for name in COLUMNS if name not in table}
    schema: dict[str, Any] = dict(SCHEMA)
    for name, cells in table.items():
        if name not in SCHEMA and (column := typing.other(name, cells, given.get(name))) is not None:
            typed[name], schema[name] = column
    frame = pl.DataFrame(typed, schema=schema)
    frame = frame.with_columns(
        pl.coalesce("model_name", "model").alias("model_name"),
        pl.coalesce("row", pl.format("row {}", pl.int_range(1, pl.len() + 1))).alias("row"),
        pl.col("level").alias("stated_level"),
    )
    kept = {name: role for name, role in given.items() if name in frame.columns}
    frame = levelled(frame, kept)
    remarks = (*typing.remarks, *_unplaced(frame), *_unknown_statuses(frame))
    return Results(source, frame, remarks=remarks, roles=kept, **known)


class _Typing:
    """Types columns and collects the remarks on what could not be read."""

    def __init__(self, remarks: list[Remark]) -> None:
        self.remarks = remarks

    def known(self, name: str, cells: Sequence[Any]) -> list[Any]:
        """A column of the normal form."""
        if name == "status":
            return self._statuses(cells)
        if name in STATE:
            numbers = read_numbers(name, cells)
            self._judge(name, numbers, "state")
            return numbers.values
        plain = plain_numbers(cells) if name == "started_s" else None
        if plain and values.SECONDS[0] < min(plain) and max(plain) < values.SECONDS[1]:
            return plain
        read = _parsed(cells, _PARSERS[name])
        if name == "started_s" and (mixed := _mixed_zones(cells, read)) is not None:
            self.remarks.append(mixed)
            return [None] * len(cells)
        lost = [cell for cell, value in zip(cells, read, strict=True) if value is None and not values.missing(cell)]
        if lost:
            self.remarks.append(NotJudged("dirty_values/values", _lost(name, len(lost), len(cells), lost[0])))
        return read

    def _statuses(self, cells: Sequence[Any]) -> list[str]:
        return [status or statuses.OK for status in _parsed(cells, statuses.status_of)]

    def other(self, name: str, cells: Sequence[Any], role: Role | None) -> tuple[list[Any], Any] | None:
        """A column outside the normal form with its type; None where it is none to keep."""
        if role == "time" or (role is None and _is_moment(name, cells)):
            self.remarks.append(NotJudged("columns", {"column": name}))
            return None
        is_text = role == "identity" or (role is None and _VERSION.search(name.casefold()))  # 0.10 is no 0.1
        if not is_text and (name in BY_NAME or _may_be_numbers(cells)):
            numbers = _positive(name, read_numbers(name, cells))
            known = len(numbers.values) - numbers.values.count(None)
            mostly = known >= _ENOUGH_NUMBERS * (known + numbers.lost) > 0
            if name in BY_NAME or role == "metric" or (mostly and not (role == "parameter" and numbers.lost)):
                self._judge(name, numbers, role)
                return numbers.values, pl.Float64
        if role in (None, "metric") and _LIKE_A_METRIC.search(name.casefold()):
            words = [cell for cell in cells if isinstance(cell, str) and not values.missing(cell)]
            if words:
                self.remarks.append(Finding("lost_values", _lost(name, len(words), len(cells), words[0]), "grave"))
        return _texts(cells)

    def _judge(self, name: str, numbers: Numbers, role: Role | None) -> None:
        if numbers.lost:
            lost = _lost(name, numbers.lost, len(numbers.values), numbers.example)
            if role in (None, "metric"):
                self.remarks.append(Finding("lost_values", lost, "grave" if name == THROUGHPUT else "note"))
            else:
                self.remarks.append(NotJudged("dirty_values/values", lost))
        if numbers.spread:
            self.remarks.append(NotJudged("summary_rows", {"column": name}))


def _parsed(cells: Sequence[Any], parse: Callable[[Any], Any]) -> list[Any]:
    """Cells through a parser, None where one states nothing; each text once, since most columns repeat a few."""
    texts = {cell for cell in cells if isinstance(cell, str)}
    known = {cell: None if values.missing(cell) else parse(cell) for cell in texts}
    return [known[cell] if isinstance(cell, str) else None if values.missing(cell) else parse(cell) for cell in cells]


def _may_be_numbers(cells: Sequence[Any]) -> bool:
    """Whether a sample of a column holds numbers, so that prose is not searched for them."""
    sample = list(islice((cell for cell in cells if not values.missing(cell)), _SAMPLE))
    hits = sum(
        isinstance(cell, int | float) or (isinstance(cell, str) and any(c.isdigit() for c in cell)) for cell in sample
    )
    return bool(sample) and hits >= _FEW_NUMBERS * len(sample)


def _positive(name: str, numbers: Numbers) -> Numbers:
    """A speed or a latency of zero or less is none."""
    if not any(word in name for word in _POSITIVE):
        return numbers
    bad = [value for value in numbers.values if value is not None and value < values.LEAST]
    if not bad:
        return numbers
    kept = [value if value is None or value >= values.LEAST else None for value in numbers.values]
    example = bad[0] if numbers.example is None else numbers.example
    return Numbers(kept, numbers.lost + len(bad), example, numbers.spread)


def _texts(cells: Sequence[Any]) -> tuple[list[str | None], Any] | None:
    """A column of short texts."""
    words = [str(cell).lower() if isinstance(cell, bool) else values.text(cell) for cell in cells]
    longest = max((len(word) for word in words if word), default=0)
    return (words, pl.String) if 0 < longest <= _LONGEST_TEXT else None


def _lost(name: str, count: int, total: int, example: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"column": name, "count": count, "total": total, "example": _shown(example)}


def _shown(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, int) and abs(value) > values.GREATEST:
        return "an integer beyond 1e15"
    shown = repr(value).encode("utf-8", "replace").decode()
    return shown if len(shown) <= 40 else f"{shown[:40]}…"  # noqa: PLR2004


def _plain(name: Any) -> str:  # noqa: ANN401
    """A column's name without what polars takes for a pattern."""
    return re.sub(r"[*^$]", "_", values.text(name) or "unnamed")


def _is_moment(name: str, cells: Sequence[Any]) -> bool:
    """Whether a column holds times of day, by its name, or by a hint in it and values that are dates.

    Times rise from run to run, so that as a metric they would be nothing but drift.
    """
    if name in BY_NAME:
        return False
    lowered = name.casefold().replace(" ", "_").replace("-", "_")
    if _MOMENT.search(lowered):
        return True
    if not _TIME_WORD.search(lowered):
        return False
    numbers = [number for cell in cells if (number := values.number(cell)) is not None]
    if not numbers:
        return any(values.seconds(cell) is not None for cell in cells)
    return all(any(low <= number < high for low, high in _EPOCHS) for number in numbers)


def _mixed_zones(cells: Sequence[Any], seconds: Sequence[float | None]) -> Finding | None:
    """Moments with and without a time zone in one column, whose order is unknown."""
    known = [(cell, at, values.has_zone(cell)) for cell, at in zip(cells, seconds, strict=True) if at is not None]
    zoned = [at for _, at, zone in known if zone]
    local = [at for _, at, zone in known if not zone]
    if not zoned or not local:
        return None
    middle = [sorted(times)[len(times) // 2] for times in (local, zoned)]
    example = next(cell for cell, _, zone in known if not zone)
    shown = example.isoformat() if isinstance(example, datetime) else str(example)
    found = {"local": len(local), "zoned": len(zoned), "hours": (middle[0] - middle[1]) / 3600, "example": shown}
    return Finding("mixed_time_zones", found, "note")


def _unplaced(frame: pl.DataFrame) -> Iterator[Remark]:
    """Rows without a model or an arm: a finding where they have a value of a speed, else a remark."""
    lost = frame.filter(pl.col("model").is_null() | pl.col("environment").is_null())
    speeds = [name for name in frame.columns if name in BY_NAME and frame.schema[name] == pl.Float64]
    measured = lost.filter(pl.any_horizontal(pl.col(speeds).is_not_null())) if speeds else lost.clear()
    if len(measured):
        rows = tuple(measured["row"])
        yield Finding("unplaced_rows", {"count": len(rows), "total": len(frame), "row": rows[0]}, "note", rows)
    elif len(lost):
        yield NotJudged("dirty_values/unnamed", {"count": len(lost)})


def _unknown_statuses(frame: pl.DataFrame) -> Iterator[Finding]:
    strange = [status for status in frame["status"].unique() if not statuses.is_known(status)]
    unknown = frame.filter(pl.col("status").is_in(strange))
    if len(unknown):
        items = [{"status": status, "count": count} for status, count in Counter(unknown["status"]).items()]
        yield Finding("unknown_status", {"items": items}, "note", tuple(unknown["row"]))


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    **{name: values.text for name, kind in SCHEMA.items() if kind == pl.String},
    **{name: values.flag for name, kind in SCHEMA.items() if kind == pl.Boolean},
    **dict.fromkeys(INTEGER, values.integer),
    "started_s": values.seconds,
}
