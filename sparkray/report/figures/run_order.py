"""Throughput and temperature in the order of the runs: a drift, a jump or a warm start would stand out here."""

from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes

from sparkray.analysis.text import Text, say, sentences
from sparkray.report.book import Book, Row
from sparkray.report.cells import arms_of
from sparkray.report.figures import Drawn, NoFigure
from sparkray.report.figures._frame import arm_lines, legend_above, plain_figure
from sparkray.report.style import INK, PAGE_IN, VERMILLION, look

TITLE = "Over the order of the runs"
ORDER = 40
TABLES = ("order",)
_LIKELY = 0.05


def draw(book: Book) -> Drawn | NoFigure:
    """Above: throughput in per cent of its cell's median. Below: temperature, where there was one to measure."""
    rows = [{**row, "place": place} for place, row in enumerate(book.rows("order"), 1)]
    ok = [row for row in rows if row["status"] == "ok" and row["output_throughput_tok_s"] is not None]
    if not ok:
        return NoFigure("no run that counts has a throughput")
    warm = [row for row in rows if row["gpu_temp_max_c"] is not None]
    environments = arms_of(ok)
    figure, axes = plain_figure(PAGE_IN, 3.4 if warm else 2.0, 2 if warm else 1, 1, sharex=True)
    _throughput(axes[0], ok, [row for row in rows if row["status"] != "ok"], environments)
    if warm:
        _temperature(axes[1], warm, environments)
    axes[-1].set_xlabel("run, in the order of the starts (1 = first)")
    legend_above(figure, arm_lines(environments))
    return Drawn(figure, _caption(book, warm=bool(warm)), _alt(len(rows), warm=bool(warm)))


def _throughput(axis: Axes, ok: Sequence[Row], lost: Sequence[Row], environments: Sequence[str]) -> None:
    middles: dict[tuple[str, str], float] = {}
    for key in {(row["model"], row["level"]) for row in ok}:
        middles[key] = median(row["output_throughput_tok_s"] for row in ok if (row["model"], row["level"]) == key)
    for name in environments:
        mine = [row for row in ok if row["environment"] == name]
        axis.plot(
            [row["place"] for row in mine],
            [row["output_throughput_tok_s"] / middles[row["model"], row["level"]] * 100 for row in mine],
            look(name).marker,
            color=look(name).colour,
            markersize=2.4,
            markeredgecolor="k",
            markeredgewidth=0.15,
        )
    axis.axhline(100, color=INK, linewidth=0.5)
    if lost:
        bottom = axis.get_ylim()[0]
        axis.plot(
            [row["place"] for row in lost], [bottom] * len(lost), "x", color=VERMILLION, markersize=3.5, clip_on=False
        )
    axis.set_ylabel("throughput (% of the\nmodel's median)")
    axis.ticklabel_format(axis="y", useOffset=False)


def _temperature(axis: Axes, warm: Sequence[Row], environments: Sequence[str]) -> None:
    for name in environments:
        mine = [row for row in warm if row["environment"] == name]
        face = look(name)
        axis.plot(
            [row["place"] for row in mine],
            [row["gpu_temp_max_c"] for row in mine],
            face.marker,
            color=face.colour,
            markersize=2.4,
            markeredgecolor="k",
            markeredgewidth=0.15,
        )
        begun = [row for row in mine if row["gpu_temp_start_c"] is not None]
        axis.plot(
            [row["place"] for row in begun],
            [row["gpu_temp_start_c"] for row in begun],
            face.marker,
            color="white",
            markersize=2.4,
            markeredgecolor=face.colour,
            markeredgewidth=0.6,
        )
    axis.set_ylabel("GPU temperature (°C)\nstart: hollow, highest: filled")


def _caption(book: Book, *, warm: bool) -> Text:
    drifts = [row for row in book.rows("diagnostics", metric="output_throughput_tok_s") if row["drift_p"] is not None]
    worst = max(drifts, key=lambda row: abs(row["drift_pct_per_run"] or 0.0), default=None)
    first = say(
        "{n} runs in the order in which they started, {ok} of them count{crosses}.",
        n=book.count("order"),
        ok=book.count("order", status="ok"),
        crosses="; crosses mark those that do not"
        if len(book.rows("order", status="ok")) < len(book.rows("order"))
        else "",
    )
    said = "" if warm else "No GPU temperature was measured."
    if worst is None:
        return sentences(first, (said,) if said else ())
    clear = "clear" if worst["drift_p"] < _LIKELY else "not clear"
    return sentences(
        first,
        say(
            "The steepest drift is {slope} a run ({model}, {arm}; p {p}, {clear} at the {alpha} level).",
            slope=book.number(worst, "drift_pct_per_run", "fine_per_cent"),
            model=worst["model"],
            arm=worst["environment"],
            p=book.number(worst, "drift_p", "p_is"),
            alpha=book.constant("alpha"),
            clear=clear,
        ),
        (said,) if said else (),
    )


def _alt(count: int, *, warm: bool) -> str:
    below = " Below, GPU temperature at the start and at its highest." if warm else ""
    return f"Throughput of {count} runs in the order of their starts, as a share of the median of their model.{below}"
