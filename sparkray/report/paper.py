r"""The manuscript: a conference paper in IEEEtran of at most ten pages, and behind it an artifact description.

Every number is a macro from the data. Words are in `templates/paper/` and in the text templates that the page has too; what
an author has to write is marked by comments, what has to be checked before printing by `\unchecked`.
"""

import re
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment

from sparkray.analysis.provenance_ids import CONTEXT
from sparkray.report import launches, repeat
from sparkray.report.cells import primary_metrics
from sparkray.report.data import ReportData
from sparkray.report.figures import Saved, words
from sparkray.report.latex import Macros, cited
from sparkray.report.style import COLUMN_IN
from sparkray.store.writing import write_atomically

MAIN = "main.tex"
# Characters of a listing that a column is wide enough for.
_LINE = 52
# Of a shell line, each with the comma or the space behind it.
_PIECES = re.compile(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s,'"\\])*(?:,|\s+|$)""")
# Each table of the manuscript: the rows of the analysis without which it is left out.
TABLES: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "ratios": ("comparisons", {}),
    "effects": ("comparisons", {}),
    "descriptive": ("descriptive", {}),
    "slopes": ("size", {"group_by": "slope", "not_estimable": None}),
    "contrasts": ("contrasts", {"not_estimable": None}),
    "gap": ("gap", {"not_estimable": None}),
}


@dataclass(frozen=True)
class Picture:
    """A figure of the manuscript: whether it is as wide as a page, its title and its caption."""

    wide: bool
    title: str
    caption: str


def write_paper(data: ReportData, drawn: Sequence[Saved], folder: Path) -> Path:
    """Write the manuscript into a folder: `main.tex`, `numbers.tex`, `tables/`, `figures/`. Returns the path of `main.tex`.

    Args:
        data: The tables.
        drawn: The figures, each with a PDF.
        folder: Where to; made if need be.

    Raises:
        StorageError: It cannot be written.
    """
    for name in ("tables", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    macros = Macros()
    text, latex = macros.environment("text", data), macros.environment("latex", data)
    tables = [name for name, (source, where) in TABLES.items() if primary_metrics(data) and data.rows(source, **where)]
    for name in tables:
        content = latex.get_template(f"paper/{name}.tex.j2").render(name=name)
        write_atomically(folder / "tables" / f"{name}.tex", content.encode())
    for one in drawn:
        shutil.copyfile(one.files["pdf"], folder / "figures" / f"{one.name}.pdf")
    main = latex.get_template("paper.tex.j2").render(
        **_sentences(text),
        **_artifact(data),
        tables=tables,
        figures={
            one.name: Picture(one.width_in > COLUMN_IN, one.title, words(text, one.name, "caption")) for one in drawn
        },
        placed=set(),
        gpus=sorted({gpu for machine in data.context["machines"] for gpu in machine.get("gpus") or ()}),
        bits=(data.context.get("adherence") or {}).get("bits"),
    )
    write_atomically(folder / MAIN, main.encode())
    write_atomically(folder / "numbers.tex", macros.definitions().encode())
    return folder / MAIN


def _sentences(text: Environment) -> dict[str, Any]:
    """What the text templates make for the manuscript."""
    answers = vars(text.get_template("text/answers.j2").module)
    return {
        "decided": lambda: text.get_template("answer.txt.j2").render().strip().splitlines()[0],
        "methods": points(text, "text/methods.j2"),
        "assumptions": points(text, "text/assumptions.j2"),
        "threats": points(text, "text/threats.j2"),
        "recommendations": _alike(points(text, "text/recommendations.j2")),
        **{name: answers[name] for name in ("titles", "silent", "reasons")},
    }


def _alike(recommendations: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Models, environment and reason: one row for the models that have both in common."""
    models: dict[tuple[str, ...], list[str]] = {}
    for model, *rest in recommendations:
        models.setdefault(tuple(rest), []).append(model)
    return [(", ".join(names), *rest) for rest, names in models.items()]


def _artifact(data: ReportData) -> dict[str, Any]:
    """What the artifact description needs: commands, and how many hours the runs took from first to last."""
    commands = launches.by_environment(data)
    ends = data.context.get("started_at"), data.context.get("ended_at")
    began, ended = (datetime.fromisoformat(end) if end else None for end in ends)
    hours = None if began is None or ended is None else (ended - began) / timedelta(hours=1)
    return {
        "repeat": folded(repeat.repeat_line(data)),
        "commands": [(what, replace(found[0], line=folded(found[0].line))) for what, found in commands.items()],
        "more_commands": any(len(found) > 1 for found in commands.values()),
        "hours": cited(hours, CONTEXT + "ended_at", "hours"),
    }


def folded(script: str) -> str:
    """Shell lines that a column has room for, broken where a shell joins them again: between words, or behind a comma.

    A word in quotes stays whole. Where quotes end on another line than they begin on, every line stays.
    """
    pieces = [(line, [piece for piece in _PIECES.findall(line) if piece]) for line in script.splitlines()]
    if any("".join(found) != line for line, found in pieces if not line.startswith("#")):
        return script
    lines: list[str] = []
    for line, found in pieces:
        if line.startswith("#"):
            lines += textwrap.wrap(line, _LINE, subsequent_indent="# ", break_long_words=False, break_on_hyphens=False)
            continue
        begun = ""
        for piece in found:
            if begun and len(begun + piece.rstrip()) >= _LINE:
                lines.append(f"{begun}\\")
                begun = ""
            begun += piece
        lines.append(begun)
    return "\n".join(lines)


def points(made: Environment, name: str) -> list[tuple[str, ...]]:
    """The headings and paragraphs of a template that is made of points: `text/methods.j2`, `text/threats.j2`."""
    found: list[tuple[str, ...]] = []

    def point(*headings: str, caller: Callable[[], str]) -> str:
        found.append((*headings, " ".join(caller().split())))
        return ""

    made.globals["point"] = point
    made.get_template(name).render()
    return found
