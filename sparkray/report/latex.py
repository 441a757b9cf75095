r"""Numbers of a manuscript as macros: `\sr{key}`, whose value stands in `numbers.tex` with its provenance behind it.

Tables and context are read here as cited values: an int or a float that knows its trace and column, through every loop and
filter of a template. Printing one leaves a mark with the macro's key in the text; `tex` escapes the words around the marks
and makes macro calls of these. So one text template serves page and manuscript, and a new dataset changes `numbers.tex`
alone. A key that is not defined stops the compiler. What a template computes itself is no cited value and stays a literal.
"""

import re
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from sparkray.analysis.latex import escape
from sparkray.analysis.provenance_ids import CONTEXT, scope_of, tally_id
from sparkray.report.data import ReportData
from sparkray.report.format import MISSING, listed, shown
from sparkray.report.page import variables
from sparkray.report.render import Kind, environment
from sparkray.report.tables import Tables, recorded

_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9/._:+-]")
_MARK = re.compile("\ue000([^\ue001]*)\ue001")
# A word that no column is wide enough for: a digest, which may break anywhere.
_LONG = 24
_PLAIN = re.compile(r"[+−-]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
# Between p, the sign behind it and its value no line breaks.
_BEFORE_P = re.compile(r"\bp (?=\\sr\{)")
_BEHIND_SIGN = re.compile(r"^(=|\\textless\{\}) ")
DEFINITIONS = r"""% Written by sparkray from the data; do not edit. Behind each number stands its trace, for report --trace.
\makeatletter
\newcommand{\srdef}[2]{\expandafter\gdef\csname sr@#1\endcsname{#2}}
\newcommand{\sr}[1]{\ifcsname sr@#1\endcsname\csname sr@#1\endcsname\else
  \PackageError{sparkray}{no number has the key #1}{The manuscript and numbers.tex are of different reports.}\fi}
\makeatother
"""


class CitedInt(int):
    """A whole number that knows where it comes from."""

    trace: str
    column: str


class CitedFloat(float):
    """A number that knows where it comes from."""

    trace: str
    column: str


Cited = CitedInt | CitedFloat


class CitedRows(list[dict[str, Any]]):
    """Rows whose count knows what it counts."""

    trace: str


def cited(value: object, trace: str, column: str) -> Any:  # noqa: ANN401 - a number, or the value as it is
    """A number with its provenance; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    made = CitedInt(value) if isinstance(value, int) else CitedFloat(value)
    made.trace, made.column = trace, column
    return made


def as_cited(value: object, source: object) -> Any:  # noqa: ANN401 - a number
    """A number made of one that is cited, with the provenance of that."""
    return cited(value, source.trace, source.column) if isinstance(source, Cited) else value


def cited_context(value: object, path: str = "") -> Any:  # noqa: ANN401 - as the context has it
    """The context with each number's path as its provenance."""
    if isinstance(value, Mapping):
        return {key: cited_context(inner, f"{path}/{key}" if path else str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [cited_context(inner, f"{path}/{index}") for index, inner in enumerate(value)]
    return cited(value, CONTEXT + path, "value")


class CitedTables(Tables):
    """The tables of a report whose numbers know where they come from."""

    def rows(self, name: str, /, **where: object) -> CitedRows:
        """Rows that have these values."""
        found = CitedRows(_cited_row(row) for row in super().rows(name, **where))
        found.trace = tally_id(name, where)
        return found


def _cited_row(row: Mapping[str, Any]) -> dict[str, Any]:
    trace = str(row.get("trace"))
    made = {name: cited(value, trace, name) for name, value in row.items()}
    if isinstance(row.get("facts"), Mapping):
        made["facts"] = {name: cited(value, trace, f"numbers/{name}") for name, value in row["facts"].items()}
    return made


@dataclass
class Macros:
    """The numbers of one manuscript, collected while it is written."""

    values: dict[str, str] = field(default_factory=dict)
    traces: dict[str, str] = field(default_factory=dict)

    def environment(self, kind: Kind, data: ReportData) -> Environment:
        """An environment whose templates see cited values: `latex` escapes what is printed, `text` leaves marks."""
        made = environment(kind, finalize=self.tex if kind == "latex" else self.printed)
        made.globals |= {**variables(data, CitedTables(data)), "ctx": recorded(cited_context(data.context))}
        made.filters |= {
            "num": self.num,
            "interval": lambda row, low, high, form: self.interval(row[low], row[high], form),
            "listed": lambda items, last="and": listed(map(self.printed, items), last),
            "length": self.length,
            "count": self.length,
            "abs": lambda value: as_cited(abs(value), value),
            "round": lambda value, digits=0: as_cited(round(value, digits), value),
            "breakable": lambda digest: Markup(body(str(digest))),  # noqa: S704 - escaped by `body`
        }
        return made

    def num(self, value: object, form: str) -> str:
        """A value in a number format; a mark where its provenance is known."""
        text = shown(value, form)
        if text == MISSING or not isinstance(value, Cited):
            return text
        return self.mark(text, value.trace, value.column, form)

    def interval(self, low: object, high: object, form: str) -> str:
        """`low to high`; a dash where neither end is known."""
        ends = self.num(low, form), self.num(high, form)
        return MISSING if ends == (MISSING, MISSING) else f"{ends[0]} to {ends[1]}"

    def length(self, items: Sized) -> object:
        """How many there are; of rows of a table with provenance."""
        return cited(len(items), items.trace, "count") if isinstance(items, CitedRows) else len(items)

    def printed(self, value: object) -> object:
        """What a `text` template prints of a value: a mark for a cited one."""
        if isinstance(value, Cited):
            return self.mark(str(value), value.trace, value.column, "")
        return value

    def mark(self, text: str, trace: str, column: str, form: str) -> str:
        """The mark of a number, whose macro is defined from now on."""
        key = _NOT_IN_KEYS.sub("-", f"{trace}:{column}{f':{form}' if form else ''}")
        value, whole = body(text), trace + scope_of(trace, column)
        while self.values.setdefault(key, value) != value or self.traces.setdefault(key, whole) != whole:
            key += "+"
        return f"\ue000{key}\ue001"

    def tex(self, value: object) -> str:
        """A value for LaTeX: its words escaped, its marks macro calls; what passed the filter `safe` as it is."""
        if isinstance(value, Markup):
            return value
        parts = _MARK.split(str(self.printed(value)))
        written = "".join(f"\\sr{{{part}}}" if index % 2 else _words(part) for index, part in enumerate(parts))
        return _BEFORE_P.sub("p~", written)

    def definitions(self) -> str:
        """`numbers.tex`."""
        lines = [f"\\srdef{{{key}}}{{{value}}} % {self.traces[key]}" for key, value in sorted(self.values.items())]
        return DEFINITIONS + "\n".join(lines) + "\n"


def body(text: str) -> str:
    """What a number's macro expands to: siunitx where it is a number or a percentage, else the words."""
    number, _, unit = text.partition(" ")
    if _PLAIN.fullmatch(number) and unit in ("", "%"):
        bare = number.replace(",", "").replace("−", "-")
        return f"\\qty{{{bare}}}{{\\percent}}" if unit else f"\\num{{{bare}}}"
    if " " not in text and len(text) > _LONG:
        return r"\allowbreak ".join(escape(text[start : start + 8]) for start in range(0, len(text), 8))
    return _BEHIND_SIGN.sub(r"\1~", _words(text))


def _words(text: str) -> str:
    """Text as LaTeX prints it; a sign of per cent stays with its number."""
    return escape(text).replace(r" \%", r"\,\%")
