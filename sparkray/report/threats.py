"""Threats to validity, each with what these data say of it. Words and quoted numbers, no layout."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparkray.analysis.text import Text, enumerated, say
from sparkray.report.book import Book, Row
from sparkray.report.cells import primary_metrics
from sparkray.report.labels import arm_in_full, metric_name
from sparkray.report.words import where_of


@dataclass(frozen=True)
class Point:
    """A threat or a step of the method: a few words in bold, then what is to be said."""

    name: str
    text: Text


def threats(book: Book) -> list[tuple[str, list[Point]]]:
    """Threats to validity by kind, each with what these data say of it."""
    return [
        ("Internal", list(_internal(book))),
        ("Construct", list(_construct(book))),
        ("External", list(_external(book))),
        ("Statistical", list(_statistical(book))),
    ]


def _internal(book: Book) -> Iterator[Point]:
    yield Point("Lost runs", _attempts(book))
    yield from _over_time(book)
    moved = [row for row in book.rows("comparisons", primary=True) if row["outliers"] and row["ratio_without_outliers"]]
    if moved:
        row = max(moved, key=lambda row: abs(row["ratio_without_outliers"] / row["ratio"] - 1))
        said = say(
            "None is dropped. Without the {k} outlying pairs of {where}, {metric}, the ratio would be {without} "
            "instead of {ratio}; nowhere would a primary ratio move more.",
            k=book.number(row, "outliers", "count"),
            where=where_of(row),
            metric=metric_name(row["metric"]),
            without=book.number(row, "ratio_without_outliers", "ratio"),
            ratio=book.number(row, "ratio", "ratio"),
        )
        yield Point("Outliers", said)
    for name in book.context.get("deviations") or {}:
        what = book.linked(name, f"context/deviations/{name}")
        yield Point("Deviation", say("{what} ({n} attempts).", what=what, n=book.fact(f"deviations/{name}")))


def _primary(book: Book) -> list[Row]:
    """Diagnostics of the primary metrics."""
    metrics = primary_metrics(book)
    return [row for row in book.rows("diagnostics") if row["metric"] in metrics]


def _over_time(book: Book) -> Iterator[Point]:
    drifts = [row for row in _primary(book) if row["drift_p"] is not None]
    if drifts:
        row = min(drifts, key=lambda row: row["drift_p"])
        said = say(
            "The clearest trend over run order is {slope} a run ({where}, {metric}; p {p}, and the least of many p "
            "is small by chance alone). Arms of a block share a slow trend; a jump inside a block they do not.",
            slope=book.number(row, "drift_pct_per_run", "fine_per_cent"),
            where=where_of(row),
            metric=metric_name(row["metric"]),
            p=book.number(row, "drift_p", "p_is"),
        )
        yield Point("Drift", said)
    for metric in primary_metrics(book)[:1]:
        slow = book.rows("diagnostics", metric=metric, first_run_slow=True)
        if slow:
            said = say(
                "In {n} of {all} cells the first run is an outlier on the slow side of {metric}, as after a cold "
                "start; for instance {where}.",
                n=book.count("diagnostics", metric=metric, first_run_slow=True),
                all=book.count("diagnostics", metric=metric),
                metric=metric_name(metric),
                where=where_of(slow[0]),
            )
            yield Point("First runs", said)


def _attempts(book: Book) -> Text:
    counts = book.context.get("status_counts") or {}
    said = enumerated(say("{n} {status}", n=book.fact(f"status_counts/{name}"), status=name) for name in counts)
    return say(
        "Attempts: {said}. Only ok counts; the others are kept, never dropped in silence. Estimates rest on {used} "
        "runs.",
        said=said or "none",
        used=book.fact("runs_used"),
    )


def _construct(book: Book) -> Iterator[Point]:
    if book.context.get("simulated"):
        yield Point(
            "Simulated",
            ("A double stood in for the engine: the numbers show what the tool does, not what a machine does.",),
        )
    names = enumerated(arm_in_full(name) for name in book.context.get("environments") or [])
    yield Point(
        "What is compared",
        say(
            "{names}. Overhead here is of a steady load; starting the engine is outside the measured interval.",
            names=names,
        ),
    )
    yield Point(
        "Memory",
        say(
            "On unified memory, what CUDA calls free is the kernel's free memory, so page cache counts as used; "
            "the primary metric is the drop of available memory, which it does not move. cgroups do not see CUDA "
            "allocations of a GB10."
        ),
    )
    digests = book.context.get("rootfs_digests") or []
    if digests:
        same = "every arm ran the same files" if len(digests) == 1 else "more than one set of files was run: see below"
        yield Point(
            "Same bits", say("Digests of what the arms ran: {n}; {same}.", same=same, n=book.count_of("rootfs_digests"))
        )


def _external(book: Book) -> Iterator[Point]:
    yield Point(
        "Machines",
        say(
            "{n} host measured: the numbers tell about that machine, its firmware, driver and image, and not about "
            "its kind."
            if len(book.context.get("hosts") or []) == 1
            else "{n} hosts measured: what differs between them is in the blocks.",
            n=book.count_of("hosts"),
        ),
    )
    kind = (book.context.get("workload") or {}).get("kind")
    if kind == "offline":
        yield Point("Load", ("Offline load says nothing about serving over a network.",))


def _statistical(book: Book) -> Iterator[Point]:
    yield Point("Unit", ("The run is the unit, a fresh start of the engine; requests inside it are never replicates.",))
    worth = [row for row in _primary(book) if row["effective_n"] is not None and row["n"]]
    if worth:
        row = min(worth, key=lambda row: row["effective_n"] / row["n"])
        yield Point(
            "Independence",
            say(
                "Runs that follow each other resemble each other most in {where}, {metric}: {n} runs are worth "
                "{worth} independent ones (lag-one autocorrelation {lag}).",
                where=where_of(row),
                metric=metric_name(row["metric"]),
                n=book.number(row, "n", "count"),
                worth=book.number(row, "effective_n", "size"),
                lag=book.number(row, "lag1", "effect"),
            ),
        )
    yield Point(
        "Many comparisons",
        say(
            "{n} primary comparisons make the family over which p-values are adjusted. Verdicts are not adjusted: "
            "each is about one model and metric, at {alpha}.",
            n=book.count("comparisons", primary=True),
            alpha=book.constant("alpha"),
        ),
    )
    lost = book.rows("comparisons", primary=True, ratio=None)
    if lost:
        yield Point(
            "Not estimable",
            say(
                "{n} primary comparisons have no number: {why}.",
                why=enumerated(
                    say(
                        "{where} ({why})",
                        where=f"{where_of(row)}, {metric_name(row['metric'])}",
                        why=book.linked(row["not_estimable"], row["trace"]),
                    )
                    for row in lost
                ),
                n=book.count("comparisons", primary=True, ratio=None),
            ),
        )
