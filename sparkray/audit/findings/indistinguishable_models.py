"""Models whose throughput is the same though they differ in size."""

import math
from collections.abc import Iterator
from itertools import combinations
from operator import itemgetter
from typing import Any

import numpy as np

from sparkray.audit.case import THROUGHPUT, Case, Cell, rows_of
from sparkray.audit.finding import Finding, Gravity, NotJudged
from sparkray.audit.planned import label
from sparkray.config.model_name import parse_name

_FAR_APART = 4.0
_READS_APART = 2.0
_SURELY_EQUAL, _MOST_EQUAL = 0.02, 0.10
_SIGMAS = 3.0
_ASSUMED_BATCH = 8


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Pairs at one level of the load whose sizes differ by 4 or more, their mean throughput equal within noise.

    A smaller model in a smaller batch is not compared: it may well be as fast as a larger one in a larger. Equal is a log
    ratio within 3 sd of single runs, at least 2 % and at most 10 %. Of two cards the parameters are compared; it is fatal
    when the bytes that are read for a token, each model in its own batch, differ by 2 or more (a mixture of experts may read
    as little as a small dense model), else grave. Where one has no card, its name gives the bytes that a token reads (`A3B`,
    `FP8`, `Q4_K_M`), and the finding is a note.
    """
    if THROUGHPUT not in case.metrics:
        yield NotJudged("indistinguishable_models/metric", {"metric": THROUGHPUT})
        return
    cells = [cell for cell in case.cells if len(cell.values(THROUGHPUT))]
    names = {_name(cell) for cell in cells}
    for name in sorted(name for name in names if _size(case, name) is None and len(names) > 1):
        yield NotJudged("indistinguishable_models/size", {"model": name})
    for environment, level in dict.fromkeys((cell.environment, cell.level) for cell in cells):
        group = [cell for cell in cells if (cell.environment, cell.level) == (environment, level)]
        pairs = [pair for pair in combinations(group, 2) if _comparable(case, *pair) and _equal(*pair)]
        by_card = [pair for pair in pairs if all(_has_shape(case, cell) for cell in pair)]
        for certain in (by_card, [pair for pair in pairs if pair not in by_card]):
            if certain:
                yield _finding(case, label(environment, level), certain)


def _name(cell: Cell) -> str:
    return str(cell.frame["model_name"][0])


def _has_shape(case: Case, cell: Cell) -> bool:
    card = case.card(_name(cell))
    return card is not None and card.shape is not None


def _size(case: Case, name: str) -> float | None:
    """Bytes of weights that a token reads, by card or name; None where neither has them."""
    card = case.card(name)
    if card is not None and card.shape is not None:
        return card.shape.least_step_read(1, 0).total
    return parse_name(name).read_bytes


def _comparable(case: Case, a: Cell, b: Cell) -> bool:
    """Whether sizes are far apart, and the batches no reason to be as fast."""
    pair = (a, b)
    if all(_has_shape(case, cell) for cell in pair):
        sizes = [params[0] if (params := case.params(_name(cell))) else None for cell in pair]
    else:
        sizes = [_size(case, _name(cell)) for cell in pair]
    known = [(size, cell) for size, cell in zip(sizes, pair, strict=True) if size is not None]
    if len(known) < len(pair):
        return False
    (least, small), (most, large) = sorted(known, key=itemgetter(0))
    excused = small.batch is not None and large.batch is not None and small.batch < large.batch
    return most >= _FAR_APART * least and not excused


def _equal(a: Cell, b: Cell) -> bool:
    logs = [np.log(cell.values(THROUGHPUT)) for cell in (a, b)]
    spread = math.sqrt(sum(float(np.var(values, ddof=1)) if len(values) > 1 else 0.0 for values in logs) / 2)
    tolerance = min(max(_SURELY_EQUAL, _SIGMAS * spread), _MOST_EQUAL)
    return abs(float(logs[0].mean() - logs[1].mean())) <= tolerance


def _reads_differ(case: Case, a: Cell, b: Cell) -> bool:
    assumed = a.batch or b.batch or case.batch or _ASSUMED_BATCH
    batches = [cell.batch or assumed for cell in (a, b)]
    shapes = [card.shape for cell in (a, b) if (card := case.card(_name(cell))) is not None and card.shape is not None]
    if len(shapes) < len(batches):
        return False
    a_token = [shape.step_read(batch, 0).total / batch for shape, batch in zip(shapes, batches, strict=True)]
    return max(a_token) >= _READS_APART * min(a_token)


def _finding(case: Case, where: str, pairs: list[tuple[Cell, Cell]]) -> Finding:
    cells = list({cell.model: cell for pair in pairs for cell in pair}.values())
    certain = all(_has_shape(case, cell) for cell in cells)
    gravity: Gravity = "fatal" if any(_reads_differ(case, *pair) for pair in pairs) else "grave" if certain else "note"
    values = {"where": where, "models": [cell.model for cell in cells], "items": [_item(case, cell) for cell in cells]}
    return Finding("indistinguishable_models", values, gravity, rows_of(cells))


def _item(case: Case, cell: Cell) -> dict[str, Any]:
    params, source = case.params(_name(cell)) or (None, None)
    speeds = cell.values(THROUGHPUT)
    sd = float(np.std(speeds, ddof=1)) if len(speeds) > 1 else None
    shown = {"model": cell.model, "batch": cell.batch, "mean": float(speeds.mean()), "sd": sd}
    return shown | {"params": params, "source": source}
