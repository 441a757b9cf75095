"""The manuscript: an IEEEtran skeleton with methods, tables and figures in place, every number a macro from the data.

What an author has to write (introduction, related work, discussion) is marked by comments; what the data say is there.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from sparkray import __version__
from sparkray.analysis.text import Say, Text, enumerated, say
from sparkray.report import launches
from sparkray.report.book import Book, Row
from sparkray.report.cells import cells_of, primary_metrics
from sparkray.report.figures import Saved
from sparkray.report.labels import arm, cell, metric_name
from sparkray.report.latex import Macros, escaped, table
from sparkray.report.page import answer_lines, points, template
from sparkray.report.style import COLUMN_IN
from sparkray.store import write_atomically

FIXED = " Interim analyses were made: these intervals are for a fixed number of runs."
MAIN = "main.tex"
_METRICS = 3
_MARKS = {"equivalent": "E", "different": "D", "undecided": "U"}


def write_paper(book: Book, drawn: Sequence[Saved], folder: Path) -> Path:
    """Write the manuscript into a folder: `main.tex`, `numbers.tex`, `tables/`, `figures/`. Returns the path of `main.tex`.

    Raises:
        StorageError: It cannot be written.
    """
    for name in ("tables", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    macros = Macros()
    tables = _tables(book, macros)
    for name, text in tables.items():
        write_atomically(folder / "tables" / f"{name}.tex", text.encode())
    for one in drawn:
        shutil.copyfile(one.files["pdf"], folder / "figures" / f"{one.name}.pdf")
    write_atomically(folder / MAIN, _main(book, drawn, macros, list(tables)).encode())
    write_atomically(folder / "numbers.tex", macros.definitions().encode())
    return folder / MAIN


def _main(book: Book, drawn: Sequence[Saved], macros: Macros, tables: Sequence[str]) -> str:
    made = Environment(
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - LaTeX, escaped by the filter `say`
        trim_blocks=True,
        lstrip_blocks=True,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    made.filters["say"] = macros.tex
    made.filters["tex"] = escaped
    commands = launches.by_environment(book)
    return made.from_string(template("paper.tex.j2")).render(
        experiment=str(book.context.get("experiment")),
        question=str(book.context.get("question") or ""),
        simulated=bool(book.context.get("simulated")),
        declared=book.context.get("margins_declared") is not None,
        decision=answer_lines(book),
        methods=points(book, "text/methods.j2"),
        questions=points(book, "text/questions.j2"),
        threats=points(book, "text/threats.j2"),
        tables=tables,
        figures=[(one.name, one.title, one.caption, _wide(one)) for one in drawn],
        commands=[(what, found[0]) for what, found in commands.items()],
        more_commands=any(len(found) > 1 for found in commands.values()),
        version=__version__,
    )


def _wide(one: Saved) -> bool:
    """Whether a drawing is wider than a column, by its own first line (points of 1/72 inch)."""
    width = one.svg.partition('width="')[2].partition("pt")[0]
    return float(width) > COLUMN_IN * 72 + 1


def _tables(book: Book, macros: Macros) -> dict[str, str]:
    metrics = primary_metrics(book)[:_METRICS]
    found: dict[str, str] = {}
    if book.rows("comparisons"):
        found["ratios"] = _by_cell(book, macros, "ratios", metrics)
        found["effects"] = _effects(book, macros, metrics)
    if book.rows("descriptive"):
        found["descriptive"] = _described(book, macros, metrics)
    return found


def _by_cell(book: Book, macros: Macros, name: str, metrics: Sequence[str]) -> str:
    rows = [row for row in book.rows("comparisons") if row["metric"] in metrics]
    lines: list[tuple[Say, ...]] = []
    for key in cells_of(book, rows):
        mine = [row for row in rows if (row["model"], row["level"] or "") == key]
        for environment in dict.fromkeys(row["environment"] for row in mine):
            by_metric = {row["metric"]: row for row in mine if row["environment"] == environment}
            lines.append((cell(*key), arm(environment), *(_ratio(book, by_metric.get(metric)) for metric in metrics)))
    caption = say(
        "Ratio to the reference with its {confidence} confidence interval and verdict: E equivalent, D different, "
        "U undecided at the margin.",
        confidence=book.constant("confidence"),
    )
    return table(macros, name, ("Model", "Environment", *map(_head, metrics)), tuple(lines), caption)


def _ratio(book: Book, row: Row | None) -> Say:
    if row is None or row["ratio"] is None:
        return "--"
    low, high = book.number(row, "low", "ratio"), book.number(row, "high", "ratio")
    mark = _MARKS.get(row["verdict"] or "", "")
    return say(
        "{ratio} ({low} to {high}) {mark}", ratio=book.number(row, "ratio", "ratio"), low=low, high=high, mark=mark
    )


def _head(metric: str) -> str:
    name = metric_name(metric)
    return name[:1].upper() + name[1:]


def _effects(book: Book, macros: Macros, metrics: Sequence[str]) -> str:
    """The study's own protocol for the first primary metric."""
    rows = book.rows("comparisons", metric=metrics[0]) if metrics else []
    order = cells_of(book, rows)
    lines = tuple(
        (
            cell(row["model"], row["level"]),
            arm(row["environment"]),
            (row["test"] or "--").replace("_", " "),
            book.number(row, "p", "p"),
            book.number(row, "p_holm", "p"),
            book.number(row, "p_bh", "p"),
            _effect(book, row, "cohen_d", "d"),
            _effect(book, row, "hedges_g", "g"),
            book.number(row, "permutation_p", "p"),
            book.number(row, "power_planned", "share"),
        )
        for row in sorted(rows, key=lambda row: order.index((row["model"], row["level"] or "")))
    )
    head = ("Model", "Environment", "Test", "p", "Holm", "BH", "Cohen's d", "Hedges' g", "Signs flipped", "Power")
    name = metric_name(metrics[0]) if metrics else ""
    families = enumerated(sorted({row["family"] for row in rows if row["family"]})) or "none"
    caption = say(
        "The study's own protocol for {name}: arms as independent samples; p adjusted within the family {families}. The "
        "last two columns are paired: the test by flipping signs inside blocks, and the power that was planned to call the "
        "arms equivalent.{fixed}",
        name=name,
        families=families,
        fixed=FIXED if book.looked else "",
    )
    return table(macros, "effects", head, lines, caption)


def _effect(book: Book, row: Row, column: str, ends: str) -> Text:
    return say(
        "{value} ({low} to {high})",
        value=book.number(row, column, "effect"),
        low=book.number(row, f"{ends}_low", "effect"),
        high=book.number(row, f"{ends}_high", "effect"),
    )


def _described(book: Book, macros: Macros, metrics: Sequence[str]) -> str:
    rows = [row for row in book.rows("descriptive") if row["metric"] in metrics]
    lines: list[tuple[Say, ...]] = []
    for key in cells_of(book, rows):
        mine = [row for row in rows if (row["model"], row["level"] or "") == key]
        for environment in dict.fromkeys(row["environment"] for row in mine):
            by_metric = {row["metric"]: row for row in mine if row["environment"] == environment}
            values = [_mean(book, by_metric.get(metric)) for metric in metrics]
            lines.append((cell(*key), arm(environment), *values))
    caption = "Mean over runs, standard deviation and coefficient of variation, in the metric's own unit."
    return table(macros, "descriptive", ("Model", "Environment", *map(_head, metrics)), tuple(lines), caption)


def _mean(book: Book, row: Row | None) -> Say:
    if row is None or row["mean"] is None:
        return "--"
    return say(
        "{mean} (sd {sd}, CV {cv}, n {n})",
        mean=book.number(row, "mean", "significant"),
        sd=book.number(row, "sd", "significant"),
        cv=book.number(row, "cv_pct", "per_cent"),
        n=book.number(row, "n", "count"),
    )
