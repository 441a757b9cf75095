"""Number formats and lists of everything that is printed: page, paper, Markdown, terminal. Pure.

The name of the format stands beside every cell of the page, so that a test formats the row's value again.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

MISSING = "–"
_GROUPED = 10_000
_DIGITS = 4
_LEAST_P = 0.001
_EXACT = 1e-9
# No test is certain: a power above this is shown as a bound.
_THOUSAND = 1000
_NEARLY_CERTAIN = 0.9995
_LARGEST_LOG = 700.0


def significant(value: float) -> str:
    """Four significant digits without an exponent; from 10,000 on whole numbers in groups of three."""
    if value == 0:
        return "0"
    if abs(value) >= _GROUPED:
        return f"{value:,.0f}"
    decimals = max(0, _DIGITS - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(decimals, 8)}f}"
    return text.rstrip("0").rstrip(".") if "." in text and float(text) == round(value) else text


def probability(value: float) -> str:
    """A p-value: three decimals, and no zero that is none."""
    return f"< {_LEAST_P}" if value < _LEAST_P else f"{value:.3f}"


def _exponential(value: float) -> float:
    """Of a slope on the log scale; held where a double ends."""
    return math.exp(min(max(value, -_LARGEST_LOG), _LARGEST_LOG))


def _difference(value: float) -> str:
    """In three digits, signed."""
    return f"{value:+,.0f}" if abs(value) >= _THOUSAND else f"{value:+.3g}"


def _per_cent(value: float) -> str:
    return f"{value:.2f} %" if abs(value) < 1 else f"{value:.1f} %"


# `ratio` has four decimals, as has `factor`, the exponential of a slope; `change` of a ratio from 1 in per cent is
# signed, `change_bare` too but without the sign of per cent, `size_of_change` is not. `per_cent`: it is one;
# `fine_per_cent` signed with three decimals; `level`, of a constant; `share` of 1, and `power`, which is never 100 %.
# `number` as it is, `number3` in three digits; `count` in groups of three, `difference` three digits with a sign,
# `count_signed` with its sign; `plain` whole, for seeds; `slope` five decimals and `effect` two, signed, `effect_pct`
# of per cent; `p` a probability, `p_is` with the sign in front; `size` one decimal. Words have no form: `words` is
# the name of none.
FORMS: Mapping[str, Callable[[float], str]] = {
    "ratio": lambda value: f"{value:.4f}",
    "factor": lambda value: f"{_exponential(value):.4f}",
    "change": lambda value: f"{(value - 1) * 100:+.2f} %",
    "change_bare": lambda value: f"{(value - 1) * 100:+.2f}",
    "size_of_change": lambda value: f"{abs(value - 1) * 100:.2f} %",
    "per_cent": _per_cent,
    "share": lambda value: (
        f"{value * 100:g} %" if abs(value * 100 - round(value * 100, 1)) < _EXACT else f"{value * 100:.1f} %"
    ),
    "power": lambda value: "over 99.9 %" if value > _NEARLY_CERTAIN else FORMS["share"](value),
    "fine_per_cent": lambda value: f"{value:+.3f} %",
    "level": lambda value: f"{value:g} %",
    "number": lambda value: f"{value:g}",
    "number3": lambda value: f"{value:.3g}",
    "count": lambda value: f"{value:,.0f}",
    "count_signed": lambda value: f"{value:+,.0f}",
    "plain": lambda value: f"{value:.0f}",
    "significant": significant,
    "slope": lambda value: f"{value:+.5f}",
    "effect": lambda value: f"{value:+.2f}",
    "effect_pct": lambda value: f"{value:+.2f} %",
    "p": probability,
    "p_is": lambda value: probability(value) if value < _LEAST_P else f"= {probability(value)}",
    "difference": _difference,
    "size": lambda value: f"{value:.1f}",
}


def shown(value: object, form: str) -> str:
    """A value in a form; text stays as it is, and what is not there is a dash.

    Raises:
        KeyError: There is no such form.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return FORMS[form](value)
    return str(value)


def interval(low: object, high: object, form: str) -> str:
    """`0.9949 to 1.0012`; one number where both ends look alike, a dash where neither is known."""
    ends = shown(low, form), shown(high, form)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def listed(items: Iterable[object], last: str = "and") -> str:
    """`a, b and c`."""
    *head, tail = [str(item) for item in items] or [""]
    return f"{', '.join(head)} {last} {tail}" if head else tail


def grouped(rows: Iterable[Mapping[str, Any]], *columns: str) -> list[tuple[Any, Sequence[Mapping[str, Any]]]]:
    """Rows by the values of columns, in the order in which these come; a single column's value stands alone."""
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        values = tuple(row[column] for column in columns)
        found.setdefault(values if len(columns) > 1 else values[0], []).append(row)
    return list(found.items())
