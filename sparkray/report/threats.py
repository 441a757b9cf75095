"""Threats to validity, each with what these data say of it. Words and quoted numbers, no layout."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparkray.analysis.derived.fit import UNIFIED
from sparkray.analysis.text import Text, enumerated, say
from sparkray.report.audited import NOT_JUDGED
from sparkray.report.book import Book, Row
from sparkray.report.cells import primary_metrics
from sparkray.report.files import same_files
from sparkray.report.labels import arm_in_full, metric_name
from sparkray.report.words import hangs_on_outliers, judged_over_others, nests_in, where_of

PASSED = "pass"


@dataclass(frozen=True)
class Point:
    """A threat or a step of the method: a few words in bold, then what is to be said."""

    name: str
    text: Text


def threats(book: Book) -> list[tuple[str, list[Point]]]:
    """Threats to validity by kind, each with what these data, their checks and their audit say of it."""
    return [
        ("Internal", [*_internal(book), *_checked(book), *_audited(book)]),
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
            "instead of {ratio}; nowhere would a primary ratio move more. {hangs}",
            k=book.number(row, "outliers", "count"),
            where=where_of(row),
            metric=metric_name(row["metric"]),
            without=book.number(row, "ratio_without_outliers", "ratio"),
            ratio=book.number(row, "ratio", "ratio"),
            hangs=_hangs(moved),
        )
        yield Point("Outliers", said)
    for name in book.context.get("deviations") or {}:
        what = book.linked(name, f"context/deviations/{name}")
        yield Point("Deviation", say("{what} ({n} attempts).", what=what, n=book.fact(f"deviations/{name}")))


def _hangs(moved: list[Row]) -> str:
    """Which verdicts would be others without the outlying pairs."""
    if all(row["verdict_without_outliers"] is None for row in moved):
        return "There is no verdict without them."
    others = [
        f"{where_of(row)}, {metric_name(row['metric'])} ({row['verdict']}; without them {row['verdict_without_outliers']})"
        for row in moved
        if hangs_on_outliers(row)
    ]
    return f"Verdicts that hang on outliers: {'; '.join(others)}." if others else "No verdict hangs on them."


def _checked(book: Book) -> Iterator[Point]:
    """What the validity checks found, check by check."""
    for name in dict.fromkeys(row["check"] for row in book.rows("checks") if row["verdict"] != PASSED):
        mine = [row for row in book.rows("checks", check=name) if row["verdict"] != PASSED]
        said = enumerated(
            say("{n} {verdict}", n=book.number(row, "count", "count"), verdict=row["verdict"]) for row in mine
        )
        what = say(
            "{said}. Invalid runs do not count; a warning leaves its run in. For instance: {example}.",
            said=said,
            example=book.linked(mine[0]["example"], mine[0]["trace"]) or "no evidence was stored",
        )
        yield Point(f"Check {name.replace('_', ' ')}", what)
    if not book.rows("checks"):
        yield Point("Checks", ("No check left a verdict with these runs.",))
    elif not any(row["verdict"] != PASSED for row in book.rows("checks")):
        yield Point("Checks", ("Every check passed every run that it judged.",))


def _audited(book: Book) -> Iterator[Point]:
    """What an audit of the dataset finds, gravest first; what it could not judge is counted."""
    found = [row for row in book.rows("audit") if row["gravity"] != NOT_JUDGED]
    for row in found:
        what = say("{message} ({gravity})", message=book.linked(row["message"], row["trace"]), gravity=row["gravity"])
        yield Point(f"Audit: {row['kind'].replace('_', ' ')}", what)
    if not found:
        yield Point("Audit", ("The audit found nothing to object to.",))
    left = book.rows("audit", gravity=NOT_JUDGED)
    if left:
        said = say(
            "{n} questions of the audit could not be judged from these data.", n=book.count("audit", gravity=NOT_JUDGED)
        )
        yield Point("Audit, not judged", said)


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
    yield from _ratios_over_time(book)
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


def _ratios_over_time(book: Book) -> Iterator[Point]:
    """The series that verdicts rest on: did the ratios themselves drift, or remember the pair before?"""
    rows = [row for row in book.rows("comparisons", primary=True) if row["ratio_drift_p"] is not None]
    if not rows:
        return
    row = min(rows, key=lambda row: row["ratio_drift_p"])
    known = [one for one in rows if one["ratio_effective_n"] is not None]
    said = say(
        "The clearest trend of a ratio over its pairs is {slope} a pair ({where}, {metric}; p {p}).",
        slope=book.number(row, "ratio_drift_pct_per_pair", "fine_per_cent"),
        where=where_of(row),
        metric=metric_name(row["metric"]),
        p=book.number(row, "ratio_drift_p", "p_is"),
    )
    if known:
        least = min(known, key=lambda one: one["ratio_effective_n"] / one["n"])
        said += say(
            " Ratios resemble the one before most in {where}, {metric}: {n} pairs are worth {worth} (lag-one "
            "autocorrelation {lag}).",
            where=where_of(least),
            metric=metric_name(least["metric"]),
            n=book.number(least, "n", "count"),
            worth=book.number(least, "ratio_effective_n", "size"),
            lag=book.number(least, "ratio_lag1", "effect"),
        )
    yield Point("Ratios over time", said)


def _attempts(book: Book) -> Text:
    counts = book.context.get("status_counts") or {}
    said = enumerated(say("{n} {status}", n=book.count("order", status=name), status=name) for name in counts)
    return say(
        "Attempts: {said}. Only ok counts; the others are kept, never dropped in silence. Estimates rest on {used} "
        "runs.",
        said=said or "none",
        used=book.count("runs"),
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
    yield Point("Memory", (_memory(book),))
    yield Point("Same bits", same_files(book))


def _memory(book: Book) -> str:
    """What the memory metrics can tell on the machines that measured."""
    gpus = [str(name) for machine in book.context.get("machines") or [] for name in machine.get("gpus") or []]
    drop = "The primary metric is the drop of available memory, which page cache does not move."
    if any(UNIFIED in name for name in gpus):
        return (
            "GPU and host share memory here: what CUDA calls free is the kernel's free memory, so page cache counts as "
            f"used. {drop} cgroups do not see CUDA allocations of this GPU."
        )
    if gpus:
        return (
            f"The GPU has memory of its own, which no host metric sees: GPU memory of the processes tells of it. {drop}"
        )
    if any(machine.get("gpus") is None for machine in book.context.get("machines") or [{}]):
        return f"Which GPUs a machine has is unknown: its memory may not be the host's alone. {drop}"
    return f"No GPU was used, as far as the fingerprint tells: all memory is the host's. {drop}"


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


def _clustered(book: Book) -> Iterator[Point]:
    """Blocks that nest in machines or days: what the intervals over these say, and where a verdict would be another."""
    rows = [row for row in book.rows("comparisons", primary=True) if row["cluster_low"] is not None]
    if not rows:
        return
    judged, unit = [row for row in rows if judged_over_others(row)], nests_in(book)
    if not judged:
        yield Point(f"Blocks of several {unit}", _unjudged(book, rows, unit))
        return
    changed = [row for row in judged if row["cluster_verdict"] != row["verdict"]]
    where = enumerated(
        say(
            "{where}, {metric} ({clusters} {unit}: {verdict} instead of {paired})",
            where=where_of(row),
            metric=metric_name(row["metric"]),
            clusters=book.number(row, "clusters", "count"),
            unit=unit,
            verdict=row["cluster_verdict"],
            paired=row["verdict"],
        )
        for row in changed
    )
    said = (
        say("CAUTION: over other {unit} the verdict would be another in {where}.", unit=unit, where=where)
        if changed
        else say("By the intervals over {unit} every verdict would be the same.", unit=unit)
    )
    yield Point(f"Blocks of several {unit}", said)


def _unjudged(book: Book, rows: list[Row], unit: str) -> Text:
    """Why no verdict is told of the intervals over machines or days."""
    most = max(rows, key=lambda row: row["clusters"])
    if most["cluster_verdict"] is None:
        return say(
            "Intervals over {n} {unit} stand in the tables; there is no verdict by them.",
            n=book.number(most, "clusters", "count"),
            unit=unit,
        )
    return say(
        "Intervals over {n} {unit} stand in the tables; fewer than {least} tell too little of others for a verdict.",
        n=book.number(most, "clusters", "count"),
        unit=unit,
        least=book.constant("least_clusters", "count"),
    )


def _statistical(book: Book) -> Iterator[Point]:
    yield from _clustered(book)
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
            "P-values are adjusted within families ({families}). Verdicts are not adjusted: each is about one model and "
            "metric, at {alpha}.{looks}",
            looks=" Metrics under looks have no p-value." if book.looked else "",
            families=enumerated(
                say("{name}, of {n} comparisons", name=name, n=book.count("comparisons", family=name))
                for name in book.context.get("families") or {}
            )
            or "none",
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
