"""A/A pairs of successive runs: one arm against itself, in each dataset and over all, and how often the design is wrong.

The runs of an arm that count, in the order of measurement on one machine, make disjoint pairs: the first and second, the
third and fourth. The later run over the earlier is a ratio whose true value is 1 where nothing drifts. Datasets that are
occasions of one load are pooled as `analysis.against` pools overheads. False positives are counted as
`stats.calibration` does it, over the experiments of all datasets.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparkray.analysis.against import one_load
from sparkray.analysis.comparison import judged
from sparkray.analysis.context import DEFAULT_SEED, context_of, protocol_of
from sparkray.analysis.frames import Cell, Frames, open_frames, rank
from sparkray.analysis.study import Analysis
from sparkray.errors import DatasetError
from sparkray.stats import NotEstimable
from sparkray.stats.between import LogSample, pooled
from sparkray.stats.calibration import HEADLINE_PAIRS, Trial, rate_of, trials
from sparkray.stats.paired import paired_ratio
from sparkray.stats.samples import Vector

FORMAT = "sparkray-successive-runs/1"
# Columns of a pooled ratio; the others take n - 1 degrees of freedom.
_OF_ALL = ("ratio", "low", "high", "low90", "high90", "excludes_one", "verdict")
Row = dict[str, Any]


@dataclass(frozen=True)
class _Occasion:
    """A dataset, what it is of, and its runs that count of the arm."""

    frames: Frames
    study: Analysis
    cell: Cell

    def stretches(self, metric: str) -> list[Vector]:
        """Values of the metric in the order of measurement, those of each machine by themselves."""
        runs = self.frames.runs_of(self.cell)
        values, order = runs.column(metric), np.argsort(runs.order, kind="stable")
        order = order[~np.isnan(values[order])]
        return [values[order[runs.machine[order] == name]] for name in np.unique(runs.machine[order])]


def successive_runs(
    paths: Sequence[Path], *, environment: str | None = None, model: str | None = None
) -> dict[str, Any]:
    """The A/A pairs of one arm in each dataset, all of them pooled, and the rate of false positives.

    Args:
        paths: Folders of datasets, each once.
        environment: The arm's; the reference when None.
        model: The arm's; the one with most runs when None.

    Returns:
        Plain values: the arm, and by metric `datasets`, `pooled` (with the names of those left out) and `false_positives`.

    Raises:
        DatasetError: One cannot be read, or none has a run of that arm that counts.
    """
    every = [open_frames(path) for path in paths]
    cell = _arm(every, environment, model)
    occasions = [_Occasion(frames, _study(frames), cell) for frames in every]
    first = occasions[0].study
    return {
        "format": FORMAT,
        **cell.columns,
        "simulated": any(one.study.context["simulated"] for one in occasions),
        "one_load": all(one_load(first, one.study, cell.model) for one in occasions[1:]),
        "metrics": {name: _metric(occasions, name) for name in first.context["primary_metrics"]},
    }


def _study(frames: Frames) -> Analysis:
    protocol = protocol_of(frames, None, DEFAULT_SEED)
    return Analysis(frames.path, {}, context_of(frames, protocol), frames)


def _arm(every: Sequence[Frames], environment: str | None, model: str | None) -> Cell:
    """The arm that is asked for; of several the reference, then the one with most runs."""
    counts: Counter[Cell] = Counter()
    for frames in every:
        counts.update({cell: len(frames.runs_of(cell)) for cell in frames.cells})
    able = [
        cell
        for cell, runs in counts.items()
        if runs
        and environment in (None, cell.environment)
        and (model is None or model.casefold() == cell.model.casefold())
    ]
    if not able:
        raise DatasetError(
            f"no ok run of {model or 'any model'} in {environment or 'any environment'} in {len(every)} datasets",
            "Name others: --environments, --models",
        )
    return min(able, key=lambda cell: (rank(cell.environment), -counts[cell], cell.key))


def _metric(occasions: Sequence[_Occasion], metric: str) -> dict[str, Any]:
    margin = occasions[0].study.context["margins"].get(metric)
    rows, samples, made = [], [], []
    for one in occasions:
        stretches = one.stretches(metric)
        row, sample = _pairs(stretches, margin)
        seed = int(one.study.context["seed"] or 0)
        found = [trials(values.tolist(), seed=seed, sizes=(HEADLINE_PAIRS,)) for values in stretches]
        good = [trial for trial in found if not isinstance(trial, NotEstimable)]
        row["experiments"] = sum(trial[0].paired.experiments for trial in good)
        rows.append({"dataset": one.frames.path.name, "every": _every(one), **row})
        samples.append(sample.at(rows[-1]["dataset"]) if isinstance(sample, NotEstimable) else sample)
        made += [trial[0] for trial in good]
    return {"datasets": rows, "pooled": _pooled(rows, samples, margin), "false_positives": _rate(made)}


def _every(one: _Occasion) -> float | None:
    """Runs of the dataset for each run of the arm: above 1 others lie between."""
    runs = len(one.frames.runs_of(one.cell))
    return one.frames.ok.height / runs if runs else None


def _pairs(stretches: Sequence[Vector], margin: float | None) -> tuple[Row, LogSample | NotEstimable]:
    """The disjoint pairs of successive runs as a row, and their logarithms."""
    blocks = [values[: len(values) // 2 * 2].reshape(-1, 2) for values in stretches]
    earlier, later = np.concatenate([np.empty((0, 2)), *blocks]).T
    found = paired_ratio(earlier, later)
    row: Row = {"runs": sum(map(len, stretches)), "n": len(later), **judged(found, margin)}
    row["ratios"] = [b / a if a > 0 else None for a, b in zip(earlier.tolist(), later.tolist(), strict=True)]
    if isinstance(found, NotEstimable):
        return row, found
    return row, LogSample(math.log(found.ratio), found.sd_log, found.n)


def _pooled(rows: Sequence[Row], samples: Sequence[LogSample | NotEstimable], margin: float | None) -> Row | None:
    """The pairs of all datasets, each counted alike; None where there is but one dataset.

    One whose pairs give no variance, as a single pair, stays out, by name in `without`.
    """
    if len(samples) == 1:
        return None
    usable = [(row, one) for row, one in zip(rows, samples, strict=True) if isinstance(one, LogSample)]
    without = [row["dataset"] for row, one in zip(rows, samples, strict=True) if isinstance(one, NotEstimable)]
    head = {"n": None, "runs": sum(row["runs"] for row, _ in usable), "without": without}
    if len(usable) < 2:  # noqa: PLR2004 - one alone is not pooled
        return head | {"not_estimable": "; ".join(one.reason for one in samples if isinstance(one, NotEstimable))}
    found = pooled(*(one for _, one in usable))
    if isinstance(found, NotEstimable):
        return head | judged(found, margin)
    row = judged(found[0], margin)
    return head | {"n": found[0].n, "df": found[1], **{name: row.get(name) for name in _OF_ALL}}


def _rate(made: Sequence[Trial]) -> Mapping[str, Any] | None:
    """The rate of the paired design over the experiments of all datasets; None where there is none."""
    experiments = sum(trial.paired.experiments for trial in made)
    if not experiments:
        return None
    found = rate_of(sum(trial.paired.rejections for trial in made), experiments)
    return {"pairs": HEADLINE_PAIRS, **asdict(found), "excludes_level": found.excludes_level}
