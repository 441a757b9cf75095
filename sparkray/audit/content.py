"""Files of any kind as plain values: JSON, JSON lines, CSV and its dialects, SQL text, Markdown, Parquet; also gzipped.

What a file holds shows in its bytes and not in its name. A reader gets a `Content` and looks for what it knows.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sparkray.audit.printed import printed_rows
from sparkray.audit.quantities import decimal_comma, unit_of
from sparkray.audit.rows import Row, Table
from sparkray.audit.values import number
from sparkray.errors import DatasetError
from sparkray.files import read_regular
from sparkray.units import MIB, reason_of, short

_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MOST_BYTES = 512 * MIB
_SEPARATORS = (",", ";", "\t", "|")
_SAMPLE = 200
_INSERT = re.compile(
    r"INSERT\s+INTO\s+[\w.\"`]+\s*\(([^)]*)\)\s*VALUES\s*(.*?);\s*$", re.IGNORECASE | re.DOTALL | re.MULTILINE
)
_VALUES = re.compile(r"\(((?:[^()']|'(?:[^']|'')*')*)\)")
# A first line that spreadsheets write.
_SEPARATOR_LINE = re.compile(r"sep=.", re.IGNORECASE)
_BLANK = re.compile(r"\s*")
_GERMAN = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?([eE][+-]?\d+)?(\s*[^\d,;]*)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+(?!\d)")
_HEADING = re.compile(r"(?:#+\s+|(?=\*\*))\**(.+?)\**:?\s*$")
_BUILD = re.compile(r"build: (.+)")
_RULE = re.compile(r"\s*\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?\s*)?")


@dataclass(frozen=True)
class Content:
    """What a file holds: `rows` of a table (`table` is true) or of JSON lines, else one JSON value in `tree`.

    `text` is the whole text, where the file is one. `broken` counts lines that are no JSON among those that are.
    """

    path: Path
    tree: Any
    table: bool = False
    text: str = ""
    broken: int = 0

    @property
    def columns(self) -> list[str]:
        """Names of the columns of a table or of a list of objects, in their order."""
        rows = self.tree if isinstance(self.tree, list | Table) else []
        if isinstance(rows, Table):
            return list(rows.columns)
        return list(dict.fromkeys(name for row in islice(rows, _SAMPLE) if isinstance(row, Mapping) for name in row))


def load(path: Path) -> Content:
    """What is in a file.

    Raises:
        DatasetError: It cannot be read, is empty, or holds neither JSON nor a table.
    """
    try:
        raw = read_regular(path, limit=_MOST_BYTES)
        if raw.startswith(_GZIP):
            raw = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(_MOST_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read: {reason_of(error)}", "Give a whole file") from None
    if raw[:4] == b"PAR1":
        return Content(path, _parquet(path, raw), table=True)
    text = _decoded(raw, path)
    if not text.strip():
        raise DatasetError(f"{path} is empty", "Give a file with results")
    if path.suffix.casefold() in (".json", ".jsonl") or text.lstrip()[:1] == "{":
        return _json(path, text)
    if text.lstrip()[:1] == "[":
        with suppress(DatasetError):  # a list, or Markdown that begins with a link
            return _json(path, text)
    try:
        rows: Sequence[Row] = list(_inserted(text)) or _markdown(text) or printed_rows(text) or _separated(text)
    except csv.Error as error:
        raise DatasetError(
            f"{path} cannot be read as a table: {error}", "Give a CSV or Parquet file with a header"
        ) from None
    if not rows:
        raise DatasetError(
            f"{path} holds no table: no line with a separator is followed by another", "Give a file with a header"
        )
    return Content(path, rows, table=True, text=text)


def _parquet(path: Path, raw: bytes) -> Table:
    import pyarrow as pa  # noqa: PLC0415 - takes long to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = Table(pq.ParquetFile(pa.BufferReader(raw)).read().to_pydict())
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {reason_of(error)}", "Give a whole file") from None
    return table


def _decoded(raw: bytes, path: Path) -> str:
    if raw.startswith(_UTF16) or raw[1:2] == b"\0" or raw[:1] == b"\0":
        encoding = "utf-16" if raw.startswith(_UTF16) else "utf-16-le" if raw[1:2] == b"\0" else "utf-16-be"
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            pass
    if b"\0" in raw[:4096]:
        raise DatasetError(f"{path} is neither text nor Parquet", "Export it as CSV, JSON or Parquet")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def _json(path: Path, text: str) -> Content:
    """One JSON value, or one a line."""
    try:
        return Content(path, json.loads(text), text=text)
    except (ValueError, RecursionError) as error:
        problem = reason_of(error)
    found, broken = _one_after_another(text), 0
    if not found:
        lines = [_line(line) for line in text.splitlines() if line.strip()]
        found = [line for line in lines if line is not None]
        broken = len(lines) - len(found)
    if broken < len(found):
        return Content(path, found, text=text, broken=broken)
    raise DatasetError(f"{path} is not valid JSON: {problem}", "Give a whole file, as the tool wrote it")


def _one_after_another(text: str) -> list[Any]:
    """JSON values with white space between them; empty where anything else is in the text."""
    decoder, found, position = json.JSONDecoder(), list[Any](), 0
    try:
        while position < len(text):
            value, end = decoder.raw_decode(text, position)
            found.append(value)
            blank = _BLANK.match(text, end)
            position = end if blank is None else blank.end()
    except (ValueError, RecursionError):
        return []
    return found


def _line(text: str) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, Mapping) else None


def _inserted(text: str) -> Iterator[Row]:
    """Rows of SQL text: `INSERT INTO t (a, b) VALUES ('1', 'x');`."""
    if "(" not in text:
        return
    for statement in _INSERT.finditer(text):
        names = [name.strip().strip('"`') for name in statement[1].split(",")]
        for group in _VALUES.finditer(statement[2]):
            cells = next(csv.reader([group[1]], quotechar="'", skipinitialspace=True))
            yield dict(zip(names, cells, strict=False))


def _markdown(text: str) -> list[Row]:
    """Rows of every Markdown table in a text, the rest of which is prose.

    A row has the heading above its table under `group`, and the `build: ...` that llama-bench prints below it.
    """
    if "|" not in text:
        return []
    lines, rows = text.splitlines(), list[dict[str, Any]]()
    header: list[str] | None = None
    heading, built = "", 0
    for above, before, line in zip(["", "", *lines], ["", *lines], lines, strict=False):
        # The rule is the second line of a table; below a header, `| - | - |` is a row without values.
        if header is None and "|" in before and "|" not in above and _RULE.fullmatch(line.rstrip()):
            header = _fields(before)
        elif "|" not in line:
            header = None
            title, build = _HEADING.match(line), _BUILD.fullmatch(line.strip())
            heading = title[1] if title else heading
            if build:
                for row in rows[built:]:
                    row.setdefault("build", build[1])
                built = len(rows)
        elif header is not None:
            rows.append({**({"group": heading} if heading else {}), **dict(zip(header, _fields(line), strict=False))})
    return [*rows]


def _fields(line: str) -> list[str]:
    return [cell.strip().strip("*`") for cell in line.strip().strip("|").split("|")]


def _separated(text: str) -> Sequence[Row]:
    """Rows of a text with separators: `,`, `;`, tab or `|`; lines that begin with `#` are comments."""
    lines = text.splitlines(keepends=True)
    while lines and (not lines[0].strip() or _SEPARATOR_LINE.fullmatch(lines[0].strip())):
        lines.pop(0)
    comments = [line for line in lines[:_SAMPLE] if line.startswith("#")]
    rest = "".join(line for line in lines if not line.startswith("#"))
    separator, fields = _dialect(rest)
    cells = [row for row in csv.reader(io.StringIO(rest), delimiter=separator) if any(map(str.strip, row))]
    if fields < 2:  # noqa: PLR2004 - a single column
        return [] if len(cells) < 2 or any(len(row) > 1 for row in cells) else _named(cells[0], cells[1:])  # noqa: PLR2004
    while cells and len(cells[0]) < fields and _is_title(cells):
        cells.pop(0)
    if not cells:
        return []
    if len(cells[0]) < fields:
        cells[0] = _completed(cells[0], cells[1:], fields)
    header = _commented_header(comments, cells, separator)
    return _named(header, cells) if header else _named(cells[0], cells[1:])


def _is_title(cells: Sequence[Sequence[str]]) -> bool:
    """Whether the first line stands above the header: it has one field, or the next line has no number and so is one."""
    return len(cells[0]) == 1 or (len(cells) > 1 and all(number(cell) is None for cell in cells[1]))


def _completed(header: Sequence[str], below: Sequence[Sequence[str]], fields: int) -> list[str]:
    """A header with fewer names than the lines below have fields.

    Programs write it so: without a name for row numbers (R), or with lines that end in a separator.

    Raises:
        DatasetError: Which field has no name cannot be known.
    """
    whole = [row for row in below if len(row) == fields]
    if len(header) == fields - 1 and all(not row[-1].strip() for row in whole):
        return [*header, ""]
    first = [row[0].strip() for row in whole]
    if len(header) == fields - 1 and first in ([str(n + k) for n in range(len(first))] for k in (0, 1)):
        return ["row", *header]
    raise DatasetError(
        f"the header has {len(header)} names, the lines below it have {fields} fields: {short(', '.join(header))}",
        "Give each column a name",
    )


def _dialect(text: str) -> tuple[str, int]:
    """The separator that cuts most lines into as many fields, and that number."""
    sample = "".join(text.splitlines(keepends=True)[:_SAMPLE])
    best = (0.0, 1, ",")
    for separator in _SEPARATORS:
        counts = [len(row) for row in csv.reader(io.StringIO(sample), delimiter=separator) if row]
        several = Counter(count for count in counts if count > 1).most_common(1)
        if several:
            usual, hits = several[0]
            best = max(best, (round(hits / len(counts), 1), usual, separator))
    return best[2], best[1]


def _commented_header(comments: Sequence[str], cells: Sequence[Sequence[str]], separator: str) -> list[str] | None:
    """A header behind `#`, where the first line of the table has a number and so is none."""
    if not comments or not cells or not any(cell.strip()[:1].isdigit() for cell in cells[0]):
        return None
    row = next(csv.reader([comments[-1].lstrip("# ")], delimiter=separator), [])
    return row if len(row) == len(cells[0]) else None


def _named(header: Sequence[str], cells: Sequence[Sequence[str]]) -> Sequence[Row]:
    if cells and all(not cell.strip() or unit_of(cell.strip().strip("[]()")) for cell in cells[0]):  # units below names
        cells = cells[1:]
    names, seen = [], Counter[str]()
    for index, name in enumerate((cell.strip() for cell in header), 1):
        plain = name or f"column {index}"
        seen[plain] += 1
        names.append(plain if seen[plain] == 1 else f"{plain} {seen[plain]}")
    if cells and all(len(row) == len(names) for row in cells):
        columns: list[list[str | None]] = [list(map(str.strip, column)) for column in zip(*cells, strict=True)]
    else:
        columns = [[row[index].strip() if index < len(row) else None for row in cells] for index in range(len(names))]
    if decimal_comma(columns):
        columns = [_with_points(column) for column in columns]
    return Table(dict(zip(names, columns, strict=True)))


def _with_points(column: Sequence[str | None]) -> list[str | None]:
    """A column of a file that writes decimals with a comma, with points; `1.180,5` is 1180.5."""
    return [cell if cell is None or not _GERMAN.fullmatch(cell) else _pointed(cell) for cell in column]


def _pointed(cell: str) -> str:
    return cell.replace(".", "").replace(",", ".") if "," in cell or _THOUSANDS.match(cell) else cell
