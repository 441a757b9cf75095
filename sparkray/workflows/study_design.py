"""What a whole study measures, and how it shrinks to fit a budget of hours.

Without a budget the experiments' own numbers of blocks are used. With one, `choose` takes the first design of
`smaller_designs` whose estimated hours fit. These give up blocks first, down to ten, then models by tier, then blocks
again: ten pairs still show effects as large as the noise, while a model that is left out shows nothing. A smaller design is
sequential: a model ends early where its verdict is certain, so the hours are the most it takes.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparkray.config.boundary import parse, read_json
from sparkray.config.model import ModelCard
from sparkray.errors import InputError, SparkrayError
from sparkray.stats.operating import sd_log_of
from sparkray.stats.paired import tost_power
from sparkray.store.writing import storage_errors, write_atomically

NAME = "study.json"
# Run-to-run CVs for which power is given: a GPU-bound machine left alone, and an ordinary one.
CVS_PCT = (0.3, 1.0)
_INTERIM = (4, 6, 8, 10, 12, 15, 20, 25, 30)
_BLOCKS = (20, 15, 12, 10)
_FEWER_BLOCKS = (8, 6, 4, 3)
_LEAST_SEQUENTIAL = 6


@dataclass(frozen=True)
class Design:
    """How much each stage of a study measures.

    Attributes:
        runs: Blocks a model of baseline and validation, at most.
        models: Models of baseline and validation; of the optimisation those of its own that are among them.
        optimize_runs: Blocks a model of screen and attribution.
        trials: Configurations that the search tries.
        confirm_runs: Fresh blocks a model that confirm the best configuration.
        sequential: Whether models end early where their verdict is certain.
    """

    runs: int
    models: tuple[str, ...]
    optimize_runs: int
    trials: int
    confirm_runs: int
    sequential: bool = False

    @property
    def interim(self) -> tuple[int, ...]:
        """Numbers of pairs at which an interim analysis is made; the last is the largest."""
        return (*(n for n in _INTERIM if n < self.runs), self.runs)

    def power(self, margin: float, cv_pct: float) -> float:
        """Chance, 0 to 1, that equal arms are shown equivalent within the margin by all pairs, at that run-to-run CV."""
        return tost_power(self.runs, sd_log_of(cv_pct), margin)


def smaller_designs(whole: Design, cards: Sequence[ModelCard]) -> Iterator[Design]:
    """Designs from the whole one to the smallest, each cheaper than the one before or about as cheap.

    Args:
        whole: Without a budget.
        cards: Of its models; their tiers say which are given up first: the highest number.
    """
    yield whole
    for models, blocks in _steps(whole, cards):
        if blocks < whole.runs or models != whole.models:
            few = min(whole.optimize_runs, max(2, blocks // 3))
            yield Design(
                runs=blocks,
                models=models,
                optimize_runs=few,
                trials=min(whole.trials, max(4, 2 * few)),
                confirm_runs=min(whole.confirm_runs, max(3, 3 * few)),
                sequential=blocks >= _LEAST_SEQUENTIAL,
            )


def _steps(whole: Design, cards: Sequence[ModelCard]) -> Iterator[tuple[tuple[str, ...], int]]:
    by_tier = [card for card in cards if card.name in whole.models]
    tiers = sorted({card.tier for card in by_tier})
    subsets = [
        tuple(card.name for card in by_tier if card.tier <= most) for most in sorted(tiers, reverse=True)
    ] or [whole.models]  # fmt: skip
    for models in subsets:
        yield from ((models, min(blocks, whole.runs)) for blocks in _BLOCKS if blocks <= whole.runs)
    for models in subsets:
        yield from ((models, blocks) for blocks in _FEWER_BLOCKS if blocks <= whole.runs)


def choose(designs: Iterator[Design], hours_of: Callable[[Design], float], budget_hours: float | None) -> Design:
    """The first design that fits.

    Args:
        designs: From the whole one down.
        hours_of: Estimated hours of all stages, at most.
        budget_hours: None: the whole one, whatever it takes.

    Raises:
        InputError: Even the smallest takes longer.
    """
    least = float("inf")
    for design in designs:
        if budget_hours is None or (hours := hours_of(design)) <= budget_hours:
            return design
        least = min(least, hours)
    raise InputError(
        f"--budget-hours {budget_hours:g}: the smallest study takes about {least:.2f} h",
        f"Give at least --budget-hours {math.ceil(least * 100) / 100:.2f}, or name fewer models: --models A,B",
    )


def kept_design(results_dir: Path, asked: dict[str, Any], make: Callable[[], Design]) -> Design:
    """The design that an earlier call of the same command chose, else a new one, stored.

    Runs that were measured meanwhile change the estimates; a study that goes on must not change its design with them.

    Args:
        results_dir: Where `study.json` lies.
        asked: What the command asked for, as plain values.
        make: Chooses a design.

    Raises:
        StorageError: It cannot be written.
    """
    path = results_dir / NAME
    stored = _stored(path)
    if stored is not None and stored[0] == asked:
        return stored[1]
    design = make()
    with storage_errors(path):
        results_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"asked": asked, "design": asdict(design)}, indent=1).encode())
    return design


def _stored(path: Path) -> tuple[Any, Design] | None:
    """What `study.json` holds; None where it is missing or is not one."""
    try:
        document = read_json(path)
        return document["asked"], parse(Design, document["design"], path.name)
    except (OSError, ValueError, LookupError, TypeError, SparkrayError):
        return None
