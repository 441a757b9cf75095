"""Halves of one arm that differ at a test for arms: what the test calls an effect where there is none.

The test is Welch's t at 5 %, whatever the study's own is, which its results do not tell: it asks little of the data, and
most tests that take runs for independent find what it finds.
"""

from collections.abc import Iterator, Sequence

from scipy import stats

from sparkray.audit.affine import distinct_metrics
from sparkray.audit.case import Case, Cell, interleaved
from sparkray.audit.family import families, told
from sparkray.audit.finding import Finding, Gravity, NotJudged
from sparkray.stats.independent import welch_p

_LEVEL = 0.05
_LEAST_RUNS = 6
_RARE = 0.01
_WAYS = 2


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """First half against second half of every cell; told when chance alone would show as much in 1 % of sound studies.

    Grave where an arm was measured in one stretch. A note where arms take turns (a test of pairs is not misled by what both
    arms went through, a test that compares the arms as a whole is) and where there is but one, compared with nothing.
    Statistics of one quantity are one finding, told by the one that shows it best.
    """
    cells = [cell for cell in case.cells if cell.in_time_order and len(cell.frame) >= _LEAST_RUNS]
    if not cells:
        yield NotJudged("split_halves", f"no cell has {_LEAST_RUNS} runs of known order")
        return
    gravity: Gravity = "note" if interleaved(case) else "grave"
    metrics = distinct_metrics(case)
    tested = {metric: _tested(cells, metric) for metric in metrics}
    chances = {metric: chance_of([p for _, p in found]) for metric, found in tested.items() if found}
    odd = [metric for metric, chance in chances.items() if chance * len(metrics) < _RARE and _differ(tested[metric])]
    for members in families(odd):
        best = min(members, key=chances.__getitem__)
        differ = _differ(tested[best])
        yield Finding(
            "split_halves",
            gravity,
            f"an arm differs from itself in {told(best, members)}: a test that compares the arms as a whole finds effects "
            "where there are none, so what it finds between arms is worth nothing",
            f"first against second half differs at 5 % in {len(differ)} of {len(tested[best])} cells (chance "
            f"{chances[best]:.1g}): " + ", ".join(f"{cell.name} p = {p:.2g}" for cell, p in differ),
            tuple(dict.fromkeys(row for metric in members for cell, _ in _differ(tested[metric]) for row in cell.rows)),
        )


def _tested(cells: Sequence[Cell], metric: str) -> list[tuple[Cell, float]]:
    return [(cell, p) for cell in cells if (p := _halves_p(cell, metric)) is not None]


def _differ(tested: Sequence[tuple[Cell, float]]) -> list[tuple[Cell, float]]:
    return [(cell, p) for cell, p in tested if p < _LEVEL]


def chance_of(ps: Sequence[float]) -> float:
    """How often cells without any difference would look as odd as these, at the most; 1 at the highest.

    Odd are many p below 5 % (binomial), or one that is very small (Bonferroni over the cells); a few cells can only be the
    latter. Twice the lesser of the two, since either would do: of sound cells that are independent no more than a
    share of x come out below x.

    Args:
        ps: One a cell, at least one.
    """
    many = float(stats.binom.sf(sum(p < _LEVEL for p in ps) - 1, len(ps), _LEVEL))
    one = len(ps) * min(ps)
    return min(1.0, _WAYS * min(many, one))


def _halves_p(cell: Cell, metric: str) -> float | None:
    values = cell.values(metric)
    half = len(values) // 2
    return welch_p(values[:half], values[half:]) if len(values) >= _LEAST_RUNS else None
