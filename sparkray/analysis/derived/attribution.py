"""Where a difference comes from, as a table: attribution steps, their sum, the residual, and the total.

No part of `derived`, which knows the analysis alone: it is read from the document of an optimisation.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from sparkray.analysis.schema import DERIVED, frame_of
from sparkray.stats.attribution import LEVEL

# An `Attribution` as plain values: `asdict` of it, where what could not be estimated is `{"reason": ...}`.
Plain = Mapping[str, Any]


def attribution(found: Iterable[tuple[str, str, Plain, Plain]]) -> pl.DataFrame:
    """One row a step, a sum, a residual and a total, of each model and metric in order.

    Args:
        found: Model, metric, the estimates, and the columns that say where they come from.
    """
    rows = [{**row, **source} for model, metric, one, source in found for row in _rows(one, metric, model)]
    return frame_of(DERIVED["attribution"], rows)


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
    columns = ("reason",) if "reason" in effect else ("value", "low", "high", "n")
    trace = "/".join(["attribution", *(str(name) for name in names if name)])
    return {**about, "trace": trace, **{name: effect[name] for name in columns}}


def _share(share: Plain) -> dict[str, float | None]:
    """Fieller's interval, or nothing."""
    return {"share": share.get("value"), "share_low": share.get("low"), "share_high": share.get("high")}
