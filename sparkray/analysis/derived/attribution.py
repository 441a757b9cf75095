"""Where a difference comes from, as a table: the steps of a ladder, their sum, what is left, and the total.

No part of `derived`, which knows the analysis alone: it is read from the document of an optimisation.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from sparkray.stats.attribution import LEVEL

SOURCE = ("document", "place", "dataset", "condition", "column")
"""Where a row of an optimisation comes from: the place in its document; folders of the dataset (separated by spaces), an SQL
condition over their table `runs`, and the measure; null where no run is behind the row."""
SCHEMA = {
    **{name: pl.String() for name in ("trace", "metric", "model", "layer", "direction", "before", "after", "role")},
    **{name: pl.Float64() for name in ("value", "low", "high", "p_adjusted", "share", "share_low", "share_high")},
    "n": pl.Int64(),
    "shown": pl.Boolean(),
    "reason": pl.String(),
    **dict.fromkeys(SOURCE, pl.String()),
}
"""`role` is `step`, `attributed` (the sum of a direction's steps), `residual` (what that leaves of the total), `left` (what
the steps that show an effect leave of it) or `total`; effects in the metric's unit."""
Plain = Mapping[str, Any]
"""An `Attribution` as plain values: `asdict` of it, where what could not be estimated is `{"reason": ...}`."""


def attribution(found: Iterable[tuple[str, str, Plain, Plain]]) -> pl.DataFrame:
    """One row a step, a sum, a residual and a total, of each model and metric in order.

    Args:
        found: Model, metric, the estimates, and the columns that say where they come from.
    """
    rows = [{**row, **source} for model, metric, one, source in found for row in _rows(one, metric, model)]
    return pl.DataFrame(rows, schema=SCHEMA)


def _rows(found: Plain, metric: str, model: str) -> Iterator[dict[str, Any]]:
    ends = {"metric": metric, "model": model, "before": found["first"], "after": found["last"]}
    for each in found["steps"]:
        step, adjusted = each["step"], each["p_adjusted"]
        yield {
            **_row(each["effect"], {**ends, "role": "step", "layer": step["layer"], "direction": step["direction"]}),
            **_share(each["share"]),
            "p_adjusted": adjusted,
            "shown": adjusted is not None and adjusted < 1 - LEVEL,
            "before": step["before"],
            "after": step["after"],
        }
    for balance in found["balances"]:
        yield from _sums(balance, ends)
    yield _row(found["total"], {**ends, "role": "total", "layer": None, "direction": None})


def _sums(balance: Plain, ends: Plain) -> Iterator[dict[str, Any]]:
    about = {**ends, "layer": None, "direction": balance["direction"]}
    yield {**_row(balance["attributed"], {**about, "role": "attributed"}), **_share(balance["share"])}
    yield _row(balance["residual"], {**about, "role": "residual"})
    yield _row(balance["left"], {**about, "role": "left"})


def _row(effect: Plain, about: Plain) -> dict[str, Any]:
    """Numbers, or why there are none."""
    names = [about[key] for key in ("metric", "model", "role", "direction", "layer")]
    told: dict[str, Any] = dict.fromkeys(SCHEMA)
    told.update(about, trace="/".join(["attribution", *(str(name) for name in names if name)]))
    if "reason" in effect:
        return {**told, "reason": effect["reason"]}
    return {**told, "value": effect["value"], "low": effect["low"], "high": effect["high"], "n": effect["n"]}


def _share(share: Plain) -> dict[str, float | None]:
    """Fieller's interval, or nothing."""
    return {"share": share.get("value"), "share_low": share.get("low"), "share_high": share.get("high")}
