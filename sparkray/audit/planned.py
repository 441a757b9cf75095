"""A dataset's `experiment.json`: the cells that were planned, and the load of each run. Pure.

The load is the input of `checks.roofline`: sequences in a step, devices, whether decoding is speculative. It is in the row's
own columns; older rows lack these, and then the name of the level and the experiment give it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparkray.audit.values import integer, text
from sparkray.checks.roofline import speculates
from sparkray.config.site import own_images

Row = Mapping[str, Any]
# Model, its level of the load added where there is one, and environment.
Cell = tuple[str, str]
_LEVEL = re.compile(r"\b(concurrency|batch)=(\d+)")


def label(model: str, level: str | None) -> str:
    """Name of a model under a level of the load."""
    return f"{model} {level}" if level else model


@dataclass(frozen=True)
class Planned:
    """`experiment.json` as it was read; empty for a dataset without it, and never assumed to be complete."""

    document: Mapping[str, Any]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell that has runs in the plan; none where the environments are unknown."""
        models = [text(card.get("name")) for card in _mappings(self.document.get("cards"))]
        levels = [_named(level) for level in _mappings(self._experiment.get("levels"))] or [""]
        arms = self.document.get("environments")
        if not isinstance(arms, Sequence) or isinstance(arms, str):
            return ()
        return tuple(
            (label(model, level), arm) for model in models if model for level in levels for arm in map(str, arms)
        )

    @property
    def own_images(self) -> dict[str, str]:
        """Images by environment that stand in place of the site's."""
        return own_images(self.document.get("site"))

    def load(self, row: Row) -> dict[str, Any]:
        """`batch`, `devices` and `speculative` of a row of `runs`, under the names of `results`; None where unknown."""
        options = self._options
        level = {name: int(value) for name, value in _LEVEL.findall(text(row.get("level")) or "")}
        in_flight = integer(row.get("concurrency")) or level.get("concurrency") or self._in_flight(row)
        largest = level.get("batch") or integer(options.get("max_batch_size"))
        shards = (integer(options.get("tp")) or 1) * (integer(options.get("pp")) or 1)
        return {
            "batch": min(filter(None, (in_flight, largest)), default=None),
            "devices": integer(row.get("engine_devices")) or shards,
            "speculative": speculates(options),
        }

    @property
    def _experiment(self) -> Mapping[str, Any]:
        return _mapping(self.document.get("experiment"))

    @property
    def _options(self) -> Mapping[str, Any]:
        """The engine's, as they were resolved; of an older document what the experiment itself asked for."""
        return _mapping(self.document.get("engine_options") or self._experiment.get("engine"))

    def _in_flight(self, row: Row) -> int | None:
        cards = {card.get("name"): card for card in _mappings(self.document.get("cards"))}
        workload = _mapping(self._experiment.get("workload"))
        return integer(workload.get("concurrency")) or integer(cards.get(row.get("model"), {}).get("max_batch_size"))


def _named(level: Mapping[str, Any]) -> str:
    parts = (("concurrency", level.get("concurrency")), ("batch", level.get("max_batch_size")))
    return " ".join(f"{name}={value}" for name, value in parts if value is not None)


def _mapping(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - whatever a file held
    return value if isinstance(value, Mapping) else {}


def _mappings(listed: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401 - whatever a file held
    if isinstance(listed, Sequence) and not isinstance(listed, str):
        yield from (one for one in listed if isinstance(one, Mapping))
