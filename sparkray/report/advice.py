"""Advice for practitioners: each piece is a table derived from data or cards, with the rule that made it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from sparkray.analysis.derived.fit import UNQUANTISED, memory_of
from sparkray.analysis.text import Say, Text, say
from sparkray.config.site import NATIVE
from sparkray.report.book import Book, Row
from sparkray.report.cells import arms_of, cells_of
from sparkray.report.grid import Grid
from sparkray.report.html import template
from sparkray.report.labels import arm, cell, metric_name

WORDS: Mapping[str, Any] = yaml.safe_load(template("advice.yaml"))
THROUGHPUT, LATENCY = "output_throughput_tok_s", "latency_mean_ms"


@dataclass(frozen=True)
class Advice:
    """One piece: what it answers, the rule, and the table; or why there is none."""

    title: str
    rule: Text
    grid: Grid | None


def advice(book: Book) -> Iterator[Advice]:
    """Every piece of advice, the most asked for first."""
    yield _native_or_container(book)
    yield _flags(book)
    yield _fit(book)
    yield _load(book)
    yield _costs(book)


def in_order(book: Book, table: str) -> list[Row]:
    """Rows of a table of cells, small models first, the reference's neighbours in their usual order."""
    rows = book.rows(table)
    cells, arms = cells_of(book, rows), arms_of(rows)
    return sorted(
        rows, key=lambda row: (cells.index((row["model"], row["level"] or "")), arms.index(row["environment"]))
    )


def _native_or_container(book: Book) -> Advice:
    rows = tuple(
        (
            cell(row["model"], row["level"]),
            arm(row["environment"]),
            arm(row["against"]),
            *decided(row),
            book.number(row, "extra_gib", "effect"),
        )
        for row in in_order(book, "decisions")
    )
    head = ("model", "environment", "reference", "advice", "because", "memory beside the reference (GiB)")
    grid = Grid("decisions", ("A rule applied to the verdicts.",), head, rows, headers=2)
    references = {row["against"] for row in book.rows("decisions")}
    title = "Native or container?" if references <= {NATIVE} else "Which environment?"
    return Advice(title, (f"Rule. {WORDS['rules']['decisions']}",), grid if rows else None)


def decided(row: Row) -> tuple[str, str]:
    """The choice and its reason, in words."""
    metrics = ", ".join(map(metric_name, row["metrics"].split()))
    choice, why = WORDS["decisions"][row["reason"]]
    return choice.format(here=arm(row["environment"]), there=arm(row["against"])), why.format(metrics=metrics)


def _flags(book: Book) -> Advice:
    rows = tuple(
        (
            arm(row["environment"]),
            row["flag"],
            WORDS["security"][row["security"]],
            book.linked(row["cannot_act"], row["trace"]) or "can act",
            _gain(book, row),
            _worth(book, row),
        )
        for row in book.rows("flags")
    )
    head = ("environment", "flag", "security price", "in this combination", "gain alone", "worth it")
    grid = Grid("flags", ("Flags that the containers really had.",), head, rows, headers=2)
    rule = say(
        "Rule. A flag that was not shown to gain anything beyond the margin is not worth a security price; one that "
        "cannot act is worth nothing at all, and neither is one that alone was shown to lose more than the margin; any "
        "other without a price costs nothing to keep. Gains are those of an "
        "optimisation that measured the flag alone; flags are read from the first run's own line."
    )
    return Advice("What the flags cost in security", rule, grid if rows else None)


def _level(book: Book, row: Row) -> Row | None:
    """What an optimisation found of a flag alone, where it measured it."""
    return next((level for level in book.rows("flag_levels") if level["flags"] == row["flag"] and level["n"]), None)


def _gain(book: Book, row: Row) -> Say:
    level = _level(book, row)
    if level is None or level["gain_pct"] is None:
        return "not measured alone"
    return say(
        "{gain} ({low} to {high}), {verdict}",
        gain=book.number(level, "gain_pct", "effect_pct"),
        low=book.number(level, "gain_low_pct", "effect_pct"),
        high=book.number(level, "gain_high_pct", "effect_pct"),
        verdict=level["verdict"] or "no verdict",
    )


def _worth(book: Book, row: Row) -> str:
    """The rule applied to a flag."""
    if row["cannot_act"]:
        return "no: it cannot act"
    level = _level(book, row)
    shown = 0.0 if level is None or level["verdict"] != "different" else level["gain_pct"] or 0.0
    if shown < 0:
        return "no: alone it was shown to lose more than the margin"
    if row["security"] == "none":
        return "costs nothing to keep"
    return "its gain stands against its price" if shown > 0 else "not worth its price, as far as was measured"


def _fit(book: Book) -> Advice:
    found = book.rows("fit")
    head = (
        "model",
        "parameters (billions)",
        "precision",
        "needed (GiB)",
        "fits",
        "needed at 16 bits (GiB)",
        "at 8 bits (GiB)",
        "at 4 bits (GiB)",
        "quantisation",
        "most sequences",
    )
    rows = tuple(_fit_row(book, row) for row in found)
    if not found:
        whose = WORDS["memory_of"][memory_of(book.context)]
        return Advice(
            "Which models fit, and when to quantise",
            say("The memory of {whose} is not known.", whose=whose),
            None,
        )
    rule = say(
        "Rule. A model fits if its weights, the 16-bit KV cache of the workload's sequences and {reserve} GiB that "
        "must stay free are no more than the {memory} GiB of {whose}. Quantisation is necessary where unquantised "
        "weights break that rule. Sequences: what is left after weights and reserve, over the cache of one "
        "sequence of {tokens} tokens.",
        reserve=book.constant("reserve_gib", "number"),
        memory=book.number(found[0], "memory_gib", "significant"),
        whose=WORDS["memory_of"][found[0]["memory_of"]],
        tokens=book.number(found[0], "tokens", "count"),
    )
    grid = Grid("fit", ("From the model cards; measured models and others of the suite.",), head, rows)
    return Advice("Which models fit, and when to quantise", rule, grid)


def _fit_row(book: Book, row: Row) -> tuple[Say, ...]:
    return (
        row["model"],
        book.number(row, "params_b", "number3"),
        row["precision"],
        book.number(row, "needed_gib", "size"),
        "yes" if row["fits"] else "no",
        book.number(row, "needed_16_gib", "size"),
        book.number(row, "needed_8_gib", "size"),
        book.number(row, "needed_4_gib", "size"),
        _quantise(book, row),
        book.number(row, "most_sequences", "count"),
    )


def _quantise(book: Book, row: Row) -> Say:
    if row["bits"] is None:
        return "does not fit at any of these"
    return "not needed" if row["bits"] == UNQUANTISED else say("{bits}-bit", bits=book.number(row, "bits", "count"))


def _load(book: Book) -> Advice:
    title = "Batch size and concurrency"
    described = [row for row in book.rows("descriptive") if row["level"] and row["metric"] in (THROUGHPUT, LATENCY)]
    if not described:
        text = say(
            "This experiment has one level of load, so it cannot tell. The table above bounds it: no more "
            "sequences in flight than fit; an experiment with levels of load (batch-concurrency) measures where "
            "throughput stops growing."
        )
        return Advice(title, text, None)
    found = book.rows("load")
    if not found:
        return Advice(
            title, ("Levels of the load are there, but no margin or no two of them with a throughput.",), None
        )
    rows = tuple(
        (
            row["model"],
            arm(row["environment"]),
            row["level"],
            "the largest that was measured" if row["at_largest"] else "more only adds latency",
            book.number(row, "throughput_tok_s", "significant"),
            book.number(row, "latency_ms", "significant"),
            book.number(row, "left_pct", "effect_pct"),
            row["most_level"],
        )
        for row in found
    )
    head = ("model", "environment", "load to take", "why", "tok/s there", "latency there (ms)", "most beyond it", "at")
    caption: Text = ("The rule applied to means; levels share no blocks, so nothing here is paired.",)
    return Advice(title, (f"Rule. {WORDS['rules']['load']}",), Grid("load", caption, head, rows, headers=2))


def _costs(book: Book) -> Advice:
    rows = tuple(
        (
            cell(row["model"], row["level"]),
            arm(row["environment"]),
            book.number(row, "tokens_day", "count_signed"),
            say(
                "{low} to {high}",
                low=book.number(row, "tokens_day_low", "count_signed"),
                high=book.number(row, "tokens_day_high", "count_signed"),
            ),
            WORDS["costs"][row["advice"]],
            book.number(row, "kwh_per_million", "number3"),
            book.number(row, "reference_kwh_per_million", "number3"),
            book.linked(row["power_checked"], row["trace"]),
        )
        for row in in_order(book, "costs")
    )
    head = (
        "model",
        "environment",
        "tokens a day",
        "95 % CI",
        "advice",
        "kWh per million tokens",
        "the same, reference",
        "power",
    )
    rule = say(
        "Rule. Tokens a day gained or lost against the reference at full load: mean throughput of the reference "
        "times {seconds} s times the ratio less one. {weighed}",
        seconds=book.constant("seconds_a_day", "count"),
        weighed=WORDS["rules"]["costs"],
    )
    grid = Grid("costs", ("What the ratio comes to.",), head, rows, headers=2)
    return Advice("Cost and benefit", rule, grid if rows else None)
