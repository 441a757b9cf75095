"""The page: one HTML file that needs nothing else, neither network nor script.

Jinja sets it; every number passes through `html.markup` on its way, which makes a link to the evidence of it. The section of
the evidence comes last, since what was quoted is known only then.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sparkray import __version__
from sparkray.analysis.text import Text, enumerated, plain, say
from sparkray.report import advice, answer, appendix, launches, methods, repeat, threats
from sparkray.report.against import of_another_load, told
from sparkray.report.book import Book
from sparkray.report.cells import primary_metrics
from sparkray.report.figures import NoFigure, Saved
from sparkray.report.flags_section import FIGURES, flags_section
from sparkray.report.grid import Grid, full_tables
from sparkray.report.html import environment, inline_svg, template
from sparkray.report.labels import VERDICTS, arm

EVIDENCE = "@@evidence@@"
FIRST_FIGURE = "forest"


@dataclass(frozen=True)
class Picture:
    """A figure as it stands in the page."""

    name: str
    title: str
    caption: Text
    svg: Markup
    files: tuple[str, ...]
    drawn_from: Text


def page(book: Book, drawn: Sequence[Saved | tuple[str, NoFigure]]) -> str:
    """The whole page as HTML."""
    pictures = [
        Picture(one.name, one.title, one.caption, inline_svg(one.name, one.svg, one.title, one.alt),
                tuple(f"figures/{path.name}" for path in one.files.values()), _drawn_from(book, one))
        for one in drawn
        if isinstance(one, Saved)
    ]  # fmt: skip
    made = environment(book)
    text = made.from_string(template("page.html.j2")).render(
        title=f"What does a container cost? {book.context.get('experiment')}",
        question=book.context.get("question"),
        style=Markup(template("page.css")),  # noqa: S704 - our own
        simulated=bool(book.context.get("simulated")) or bool(book.rows("flag_facts", name="simulated", text="yes")),
        notices=[text for text in (incomplete(book), undeclared(book)) if text],
        headlines=answer.headlines(book),
        standing=appendix.standing(book),
        cards=answer.cards(book),
        verdicts=VERDICTS,
        first=[one for one in pictures if one.name == FIRST_FIGURE],
        pictures=[one for one in pictures if one.name not in (FIRST_FIGURE, *FIGURES)],
        flags=flags_section(book),
        flag_pictures={one.name: one for one in pictures if one.name in FIGURES},
        absent=[(title, one.reason) for title, one in (pair for pair in drawn if isinstance(pair, tuple))],
        between=_between(book),
        studies=_studies(book),
        load_differs=_load_differs(book),
        other_simulated=bool(book.rows("studies", what="simulated", there="yes")),
        questions=answer.answers(book),
        threats=threats.threats(book),
        checks=_checks(book),
        audit=_audit(book),
        audit_size=book.count("audit"),
        calibration=appendix.calibration(book),
        methods=methods.methods(book),
        advice=list(advice.advice(book)),
        commands=launches.by_environment(book),
        repeat=repeat.repeat_line(book),
        left_open=repeat.left_open(book),
        machines=list(appendix.fingerprints(book)),
        identities=appendix.identities(book),
        tables=full_tables(book, primary_metrics(book)),
        support=lambda trace: Markup('<a href="#{}">{}</a>').format(book.evidence(trace).anchor, trace),
        evidence=EVIDENCE,
        version=__version__,
    )
    behind = {one.trace: [book.evidence(trace) for trace in one.supports] for one in list(book.quoted.values())}
    listed = made.from_string(template("evidence.html.j2")).render(
        quoted=sorted(book.quoted.values(), key=lambda e: e.trace),
        behind=lambda one: [(other.anchor, other.trace) for other in behind.get(one.trace, ())],
        places=book.places,
    )
    return text.replace(EVIDENCE, listed)


def _drawn_from(book: Book, one: Saved) -> Text:
    """The tables that a drawing's marks and its description are rows of."""
    tables = enumerated(say("{name} ({n} rows)", name=name, n=book.count(name)) for name in one.tables)
    return say("Drawn from the table {tables}.", tables=tables) if tables else ()


def incomplete(book: Book) -> Text:
    """What is missing of the plan, in a sentence; nothing where it is whole."""
    looks = book.context.get("sequential")
    short = [
        row
        for row in book.rows("comparisons", primary=True)
        if row["pairs_planned"] is not None
        and (row["n"] or 0) < row["pairs_planned"]
        and not (looks and row["verdict"] in ("equivalent", "different"))
    ]
    if not short:
        return ()
    least = min(short, key=lambda row: row["n"] or 0)
    return say(
        "Not complete: of {planned} planned pairs, {least} has {n}. Everything below is about the runs that are there.",
        planned=book.number(least, "pairs_planned", "count"),
        least=f"{least['model']}{' ' + least['level'] if least['level'] else ''} ({arm(least['environment'])})",
        n=book.number(least, "n", "count"),
    )


def undeclared(book: Book) -> Text:
    """That the margins are nobody's but this program's; nothing where an experiment declared some."""
    if book.context.get("margins_declared") is not None:
        return ()
    return ("The dataset does not say which margins were fixed before it: those used are this program's defaults.",)


def _checks(book: Book) -> Grid | None:
    rows = tuple(
        (
            row["check"].replace("_", " "),
            row["verdict"],
            book.number(row, "count", "count"),
            book.linked(row["example"], row["trace"]),
        )
        for row in book.rows("checks")
    )
    caption = ("Validity checks: how often each said what, with an example.",)
    return Grid("checks", caption, ("check", "verdict", "attempts", "example"), rows, headers=2) if rows else None


def _audit(book: Book) -> Grid | None:
    rows = tuple(
        (
            row["kind"].replace("_", " "),
            row["gravity"],
            book.linked(row["message"], row["trace"]),
            book.linked(row["evidence"], row["trace"]),
        )
        for row in book.rows("audit")
    )
    caption = ("Audit: what a reviewer would object to in this dataset, gravest first; then what could not be judged.",)
    return Grid("audit", caption, ("finding", "gravity", "what it means", "seen"), rows, headers=1) if rows else None


def _between(book: Book) -> list[Text]:
    """The sentences on the other study, the decided ones first."""
    rank = {"different": 0, "undecided": 1, None: 2, "equivalent": 3}
    rows = sorted(book.rows("between"), key=lambda row: (row["kind"] != "overhead", rank[row["verdict"]]))
    return [told(row) for row in rows]


def _studies(book: Book) -> Grid | None:
    """What the two studies are of."""
    rows = tuple(
        (
            row["what"],
            "yes" if row["same"] else "no",
            book.linked(row["here"], row["trace"]),
            book.linked(row["there"], row["trace"]),
        )
        for row in book.rows("studies")
    )
    caption: Text = ("What both studies are of.",)
    return Grid("studies", caption, ("what", "the same", "this study", "the other"), rows) if rows else None


def _load_differs(book: Book) -> Text:
    """That the studies are of another load; nothing where they are not."""
    found = of_another_load({row["what"]: row for row in book.rows("studies")})
    if not found:
        return ()
    return say(
        "These studies differ in {what}: what changed is not the machine's or its software's alone.",
        what=enumerated(found),
    )


def answer_lines(book: Book) -> list[str]:
    """The answer for the terminal, one sentence a line."""
    lines = [f"{one.title}. {plain(line)}" for one in answer.headlines(book) for line in one.lines]
    if book.context.get("simulated"):
        lines.append("SIMULATED: a double stood in for the engine; no machine was measured.")
    return lines
