"""Style of figures: widths of the IEEE templates, colours that colour-blind readers and grey printers tell apart.

The palette is Okabe & Ito's (2008, Color Universal Design), of which the arms take colours whose CIE lightness lies at
least 11 apart (0, 46, 58, 71), and each arm has a marker, a line style and a hatch of its own beside the colour.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

COLUMN_IN = 3.5
# Width of one column and of both, inches (IEEE Author Center, preparation of graphics).
PAGE_IN = 7.16

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
INK = "#333333"
BAND = "#DDE3EA"


@dataclass(frozen=True)
class ArmStyle:
    """What makes one arm known: colour, marker, line style, hatch."""

    colour: str
    marker: str
    line: Literal["-", "--", "-.", ":"]
    hatch: str


_STYLES: Mapping[str, ArmStyle] = {
    "native": ArmStyle(BLUE, "o", "-", ""),
    "host": ArmStyle(GREEN, "^", ":", "..."),
    "container_baseline": ArmStyle(ORANGE, "s", "--", "///"),
    "container_optimized": ArmStyle(BLACK, "D", "-.", "xxx"),
}
_OTHERS = (ArmStyle(PURPLE, "v", "-.", "\\\\\\"), ArmStyle(SKY, "P", ":", "+++"))

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "hatch.linewidth": 0.5,
    "hatch.color": INK,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "figure.facecolor": "white",
    "savefig.dpi": 300,
}


def arm_style(environment: str) -> ArmStyle:
    """How an arm is drawn; the same in every figure."""
    return _STYLES.get(environment) or _OTHERS[sum(map(ord, environment)) % len(_OTHERS)]
