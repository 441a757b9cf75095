"""Where a difference comes from, as a table: the steps of a ladder, their sum, what is left, and the total.

No part of `derived`, which knows the analysis alone: whoever has climbed a ladder adds this table to the book.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from sparkray.stats import NotEstimable
from sparkray.stats.attribution import Attribution, Balance, Effect, Share

SCHEMA = {
    **{name: pl.String() for name in ("trace", "metric", "model", "layer", "direction", "before", "after", "role")},
    **{name: pl.Float64() for name in ("value", "low", "high", "p_adjusted", "share", "share_low", "share_high")},
    "n": pl.Int64(),
    "shown": pl.Boolean(),
    "reason": pl.String(),
    "source": pl.String(),
}
"""`role` is `step`, `attributed` (the sum of a direction's steps), `residual` or `total`; effects in the metric's unit."""
_SOURCE = "differences inside blocks, sparkray.stats.attribution"


def attribution(found: Mapping[str, Attribution], metric: str) -> pl.DataFrame:
    """One row a step, a sum, a residual and a total, for each model in order."""
    rows = [row for model, one in found.items() for row in _rows(one, metric, model)]
    return pl.DataFrame(rows, schema=SCHEMA)


def _rows(found: Attribution, metric: str, model: str) -> Iterator[dict[str, Any]]:
    ends = {"metric": metric, "model": model, "before": found.first, "after": found.last}
    for each in found.steps:
        yield {
            **_row(each.effect, {**ends, "role": "step", "layer": each.step.layer, "direction": each.step.direction}),
            **_share(each.share),
            "p_adjusted": each.p_adjusted,
            "shown": each.shows,
            "before": each.step.before,
            "after": each.step.after,
        }
    for balance in found.balances:
        yield from _sums(balance, ends)
    yield _row(found.total, {**ends, "role": "total", "layer": None, "direction": None})


def _sums(balance: Balance, ends: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    about = {**ends, "layer": None, "direction": balance.direction}
    yield {**_row(balance.attributed, {**about, "role": "attributed"}), **_share(balance.share)}
    yield _row(balance.residual, {**about, "role": "residual"})


def _row(effect: Effect | NotEstimable, about: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, or why there are none."""
    names = [about[key] for key in ("metric", "model", "role", "direction", "layer")]
    told: dict[str, Any] = dict.fromkeys(SCHEMA)
    told.update(about, source=_SOURCE, trace="/".join(["attribution", *(str(name) for name in names if name)]))
    if isinstance(effect, NotEstimable):
        return {**told, "reason": effect.reason}
    return {**told, "value": effect.value, "low": effect.low, "high": effect.high, "n": effect.n}


def _share(share: Share | NotEstimable) -> dict[str, float | None]:
    if isinstance(share, NotEstimable):
        return {"share": None, "share_low": None, "share_high": None}
    return {"share": share.value, "share_low": share.low, "share_high": share.high}
