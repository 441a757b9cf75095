"""Tables of text with separators: CSV in its dialects, with titles, comments, several headers and notes around it. Pure."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from itertools import dropwhile, pairwise

from sparkray.audit.quantities import decimal_comma, unit_of
from sparkray.audit.rows import Row, Table
from sparkray.audit.values import number
from sparkray.audit.wide import has_arm
from sparkray.errors import DatasetError
from sparkray.units import short

_SEPARATORS = (",", ";", "\t", "|")
_SAMPLE = 200
# A first line that spreadsheets write.
_SEPARATOR_LINE = re.compile(r"sep=.", re.IGNORECASE)
_GERMAN = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?([eE][+-]?\d+)?(\s*[^\d,;]*)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+(?!\d)")


def separated_rows(text: str) -> Sequence[Row]:
    """Rows of a text with separators: `,`, `;`, tab or `|`; lines that begin with `#` are comments.

    Raises:
        DatasetError: A field has no name.
    """
    lines = text.splitlines(keepends=True)
    lines = list(dropwhile(lambda line: not line.strip() or _SEPARATOR_LINE.fullmatch(line.strip()), lines))
    comments = [line for line in lines[:_SAMPLE] if line.startswith("#")]
    rest = "".join(line for line in lines if not line.startswith("#"))
    separator, fields = _dialect(rest)
    cells = list(csv.reader(io.StringIO(rest), delimiter=separator))
    if fields < 2:  # noqa: PLR2004 - a single column
        cells = [row for row in cells if any(map(str.strip, row))]
        return [] if len(cells) < 2 or any(len(row) > 1 for row in cells) else _named(cells[0], cells[1:])  # noqa: PLR2004
    parts = _parts(_with_comments(cells, lines) if comments else cells)
    tables = [_table(part, fields, comments, separator) for _, part in parts]
    if len(tables) > 1:
        tables = _grouped(tables, [title for title, _ in parts])
    return tables[0] if len(tables) == 1 else [row for table in tables for row in table]


def _with_comments(cells: list[list[str]], lines: Sequence[str]) -> list[list[str]]:
    """The lines with comments among them, as one field each; without, where a field goes over several lines."""
    if len(cells) != sum(not line.startswith("#") for line in lines):
        return cells
    rows = iter(cells)
    return [[line] if line.startswith("#") else next(rows) for line in lines]


def _parts(cells: list[list[str]]) -> list[tuple[str, list[list[str]]]]:
    """Lines without blank ones and comments, a list for each table, with the title above it, empty where it has none."""
    stops = [index for index, row in enumerate(cells) if len(row) < 2 or not any(map(str.strip, row))]  # noqa: PLR2004
    if not stops:
        return [("", cells)]
    begins = _begin_tables(cells, stops)
    above = next((at for at, row in enumerate(cells) if len(_filled(row)) > 1), 0)
    parts: list[tuple[str, list[list[str]]]] = [(_title(cells[:above]), [])]
    headers = {start: header for header, start in begins.items()}
    skipped: frozenset[int] = frozenset(at for header, start in begins.items() for at in range(start, header))
    stop = frozenset(stops)
    for index, row in enumerate(cells):
        if index in headers:
            parts.append((_title(cells[index : headers[index]]), []))
        if index not in skipped and not (index in stop and (not _filled(row) or row[0].startswith("#"))):
            parts[-1][1].append(row)
    return parts


def _filled(row: Sequence[str]) -> list[str]:
    return [cell for cell in map(str.strip, row) if cell]


def _title(above: Sequence[Sequence[str]]) -> str:
    """The last line above a header, where it has one field."""
    lines = [_filled(row) for row in above if _filled(row)]
    return lines[-1][0].strip("#*=: ") if lines and len(lines[-1]) == 1 else ""


def _begin_tables(cells: Sequence[Sequence[str]], stops: Sequence[int]) -> dict[int, int]:
    """Places of the headers of further tables, and where the blank lines, comments and titles above each begin.

    A header has names behind numbers, above as many fields with a number. Where no line above it is blank or a comment, it
    has a name in common with the first one.
    """
    begins: dict[int, int] = {}
    first = next((frozenset(_filled(row)) for row in cells if len(_filled(row)) > 1), frozenset())
    counted, last = False, 0
    for before in stops:
        if before < last:  # above a header already
            continue
        counted = counted or any(_has_number(row) for row in cells[last:before])
        at = before
        while at < len(cells) and len(_filled(cells[at])) < 2:  # noqa: PLR2004 - blank, or a title
            at += 1
        header, below = (cells[place] if place < len(cells) else [] for place in (at, at + 1))
        is_apart = any(not _filled(row) or row[0].startswith("#") for row in cells[before:at])
        if (
            counted
            and len(header) == len(below) > 1
            and all(header)
            and not _has_number(header)
            and _has_number(below)
            and (is_apart or first & {*_filled(header)})
        ):
            begins[at] = before
        last = at
    return begins


def _grouped(tables: Sequence[Sequence[Row]], titles: Sequence[str]) -> list[Sequence[Row]]:
    """Tables of one header with their titles as a column, where these differ: `group` of arms, else `section`."""
    name = "group" if any(map(has_arm, titles)) else "section"
    headers = [tuple(table.columns) if isinstance(table, Table) else () for table in tables]
    named = {
        header: {title for title, other in zip(titles, headers, strict=True) if title and other == header}
        for header in headers
    }
    return [
        Table({name: [title or None] * len(table), **table.columns})
        if isinstance(table, Table) and len(named[header]) > 1 and name not in header
        else table
        for table, title, header in zip(tables, titles, headers, strict=True)
    ]


def _has_number(row: Sequence[str]) -> bool:
    return any(cell.strip()[:1].isdigit() and number(cell) is not None for cell in row)


def _table(cells: list[list[str]], fields: int, comments: Sequence[str], separator: str) -> Sequence[Row]:
    """Rows of one table; titles above its header, lines that repeat it, and prose below are left out."""
    fields = min(fields, max(map(len, cells), default=0))
    first = 0
    while (below := cells[first : first + _SAMPLE]) and (
        _is_title(below) if len(below[0]) < fields else _is_padded_title(below)
    ):
        first += 1
    cells = cells[first:]
    if not cells:
        return []
    if len(cells[0]) < fields:
        cells[0] = _completed(cells[0], cells[1:], fields)
    header, *below = cells
    named = _commented_header(comments, cells, separator)
    if named:
        header, below = named, cells
    if header in below:
        below = [row for row in below if row != header]
    while below and len(below[-1]) < len(header) and not any(number(cell) is not None for cell in below[-1]):
        below.pop()
    return _named(header, below)


def _is_title(cells: Sequence[Sequence[str]]) -> bool:
    """Whether the first line stands above the header: it has one field, or the next line has no number and so is one."""
    return len(cells[0]) == 1 or (len(cells) > 1 and all(number(cell) is None for cell in cells[1]))


def _is_padded_title(cells: Sequence[Sequence[str]]) -> bool:
    """Whether the first line has a title and empty fields, as spreadsheets write it, above another or a header."""
    for line, below in pairwise(cells):
        if len(_filled(line)) != 1 or not line[0].strip() or _has_number(below):
            return False
        if len(_filled(below)) > 1:
            return True
    return False


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
