r"""Tables for a paper: booktabs, numbers in siunitx's S columns, one IEEE column wide.

A file of a table holds one float for each metric that matters, each with caption and label; `latex.yaml` lists columns
and captions. The preamble needs ``\usepackage{booktabs,siunitx}``. What is not estimable is a dash, and the note below the
table explains it. Tables that are raw points of figures (`requests`, `temperatures`, `order`, `runs`) have no LaTeX form.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

import polars as pl
import yaml

from sparkray.analysis.schema import DERIVED, TABLES
from sparkray.schema import Column, Kind

_DASH = "{--}"
_NOTE = "--: not estimable, or not known"
# Where a long word may break: behind an underscore or an equals sign, and inside of a digest.
_BREAKS = re.compile(r"(\\_|=|[0-9a-f]{8}(?=[0-9a-f]{8}))")
_TALL = 1e5
_MOST_DECIMALS = 6
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Col:
    """One column: heading, value's key, decimals (None: text), factor; of a column of sentences its width.

    `fit` gives small values as many decimals as two significant digits need.
    """

    head: str
    name: str
    decimals: int | None = None
    factor: float = 1.0
    width: str = ""
    fit: bool = False


@dataclass(frozen=True)
class View:
    """How a table is printed: one float for each value of `split`, of the rows that have the values of `where`."""

    caption: str
    columns: tuple[Col, ...]
    split: tuple[str, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    needs: str | None = None

    def shown(self, row: Row) -> bool:
        """Whether a row is printed."""
        if self.needs is not None and row[self.needs] is None:
            return False
        return all(
            row[key] in wanted if isinstance(wanted, list) else row[key] == wanted for key, wanted in self.where.items()
        )


@cache
def _read(name: str) -> Mapping[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml: ten times as fast
    return dict(yaml.load(files("sparkray.analysis").joinpath(name).read_text("utf-8"), Loader=loader))  # noqa: S506 - safe


def views(name: str, frame: pl.DataFrame) -> list[View]:
    """How a table is printed, float by float; none for a table that has no LaTeX form."""
    return [
        View(
            caption=one["caption"],
            columns=tuple(_col(name, frame, column) for column in one["columns"]),
            split=tuple(one.get("split", ())),
            where=one.get("where", {}),
            needs=one.get("needs"),
        )
        for one in _read("latex.yaml").get(name, ())
    ]


def _col(table: str, frame: pl.DataFrame, given: str | Mapping[str, Mapping[str, Any]]) -> Col:
    """A column as `latex.yaml` has it, over what the schema declares or the type of its values implies."""
    [(name, more)] = [(given, {})] if isinstance(given, str) else given.items()
    tables = next((tables for tables in (TABLES, DERIVED) if table in tables), None)
    declared = Column(name, _kind(frame.schema[name]), "") if tables is None else tables[table].column(name)
    decimals = _read("latex_text.yaml")["decimals"][declared.format]
    fit = declared.format == "significant" and "decimals" not in more
    return replace(Col(declared.head, declared.name, decimals, fit=fit), **more)


def _kind(dtype: pl.DataType) -> Kind:
    return "int" if dtype.is_integer() else "float" if dtype.is_float() else "bool" if dtype == pl.Boolean else "string"


def escape(text: str) -> str:
    """Text as LaTeX prints it; a character that pdfLaTeX's fonts lack becomes its plain form, or goes."""
    escaped = text.translate(_escapes())
    return escaped if escaped.isascii() else "".join(map(_ascii, escaped))


@cache
def _escapes() -> Mapping[int, str]:
    return str.maketrans({letter: escape for letter, escape in _read("latex_text.yaml")["escapes"].items() if escape})


def _ascii(letter: str) -> str:
    return letter if letter.isascii() else unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()


def latex(name: str, frame: pl.DataFrame, metrics: Sequence[str]) -> str | None:
    """A table's floats; None for a table that has no LaTeX form.

    Args:
        name: The table.
        frame: Its rows.
        metrics: Which metrics to print, if the table has more.
    """
    printed = views(name, frame)
    if not printed:
        return None
    rows = [row for row in frame.to_dicts() if "metric" not in row or row["metric"] in metrics]
    floats = []
    for number, view in enumerate(printed):
        shown = [row for row in rows if view.shown(row)]
        for where in dict.fromkeys(tuple(row[key] for key in view.split) for row in shown):
            part = [row for row in shown if tuple(row[key] for key in view.split) == where]
            label = "-".join([name, *([str(number)] if number else []), *map(str, where)])
            floats.append(_float(view, part, dict(zip(view.split, where, strict=True)), label))
    head = "% needs \\usepackage{booktabs,siunitx}; one IEEE column wide\n"
    return head + ("\n".join(floats) if floats else "% nothing to print\n")


def _float(view: View, rows: Sequence[Row], where: Mapping[str, str], label: str) -> str:
    caption = re.sub(r"(?<!\\)%", r"\\%", view.caption)
    caption = re.sub(r"\{(metric|environment|part|model)\}", lambda found: escape(str(where[found[1]])), caption)
    columns = tuple(_fitted(column, rows) for column in _with_level(view.columns, rows))
    cells = [[_cell(column, row.get(column.name)) for column in columns] for row in rows]
    formats = "".join(_format(column, [line[place] for line in cells]) for place, column in enumerate(columns))
    heads = " & ".join(f"{{{column.head.replace('%', chr(92) + '%')}}}" for column in columns)
    body = "\n".join(f"    {' & '.join(line)} \\\\" for line in cells)
    missing = any(_DASH in line for line in cells)
    note = f"\n  \\par\\vspace{{2pt}}\\scriptsize {_NOTE}" if missing else ""
    return (
        "\\begin{table}[t]\n  \\centering\\scriptsize\\setlength{\\tabcolsep}{2.5pt}\n"
        f"  \\caption{{{caption}}}\n  \\label{{tab:{re.sub('[^A-Za-z0-9:-]', '-', label)}}}\n"
        f"  \\begin{{tabular}}{{@{{}}{formats}@{{}}}}\n    \\toprule\n    {heads} \\\\\n    \\midrule\n"
        f"{body}\n    \\bottomrule\n  \\end{{tabular}}{note}\n\\end{{table}}\n"
    )


def _with_level(columns: tuple[Col, ...], rows: Sequence[Row]) -> tuple[Col, ...]:
    """The columns, with the level of the load after the first where there is more than one."""
    if len({row.get("level") or "" for row in rows}) < 2 or "level" in {column.name for column in columns}:  # noqa: PLR2004
        return columns
    return (columns[0], Col("Level", "level"), *columns[1:])


def _fitted(column: Col, rows: Sequence[Row]) -> Col:
    """The column with enough decimals for its smallest value, where it asks for that."""
    sizes = [abs(float(row[column.name])) for row in rows if column.fit and row.get(column.name)]
    if not sizes or column.decimals is None:
        return column
    needed = 1 - math.floor(math.log10(min(sizes)))
    return replace(column, decimals=max(column.decimals, min(needed, _MOST_DECIMALS)))


def _cell(column: Col, value: Any) -> str:  # noqa: ANN401 - a value of whatever column
    if value is None:
        return _DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column.decimals is None:
        text = escape(_read("latex_text.yaml")["short"].get(str(value), str(value)))
        return _BREAKS.sub(r"\1\\allowbreak{}", text) if column.width else text
    scaled = float(value) * column.factor
    if abs(scaled) >= _TALL:
        return f"{{{scaled:.3g}}}"
    return f"{scaled:.{column.decimals}f}"


def _format(column: Col, cells: Sequence[str]) -> str:
    """`l`, a paragraph for sentences, or an S column wide enough for what stands in it."""
    if column.decimals is None:
        return f"p{{{column.width}}}" if column.width else "l"
    numbers = [cell for cell in cells if not cell.startswith("{")]
    digits = max((len(cell.lstrip("-").partition(".")[0]) for cell in numbers), default=1)
    sign = "-" if any(cell.startswith("-") for cell in numbers) else ""
    return f"S[table-format={sign}{digits}.{column.decimals}]"
