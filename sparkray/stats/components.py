"""Where the variance of a run's value comes from: its block, the run itself, or single requests inside it.

It shows where to spend time: more requests a run cannot calm what differs from run to run, and more runs in a block cannot
calm what differs from block to block. Kalibera and Jones (2013), "Rigorous benchmarking in reasonable time", ISMM, plan
repetitions by it. Estimates are those of the analysis of variance, negative ones taken as 0: Searle, Casella and McCulloch
(1992), "Variance Components", chapters 3 and 4.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparkray.stats import NotEstimable
from sparkray.stats.samples import Values, Vector, sample

_LEAST = 2


@dataclass(frozen=True)
class Components:
    """Variances that add up to the variance of one run's value, in the squared unit of the values.

    Attributes:
        n: Runs.
        between_blocks: From block to block.
        within_block: From run to run in the same block, requests apart where their variance is known.
        requests: What the residual of run and request leaves in the mean of a run; None where it is not known.
    """

    n: int
    between_blocks: float
    within_block: float
    requests: float | None

    @property
    def shares_pct(self) -> tuple[float, float, float | None]:
        """Between blocks, within a block, requests, in per cent of their sum."""
        total = self.between_blocks + self.within_block + (self.requests or 0.0)
        requests = None if self.requests is None else self.requests / total * 100
        return self.between_blocks / total * 100, self.within_block / total * 100, requests


def crossed(table: ArrayLike, *, request_share: float | None = None) -> Components | NotEstimable:
    """Components of a design in which each block holds every arm once: two-way, blocks random, arms fixed.

    With k arms the mean square of blocks estimates within + k between, the residual one within, whatever the arms differ
    by.

    Args:
        table: Shape (blocks, arms), at least 2 by 2. Blocks with a value that is missing must be left out before.
        request_share: What single requests leave in a run's mean (`residual_share`), for a metric that is one over requests.
    """
    cells = np.asarray(table, dtype=np.float64)
    if cells.ndim != _LEAST or min(cells.shape) < _LEAST:
        return NotEstimable.of("few_in_table", n=cells.shape[0], arms=cells.shape[-1])
    checked = sample(cells.ravel())
    if isinstance(checked, NotEstimable):
        return checked
    blocks, arms = cells.shape
    by_block = np.mean(cells, axis=1, keepdims=True)
    residual = cells - by_block - np.mean(cells, axis=0, keepdims=True) + np.mean(cells)
    within = float(np.sum(residual**2)) / ((blocks - 1) * (arms - 1))
    between = (arms * float(np.var(by_block, ddof=1)) - within) / arms
    return _components(checked, between, within, request_share)


def _components(
    values: Vector, between: float, within: float, request_share: float | None
) -> Components | NotEstimable:
    """Negative components as 0; the requests' share is inside the within component and is taken out of it."""
    between, within = max(0.0, between), max(0.0, within)
    if between + within <= (np.finfo(np.float64).eps * float(np.max(np.abs(values)))) ** 2:
        return NotEstimable("all_alike")
    if request_share is None:
        return Components(len(values), between, within, None)
    if not 0 <= request_share < np.inf:
        return NotEstimable("bad_request_variance")
    return Components(len(values), between, max(0.0, within - request_share), request_share)


def residual_share(values: Values, runs: NDArray[np.int64], requests: NDArray[np.int64]) -> float | NotEstimable:
    """What single requests leave in a run's mean: the mean square of the run x request residual over the requests of a run.

    Every run sends the same requests: the same prompts and lengths in the same places of the queue. What one request differs
    by from the next is the same in every run and leaves nothing in the difference of two runs, so it is no noise. Noise is
    what a request takes beyond its own mean over runs and its run's mean over requests: the residual of a two-way table
    without replication, whose mean square has (runs - 1)(requests - 1) degrees of freedom (Searle, Casella and McCulloch
    1992, chapter 4). Requests of a run that wait for each other are not independent; then it is a part of what they leave.

    Args:
        values: One a request, shape (n,), in the metric's unit.
        runs: Which run, shape (n,), numbered from 0.
        requests: Which request of it, shape (n,), numbered from 0; each at most once a run.

    Returns:
        The variance in the squared unit, of the requests that every run has; or why there is none.
    """
    count = int(runs.max()) + 1 if len(runs) else 0
    everywhere = (np.bincount(requests) == count)[requests] if count else np.zeros(0, dtype=bool)
    table, row, column = np.asarray(values, dtype=np.float64), runs, requests
    if not everywhere.all():
        table, row, column = table[everywhere], row[everywhere], column[everywhere]
    each = len(table) // count if count else 0
    if min(count, each) < _LEAST:
        return NotEstimable.of("few_requests", n=count, requests=each, least=_LEAST)
    by_run, by_request = np.bincount(row, table) / each, np.bincount(column, table) / count
    residual = table - by_run[row] - by_request[column] + np.mean(table)
    return float(np.sum(residual**2)) / ((count - 1) * (each - 1)) / each
