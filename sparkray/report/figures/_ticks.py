"""Ticks of a panel as one artist for the marks and one text for each label.

Matplotlib makes five artists of each tick, of which two are seen, and finds the ticks again each time an axis is asked for
them. Here locator and formatter are asked once, when the layout is made. Minor ticks stay Matplotlib's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, TICKLEFT
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Ticks:
    """The major ticks of an axis that are seen.

    Attributes:
        places: On the axis, in its data's unit.
        words: A label for each place; none where labels are not shown.
        length: Of the marks, in points.
        pad: Between marks and labels, in points.
        size: Of the labels, in points.
    """

    places: tuple[float, ...]
    words: tuple[str, ...]
    length: float
    pad: float
    size: float


class _XAxis(XAxis):
    """An axis without the ticks that Matplotlib makes before it knows whether any are shown."""

    def reset_ticks(self) -> None:
        """None are there."""
        self.majorTicks, self.minorTicks = [], []


class _YAxis(YAxis):
    """Likewise."""

    def reset_ticks(self) -> None:
        """None are there."""
        self.majorTicks, self.minorTicks = [], []


class Panel(Axes):
    """Axes whose ticks are made where they are shown."""

    def _init_axis(self) -> None:
        super()._init_axis()  # type: ignore[misc]
        self.xaxis.__class__, self.yaxis.__class__ = _XAxis, _YAxis


def set_names(axis: Any, places: Sequence[float], names: Sequence[str]) -> None:  # noqa: ANN401 - an axis of any kind
    """Fixed places with a name each, as `Axes.set_yticks` sets them, without making ticks."""
    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_major_formatter(FixedFormatter(list(names)))


def ticks_of(axis: Any) -> Ticks:  # noqa: ANN401 - likewise
    """The ticks of an axis as it is now."""
    own, side, usually = axis.get_tick_params(), f"{axis.axis_name}tick", _defaults()
    size, length, pad = (
        _points(own.get(name, usually[f"{side}.{usual}"]))
        for name, usual in (("labelsize", "labelsize"), ("length", "major.size"), ("pad", "major.pad"))
    )
    if isinstance(axis.get_major_locator(), NullLocator):
        return Ticks((), (), length, pad, size)
    places = axis.get_majorticklocs()
    words = axis.get_major_formatter().format_ticks(places)
    low, high = sorted(axis.get_view_interval())
    rounding = (high - low) * _ROUNDING
    seen = [pair for pair in zip(places, words, strict=True) if low - rounding <= pair[0] <= high + rounding]
    labelled = own.get("labelbottom" if axis.axis_name == "x" else "labelleft", True)
    return Ticks(tuple(place for place, _ in seen), tuple(word for _, word in seen if labelled), length, pad, size)


def draw_ticks(axis: Any, ticks: Ticks) -> None:  # noqa: ANN401 - likewise
    """Ticks as artists of the panel, in place of the axis's own."""
    panel, across, side = axis.axes, axis.axis_name == "x", f"{axis.axis_name}tick"
    axis.set_major_locator(NullLocator())
    usually = _defaults()
    zeros, colour = [0.0] * len(ticks.places), usually[f"{side}.color"]
    if ticks.places and ticks.length:
        where = panel.get_xaxis_transform("tick1") if across else panel.get_yaxis_transform("tick1")
        xs, ys = (ticks.places, zeros) if across else (zeros, ticks.places)
        marker: Any = TICKDOWN if across else TICKLEFT
        width = usually[f"{side}.major.width"]
        style: dict[str, Any] = {"markersize": ticks.length, "markeredgewidth": width, "clip_on": False, "zorder": 2.01}
        panel.add_artist(Line2D(xs, ys, linestyle="", marker=marker, color=colour, transform=where, **style))
    text1 = panel.get_xaxis_text1_transform if across else panel.get_yaxis_text1_transform
    where, vertical, horizontal = text1(ticks.pad + ticks.length)
    words: dict[str, Any] = {"fontsize": ticks.size, "color": colour, "va": vertical, "ha": horizontal}
    for place, word in zip(ticks.places, ticks.words, strict=False):
        if word:
            panel.text(place if across else 0.0, 0.0 if across else place, word, transform=where, **words)


def _defaults() -> Any:  # noqa: ANN401 - the values have types of their own
    return mpl.rcParams


def _points(value: object) -> float:
    """A size in points."""
    return (
        float(value)
        if isinstance(value, int | float)
        else mpl.font_manager.font_scalings[str(value)] * float(mpl.rcParams["font.size"])
    )
