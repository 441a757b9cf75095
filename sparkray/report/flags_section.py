"""The section "Which flags give it back": the decision first, then what each flag does, the search, causes, hypotheses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sparkray.analysis.text import Say, Text, say, sentences
from sparkray.report.book import Book, Row
from sparkray.report.grid import Field, Grid, quoted
from sparkray.report.labels import arm, metric_name, readable
from sparkray.schema import unit_of

FIGURES = ("flag_effects", "pareto", "waterfall")
_GAIN = Field("gain", "gain_pct", "effect_pct")
_GAIN_CI = Field("95 % CI", "gain_pct", "effect_pct", ("gain_low_pct", "gain_high_pct"))


@dataclass(frozen=True)
class Piece:
    """A part of the section: its heading, sentences, figures by name, tables."""

    title: str
    texts: tuple[Text, ...]
    grids: tuple[Grid, ...]
    figures: tuple[str, ...] = ()


def flags_section(book: Book) -> list[Piece]:
    """Every part that there is something to say in; empty without an optimisation."""
    return list(_pieces(book)) if book.rows("flag_facts") else []


def _pieces(book: Book) -> Iterator[Piece]:
    yield _decision(book)
    yield _ranking(book)
    yield _left_out(book)
    if book.rows("flag_trials"):
        yield _search(book)
    if book.rows("attribution"):
        yield _causes(book)
    if book.rows("hypotheses"):
        yield _hypotheses(book)


def _fact(book: Book, name: str) -> Row | None:
    return next(iter(book.rows("flag_facts", name=name)), None)


def _told(book: Book, name: str) -> Text:
    """A fact's own words, its numbers with evidence."""
    row = _fact(book, name)
    return book.linked(readable(row["text"]), row["trace"]) if row and row["text"] else ()


def _grid(
    book: Book, name: str, caption: str, rows: Sequence[Row], fields: Sequence[Field], *, headers: int = 1
) -> Grid:
    """A table of rows whose every cell is quoted."""
    cells: tuple[tuple[Say, ...], ...] = tuple(tuple(_cell(book, row, one) for one in fields) for row in rows)
    return Grid(name, (caption,), tuple(one.head for one in fields), cells, headers=headers)


def _cell(book: Book, row: Row, field: Field) -> Say:
    if field.ends is None and row[field.column] in (None, ""):
        return "–"
    return quoted(book, row, field)


def _decision(book: Book) -> Piece:
    simulated, complete = _fact(book, "simulated"), _fact(book, "complete")
    notes = []
    if simulated and simulated["text"] == "yes":
        notes.append(("SIMULATED: a double stood in for the engine; no machine was measured.",))
    if complete and complete["text"] != "yes":
        notes.append(("Not complete: the optimisation has not come to its end. The same command goes on.",))
    decided = _told(book, "confirmation/sentence") or ("Nothing is confirmed yet: the confirmation was not reached.",)
    texts = [*notes, decided, _confirmed_how(book), _overhead(book)]
    rows = book.rows("flag_candidates")
    fields = (
        Field("candidate", "environment", ""),
        Field("flags", "flags", ""),
        Field("security", "security", ""),
        Field("where from", "why", ""),
        Field("hoped for", "expected_pct", "effect_pct"),
        _GAIN,
        _GAIN_CI,
        Field("pairs", "n", "count"),
        Field("p of no gain beyond the margin (Holm)", "beyond_p_holm", "p"),
        Field("ratio to native", "native_ratio", "ratio"),
        Field("95 % CI", "native_ratio", "ratio", ("native_low", "native_high")),
        Field("memory ratio", "memory_ratio", "ratio"),
        Field("wins", "wins", "count"),
        Field("why not", "reason", ""),
    )
    caption = "Candidates on fresh interleaved blocks, beside native and the baseline: the only stage that decides."
    grids = (_grid(book, "candidates", caption, rows, fields, headers=2),) if rows else ()
    return Piece("The decision", tuple(filter(None, texts)), (*grids, *_by_model(book, "candidate")))


def _by_model(book: Book, kind: str) -> Iterator[Grid]:
    """What each did on each model alone, where there are several: a gain on one may hide a loss on another."""
    rows = book.rows("flag_models", kind=kind)
    if len({row["model"] for row in rows}) < 2:  # noqa: PLR2004 - with one model it is the table before this one
        return
    fields = (
        Field(kind, "name", ""),
        Field("model", "model", ""),
        _GAIN,
        _GAIN_CI,
        Field("pairs", "n", "count"),
        Field("verdict", "verdict", ""),
        Field("no number because", "not_estimable", ""),
    )
    caption = f"The same on each model alone: every {kind}, unadjusted."
    yield _grid(book, f"{kind}-models", caption, rows, fields, headers=2)


def _confirmed_how(book: Book) -> Text:
    blocks, winner, output = (_fact(book, name) for name in ("confirmation/blocks", "confirmation/winner", "output"))
    if blocks is None:
        return ()
    verdict = "confirmed" if winner and winner["text"] else "refused: the tuned container is the baseline"
    where = say(" Its flags and the evidence: {file}.", file=book.linked(output["text"], output["trace"])) if (
        output and output["text"]
    ) else ()  # fmt: skip
    return (*say("The optimum is {verdict}, on {n} fresh blocks a model.", verdict=verdict,
                 n=book.number(blocks, "value", "count")), *where)  # fmt: skip


def _overhead(book: Book) -> Text:
    row = _fact(book, "overhead")
    if row is None or row["gain_pct"] is None:
        return ()
    return say(
        "What there is to give back: the baseline against native is {gain} ({confidence} CI {low} to {high}, {n} pairs; "
        "below zero is worse), {verdict}.",
        gain=book.number(row, "gain_pct", "effect_pct"),
        confidence=book.constant("confidence"),
        low=book.number(row, "gain_low_pct", "effect_pct"),
        high=book.number(row, "gain_high_pct", "effect_pct"),
        n=book.number(row, "n", "count"),
        verdict=row["verdict"] or "without a verdict",
    )


def _ranking(book: Book) -> Piece:
    rows = sorted(
        book.rows("flag_levels", state="measured"),
        key=lambda row: (row["gain_pct"] is None, -(row["gain_pct"] or 0.0)),
    )
    fields = (
        Field("factor", "factor", ""),
        Field("level", "level", ""),
        Field("flags", "flags", ""),
        _GAIN,
        _GAIN_CI,
        Field("pairs", "n", "count"),
        Field("p (Holm)", "p_holm", "p"),
        Field("verdict", "verdict", ""),
        Field("security", "security", ""),
        Field("advice for production", "advice", ""),
        Field("remark", "reason", ""),
        Field("ratio of sd", "sd_ratio", "significant"),
        Field("95 % CI", "sd_ratio", "significant", ("sd_low", "sd_high")),
        Field("Levene p", "levene_p", "p"),
        Field("no number because", "not_estimable", ""),
    )
    metric = _fact(book, "metric")
    of = metric_name(metric["text"]) if metric else "the objective"
    text = say(
        "{n} levels were measured, one at a time, as the only change to the baseline ({flags}); a gain is of {metric}, "
        "turned so that above zero is better. Verdicts are against the margin of {margin}; p is of no effect, adjusted over "
        "all levels that were measured.",
        n=book.count("flag_levels", state="measured"),
        flags=_told(book, "baseline_flags") or "no flags",
        metric=of,
        margin=book.number(_row(book, "margin"), "value", "share"),
    )
    grid = _grid(book, "flag-ranking", "Every flag that was measured, the best first.", rows, fields, headers=2)
    grids = (grid, *_by_model(book, "level")) if rows else ()
    return Piece("Ranking", (text,), grids, ("flag_effects",))


def _row(book: Book, name: str) -> Row:
    return book.rows("flag_facts", name=name)[0]


def _left_out(book: Book) -> Piece:
    levels = (Field("factor", "factor", ""), Field("level", "level", ""), Field("flags", "flags", ""))
    more = (Field("reason", "reason", ""), Field("security", "security", ""), Field("advice", "advice", ""))
    captions = {
        "no-op": "Levels that do nothing: the process got what it gets without them.",
        "struck": "Levels that were struck out before they were measured.",
        "failed": "Levels whose container does not work.",
        "search only": "Levels that cannot act alone: they are searched beside what they need.",
    }
    grids = tuple(
        _grid(book, f"flags-{state.replace(' ', '-')}", caption, rows, (*levels, *more), headers=2)
        for state, caption in captions.items()
        if (rows := book.rows("flag_levels", state=state))
    )
    text = say(
        "{idle} levels do nothing, {struck} were struck out, {failed} do not work, {alone} cannot act alone.",
        idle=book.count("flag_levels", state="no-op"),
        struck=book.count("flag_levels", state="struck"),
        failed=book.count("flag_levels", state="failed"),
        alone=book.count("flag_levels", state="search only"),
    )
    return Piece("What was not measured, and why", (text,), grids)


def _search(book: Book) -> Piece:
    evaluations, noise = _row(book, "search/evaluations"), _row(book, "search/noise_pct")
    text = say(
        "{tried} configurations, the baseline among them, were tried in {n} runs beside a baseline's of the same block; one "
        "such ratio scatters by {noise}. A search is "
        "exploratory: it proposes, and the confirmation decides. The study is {study}; optuna-dashboard opens {storage}.",
        tried=book.count("flag_trials"),
        n=book.number(evaluations, "value", "count"),
        noise=book.number(noise, "value", "per_cent"),
        study=_told(book, "search/study"),
        storage=_told(book, "search/storage"),
    )
    front = (
        Field("mark", "label", ""),
        Field("configuration", "environment", ""),
        Field("flags", "flags", ""),
        _GAIN,
        Field("drawn towards its levels", "estimate_pct", "effect_pct"),
        Field("pairs", "n", "count"),
        Field("memory (GiB)", "memory_gib", "significant"),
        Field("KV cache (GiB)", "kv_cache_gib", "significant"),
        Field("security", "security", ""),
    )
    rows = book.rows("flag_trials", on_front=True)
    caption = "Pareto front: nothing that was tried is as good on every measure and better on one."
    grids = [_grid(book, "pareto-front", caption, rows, front, headers=2)] if rows else []
    return Piece(
        "The search", (text, *_why_no_importance(book)), (*grids, *_importance(book), *_others(book)), ("pareto",)
    )


def _importance(book: Book) -> Iterator[Grid]:
    rows = sorted(book.rows("flag_factors"), key=lambda row: -(row["importance"] or -1.0))
    fields = (
        Field("factor", "factor", ""),
        Field("best level alone", "best", ""),
        Field("its gain", "best_pct", "effect_pct"),
        Field("worst level alone", "worst", ""),
        Field("its gain", "worst_pct", "effect_pct"),
        Field("Optuna's importance", "importance", "share"),
    )
    caption = (
        "Measured effects beside Optuna's importance. Importance tells what parts the better trials from the rest; it has "
        "no sign, no interval, and takes no account of noise."
    )
    if rows:
        yield _grid(book, "importance", caption, rows, fields)


def _why_no_importance(book: Book) -> Iterator[Text]:
    why = _told(book, "search/importance_reason")
    if why:
        yield (*("Optuna's importance was not computed: ",), *why, ".")


def _others(book: Book) -> Iterator[Grid]:
    rows = [row for row in book.rows("flag_trials") if row["reason"]]
    fields = (
        Field("configuration", "environment", ""),
        Field("flags", "flags", ""),
        Field("became", "state", ""),
        _GAIN,
        Field("reason", "reason", ""),
    )
    if rows:
        caption = "Configurations that were stopped, failed, or broke a constraint."
        yield _grid(book, "trials-left", caption, rows, fields, headers=2)


def _causes(book: Book) -> Piece:
    told = [row for row in book.rows("flag_facts") if row["name"].startswith("ladder/") and row["text"]]
    lines = tuple(
        sentences(
            (f"{_of(row)}: ",), book.linked(readable(row["text"]), row["trace"])
        )
        for row in told
    )  # fmt: skip
    steps = [row for row in book.rows("attribution") if row["role"] == "step"]
    sums = [row for row in book.rows("attribution") if row["role"] != "step"]
    grids = [_balance(book, sums), _layers(book, steps)]
    struck = book.rows("layers_struck")
    fields = (Field("layer", "layer", ""), Field("direction", "direction", ""), Field("reason", "reason", ""))
    if struck:
        grids.append(_grid(book, "layers-struck", "Layers that were not measured, and why.", struck, fields, headers=2))
    return Piece("Where the difference comes from", lines, tuple(grids), ("waterfall",))


def _of(row: Row) -> str:
    """Model, metric and direction of a sentence, out of the fact's name."""
    _, *model, metric, way = row["name"].split("/")
    direction = "one layer added at a time" if way == "add" else "one layer taken away at a time"
    return f"{'/'.join(model)}, {metric_name(metric)}, {direction}"


def _effect_cells(book: Book, row: Row) -> tuple[Say, ...]:
    unit = unit_of(row["metric"])
    if row["value"] is None:
        return (book.linked(row["reason"], row["trace"]), "–", "–", "–")
    share = (
        say(
            "{share} ({low} to {high})",
            share=book.number(row, "share", "per_cent"),
            low=book.number(row, "share_low", "per_cent"),
            high=book.number(row, "share_high", "per_cent"),
        )
        if row["share"] is not None
        else "–"
    )
    return (
        say("{value} {unit}", value=book.number(row, "value", "significant"), unit=unit),
        say(
            "{low} to {high}", low=book.number(row, "low", "significant"), high=book.number(row, "high", "significant")
        ),
        book.number(row, "n", "count"),
        share,
    )


def _balance(book: Book, rows: Sequence[Row]) -> Grid:
    names = {
        "total": "total",
        "attributed": "sum of the layers",
        "residual": "in no layer",
        "left": "not attributed: all but the layers that show an effect",
    }
    ways = {"add": "added one at a time", "leave": "taken away one at a time"}
    cells = tuple(
        (
            row["model"],
            metric_name(row["metric"]),
            names[row["role"]] + (f" ({ways[row['direction']]})" if row["direction"] else ""),
            *_effect_cells(book, row),
        )
        for row in rows
    )
    ends = f"from {arm(rows[0]['before'])} to {arm(rows[0]['after'])}" if rows else ""
    caption = (
        f"The sum of the layers against the total {ends}. Shares stand only where the total's interval excludes zero."
    )
    head = ("model", "metric", "what", "difference", "95 % CI", "blocks", "share (95 % CI)")
    return Grid("ladder-sums", (caption,), head, cells, headers=3)


def _layers(book: Book, rows: Sequence[Row]) -> Grid:
    ways = {"start": "begin", "add": "added to the chroot", "leave": "taken from the container"}
    cells = tuple(
        (
            row["model"],
            metric_name(row["metric"]),
            row["layer"],
            ways.get(row["direction"], row["direction"]),
            *_effect_cells(book, row),
            book.number(row, "p_adjusted", "p"),
            "yes" if row["shown"] else "no",
        )
        for row in rows
    )
    ends = ("difference", "95 % CI", "blocks", "share (95 % CI)", "p (Holm)", "shown")
    head = ("model", "metric", "layer", "measured", *ends)
    return Grid("ladder-layers", ("What each layer of isolation costs.",), head, cells, headers=4)


def _hypotheses(book: Book) -> Piece:
    fields = (
        Field("expected", "claim", ""),
        Field("judged", "judged", ""),
        Field("seen", "seen", ""),
        Field("because", "reason", ""),
    )
    text: Text = ("What the study before this one expected of the flags, judged by what was measured here.",)
    grid = _grid(book, "hypotheses", "Each expectation and its verdict.", book.rows("hypotheses"), fields)
    return Piece("The hypotheses, one by one", (text,), (grid,))
