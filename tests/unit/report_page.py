"""A report's page taken apart for tests: its numbers, its links, its structure; and the rows that the numbers come from.

A number in the page is a link to its evidence. What may stand without one is listed here and nowhere else:

- verbatim text: `code`, `pre` (commands, digests, traces), `style`, `svg` (axes of drawings);
- headings, table headings and summaries of foldable parts (`h1` to `h4`, `th`, `summary`): numbered questions, `95 % CI`;
- `nav`, `title`, the footer (sparkray's own version), and the list of evidence, which is the evidence.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

import polars as pl

from sparkray.analysis.forms import FORMS
from sparkray.report.book import Book
from sparkray.report.labels import readable

VOID = {"meta", "link", "br", "hr", "img", "input", "path", "use", "rect"}
EXEMPT = {"code", "pre", "style", "svg", "h1", "h2", "h3", "h4", "th", "summary", "nav", "title", "footer"}
DIGITS = re.compile(r"(?<![\w.\-/@:=])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w/@]|\.\d|:\d|-\w)")


@dataclass(frozen=True)
class Link:
    """A number of the page: what is shown and what it says of itself."""

    text: str
    trace: str
    column: str
    form: str
    href: str
    title: str


@dataclass
class Page(HTMLParser):
    """What a reader of the page's source finds."""

    source: str
    links: list[Link] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    tags: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    headings: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.stack: list[tuple[str, Mapping[str, str]]] = []
        self.words: list[str] = []
        self.feed(self.source)
        self.flush()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        if "id" in given:
            self.ids.append(given["id"])
        if tag in ("p", "li", "dd", "td", "figcaption", "caption", "div", "section"):
            self.flush()
        if tag not in VOID:
            self.stack.append((tag, given))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack[-1][0] != tag:
            self.stack.pop()
        if self.stack:
            self.stack.pop()

    def handle_data(self, data: str) -> None:
        tag, attrs = self.stack[-1] if self.stack else ("", {})
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append((int(tag[1]), data))
        if tag == "a" and attrs.get("class") == "n":
            self.links.append(
                Link(data, attrs["data-trace"], attrs["data-column"], attrs["data-form"], attrs["href"], attrs["title"])
            )
            self.words.append("\0")
        elif not any(name in EXEMPT or given.get("class") == "evidence" for name, given in self.stack):
            self.words.append(data)

    def flush(self) -> None:
        """Words between two boundaries are read together, so that a number is not made out of two halves."""
        self.loose += DIGITS.findall("".join(self.words))
        self.words = []


def values_of(book: Book, link: Link) -> Iterator[object]:
    """Every value that a link may stand for, looked up without the report's help."""
    if link.trace.startswith("context/"):
        path = link.trace.removeprefix("context/")
        found: object = book.context
        while path and isinstance(found, Mapping | list):
            if isinstance(found, list):
                head, _, path = path.partition("/")
                found = found[int(head)]
                continue
            key = max((key for key in found if path == key or path.startswith(f"{key}/")), key=len)
            found, path = found[key], path[len(key) + 1 :]
        yield len(found) if isinstance(found, list) else found
        yield path or link.trace.rpartition("/")[2]  # a deviation's own words are its key
        return
    if link.trace.startswith(("tally/", "distinct/")):
        told = link.trace.removeprefix("tally/").removeprefix("distinct/")
        apart, _, told = told.partition("/") if link.trace.startswith("distinct/") else ("", "", told)
        name, *where = told.split("&")
        frame = book.table(name)
        for column, _, text in (part.partition("=") for part in where):
            wanted = json.loads(text)
            frame = frame.filter(pl.col(column).is_null() if wanted is None else pl.col(column) == wanted)
        yield frame[apart].n_unique() if apart else len(frame)
        return
    for frame in (*book.analysis.tables.values(), *book.own.values()):
        if "trace" in frame.columns:
            for row in frame.filter(pl.col("trace") == link.trace).iter_rows(named=True):
                column, _, inside = link.column.partition("/")
                if inside:
                    yield json.loads(row[column])[inside]
                else:
                    yield from [row[column]] if column else row.values()


def derived(book: Book, link: Link) -> bool:
    """Whether what is shown is the cell that it names, formatted; where it names none, a whole cell in a reader's words."""
    values = [value for value in values_of(book, link) if value is not None]
    if not link.column:
        return any(link.text in (value, readable(value)) for value in values if isinstance(value, str))
    return any(_shown(value, link.form) == link.text for value in values)


def _shown(value: object, form: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    return FORMS[form](value) if math.isfinite(value) else ""
