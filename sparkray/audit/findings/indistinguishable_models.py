"""Models that cannot be told apart by their throughput though they differ in size."""

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from sparkray.audit.case import THROUGHPUT, Case, Cell
from sparkray.audit.finding import Finding, Gravity, NotJudged
from sparkray.audit.planned import label

_FAR_APART = 4.0
_READS_APART = 2.0
_SURELY_EQUAL, _MOST_EQUAL = 0.02, 0.10
_SIGMAS = 3.0
_ASSUMED_BATCH = 8


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Pairs at one level of the load whose parameter counts differ by 4 or more, their mean throughput equal within noise.

    Models that are said to have run in batches of different size are not compared. Equal is a log ratio within 3 sd of
    single runs, at least 2 % and at most 10 %. It is fatal when the bytes that a decode step reads differ by 2 or more by
    the cards (a mixture of experts may read as little as a small dense model), else grave.
    """
    if THROUGHPUT not in case.metrics:
        yield NotJudged("indistinguishable_models", f"no {THROUGHPUT}: map a column to it")
        return
    cells = [cell for cell in case.cells if len(cell.values(THROUGHPUT))]
    names = {_name(cell) for cell in cells}
    for name in sorted(name for name in names if case.params(name) is None and len(names) > 1):
        yield NotJudged("indistinguishable_models", f"{name}: neither a card nor its name tells its size")
    for environment, level in dict.fromkeys((cell.environment, cell.level) for cell in cells):
        there = [cell for cell in cells if (cell.environment, cell.level) == (environment, level)]
        alike = [pair for pair in combinations(there, 2) if _params_ratio(case, *pair) >= _FAR_APART and _equal(*pair)]
        if alike:
            yield _finding(case, label(environment, level), alike)


def _name(cell: Cell) -> str:
    return str(cell.frame["model_name"][0])


def _params_ratio(case: Case, a: Cell, b: Cell) -> float:
    sizes = [case.params(_name(cell)) for cell in (a, b)]
    known = [size[0] for size in sizes if size is not None]
    return max(known) / min(known) if len(known) == len(sizes) else 0.0


def _equal(a: Cell, b: Cell) -> bool:
    if a.batch is not None and b.batch is not None and a.batch != b.batch:
        return False  # a small model in a small batch may well be as fast as a large one in a large batch
    logs = [np.log(cell.values(THROUGHPUT)) for cell in (a, b)]
    spread = math.sqrt(sum(float(np.var(values, ddof=1)) if len(values) > 1 else 0.0 for values in logs) / 2)
    tolerance = min(max(_SURELY_EQUAL, _SIGMAS * spread), _MOST_EQUAL)
    return abs(float(logs[0].mean() - logs[1].mean())) <= tolerance


def _reads_differ(case: Case, a: Cell, b: Cell) -> bool:
    cards = [case.card(_name(cell)) for cell in (a, b)]
    batch = a.batch or b.batch or case.batch or _ASSUMED_BATCH
    read = [card.shape.step_read(batch, 0).total for card in cards if card is not None and card.shape is not None]
    return len(read) == len(cards) and max(read) >= _READS_APART * min(read)


def _finding(case: Case, where: str, alike: list[tuple[Cell, Cell]]) -> Finding:
    cells = list({cell.model: cell for pair in alike for cell in pair}.values())
    gravity: Gravity = "fatal" if any(_reads_differ(case, *pair) for pair in alike) else "grave"
    parts = []
    for cell in cells:
        size = case.params(_name(cell))
        values = cell.values(THROUGHPUT)
        sd = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        told = f"{size[0] / 1e9:.1f}B by {size[1]}" if size else "size unknown"
        parts.append(f"{cell.model} ({told}) {values.mean():.2f}{sd} tok/s")
    return Finding(
        "indistinguishable_models",
        gravity,
        f"{where}: {', '.join(cell.model for cell in cells)} cannot be told apart by throughput though their sizes "
        "are far apart: one model may have run under every name, and nothing can be said by model",
        "; ".join(parts),
        tuple(row for cell in cells for row in cell.rows),
    )
