"""Methods: what was declared, and beside it what the runs tell was really done. Words and quoted numbers, no layout."""

from collections.abc import Iterator, Mapping

from sparkray.analysis.text import Text, enumerated, say, sentences
from sparkray.report.book import Book
from sparkray.report.cells import first_metric
from sparkray.report.files import same_files
from sparkray.report.labels import arm, arm_in_full, metric_name
from sparkray.report.threats import Point
from sparkray.report.words import where_of

_SPENDING = {"pocock": "as by Pocock", "obrien_fleming": "as by O'Brien and Fleming"}
RANDOM = "random"


def methods(book: Book) -> list[Point]:
    """What was really done, from the experiment's definition and its runs."""
    return [*_design(book), *_conduct(book), *_statistics(book)]


def _design(book: Book) -> Iterator[Point]:
    names = enumerated(arm_in_full(name) for name in book.context.get("environments") or [])
    yield Point(
        "Design",
        sentences(
            say(
                "Paired blocks: a block is one model on one machine in one stretch of time and holds each of {names} once "
                "(seed {seed}). Planned were {n} blocks for each model{levels}; {used} runs count.",
                names=names,
                seed=book.fact("seed", "plain"),
                n=book.fact("pairs_planned"),
                levels=" and level of the load" if len(book.context.get("levels") or []) > 1 else "",
                used=book.count("runs"),
            ),
            _counts(book),
        ),
    )
    yield Point("Order", sentences(_declared_order(book), _order_seen(book)))
    if book.context.get("workload"):
        yield Point("Workload", _workload(book))
    yield from _margins(book)
    yield from _looks(book)


def _counts(book: Book) -> Text:
    """Runs of the cells, the fewest and the most."""
    metric = first_metric(book)
    rows = [row for row in book.rows("descriptive", metric=metric) if row["n"] is not None]
    if not rows:
        return ()
    least, most = min(rows, key=lambda row: row["n"]), max(rows, key=lambda row: row["n"])
    if least["n"] == most["n"]:
        return say("Each cell has {n}.", n=book.number(least, "n", "count"))
    return say(
        "Cells have from {least} ({where}) to {most}.",
        least=book.number(least, "n", "count"),
        where=where_of(least),
        most=book.number(most, "n", "count"),
    )


def _declared_order(book: Book) -> Text:
    order = book.context.get("order")
    if order is None:
        return ("The dataset does not tell which order of arms was planned.",)
    if order == RANDOM:
        return ("Declared: the order of arms inside a block is drawn by lot from the seed.",)
    said = "Declared: arms rotate by one place from block to block. Nothing was drawn by lot, so no test rests on lots."
    return (said,)


def _order_seen(book: Book) -> Text:
    """Which arm really came first, and how often."""
    seen = (book.context.get("conduct") or {}).get("order") or {}
    if not seen.get("blocks"):
        return ()
    first = enumerated(
        say("{arm} in {n}", arm=arm(name), n=book.fact(f"conduct/order/first/{name}")) for name in seen["first"]
    )
    return say(
        "Of {n} blocks with two arms or more, first came {first}.", n=book.fact("conduct/order/blocks"), first=first
    )


def _workload(book: Book) -> Text:
    workload = book.context["workload"]
    levels = [level for level in book.context.get("levels") or [] if level]
    if levels:
        flight = say("in flight and in a batch as each level of the load says ({levels})", levels=enumerated(levels))
    elif (workload.get("concurrency") or 0) > 0:
        flight = say("{batch} in flight at once", batch=book.fact("workload/concurrency"))
    else:
        flight = say("as many in flight as the model card's batch")
    return say(
        "{requests} requests a run after {warmup} for warm-up, {input} tokens in{spread_in} and {output} out{spread_out}, "
        "{flight}.",
        requests=book.fact("workload/requests"),
        warmup=book.fact("workload/warmup_requests"),
        input=book.fact("workload/input_tokens"),
        spread_in=_spread(book, "input_spread"),
        output=book.fact("workload/output_tokens"),
        spread_out=_spread(book, "output_spread"),
        flight=flight,
    )


def _spread(book: Book, key: str) -> Text:
    """How far lengths are drawn from their mean; the same lengths in every arm and run."""
    if not book.context["workload"].get(key):
        return ()
    return say(" (drawn evenly up to {n} from it, alike in every run)", n=book.fact(f"workload/{key}"))


def _margins(book: Book) -> Iterator[Point]:
    margins = book.context.get("margins") or {}
    said = enumerated(
        say("{margin} for {metric}", margin=book.fact(f"margins/{name}", "share"), metric=metric_name(name))
        for name in margins
    )
    metrics = enumerated(map(metric_name, book.context.get("primary_metrics") or []))
    declared = book.context.get("margins_declared")
    if declared is None:
        yield Point(
            "Not fixed before the data, as far as is known",
            say(
                "The dataset holds no experiment that declares margins. Primary metrics {metrics} and margins {margins} are "
                "the defaults of this program, and verdicts rest on them.",
                metrics=metrics or "none",
                margins=said or "none",
            ),
        )
        return
    yield Point(
        "Fixed before the data",
        sentences(
            say("Primary metrics {metrics}; margins {margins}.", metrics=metrics or "none", margins=said or "none"),
            _families(book),
        ),
    )
    if declared != margins:
        yield Point("Other margins", ("These margins are not those that the experiment declared before its data.",))


def _families(book: Book) -> Text:
    """Over what p-values are adjusted."""
    families = book.context.get("families") or {}
    told = enumerated(
        say("{name}: {metrics}", name=name, metrics=enumerated(map(metric_name, families[name]))) for name in families
    )
    return (
        say("P-values are adjusted within families, over models, levels and arms ({told}).", told=told) if told else ()
    )


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
        yield Point("Before each run, declared", _declared(book, protocol))
    yield Point("Before each run, as the rows tell", _seen(book))
    engines = enumerated(
        say(
            "{name} {version}",
            name=str(engine.get("engine")),
            version=book.fact(f"engines/{index}/engine_version", "plain"),
        )
        for index, engine in enumerate(book.context.get("engines") or [])
    )
    yield Point("Engine", sentences(say("{engines}.", engines=engines or "Not told"), same_files(book)))
    yield Point("Software", _software(book))
    yield Point("When", say("From {start} to {end}.", start=book.fact("started_at"), end=book.fact("ended_at")))


def _declared(book: Book, protocol: dict[str, object]) -> Text:
    floor = protocol.get("memory_floor_gib")
    return sentences(
        say("Page cache: {policy}.", policy=str(protocol.get("page_cache"))),
        _cooldown(book, str(protocol.get("cooldown"))),
        say("A run is ended when less than {floor} GiB are available.", floor=book.fact("protocol/memory_floor_gib"))
        if floor
        else (),
    )


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


def _seen(book: Book) -> Text:
    """Waits, temperatures and page cache of the runs that count."""
    dropped = (book.context.get("conduct") or {}).get("page_cache_dropped") or {}
    return sentences(
        _range(
            book, "gate_wait_s", "Waited before the start", "s", "No row tells how long was waited before the start."
        ),
        _range(
            book, "gate_temp_c", "The hottest GPU as the wait ended", "°C", "No temperature was read before the start."
        ),
        _dropped(book, dropped),
    )


def _dropped(book: Book, dropped: Mapping[str, int]) -> Text:
    """Whether the page cache was emptied, as far as rows tell."""
    if not dropped.get("yes") and not dropped.get("no"):
        return ("No run tells that the page cache was emptied before it.",)
    return say(
        "The page cache was emptied before {yes} runs{no}; {rest} do not tell.",
        yes=book.fact("conduct/page_cache_dropped/yes"),
        no=say(" and could not be before {n}", n=book.fact("conduct/page_cache_dropped/no"))
        if dropped.get("no")
        else "",
        rest=book.fact("conduct/page_cache_dropped/not_told"),
    )


def _range(book: Book, key: str, what: str, unit: str, otherwise: str) -> Text:
    if not ((book.context.get("conduct") or {}).get(key) or {}).get("runs"):
        return (otherwise,)
    return say(
        "{what}: median {median} {unit}, from {low} to {high} {unit}, over {n} runs.",
        what=what,
        unit=unit,
        median=book.fact(f"conduct/{key}/median", "significant"),
        low=book.fact(f"conduct/{key}/min", "significant"),
        high=book.fact(f"conduct/{key}/max", "significant"),
        n=book.fact(f"conduct/{key}/runs"),
    )


def _software(book: Book) -> Text:
    """Kernel and driver of each machine, images by digest; what is not stored is said so."""
    machines = enumerated(
        say(
            "kernel {kernel}, NVIDIA driver {driver}, {docker}",
            kernel=book.fact(f"machines/{index}/kernel", "plain"),
            driver=book.fact(f"machines/{index}/driver", "plain") if machine.get("driver") else _no_driver(machine),
            docker=_docker(book, index, machine),
        )
        for index, machine in enumerate(book.context.get("machines") or [])
    )
    images = enumerated(
        (book.fact(f"image_digests/{index}", "plain"),) for index in range(len(book.context.get("image_digests") or []))
    )
    return say(
        "{machines}; images {images}. Digests of files and weights stand in the table of identities.",
        machines=machines or "Machines are not told",
        images=images or "none",
    )


def _no_driver(machine: Mapping[str, object]) -> str:
    """A machine without GPUs has none; of others the version was not read."""
    return "none" if machine.get("gpus") == [] else "unknown"


def _docker(book: Book, index: int, machine: Mapping[str, object]) -> Text:
    """The container engine of a machine, with what it runs containers by."""
    if not machine.get("docker"):
        return ("Docker's version not stored",)
    by = enumerated(
        say("{name} {version}", name=name, version=book.fact(f"machines/{index}/{name}", "plain"))
        for name in ("containerd", "runc")
        if machine.get(name)
    )
    version = book.fact(f"machines/{index}/docker", "plain")
    return say("Docker {version} ({by})", version=version, by=by) if by else say("Docker {version}", version=version)


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
    yield Point("A-priori power", _a_priori(book))
    flips = (
        "a permutation test inside blocks, which rests on the lots that were drawn"
        if book.context.get("order") == RANDOM
        else "a sign-flip test inside blocks, which assumes that arms are exchangeable there, since no lots were drawn"
    )
    yield Point(
        "Beside it",
        say(
            "The study's own protocol: independent t test with its assumptions checked, Welch's where variances "
            "differ, Mann-Whitney and a BCa bootstrap ({n} resamples) where normality fails; {flips}; Cohen's d and "
            "Hedges' g; Bonferroni, Holm, Benjamini-Hochberg.",
            n=book.constant("resamples", "count"),
            flips=flips,
        ),
    )


def _a_priori(book: Book) -> Text:
    """What the planned number of pairs was to see, and by which noise that is known."""
    rows = [row for row in book.rows("comparisons", primary=True) if row["power_a_priori"] is not None]
    if not rows:
        return ("Not known: no effect was planned for, or no comparison has a spread.",)
    least = min(rows, key=lambda row: row["power_a_priori"])
    basis = (
        "the noise that a calibration of the machine had found before"
        if least["a_priori_basis"] == "calibration"
        else "the noise that these data show, for want of a calibration, so it is not a priori"
    )
    return say(
        "{planned} pairs tell an effect of {effect} from none with a power of at least {power} ({where}, {metric}; a run's "
        "CV of {cv}), by {basis}.",
        planned=book.number(least, "pairs_planned", "count"),
        effect=book.number(least, "planned_effect", "share"),
        power=book.number(least, "power_a_priori", "share"),
        where=where_of(least),
        metric=metric_name(least["metric"]),
        cv=book.number(least, "a_priori_cv_pct", "per_cent"),
        basis=basis,
    )
