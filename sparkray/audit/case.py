"""What is judged: results, and what is known beside them (model cards, the machine, the batch). Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from sparkray.audit.names import plain
from sparkray.audit.results import THROUGHPUT as THROUGHPUT  # noqa: PLC0414 - findings take it from here
from sparkray.audit.results import Results
from sparkray.config.model import ModelCard
from sparkray.config.site import Site

# A larger number is not a batch.
MOST_BATCH = 65536
_MOST_DEVICES = 1024
_REFERENCES = (
    "native",
    "host",
    "bare_metal",
    "baremetal",
    "bare",
    "nativ",
    "natif",
    "no_docker",
    "no_container",
    "no_containers",
)
_MOSTLY = 0.8
_LEAST_RUNS = 3
_BILLIONS = re.compile(r"(?<![A-Za-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)b(?![A-Za-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Cell:
    """The runs of one model at one level of the load in one environment, in the order of time where that is known."""

    model: str
    environment: str
    frame: pl.DataFrame
    in_time_order: bool

    @property
    def name(self) -> str:
        """Model and environment, for a reader."""
        return f"{self.model} {self.environment}"

    @property
    def occasion(self) -> int | None:
        """Number of the study that its first row is of; None where the rows are of one study."""
        number: int | None = self.frame["study_number"][0]
        return number

    @property
    def name_in_series(self) -> str:
        """Its name, and the occasion where the rows are of several."""
        return self.name if self.occasion is None else f"{self.name}, occasion {self.occasion}"

    @property
    def level(self) -> str:
        """Its level of the load; empty where there is but one."""
        return str(self.frame["level"][0] or "")

    @property
    def batch(self) -> int | None:
        """Largest number of sequences per step in its rows; None where unknown."""
        batches = [batch for batch in self.frame["batch"].to_list() if batch is not None and 0 < batch <= MOST_BATCH]
        return max(batches, default=None)

    def values(self, metric: str) -> np.ndarray:
        """Values of a metric, nulls left out, in the cell's order; the same array each time."""
        if metric not in self._values:
            self._values[metric] = numbers(self.frame, metric)
        return self._values[metric]

    @cached_property
    def _values(self) -> dict[str, np.ndarray]:
        return {}


@dataclass(frozen=True)
class Case:
    """Results and what is known beside them.

    `cards` are keyed by the `model_name` of the rows; `site` is the machine that they are from, `batch` the
    sequences in flight where no column has it.
    """

    results: Results
    cards: Mapping[str, ModelCard] = field(default_factory=dict)
    site: Site | None = None
    batch: int | None = None
    # What several questions need and one computes.
    derived: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def ok(self) -> pl.DataFrame:
        """The rows that count."""
        return self.results.ok

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Metric columns with values."""
        return self.results.metrics

    @cached_property
    def subjects(self) -> tuple[frozenset[str], ...]:
        """Names of all cells, all models, and all models at a level: a question open for all of one is open for all."""
        models = (frozenset(self.ok[name].unique()) for name in ("model_name", "model"))
        cells = (frozenset(cell.name for cell in self.cells), frozenset(cell.name_in_series for cell in self.series))
        return *cells, *models

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells, by model and environment, the reference environment first."""
        cells: list[Cell] = []
        for (model, environment), group in self.ok.group_by("model", "environment", maintain_order=True):
            ordered = in_time_order(group)
            cells.append(Cell(str(model), str(environment), group if ordered is None else ordered, ordered is not None))
        return sorted(cells, key=lambda cell: (cell.model, _rank(cell.environment), cell.environment))

    @cached_property
    def series(self) -> list[Cell]:
        """The cells of each occasion: runs that followed one another on one machine."""
        split = [
            (cell, group)
            for cell in self.cells
            for _, group in cell.frame.group_by("study_number", maintain_order=True)
        ]
        return [replace(cell, frame=group) for cell, group in split]

    def by_model(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Rows that count, a model at a time."""
        yield from self._models

    @cached_property
    def _models(self) -> list[tuple[str, pl.DataFrame]]:
        return [(str(model), group) for (model,), group in self.ok.group_by("model", maintain_order=True)]

    @cached_property
    def sequences(self) -> list[tuple[str, pl.DataFrame]]:
        """Rows whose arms may have taken turns: those of each model and level, else of all its levels.

        A sweep over many levels that measures each once or twice an arm has an order only as a whole.
        """
        found: list[tuple[str, pl.DataFrame]] = []
        for (name,), whole in self.ok.group_by("model_name", maintain_order=True):
            cells = [(str(model), frame) for (model,), frame in whole.group_by("model", maintain_order=True)]
            many = any(min(frame["environment"].value_counts()["count"]) >= _LEAST_RUNS for _, frame in cells)
            found += cells if many or len(cells) == 1 else [(str(name), whole)]
        return found

    @cached_property
    def orders(self) -> dict[str, tuple[pl.DataFrame, str] | None]:
        """Rows of each model by time over its arms, and the basis of the order; None without one."""
        return {model: across_arms(frame) for model, frame in (*self.sequences, *self._models)}

    def card(self, model_name: str) -> ModelCard | None:
        """The card of a model, if there is one."""
        return self.cards.get(model_name)

    def params(self, model_name: str) -> tuple[float, str] | None:
        """Parameters of a model and the source of the number: its card, else the size in its name (`72B`, `8x7B`)."""
        card = self.card(model_name)
        if card is not None and card.shape is not None:
            return float(card.shape.params_total), "card"
        match = _BILLIONS.search(model_name)
        if match is None or not float(match[2]):
            return None
        return float(match[2]) * float(match[1] or 1) * 1e9, "its name"


def numbers(frame: pl.DataFrame, column: str) -> np.ndarray:
    """A column without its nulls."""
    return frame[column].drop_nulls().to_numpy() if column in frame.columns else np.empty(0)


def labels(frame: pl.DataFrame) -> tuple[str, ...]:
    """Labels of the rows of a frame."""
    return tuple(frame["row"].to_list())


def of_arm(frame: pl.DataFrame, environment: str) -> pl.DataFrame:
    """Rows of one environment."""
    return frame.filter(pl.col("environment") == environment)


def rows_of(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Labels of the rows of cells, each once."""
    return tuple(dict.fromkeys(row for cell in cells for row in labels(cell.frame)))


def status_counts(frame: pl.DataFrame) -> list[tuple[str, int]]:
    """How often each status occurs, by name."""
    return [(str(status), int(count)) for status, count in frame["status"].value_counts().sort("status").iter_rows()]


def devices_of(recorded: object) -> int:
    """Devices of a run's engine, from its row; 1 where missing or implausible."""
    return recorded if isinstance(recorded, int) and 0 < recorded <= _MOST_DEVICES else 1


def reference_first(environments: list[str]) -> list[str]:
    """Environments, the reference (native, else host, else the first by name) in front."""
    return sorted(environments, key=lambda name: (_rank(name), name))


def _rank(environment: str) -> int:
    name = plain(environment)
    return _REFERENCES.index(name) if name in _REFERENCES else len(_REFERENCES)


def in_time_order(frame: pl.DataFrame) -> pl.DataFrame | None:
    """Rows of one cell by time: timestamps, else plan position, else iteration; None without any."""
    ordered = (_ordered(frame, column) for column in ("started_s", "position", "iteration"))
    return next((rows for rows in ordered if rows is not None), None)


def across_arms(frame: pl.DataFrame) -> tuple[pl.DataFrame, str] | None:
    """Rows of one model by time over its arms, and the basis of the order; None without one.

    Iteration numbers give the order only if each arm continues the count of another: where two arms both count from 1,
    the numbers do not show which came first.
    """
    for column, basis in (("started_s", "timestamps"), ("position", "places in the plan")):
        ordered = _ordered(frame, column)
        if ordered is not None:
            return ordered, basis
    if (apart := _apart_in_time(frame)) is not None:
        return apart, "dates"
    ordered = _ordered(frame, "iteration")
    if ordered is None or ordered["iteration"].n_unique() < len(ordered):
        return None
    return ordered, "iteration numbers"


def _ordered(frame: pl.DataFrame, column: str) -> pl.DataFrame | None:
    """Rows ordered by a column; a few rows that lack it are left out."""
    known = frame.drop_nulls(column)
    if len(known) < _MOSTLY * len(frame) or known[column].n_unique() < max(2, _MOSTLY * len(known)):
        return None
    return known.sort(column, "iteration", maintain_order=True)


def _apart_in_time(frame: pl.DataFrame) -> pl.DataFrame | None:
    """Rows by times that are too coarse for the order within an arm (dates), where one arm ended before the next began."""
    known = frame.drop_nulls("started_s")
    spans = known.group_by("environment").agg(first=pl.col("started_s").min(), last=pl.col("started_s").max())
    spans = spans.sort("first")
    if len(known) < len(frame) or len(spans) < 2 or not (spans["first"][1:] > spans["last"][:-1]).all():  # noqa: PLR2004
        return None
    return known.sort("started_s", "iteration", maintain_order=True)


def stretches(environments: list[str]) -> int:
    """How many unbroken stretches of one environment a sequence has (`A A B A` has three)."""
    return sum(a != b for a, b in pairwise(environments)) + 1 if environments else 0


def interleaved(case: Case) -> bool:
    """Whether every model's arms take turns: then what drifts is common to a pair. False where the order is unknown.

    A model with one arm is compared with nothing, so that its drift misleads nobody.
    """
    for model, frame in case.by_model():
        ordered, arms = case.orders[model], frame["environment"].n_unique()
        if arms > 1 and (ordered is None or stretches(ordered[0]["environment"].to_list()) <= 2 * arms):
            return False
    return True
