"""Style of figures: widths of the IEEE templates, colours that colour-blind readers and grey printers tell apart.

The palette is Okabe & Ito's (2008, Color Universal Design), of which the arms take colours whose CIE lightness lies at
least 11 apart (0, 46, 58, 71), and each arm has a marker, a line style and a hatch of its own beside the colour.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib import rc_params_from_file

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

RC = rc_params_from_file(Path(__file__).with_name("figures.mplstyle"), use_default_template=False)


def arm_style(environment: str) -> ArmStyle:
    """How an arm is drawn; the same in every figure."""
    return _STYLES.get(environment) or _OTHERS[sum(map(ord, environment)) % len(_OTHERS)]
