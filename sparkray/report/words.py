"""What a comparison means, in words that an engineer can act on and a statistician can sign.

Nothing here says "no difference": an interval that holds 1 shows no equality, and only a verdict against a margin does.
"""

from sparkray.analysis.text import Text, enumerated, say, sentences
from sparkray.report.book import Book, Row
from sparkray.report.labels import arm, better, cell, metric_name
from sparkray.schema import capital
from sparkray.stats.nested import LEAST_RESAMPLED


def headline(book: Book, metric: str, environment: str) -> Text:
    """How the verdicts on one metric of one environment are spread over the models, and between which ratios."""
    where = {"metric": metric, "environment": environment, "primary": True}
    rows = book.rows("comparisons", **where)
    there = [row for row in rows if row["ratio"] is not None]
    name = capital(metric_name(metric))
    if not there:
        return say("{metric}: nothing can be estimated for any model.", metric=name)
    low, high = min(there, key=lambda row: row["ratio"]), max(there, key=lambda row: row["ratio"])
    ratios = say(
        "ratios from {low} ({least}) to {high} ({most})",
        low=book.number(low, "ratio", "ratio"),
        least=cell(low["model"], low["level"]),
        high=book.number(high, "ratio", "ratio"),
        most=cell(high["model"], high["level"]),
    )
    if len(there) == 1:
        ratios = say("the ratio is {ratio}", ratio=book.number(low, "ratio", "ratio"))
    if all(row["margin"] is None for row in rows):
        return say("{metric}: no margin was fixed, so there is no verdict; {ratios}.", metric=name, ratios=ratios)
    margin = next(row for row in rows if row["margin"] is not None)
    return say(
        "{metric} (margin {margin}): of {total}, {said}; {ratios}.",
        metric=name,
        margin=book.number(margin, "margin", "share"),
        total=_models(book, where, rows),
        said=enumerated(_spread(book, where, rows)),
        ratios=ratios,
    )


def _models(book: Book, where: dict[str, object], rows: list[Row]) -> Text:
    """`10 models`; with levels of the load `70 comparisons (10 models at 7 levels of the load)`."""
    models = book.distinct("comparisons", "model", **where)
    if len({row["level"] for row in rows}) > 1:
        return say(
            "{all} comparisons ({models} models at {levels} levels of the load)",
            all=book.count("comparisons", **where),
            models=models,
            levels=book.distinct("comparisons", "level", **where),
        )
    return say("{models} {noun}", models=models, noun="models" if len(rows) != 1 else "model")


def _spread(book: Book, where: dict[str, object], rows: list[Row]) -> list[Text]:
    """`8 equivalent`, `2 different, all for the worse`, and so on."""
    said: list[Text] = []
    for verdict in ("equivalent", "different", "undecided", None):
        mine = [row for row in rows if row["verdict"] == verdict]
        if mine:
            n = book.count("comparisons", **where, verdict=verdict)
            word = verdict or "not estimable"
            said.append(say("{n} {word}{way}", n=n, word=word, way=_way(mine) if verdict == "different" else ""))
    return said


def _way(rows: list[Row]) -> str:
    """Which way different rows point, where the metric has a better side."""
    if better(rows[0]["metric"]) == "neither":
        return ""
    bad = sum(1 for row in rows if (row["ratio"] > 1) == (better(row["metric"]) == "lower"))
    if bad == len(rows):
        return " (for the worse)"
    return " (for the better)" if bad == 0 else " (some for the worse, some for the better)"


def estimate(book: Book, row: Row) -> Text:
    """`1.0042 (95 % CI 0.9991 to 1.0093, 30 pairs)`."""
    if row["ratio"] is None:
        return say("no ratio: {why}", why=book.linked(row["not_estimable"], row["trace"]))
    return say(
        "{ratio} ({confidence} CI{looks} {low} to {high}, {n} pairs)",
        ratio=book.number(row, "ratio", "ratio"),
        confidence=book.constant("confidence"),
        looks=" over all looks" if book.looked and row["primary"] and row["margin"] is not None else "",
        low=book.number(row, "low", "ratio"),
        high=book.number(row, "high", "ratio"),
        n=book.number(row, "n", "count"),
    )


def meaning(book: Book, row: Row) -> Text:
    """What a comparison means: how much, which way, whether it matters, and what would settle it."""
    if row["ratio"] is None:
        return say("Nothing can be said: {why}.", why=book.linked(row["not_estimable"], row["trace"]))
    checked = book.linked(row["power_checked"], str(row["trace"]))
    power = say("Sampled power against the energy counter: {checked}.", checked=checked) if checked else ()
    return sentences(_size(book, row), _judgement(book, row), power)


def _size(book: Book, row: Row) -> Text:
    up = row["ratio"] >= 1
    direction = {"higher": "better", "lower": "worse", "neither": ""}[better(row["metric"])]
    if not up and direction:
        direction = {"better": "worse", "worse": "better"}[direction]
    return say(
        "{metric} is {size} {way} in the {arm}{direction}.",
        metric=capital(metric_name(row["metric"])),
        size=book.number(row, "ratio", "size_of_change"),
        way="higher" if up else "lower",
        arm=arm(row["environment"]),
        direction=f" ({direction})" if direction else "",
    )


def _judgement(book: Book, row: Row) -> Text:
    if row["verdict"] is None or row["margin"] is None:
        return ("No margin was fixed, so whether that matters is left to the reader.",)
    return sentences(_verdict(book, row), caution(book, row))


def caution(book: Book, row: Row) -> Text:
    """That the verdict hangs on outlying pairs, or would be another over machines or days; nothing where it does not."""
    said: Text = ()
    if hangs_on_outliers(row):
        said = say(
            "CAUTION: without {k} outlying pairs it would be {verdict}.",
            k=book.number(row, "outliers", "count"),
            verdict=row["verdict_without_outliers"],
        )
    if judged_over_others(row) and row["cluster_verdict"] != row["verdict"]:
        over = say(
            "CAUTION: over other {unit} it would be {verdict} ({low} to {high} by {n} {unit}).",
            unit=nests_in(book),
            verdict=row["cluster_verdict"],
            low=book.number(row, "cluster_low", "ratio"),
            high=book.number(row, "cluster_high", "ratio"),
            n=book.number(row, "clusters", "count"),
        )
        said = sentences(said, over)
    return said


def hangs_on_outliers(row: Row) -> bool:
    """Whether the verdict would be another without the outlying pairs that there are."""
    return bool(row["outliers"]) and row["verdict_without_outliers"] not in (None, row["verdict"])


def judged_over_others(row: Row) -> bool:
    """Whether there is a verdict over other machines or days that rests on enough: two leave one degree of freedom."""
    return row["cluster_verdict"] is not None and (row["clusters"] or 0) >= LEAST_RESAMPLED


def nests_in(book: Book) -> str:
    """What blocks nest in, in the plural."""
    return "machines" if len(book.context.get("hosts") or []) > 1 else "days"


def _verdict(book: Book, row: Row) -> Text:
    margin = book.number(row, "margin", "share")
    if row["verdict"] == "equivalent":
        kind = "The difference is real, and" if row["excludes_one"] else "Whatever difference there is"
        return say("{kind} lies inside the margin of {margin}: it does not matter.", kind=kind, margin=margin)
    if row["verdict"] == "different":
        return say("That is beyond the margin of {margin}: it matters.", margin=margin)
    seen = (
        "A difference is shown; whether it exceeds the margin of {margin} is open."
        if row["excludes_one"]
        else "These runs can tell neither a difference nor equality within {margin}."
    )
    if row["pairs_needed"] is None:
        return sentences(say(seen, margin=margin), ("No number of pairs that anybody would run decides it.",))
    needed = book.number(row, "pairs_needed", "count")
    if row["pairs_needed"] <= row["n"]:
        near = (
            "Arms that are truly alike would have been decided by {needed} pairs: this ratio lies near the edge of the "
            "margin, where more pairs help slowly."
        )
        return sentences(say(seen, margin=margin), say(near, needed=needed))
    return sentences(
        say(seen, margin=margin), say("{needed} pairs would decide, if the arms are truly alike.", needed=needed)
    )


def where_of(row: Row) -> str:
    """Model, level and arm of a row, for a reader."""
    return f"{cell(row['model'], row['level'])}, {arm(row['environment'])}"
