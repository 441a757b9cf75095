"""The answer in prose: by environment, by model, by research question. Words and quoted numbers, no layout."""

import json
from dataclasses import dataclass, replace

from sparkray.analysis.text import Text, parsed, plain, say
from sparkray.report.book import Book, Row
from sparkray.report.cells import Cell, cells_of, primary_metrics
from sparkray.report.labels import ARCHITECTURES, arm, cell, metric_name, readable
from sparkray.report.words import estimate, headline, meaning
from sparkray.schema import capital

QUESTIONS = {
    1: "Is the overhead of the container the same over model sizes?",
    2: "Do architectures and precisions differ?",
    3: "Can a Docker configuration reduce it?",
    4: "Are this many runs enough?",
    5: "Would the findings stand in print?",
}


@dataclass(frozen=True)
class Line:
    """One verdict of a model: on which metric, in which environment, how much, and what it means."""

    verdict: str
    metric: str
    environment: str
    estimate: Text
    meaning: Text


@dataclass(frozen=True)
class Card:
    """One model's answer."""

    name: str
    about: Text
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Answer:
    """One research question's answer for one environment and metric."""

    heading: str
    verdict: str
    text: Text
    supports: tuple[str, ...]


@dataclass(frozen=True)
class Headline:
    """One environment against its reference: a sentence for each primary metric."""

    title: str
    lines: tuple[Text, ...]


def headlines(book: Book) -> list[Headline]:
    """The answer in a few lines, an environment at a time."""
    rows = [row for row in book.rows("comparisons") if row["primary"]]
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        metrics = found.setdefault((row["environment"], row["against"]), [])
        metrics += [row["metric"]] if row["metric"] not in metrics else []
    return [
        Headline(
            capital(f"{arm(environment)} against {arm(against)}"),
            tuple(headline(book, metric, environment) for metric in metrics),
        )
        for (environment, against), metrics in found.items()
    ]


def cards(book: Book) -> list[Card]:
    """The answer model by model, small models first."""
    metrics = primary_metrics(book)
    rows = [row for row in book.rows("comparisons") if row["metric"] in metrics]
    return [
        _card(book, key, [r for r in rows if (r["model"], r["level"] or "") == key]) for key in cells_of(book, rows)
    ]


def _card(book: Book, key: Cell, rows: list[Row]) -> Card:
    lines = tuple(
        Line(
            row["verdict"] or ("no verdict" if row["ratio"] is not None else "not estimable"),
            metric_name(row["metric"]),
            arm(row["environment"]),
            estimate(book, row),
            meaning(book, row),
        )
        for row in rows
    )
    return Card(cell(*key), _about(book, key[0]), lines)


def _about(book: Book, model: str) -> Text:
    fit = next(iter(book.rows("fit", model=model)), None)
    if fit is None:
        return ()
    return say(
        "{kind}, {params} billion parameters, {precision}",
        kind=ARCHITECTURES.get(fit["architecture"], fit["architecture"]),
        params=book.number(fit, "params_b", "number3"),
        precision=fit["precision"],
    )


def answers(book: Book) -> list[tuple[str, list[Answer]]]:
    """The five research questions, each with its answers."""
    return [
        (f"{number}. {question}", _together([_answer(row) for row in book.rows("questions", question=number)]))
        for number, question in QUESTIONS.items()
    ]


def _together(found: list[Answer]) -> list[Answer]:
    """Answers in the same words told once, with the headings of all of them."""
    by_words: dict[tuple[str, str], list[Answer]] = {}
    for one in found:
        by_words.setdefault((one.verdict, plain(one.text)), []).append(one)
    return [
        replace(
            alike[0],
            heading="; ".join(one.heading for one in alike if one.heading),
            supports=tuple(dict.fromkeys(trace for one in alike for trace in one.supports)),
        )
        for alike in by_words.values()
    ]


def _answer(row: Row) -> Answer:
    named = (
        arm(row["environment"] or ""),
        metric_name(row["metric"]) if row["metric"] else "",
        row["level"],
        row["aspect"],
    )
    told = tuple(readable(part) if isinstance(part, str) else part for part in parsed(row["parts"]))
    supports = tuple(json.loads(row["supports"] or "[]"))
    return Answer(", ".join(part for part in named if part), row["verdict"] or "unanswered", told, supports)
