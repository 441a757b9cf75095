"""Files of any kind as plain values: JSON, JSON lines, CSV and its dialects, SQL text, Markdown, Parquet; also gzipped.

What a file holds shows in its bytes and not in its name. A reader gets a `Content` and looks for what it knows.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sparkray.audit.printed import printed_rows
from sparkray.audit.rows import Row, Table
from sparkray.audit.separated import separated_rows
from sparkray.errors import DatasetError
from sparkray.files import read_regular
from sparkray.units import MIB, reason_of

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
# Bytes above ASCII, and those without another beside them.
_HIGH, _ALONE = re.compile(rb"[\x80-\xff]"), re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")
_KANA = re.compile("[\u3041-\u30ff]{2}")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MOST_BYTES = 512 * MIB
_SAMPLE = 200
_INSERT = re.compile(
    r"INSERT\s+INTO\s+[\w.\"`]+\s*\(([^)]*)\)\s*VALUES\s*(.*?);\s*$", re.IGNORECASE | re.DOTALL | re.MULTILINE
)
_VALUES = re.compile(r"\(((?:[^()']|'(?:[^']|'')*')*)\)")
_BLANK = re.compile(r"\s*")
_HEADING = re.compile(r"(?:#+\s+|(?=\*\*))\**(.+?)\**:?\s*$")
# Frames of tables as terminals draw them.
_BOXES = str.maketrans(
    dict.fromkeys("│┃║", "|") | dict.fromkeys("─━═", "-") | dict.fromkeys("┌┬┐├┼┤└┴┘╭╮╰╯┏┳┓┡╇┩╞╪╡╔╦╗╠╬╣╚╩╝", "+")
)
# What stands inside cells of Markdown: HTML such as `<br>`, and links.
_TAG, _LINK = re.compile(r"</?[a-zA-Z][^<>]*>"), re.compile(r"\[([^\]|]*)\]\([^)|]*\)")
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
        sample = rows if self.table else islice(rows, _SAMPLE)  # a second table may begin anywhere
        return list(dict.fromkeys(name for row in sample if isinstance(row, Mapping) for name in row))


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
    text = _decoded(raw, path).translate(_BOXES)
    if not text.strip():
        raise DatasetError(f"{path} is empty", "Give a file with results")
    if path.suffix.casefold() in (".json", ".jsonl") or text.lstrip()[:1] == "{":
        return _json(path, text)
    if text.lstrip()[:1] == "[":
        with suppress(DatasetError):  # a list, or Markdown that begins with a link
            return _json(path, text)
    try:
        rows: Sequence[Row] = list(_inserted(text)) or _markdown(text) or printed_rows(text) or separated_rows(text)
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
    if raw.startswith(_ZIP):
        workbook = b"xl/" in raw[:4096] or b"[Content_Types]" in raw[:4096]
        kind, remedy = (
            ("an xlsx workbook", "Save the sheet as CSV")
            if workbook
            else ("a zip archive", "Unpack it and give the folder")
        )
        raise DatasetError(f"{path} is {kind}", remedy)
    if raw.startswith(_UTF16) or raw[1:2] == b"\0" or raw[:1] == b"\0":
        encoding = "utf-16" if raw.startswith(_UTF16) else "utf-16-le" if raw[1:2] == b"\0" else "utf-16-be"
        try:
            return _with_newlines(raw.decode(encoding))
        except UnicodeDecodeError:
            pass
    if b"\0" in raw[:4096]:
        raise DatasetError(f"{path} is neither text nor Parquet", "Export it as CSV, JSON or Parquet")
    try:
        return _with_newlines(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return _with_newlines(_of_older_encoding(raw))


def _with_newlines(text: str) -> str:
    """Lines that end as on any system, old Macs included."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _of_older_encoding(raw: bytes) -> str:
    """Text of spreadsheets in Japan (with kana), China (bytes above ASCII stand in pairs), or Europe (they stand alone)."""
    with suppress(UnicodeDecodeError):
        if _KANA.search(text := raw.decode("cp932")):
            return text
    if 2 * len(_ALONE.findall(raw)) < len(_HIGH.findall(raw)):
        with suppress(UnicodeDecodeError):
            return raw.decode("gb18030")
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
    bare = _LINK.sub(r"\1", _TAG.sub(" ", line))
    return [cell.strip().strip("*`~ ") for cell in bare.strip().strip("|").split("|")]
