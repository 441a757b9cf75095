"""Power over the number of pairs, for each environment: would fewer runs have done, or are more needed?"""

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes

from sparkray.analysis.text import Text, enumerated, say, sentences
from sparkray.report.book import Book, Row
from sparkray.report.cells import arms_of, primary_metrics
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import plain_figure
from sparkray.report.labels import arm, metric_name
from sparkray.report.style import BLACK, BLUE, COLUMN_IN, INK, ORANGE, PAGE_IN
from sparkray.schema import capital

TITLE = "Power of the equivalence test over the number of pairs"
ORDER = 90
TABLES = ("power_curve",)
_PANELS = 3
_ENOUGH, _CERTAIN = 0.8, 0.99
_LOOKS = ((BLUE, "-"), (BLACK, "--"), (ORANGE, "-."))
_WORDS = ("calmest model", "middle model", "noisiest model")
Curve = list[Row]


def draw(book: Book) -> Drawn | NoFigure:
    """A row of panels a primary metric, a column an environment; a curve for the least, middle and greatest spread."""
    rows = [row for row in book.rows("power_curve") if row["power"] is not None]
    metrics = [m for m in primary_metrics(book)[:_PANELS] if any(row["metric"] == m for row in rows)]
    if not metrics:
        return NoFigure("no spread between pairs could be estimated for a metric with a margin")
    environments = arms_of(rows)
    width = COLUMN_IN if len(environments) == 1 else PAGE_IN
    height = 0.6 + 1.15 * len(metrics)
    figure, axes = plain_figure(width, height, len(metrics), len(environments), sharex=True, sharey=True)
    planned = next((row["pairs_planned"] for row in book.rows("comparisons") if row["pairs_planned"]), None)
    drawn: dict[tuple[str, str], list[Curve]] = {}
    for index, axis in enumerate(axes):
        metric, environment = metrics[index // len(environments)], environments[index % len(environments)]
        mine = [row for row in rows if (row["metric"], row["environment"]) == (metric, environment)]
        drawn[metric, environment] = curves = _chosen(mine)
        _panel(axis, curves, planned)
        axis.set_title(f"{metric_name(metric)}, {arm(environment)}")
        axis.set_ylabel("power (1 = certain)" if index % len(environments) == 0 else "")
        axis.set_xlabel("pairs (number of blocks)" if index >= len(axes) - len(environments) else "")
    shown = [row for curves in drawn.values() for curve in curves for row in curve]
    axes[0].set_xlim(0, max(_reach(shown), (planned or 0) * 1.3))
    captions = [_caption(book, metric, {e: drawn[metric, e] for e in environments}) for metric in metrics]
    return Drawn(figure, sentences(*captions, _kind(book)), _alt(drawn))


def _chosen(rows: Sequence[Row]) -> list[Curve]:
    """The curves of the least, the middle and the greatest spread, over all levels of the load."""
    curves: dict[tuple[str, str], Curve] = {}
    for row in sorted(rows, key=lambda row: row["n"]):
        curves.setdefault((row["level"], row["spread"]), []).append(row)
    ordered = sorted(curves.values(), key=lambda curve: float(curve[0]["cv_pct"]))
    places = dict.fromkeys((0, len(ordered) // 2, len(ordered) - 1)) if ordered else ()
    return [ordered[place] for place in places]


def _reach(rows: Iterable[Row]) -> float:
    """As many pairs as the slowest curve needs to be as good as certain, and some room."""
    ends: dict[tuple[str, ...], float] = {}
    for row in sorted(rows, key=lambda row: -row["n"]):
        curve = (row["metric"], row["environment"], row["level"], row["spread"])
        if row["power"] >= _CERTAIN or curve not in ends:
            ends[curve] = row["n"]
    return max(ends.values(), default=1.0) * 1.15


def _panel(axis: Axes, curves: Sequence[Curve], planned: int | None) -> None:
    words = _WORDS if len(curves) == len(_WORDS) else (_WORDS[0], _WORDS[-1])
    for curve, (colour, line), word in zip(curves, _LOOKS, words, strict=False):
        axis.plot(
            [row["n"] for row in curve],
            [row["power"] for row in curve],
            color=colour,
            linestyle=line,
            label=f"{word} (CV {curve[0]['cv_pct']:.2g} %)",
        )
    axis.axhline(_ENOUGH, color=INK, linewidth=0.5, linestyle=":")
    if planned is not None:
        axis.axvline(planned, color=INK, linewidth=0.5, linestyle=":")
    axis.set_ylim(0, 1.03)
    if curves:
        axis.legend(loc="center right", handlelength=2.6)


def _caption(book: Book, metric: str, by_arm: dict[str, list[Curve]]) -> Text:
    """How many pairs each environment takes, for the least and the greatest spread."""
    some = next(row for curves in by_arm.values() for curve in curves for row in curve)
    told = [
        say(
            "{pairs} of the {arm}",
            pairs=enumerated(_takes(book, curve) for curve in _ends(curves)),
            arm=arm(environment),
        )
        for environment, curves in by_arm.items()
        if curves
    ]
    return say(
        "{name}, margin {margin}: {power} power at a true ratio of one takes {told}.",
        name=capital(metric_name(metric)),
        power=book.constant("power"),
        margin=book.number(some, "margin", "share"),
        told=enumerated(told),
    )


def _ends(curves: Sequence[Curve]) -> list[tuple[Curve, str]]:
    ends = [(curves[0], _WORDS[0]), (curves[-1], _WORDS[-1])]
    return ends if len(curves) > 1 else ends[:1]


def _takes(book: Book, ending: tuple[Curve, str]) -> Text:
    curve, who = ending
    enough = next((row for row in curve if row["power"] >= _ENOUGH), None)
    row = enough or curve[-1]
    return say(
        "{more}{n} pairs for the {who} (CV {cv})",
        more="" if enough else "more than ",
        n=book.number(row, "n", "count"),
        who=who,
        cv=book.number(row, "cv_pct", "per_cent"),
    )


def _kind(book: Book) -> Text:
    """That looks would ask for somewhat more."""
    looks = book.context.get("sequential")
    return (
        ("These are numbers of a fixed design; one with looks may end earlier, and asks for more at its most.",)
        if looks
        else ()
    )


def _alt(drawn: dict[tuple[str, str], list[Curve]]) -> str:
    said = "; ".join(
        f"{metric_name(metric)}, {arm(environment)}, {who}: {curve[-1]['power']:.2f} at {curve[-1]['n']} pairs"
        for (metric, environment), curves in drawn.items()
        if curves
        for curve, who in _ends(curves)
    )
    return f"Rising curves of power over the number of pairs. {said}."
