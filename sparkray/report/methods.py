"""Methods: what was really done, from the experiment's definition and its runs. Words and quoted numbers, no layout."""

from collections.abc import Iterator

from sparkray.analysis.text import Text, enumerated, say, sentences
from sparkray.report.book import Book
from sparkray.report.labels import arm_in_full, metric_name
from sparkray.report.threats import Point

_SPENDING = {"pocock": "as by Pocock", "obrien_fleming": "as by O'Brien and Fleming"}


def methods(book: Book) -> list[Point]:
    """What was really done, from the experiment's definition and its runs."""
    return [*_design(book), *_conduct(book), *_statistics(book)]


def _design(book: Book) -> Iterator[Point]:
    names = enumerated(arm_in_full(name) for name in book.context.get("environments") or [])
    order = book.context.get("order")
    yield Point(
        "Design",
        say(
            "Paired blocks: a block is one model on one machine in one stretch of time and holds each of {names} "
            "once{order} (seed {seed}). Planned were {n} blocks for each model; {used} runs count.",
            names=names,
            order=f", in {order} order" if order else "",
            seed=book.fact("seed", "plain"),
            n=book.fact("pairs_planned"),
            used=book.fact("runs_used"),
        ),
    )
    if book.context.get("workload"):
        batch = book.fact("workload/concurrency")
        alone = (book.context["workload"].get("concurrency") or 0) > 0
        yield Point(
            "Workload",
            say(
                "{requests} requests a run after {warmup} for warm-up, {input} tokens in and {output} out, {flight}.",
                requests=book.fact("workload/requests"),
                warmup=book.fact("workload/warmup_requests"),
                input=book.fact("workload/input_tokens"),
                output=book.fact("workload/output_tokens"),
                flight=say("{batch} in flight at once", batch=batch)
                if alone
                else "as many in flight as the model card's batch",
            ),
        )
    margins = book.context.get("margins") or {}
    said = enumerated(
        say("{margin} for {metric}", margin=book.fact(f"margins/{name}", "share"), metric=metric_name(name))
        for name in margins
    )
    metrics = enumerated(map(metric_name, book.context.get("primary_metrics") or []))
    yield Point(
        "Fixed before the data",
        say("Primary metrics {metrics}; margins {margins}.", metrics=metrics or "none", margins=said or "none"),
    )
    declared = book.context.get("margins_declared")
    if declared is not None and declared != margins:
        yield Point("Other margins", ("These margins are not those that the experiment declared before its data.",))
    yield from _looks(book)


def _looks(book: Book) -> Iterator[Point]:
    """The looks of a group-sequential experiment."""
    sequential = book.context.get("sequential")
    if not sequential:
        return
    looks = enumerated((book.fact(f"sequential/looks/{index}"),) for index in range(len(sequential["looks"])))
    said = say(
        "A model stops as soon as every primary metric is decided at a look, after {looks} pairs; the {alpha} are shared "
        "out over them {spending}. Ratios, intervals and verdicts are those of the looks.",
        looks=looks,
        alpha=book.constant("alpha"),
        spending=_SPENDING.get(sequential.get("spending"), "evenly"),
    )
    yield Point("Looks", said)


def _conduct(book: Book) -> Iterator[Point]:
    protocol = book.context.get("protocol") or {}
    if protocol:
        yield Point(
            "Before each run",
            sentences(
                say("Page cache: {policy}.", policy=str(protocol.get("page_cache"))),
                _cooldown(book, str(protocol.get("cooldown"))),
            ),
        )
    engines = enumerated(
        say(
            "{name} {version}",
            name=str(engine.get("engine")),
            version=book.fact(f"engines/{index}/engine_version", "plain"),
        )
        for index, engine in enumerate(book.context.get("engines") or [])
    )
    yield Point("Engine", say("{engines}, the same files in every arm.", engines=engines or "not told"))
    yield Point("When", say("From {start} to {end}.", start=book.fact("started_at"), end=book.fact("ended_at")))


def _cooldown(book: Book, kind: str) -> Text:
    if kind == "none":
        return ("No cooldown.",)
    waits = say("{kind} of {s} s", kind=kind, s=book.fact("protocol/cooldown_s")) if kind == "fixed" else (kind,)
    return say(
        "Cooldown: {waits}, until the GPU is below {c} °C and within {w} °C of where runs start, {limit} s at most.",
        waits=waits,
        c=book.fact("protocol/start_below_c"),
        w=book.fact("protocol/start_within_c"),
        limit=book.fact("protocol/cooldown_limit_s"),
    )


def _statistics(book: Book) -> Iterator[Point]:
    yield Point(
        "Estimate",
        say(
            "Exponential of the mean log ratio inside blocks, Student's t interval on the log scale ({confidence}).",
            confidence=book.constant("confidence"),
        ),
    )
    yield Point(
        "Verdict",
        say(
            "equivalent if the {ninety} interval lies inside the margin (two one-sided tests at {alpha}); "
            "different if the {confidence} interval lies wholly outside; else undecided, with the pairs that would "
            "decide at {power} power. Whether the interval excludes a ratio of one is told apart.",
            ninety=book.constant("confidence_of_equivalence"),
            alpha=book.constant("alpha"),
            confidence=book.constant("confidence"),
            power=book.constant("power"),
        ),
    )
    yield Point(
        "Beside it",
        say(
            "The study's own protocol: independent t test with its assumptions checked, Welch's where variances "
            "differ, Mann-Whitney and a BCa bootstrap ({n} resamples) where normality fails; a permutation test "
            "inside blocks; Cohen's d and Hedges' g; Bonferroni, Holm, Benjamini-Hochberg.",
            n=book.constant("resamples", "count"),
        ),
    )
