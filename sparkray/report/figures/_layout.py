"""Layout of a figure from the widths of its labels: each measured once, each panel of the same size.

Matplotlib's constrained layout asks every artist of every panel for its extent, twice, and solves for sizes: half of what
drawing a report took. Here the room beside a panel is that of its tick labels, axis labels and title, in points, from the
font's own metrics; legends and labels of the whole figure get theirs at its edges.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import LayoutEngine
from matplotlib.text import Text

from sparkray.report.figures._ticks import Ticks, draw_ticks, ticks_of

POINTS = 72
# Points: at the edges of a figure, and between what stands in one panel and what stands in the next.
_EDGE, _BETWEEN = 3.0, 5.0
# Height of a line of text, in its size.
_LINE = 1.2
_TITLE_PAD = 6.0
_SUB_PIXEL = 64
# Hinting rounds letters of a small size to whole pixels: they are measured this much larger.
_FINER = 16


class Measured(LayoutEngine):
    """The layout engine of every figure: `execute` places its panels once.

    Args:
        between: Points between rows of panels.
    """

    _adjust_compatible = True
    _colorbar_gridspec = False

    def __init__(self, between: float = _BETWEEN) -> None:
        super().__init__()
        self.between = between
        self._done = False

    def execute(self, fig: Any) -> None:  # noqa: ANN401 - Matplotlib's types lack the labels of a figure
        """Place the panels, the labels of the whole figure and its legends."""
        if self._done:
            return
        self._done = True
        width, height = (inches * POINTS for inches in fig.get_size_inches())
        top = sum(_height_of_legend(legend) for legend in fig.legends) + _EDGE
        left, bottom = _EDGE, _EDGE
        for text, sideways in ((fig._supylabel, True), (fig._supxlabel, False)):  # noqa: SLF001 - it has no getter
            if text is None or not text.get_text():
                continue
            room = _height_of(text)
            if sideways:
                text.set_position((left / width, 0.5))
                left += room + _BETWEEN / 2
            else:
                text.set_position((0.5, bottom / height))
                bottom += room + _BETWEEN / 2
        _place(fig.axes, (left, bottom, width - _EDGE, height - top), self.between, (width, height))
        for legend in fig.legends:
            legend.set_bbox_to_anchor((0.5, 1 - _EDGE / height), fig.transFigure)


def _place(
    axes: Sequence[Any], inside: tuple[float, float, float, float], between: float, size: tuple[float, float]
) -> None:
    """Panels of equal size with room for the widest labels of each row and column."""
    if not axes:
        return
    grid = axes[0].get_subplotspec().get_gridspec()
    ticks = [(ticks_of(axis.yaxis), ticks_of(axis.xaxis)) for axis in axes]
    rooms = [_room(axis, *both) for axis, both in zip(axes, ticks, strict=True)]
    spots = [axis.get_subplotspec() for axis in axes]
    columns = [_most(rooms, (0, 1), [spot.colspan.start == n for spot in spots]) for n in range(grid.ncols)]
    rows = [_most(rooms, (2, 3), [spot.rowspan.start == n for spot in spots]) for n in range(grid.nrows)]
    left, bottom, right, top = inside
    width = (right - left - sum(map(sum, columns)) - _BETWEEN * (grid.ncols - 1)) / grid.ncols
    height = (top - bottom - sum(map(sum, rows)) - between * (grid.nrows - 1)) / grid.nrows
    for axis, spot, room, both in zip(axes, spots, rooms, ticks, strict=True):
        across, down = spot.colspan.start, spot.rowspan.start
        x = left + sum(map(sum, columns[:across])) + columns[across][0] + across * (width + _BETWEEN)
        y = top - sum(map(sum, rows[:down])) - rows[down][1] - down * (height + between) - height
        place = (x / size[0], y / size[1], max(width, 1.0) / size[0], max(height, 1.0) / size[1])
        axis._set_position(place)  # noqa: SLF001 - `set_position` takes the panel out of the layout
        for own, found in zip((axis.yaxis, axis.xaxis), both, strict=True):
            draw_ticks(own, found)
        _fix_labels(axis, room, (max(width, 1.0), max(height, 1.0)))


def _fix_labels(axis: Any, room: tuple[float, float, float, float], size: tuple[float, float]) -> None:  # noqa: ANN401 - likewise
    """Put title and axis labels where their room is. Else Matplotlib asks every tick label for its extent again, twice."""
    left, _, below, _ = room
    axis._autotitlepos = False  # noqa: SLF001 - no panel has ticks above it, which a title would have to avoid
    axis.yaxis.set_label_coords((_label_height(axis.yaxis) - axis.yaxis.labelpad - left) / size[0], 0.5)
    axis.xaxis.set_label_coords(0.5, (_label_height(axis.xaxis) - axis.xaxis.labelpad - below) / size[1])


def _most(rooms: Iterable[tuple[float, ...]], sides: tuple[int, int], chosen: Sequence[bool]) -> tuple[float, float]:
    """The most room on two sides among some panels."""
    mine = [room for room, one in zip(rooms, chosen, strict=True) if one]
    first, second = (max((room[side] for room in mine), default=0.0) for side in sides)
    return first, second


def _room(axis: Any, ys: Ticks, xs: Ticks) -> tuple[float, float, float, float]:  # noqa: ANN401 - likewise
    """Points that labels take left, right, below and above a panel."""
    widest = max((_widest(word, ys.size) for word in ys.words), default=0.0)
    left = widest + ys.length + (ys.pad if any(ys.words) else 0.0) + _label_height(axis.yaxis)
    tallest = max((_tallest(word, xs.size) for word in xs.words if word), default=0.0)
    below = tallest + xs.length + (xs.pad if any(xs.words) else 0.0) + _label_height(axis.xaxis)
    right = _widest(xs.words[-1], xs.size) / 2 if xs.words else 0.0
    title = axis.title
    high = max((_tallest(word, ys.size) for word in ys.words if word), default=0.0)
    above = _height_of(title) + _TITLE_PAD if title.get_text() else high / 2
    return left, right, below, above


def _label_height(axis: Any) -> float:  # noqa: ANN401 - likewise
    label = axis.label
    return _height_of(label) + axis.labelpad if label.get_text() else 0.0


def _height_of_legend(legend: Any) -> float:  # noqa: ANN401 - likewise
    handles = len(legend.legend_handles)
    rows = -(-handles // max(1, legend._ncols))  # noqa: SLF001
    size = legend._fontsize  # noqa: SLF001
    return float(size * (rows * _LINE + (rows - 1) * legend.labelspacing + 2 * legend.borderpad))


def _height_of(text: Text) -> float:
    return _tallest(text.get_text(), float(text.get_fontsize()))


def _tallest(words: str, size: float) -> float:
    return size * _LINE * (1 + words.count("\n"))


def _widest(words: str, size: float) -> float:
    return max(width(line, size) for line in words.split("\n"))


@lru_cache(maxsize=4096)
def width(line: str, size: float) -> float:
    """Points that a line of text takes."""
    font: Any = get_font(findfont(FontProperties()))
    font.set_size(size, POINTS * _FINER)
    font.set_text(line, 0.0)
    return float(font.get_width_height()[0]) / _SUB_PIXEL / _FINER
