"""Experiments: questions fixed before the data, readable as a pre-registration."""

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen

from sparkray.config.arrival import Arrival
from sparkray.config.boundary import STRICT, YamlWord
from sparkray.config.site import Environment, is_container
from sparkray.units import short

Order = Literal["random", "alternating"]
# What a check's finding means: the run is measured again, it is warned of, or the check is not asked.
Policy = Literal["invalid", "warn", "off"]
Spending = Literal["linear", "pocock", "obrien_fleming"]
# What flags are expected to do: remove a share of the baseline's overhead, or lower the deviation and not the mean.
HypothesisKind = Literal["removes_overhead", "lowers_sd_not_mean"]
_LONGEST_NAME = 200  # a folder's name has 255 at most, and gets a number
_NAME = re.compile(r"\w[\w.-]*")
# Bounds before work: beyond them a plan, its prompts or a wait would not end.
MOST_RUNS, MOST_REQUESTS = 100_000, 1_000_000
Positive = Annotated[int, Gt(0), Le(10_000_000)]
Count = Annotated[int, Ge(0), Le(10_000_000)]
Seconds = Annotated[float, Gt(0), Le(31_536_000)]
WarmStart = Literal["arm", "shared", "none"]


@dataclass(frozen=True)
class Slo:
    """What a good request keeps to, ms; None is not asked. `tpot_ms` is the mean time per output token after the first."""

    __pydantic_config__ = STRICT

    ttft_ms: Annotated[float, Gt(0)] | None = None
    tpot_ms: Annotated[float, Gt(0)] | None = None
    latency_ms: Annotated[float, Gt(0)] | None = None


@dataclass(frozen=True)
class Saturation:
    """When a load ends early because the server cannot carry it; None is not asked.

    `most_latency_s` is of a closed loop: as many requests in a row as are in flight, at least 4, took longer than that.
    `most_in_flight` is of a rate or a trace: that many requests are unanswered at once, so the queue outgrows its bound.
    """

    __pydantic_config__ = STRICT

    most_latency_s: Annotated[float, Gt(0)] | None = None
    most_in_flight: Positive | None = None


@dataclass(frozen=True)
class Serving:
    """How a server is waited for and loaded. Times in s; in a closed loop the workload's `concurrency` are in flight.

    Raises:
        ValueError: A bound of `saturation` that these arrivals do not have.
    """

    __pydantic_config__ = STRICT

    arrival: Arrival = field(default_factory=Arrival)
    request_timeout_s: Seconds = 120.0
    ready_timeout_s: Seconds = 600.0
    slo: Slo = field(default_factory=Slo)
    saturation: Saturation | None = None

    def __post_init__(self) -> None:
        bounds = self.saturation or Saturation()
        closed = self.arrival.kind == "closed"
        if closed and bounds.most_in_flight is not None:
            raise ValueError("saturation.most_in_flight is of a rate or a trace; a closed loop has most_latency_s")
        if not closed and bounds.most_latency_s is not None:
            raise ValueError(
                f"saturation.most_latency_s is of a closed loop; arrivals of kind {self.arrival.kind} have most_in_flight"
            )


@dataclass(frozen=True)
class Workload:
    """The load of one run. Lengths in tokens; `warmup_requests` come first, have the mean lengths, and do not count.

    The lengths of request k are drawn evenly from mean - spread to mean + spread, input and output apart, by the seed
    and k alone: the same in every arm and in every run. A spread of 0 gives every request the mean.
    Under `offline` the engine's own benchmark or worker makes the load inside the environment; under `serve` a server is
    started there and loaded from outside, as `serve` describes.

    Raises:
        ValueError: A spread leaves no tokens, or keys of another kind of workload are given.
    """

    __pydantic_config__ = STRICT

    requests: Annotated[int, Gt(0), Le(MOST_REQUESTS)]
    input_tokens: Positive
    output_tokens: Annotated[int, Ge(2), Le(10_000_000)]
    warmup_requests: Count = 2
    # Requests in flight at once; 0 takes the model card's batch size.
    concurrency: Count = 0
    input_spread: Count = 0
    output_spread: Count = 0
    kind: Literal["offline", "serve"] = "offline"
    serve: Serving | None = None
    """Of a serving workload; its defaults where nothing is given."""

    def __post_init__(self) -> None:
        self._check_kind()
        if self.input_spread >= self.input_tokens or self.output_spread >= self.output_tokens - 1:
            raise ValueError(
                f"input_spread {self.input_spread} must be below input_tokens {self.input_tokens}, and output_spread "
                f"{self.output_spread} at most output_tokens {self.output_tokens} less 2"
            )

    def _check_kind(self) -> None:
        if self.kind == "offline":
            if self.serve is not None:
                raise ValueError("serve: an offline workload has none; write kind: serve")
            return
        if self.serve is None:
            object.__setattr__(self, "serve", Serving())
        if self.warmup_requests == 0:
            raise ValueError(
                "warmup_requests 0: a server's first request pays for its start, so at least 1 comes first"
            )
        offsets = self.serve.arrival.offsets_s if self.serve is not None else ()
        if offsets and len(offsets) != self.requests:
            raise ValueError(f"serve.arrival.offsets_s has {len(offsets)} times for {self.requests} requests")

    @property
    def most_input(self) -> int:
        """The longest prompt there can be, tokens."""
        return self.input_tokens + self.input_spread

    @property
    def most_output(self) -> int:
        """The longest output there can be, tokens."""
        return self.output_tokens + self.output_spread

    def lengths(self, seed: int) -> tuple[tuple[int, int], ...]:
        """(input, output) tokens of each request that counts."""

        def drawn(mean: int, spread: int, what: str, index: int) -> int:
            if spread == 0:
                return mean
            return random.Random(f"{seed} {what} {index}").randint(mean - spread, mean + spread)  # noqa: S311 - reproducible

        return tuple(
            (
                drawn(self.input_tokens, self.input_spread, "input", index),
                drawn(self.output_tokens, self.output_spread, "output", index),
            )
            for index in range(self.requests)
        )


@dataclass(frozen=True)
class Protocol:
    """What is done around each run so that runs are alike. Times in s, temperatures in degrees C, memory in GiB.

    `page_cache`: `drop` empties it before each run, `warm` reads the weights once before it, `leave` does nothing.
    `cooldown`: `fixed` waits `cooldown_s` and then until the GPU is cool, `adaptive` goes on as soon as it is cool,
    `none` does not wait. Cool means below `start_below_c` and within `start_within_c` of where this experiment's runs
    start; after `cooldown_limit_s` the run starts as it is and its row records it. `memory_floor_gib` is the MemAvailable
    under which a run is ended before the host wedges; 0 watches nothing.
    `warm_start` is of engines that keep compiled code: before the first counted run of a model, one uncounted start in each
    environment fills the compile cache, which is one for each environment (`arm`) or one for all (`shared`). `none` gives
    every run an empty cache, so that each compiles.
    """

    __pydantic_config__ = STRICT

    page_cache: Literal["drop", "warm", "leave"] = "leave"
    cooldown: Literal["none", "fixed", "adaptive"] = "none"
    cooldown_s: Annotated[float, Ge(0)] = 300.0
    cooldown_limit_s: Annotated[float, Ge(0)] = 1800.0
    start_below_c: float = 45.0
    start_within_c: Annotated[float, Gt(0)] = 3.0
    memory_floor_gib: Annotated[float, Ge(0)] = 0.0
    warm_start: WarmStart = "arm"


@dataclass(frozen=True)
class Level:
    """One level of the load beside the environment: requests in flight and the engine's batch; None is the card's own.

    Each level of each model has blocks of its own, which hold every environment once.
    """

    __pydantic_config__ = STRICT

    concurrency: Positive | None = None
    max_batch_size: Positive | None = None

    def __str__(self) -> str:
        parts = (("concurrency", self.concurrency), ("batch", self.max_batch_size))
        return " ".join(f"{name}={value}" for name, value in parts if value is not None)


@dataclass(frozen=True)
class Sequential:
    """A group-sequential design: a model needs no further runs once every primary metric is decided at an interim analysis.

    `looks` are the interim analyses, as numbers of complete pairs, ascending; at the last a model stops, decided or not.
    `spending` is how the 5 % are shared out over them: `linear` evenly by pairs, `pocock` more to the first,
    `obrien_fleming` nearly all to the last.

    Raises:
        ValueError: `looks` do not ascend.
    """

    __pydantic_config__ = STRICT

    looks: Annotated[tuple[Annotated[int, Ge(3)], ...], MinLen(1)]
    spending: Spending = "linear"

    def __post_init__(self) -> None:
        if list(self.looks) != sorted(set(self.looks)):
            raise ValueError(f"looks {list(self.looks)} must ascend")


@dataclass(frozen=True)
class Hypothesis:
    """What is expected of Docker flags before any run, judged by what `optimize` measures.

    Attributes:
        name: A short one, unique in the experiment.
        claim: In words, for people.
        kind: How it is judged.
        level: The level that it is about, `FACTOR=LEVEL`; None: the best combination that is confirmed.
        metric: Of which metric; None: of the one that is optimised.
        low_pct: Of `removes_overhead`: the least share of the overhead that is expected to go, per cent.
        high_pct: Likewise the largest.
        source: Who expects it, and where that is written.

    Raises:
        ValueError: `removes_overhead` without both bounds in order, another kind with bounds, or a level without `=`.
    """

    __pydantic_config__ = STRICT

    name: Annotated[str, MinLen(1)]
    claim: Annotated[str, MinLen(1)]
    kind: HypothesisKind
    level: str | None = None
    metric: str | None = None
    low_pct: float | None = None
    high_pct: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        low, high = self.low_pct, self.high_pct
        if self.kind == "removes_overhead" and (low is None or high is None or low > high):
            raise ValueError(
                f"low_pct {low} and high_pct {high} of {self.name} must both be given, the lower one first"
            )
        if self.kind != "removes_overhead" and (low, high) != (None, None):
            raise ValueError(f"low_pct and high_pct of {self.name} belong to removes_overhead, not to {self.kind}")
        if self.level is not None and not all(self.level.partition("=")):
            raise ValueError(f"level {self.level!r} of {self.name} must be FACTOR=LEVEL, as in shm_size=32g")

    @property
    def bounds(self) -> tuple[float, float]:
        """`low_pct` and `high_pct`; nothing bounds a hypothesis of another kind."""
        low, high = self.low_pct, self.high_pct
        return (-math.inf if low is None else low, math.inf if high is None else high)


@dataclass(frozen=True)
class Experiment:
    """One question.

    `runs` is the number of blocks per model: each holds every environment once. `margins` are relative and belong to the
    metric they name. `difference_margins` are in its unit (GiB, %, s), for metrics that can be 0:
    their verdict rests on the difference, and the ratio is reported too. A metric without one is judged by its ratio;
    where a zero leaves no ratio, by the difference, at the relative margin times the reference's mean.
    `seed` fixes orders and prompts. `name` becomes the name of a folder. `checks` has a policy for each validity check that
    is not to have its own; `max_attempts` is how often a run that a check refused is tried in one sweep.
    With `sequential`, `runs` is the most there can be. An environment that by its flags is effectively another one is
    not measured beside it unless `fold` is false, as a comparison of an arm with itself wants it.
    `families` are the metrics that p-values are adjusted over, by a name for each family, over models, levels and arms;
    without any, all primary metrics are one family, `primary`. `planned_effect` is the relative difference that the number
    of runs is planned for; the margin where it is not given.
    `containers` are container environments of the experiment's own, or in place of the site's of the same name. `engine`
    are options of the engine, with its `name` where it is not the site's.
    `hypotheses` and `expected_hours` describe what is expected before the first run. They change no run, so they are no
    part of any hash.

    Raises:
        ValueError: The name could not be one, a metric stands in two families, a hypothesis has the name of another, or
            levels or interim analyses contradict themselves.
    """

    __pydantic_config__ = STRICT

    name: Annotated[str, MinLen(1)]
    question: str
    models: Annotated[tuple[str, ...], MinLen(1)]
    environments: Annotated[tuple[str, ...], MinLen(1)]
    runs: Annotated[int, Gt(0), Le(MOST_RUNS)]
    workload: Workload
    margins: Mapping[str, Annotated[float, Gt(0)]]
    primary_metrics: tuple[str, ...]
    seed: int = 0
    order: Order = "random"
    fold: bool = True
    timeout_s: Seconds = 600.0
    max_attempts: Annotated[int, Gt(0), Le(1000)] = 3
    protocol: Protocol = field(default_factory=Protocol)
    levels: Annotated[tuple[Level, ...], MinLen(1)] = (Level(),)
    sequential: Sequential | None = None
    checks: Mapping[str, Annotated[Policy, YamlWord()]] = field(default_factory=dict)

    engine: Mapping[str, Any] = field(default_factory=dict)
    families: Mapping[str, Annotated[tuple[str, ...], MinLen(1)]] = field(default_factory=dict)
    planned_effect: Annotated[float, Gt(0)] | None = None
    difference_margins: Mapping[str, Annotated[float, Gt(0)]] = field(default_factory=dict)
    containers: Mapping[str, Environment] = field(default_factory=dict)
    hypotheses: tuple[Hypothesis, ...] = ()
    expected_hours: Annotated[float, Gt(0)] | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name.encode()) > _LONGEST_NAME:
            raise ValueError(
                f"name {short(self.name)} must be letters, digits, '.', '_' or '-', the first no '.' or '-', and at most "
                f"{_LONGEST_NAME} bytes"
            )
        bare = [name for name in self.primary_metrics if name not in {*self.margins, *self.difference_margins}]
        if self.sequential is not None and bare:
            raise ValueError(f"sequential: primary metric {bare[0]} has no margin, so nothing could decide it")
        grouped = [name for metrics in self.families.values() for name in metrics]
        if len(set(grouped)) != len(grouped):
            twice = next(name for name in grouped if grouped.count(name) > 1)
            raise ValueError(f"families: {twice} stands in more than one place; a p-value is adjusted over one family")
        levels = [str(level) for level in self.levels]
        if len(set(levels)) != len(levels):
            raise ValueError(f"levels: one stands twice ({', '.join(levels)})")
        if odd := [name for name in self.containers if not is_container(name)]:
            raise ValueError(f"containers: {odd[0]!r} must begin with 'container'")
        named = [one.name for one in self.hypotheses]
        if len(set(named)) != len(named):
            raise ValueError(f"hypotheses: one name stands twice ({', '.join(named)})")
