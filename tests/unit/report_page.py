"""A report's page taken apart for tests: its cells with their provenance, its links, its structure, its sentences."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser

from sparkray.report.data import ReportData
from sparkray.report.format import shown

VOID = {"meta", "link", "br", "hr", "img", "input", "path", "use", "rect"}


@dataclass
class Cell:
    """A table's cell that names the row and columns that it shows."""

    trace: str
    columns: tuple[str, ...]
    forms: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """What a reader of the page's source finds."""

    source: str
    cells: list[Cell] = field(default_factory=list)
    traces: set[str] = field(default_factory=set)
    ids: list[str] = field(default_factory=list)
    tags: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    headings: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.open: Cell | None = None
        self.heading = 0
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        if "id" in given:
            self.ids.append(given["id"])
        if "data-trace" in given:
            self.traces.add(given["data-trace"])
        if tag == "td" and "data-column" in given:
            columns = tuple(given["data-column"].split())
            forms = tuple(given["data-form"].split()) or ("",)
            self.open = Cell(given["data-trace"], columns, forms if len(forms) > 1 else forms * len(columns))
        self.heading = int(tag[1]) if re.fullmatch(r"h[1-6]", tag) else 0

    def handle_endtag(self, tag: str) -> None:
        if tag == "td" and self.open is not None:
            self.cells.append(self.open)
            self.open = None

    def handle_data(self, data: str) -> None:
        if self.heading and data.strip():
            self.headings.append((self.heading, data))
        if self.open is not None:
            self.open.text += data


def is_of(data: ReportData, cell: Cell) -> bool:
    """Whether a cell shows what its row holds: each named column, formatted, and no other number."""
    row = next(
        row
        for frame in (*data.own.values(), *data.analysis.tables.values())
        if "trace" in frame.columns
        for row in frame.iter_rows(named=True)
        if row["trace"] == cell.trace
    )
    values = {**row, **json.loads(row.get("numbers") or "{}")}
    parts = [shown(values[column], form) for column, form in zip(cell.columns, cell.forms, strict=True)]
    numerals = re.compile(r"[-+]?\d[\d,.]*\d|[-+]?\d")
    wanted = [numerals.findall(" ".join(shapes)) for shapes in (parts, dict.fromkeys(parts))]
    return all(part in cell.text for part in parts) and numerals.findall(cell.text) in wanted


def words(html: str) -> str:
    """The words of a page, without its style."""
    bare = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", html, flags=re.DOTALL)
    return unescape(re.sub(r"<[^>]*>", " ", bare))


def sentences(html: str) -> list[str]:
    """Sentences of the page's prose: paragraphs, list items, definitions; no commands and no table cells."""
    bare = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<pre.*?</pre>|<table.*?</table>", " ", html, flags=re.DOTALL)
    blocks = re.findall(r"<(p|li|dd|figcaption|summary|caption)\b[^>]*>(.*?)</\1>", bare, re.DOTALL)
    text = [re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", block)) for _, block in blocks]
    return [one for block in text for one in re.split(r"(?<=[.;:?!])\s+", block)]
