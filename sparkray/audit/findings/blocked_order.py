"""Arms run one after the other instead of interleaved."""

import math
from collections.abc import Iterator

import polars as pl

from sparkray.audit.case import Case, across_arms, labels, reference_first, stretches
from sparkray.audit.finding import Finding, NotJudged

_LEAST_RUNS = 3
_RARE = 0.01


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave where two arms of a model switch no more than once, or more seldom than 1 % of random orders would."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for model, frame in case.by_model():
        if frame["environment"].n_unique() == 1:
            continue
        ordered = across_arms(frame)
        if ordered is None:
            yield NotJudged("blocked_order", f"{model}: neither timestamps nor iterations tell the order of the arms")
            continue
        found += _blocked(model, *ordered)
    if found:
        yield Finding(
            "blocked_order",
            "grave",
            "arms were run in blocks instead of interleaved: whatever changed between the blocks (heat, caches, clocks, "
            "downloads) is counted as the arms' difference",
            "; ".join(text for text, _ in found),
            tuple(dict.fromkeys(row for _, rows in found for row in rows)),
        )


def _blocked(model: str, frame: pl.DataFrame, basis: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    reference, *others = reference_first(frame["environment"].unique().to_list())
    for other in others:
        pair = frame.filter(pl.col("environment").is_in([reference, other]))
        order = pair["environment"].to_list()
        a, b, seen = order.count(reference), order.count(other), stretches(order)
        if min(a, b) < _LEAST_RUNS or (seen > 2 and stretches_p(a, b, seen) >= _RARE):  # noqa: PLR2004 - one switch
            continue
        first = order[0]
        chance = f"probability in random order {stretches_p(a, b, seen):.2g}"
        told = f"{a} {reference} and {b} {other} runs in {seen} stretches, {first} first"
        yield f"{model}: {told}, by {basis} ({chance})", labels(pair)


def stretches_p(a: int, b: int, seen: int) -> float:
    """Probability of so few stretches or fewer when a and b runs are in random order (Wald & Wolfowitz 1940)."""
    ways = 0
    for count in range(2, seen + 1):
        half, odd = divmod(count, 2)
        if odd:
            ways += math.comb(a - 1, half) * math.comb(b - 1, half - 1)
            ways += math.comb(a - 1, half - 1) * math.comb(b - 1, half)
        else:
            ways += 2 * math.comb(a - 1, half - 1) * math.comb(b - 1, half - 1)
    return ways / math.comb(a + b, a)
