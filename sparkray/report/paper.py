"""The manuscript: an IEEEtran skeleton with methods, tables and figures in place, every number a macro from the data.

What an author has to write (introduction, related work, discussion) is marked by comments; what the data say is there. Words
are in `templates/paper/` and in the text templates that the page has too.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment

from sparkray.report import launches
from sparkray.report.cells import primary_metrics
from sparkray.report.data import ReportData
from sparkray.report.figures import Saved, words
from sparkray.report.latex import Macros
from sparkray.report.style import COLUMN_IN
from sparkray.store import write_atomically

MAIN = "main.tex"
# Each table of the manuscript: the rows of the analysis without which it is left out.
TABLES: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "ratios": ("comparisons", {}),
    "effects": ("comparisons", {}),
    "descriptive": ("descriptive", {}),
    "slopes": ("size", {"group_by": "slope", "not_estimable": None}),
    "contrasts": ("contrasts", {"not_estimable": None}),
    "gap": ("gap", {"not_estimable": None}),
}


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
    commands = launches.by_environment(data)
    main = latex.get_template("paper.tex.j2").render(
        answer=text.get_template("answer.txt.j2").render().strip().splitlines(),
        methods=points(text, "text/methods.j2"),
        questions=points(text, "text/questions.j2"),
        threats=points(text, "text/threats.j2"),
        tables=tables,
        figures=[(one.name, one.width_in > COLUMN_IN, one.title, words(text, one.name, "caption")) for one in drawn],
        commands=[(what, found[0]) for what, found in commands.items()],
        more_commands=any(len(found) > 1 for found in commands.values()),
    )
    write_atomically(folder / MAIN, main.encode())
    write_atomically(folder / "numbers.tex", macros.definitions().encode())
    return folder / MAIN


def points(made: Environment, name: str) -> list[tuple[str, str]]:
    """The headings and paragraphs of a template that is made of points: `text/methods.j2`, `text/threats.j2`."""
    found: list[tuple[str, str]] = []

    def point(name: str, caller: Callable[[], str]) -> str:
        found.append((name, " ".join(caller().split())))
        return ""

    made.globals["point"] = point
    made.get_template(name).render()
    return found
