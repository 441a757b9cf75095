r"""Content to LaTeX: every number becomes a macro call, `\sr{key}`, whose value stands in `numbers.tex`.

The key is the number's evidence in letters that LaTeX takes; the trace itself, which `report --trace` opens, stands behind
the value in `numbers.tex`. So the source says of each number where it comes from, and a new dataset changes that
file alone. An unknown key stops the compiler.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from sparkray.analysis.text import Number, Part, Say
from sparkray.analysis.tracing import scope_of

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "°": r"\textdegree{}",
    "×": r"$\times$",
    "−": "$-$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "µ": r"\textmu{}",
}
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9/._:+-]")
_LONG = 24
"""A word that no column is wide enough for: a digest, which may break anywhere."""
_BESIDE = " % "
_LINE = re.compile(r"^\\srdef\{([^{}]*)\}\{(.*)\} % (.*)$", re.MULTILINE)
_PLAIN = re.compile(r"[+−-]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
DEFINITIONS = r"""% Written by sparkray from the data; do not edit. Behind each number stands its trace, for report --trace.
\makeatletter
\newcommand{\srdef}[2]{\expandafter\gdef\csname sr@#1\endcsname{#2}}
\newcommand{\sr}[1]{\ifcsname sr@#1\endcsname\csname sr@#1\endcsname\else
  \PackageError{sparkray}{no number has the key #1}{The manuscript and numbers.tex are of different reports.}\fi}
\makeatother
"""


def escaped(text: str) -> str:
    """Words for LaTeX; a character that pdfLaTeX's fonts lack becomes its plain form, or goes."""
    return "".join(_ESCAPED.get(letter) or _ascii(letter) for letter in text)


def _ascii(letter: str) -> str:
    if letter.isascii():
        return letter
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()


@dataclass
class Macros:
    """The numbers of one manuscript, collected while it is written."""

    values: dict[str, str] = field(default_factory=dict)
    traces: dict[str, str] = field(default_factory=dict)

    def tex(self, text: Say) -> str:
        """A text for LaTeX."""
        parts: tuple[Part, ...] = text if isinstance(text, tuple) else (text,)
        return "".join(escaped(part) if isinstance(part, str) else self.macro(part) for part in parts)

    def macro(self, number: Number) -> str:
        """The call of a number's macro."""
        last = number.column or f"says {number.text}"
        key = _NOT_IN_KEYS.sub("-", f"{number.trace}:{last}{f':{number.form}' if number.form else ''}")
        value, trace = body(number.text), number.trace + scope_of(number.trace, number.column)
        while self.values.setdefault(key, value) != value or self.traces.setdefault(key, trace) != trace:
            key += "+"
        return f"\\sr{{{key}}}"

    def definitions(self) -> str:
        """`numbers.tex`."""
        lines = [
            f"\\srdef{{{key}}}{{{value}}}{_BESIDE}{self.traces[key]}" for key, value in sorted(self.values.items())
        ]
        return DEFINITIONS + "\n".join(lines) + "\n"


def body(text: str) -> str:
    """What a number's macro expands to: siunitx where it is a number or a percentage, else the words."""
    number, _, unit = text.partition(" ")
    if _PLAIN.fullmatch(number) and unit in ("", "%"):
        bare = number.replace(",", "").replace("−", "-")
        return f"\\qty{{{bare}}}{{\\percent}}" if unit else f"\\num{{{bare}}}"
    if " " not in text and len(text) > _LONG:
        return r"\allowbreak ".join(escaped(text[start : start + 8]) for start in range(0, len(text), 8))
    return escaped(text)


def table(macros: Macros, name: str, head: tuple[str, ...], rows: tuple[tuple[Say, ...], ...], caption: Say) -> str:
    """A float of booktabs over both columns; the first column is on the left, the others too where they hold words."""
    columns = "l" * len(head)
    lines = [
        "\\begin{table*}[t]",
        f"\\caption{{{macros.tex(caption)}}}",
        f"\\label{{tab:{name}}}",
        "\\centering\\footnotesize\\setlength{\\tabcolsep}{4pt}",
        f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        "\\toprule",
        " & ".join(escaped(word) for word in head) + r" \\",
        "\\midrule",
        *(" & ".join(macros.tex(cell) for cell in row) + r" \\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def defined(numbers: str) -> Mapping[str, str]:
    """The macros of a `numbers.tex`, by key."""
    return {key: value for key, value, _ in _LINE.findall(numbers)}


def traces_of(numbers: str) -> Mapping[str, str]:
    """The traces of a `numbers.tex`, by key."""
    return {key: trace for key, _, trace in _LINE.findall(numbers)}
