"""Advice for practitioners: each piece is a table derived from data or cards, with the rule that made it."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparkray.report.book import Book, Row
from sparkray.report.cells import arms_of, cells_of
from sparkray.report.derived.decisions import RULE
from sparkray.report.derived.flags import PRICES
from sparkray.report.grid import Grid
from sparkray.report.labels import arm, cell, metric_name
from sparkray.report.text import Say, Text, say

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
            row["advice"],
            book.linked(row["because"], row["trace"]),
            book.number(row, "extra_gib", "effect"),
        )
        for row in in_order(book, "decisions")
    )
    head = ("model", "environment", "advice", "because", "memory beside native (GiB)")
    grid = Grid("decisions", ("A rule applied to the verdicts.",), head, rows, headers=2)
    return Advice("Native or container?", (f"Rule. {RULE}",), grid if rows else None)


def _flags(book: Book) -> Advice:
    rows = tuple(
        (
            arm(row["environment"]),
            row["flag"],
            book.linked(row["why"], row["trace"]),
            PRICES[row["security"]],
            book.linked(row["cannot_act"], row["trace"]) or "can act",
        )
        for row in book.rows("flags")
    )
    head = ("environment", "flag", "what it is for", "security price", "in this combination")
    grid = Grid("flags", ("Flags that the containers really had.",), head, rows, headers=2)
    rule = say(
        "Rule. A flag that this experiment did not show to gain anything beyond a margin is not worth a security "
        "price; one that cannot act is worth nothing at all. Flags are read from the first run's own line."
    )
    return Advice("What the flags cost in security", rule, grid if rows else None)


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
        return Advice("Which models fit, and when to quantise", ("The memory of the machine is not known.",), None)
    rule = say(
        "Rule. A model fits if its weights, the 16-bit KV cache of the workload's sequences and {reserve} GiB that "
        "must stay free are no more than the machine's {memory} GiB. Quantisation is necessary where unquantised "
        "weights break that rule. Sequences: what is left after weights and reserve, over the cache of one "
        "sequence of {tokens} tokens.",
        reserve=book.constant("reserve_gib", "number"),
        memory=book.number(found[0], "memory_gib", "significant"),
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
        book.linked(row["advice"], row["trace"]),
        book.number(row, "most_sequences", "count"),
    )


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
    rows = tuple(
        (
            row["model"],
            row["level"],
            arm(row["environment"]),
            metric_name(row["metric"]),
            book.number(row, "mean", "significant"),
            say(
                "{low} to {high}",
                low=book.number(row, "mean_low", "significant"),
                high=book.number(row, "mean_high", "significant"),
            ),
        )
        for row in described
    )
    rule = say(
        "Rule. Take the smallest load beyond which throughput no longer grows by more than its margin: past it, "
        "more sequences buy latency alone."
    )
    head = ("model", "load", "environment", "metric", "mean", "95 % CI")
    return Advice(title, rule, Grid("load", ("Throughput and latency by load.",), head, rows, headers=4))


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
            book.number(row, "kwh_per_million", "number3"),
            book.number(row, "reference_kwh_per_million", "number3"),
            book.linked(row["power_checked"], row["trace"]),
        )
        for row in in_order(book, "costs")
    )
    head = ("model", "environment", "tokens a day", "95 % CI", "kWh per million tokens", "the same, reference", "power")
    rule = say(
        "Rule. Tokens a day gained or lost against the reference at full load: mean throughput of the reference "
        "times {seconds} s times the ratio less one. An interval on both sides of zero: the data do not say which. "
        "Against it stand the things that a container brings and no throughput pays for: isolation, one fixed "
        "environment, easy rollback.",
        seconds=book.constant("seconds_a_day", "count"),
    )
    grid = Grid("costs", ("What the ratio comes to.",), head, rows, headers=2)
    return Advice("Cost and benefit", rule, grid if rows else None)
