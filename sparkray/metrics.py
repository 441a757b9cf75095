"""Metrics of a run: each is a row in `columns/metrics.csv` and an entry of that name in `COMPUTE`.

A metric that cannot be computed is None, never 0. Warm-up and failed requests do not count. Percentiles interpolate
linearly between order statistics (Hyndman & Fan 1996, type 7, numpy's default).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

from sparkray import energy
from sparkray.errors import ConfigError
from sparkray.records import EngineFacts, Request
from sparkray.schema import FOLDER, Column, read_rows
from sparkray.units import NS_PER_MS, NS_PER_S, gib

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class RunData:
    """Input of the metrics: requests without warm-up, samples in time order, engine facts.

    `row` holds columns of the run's row: memory before the start, and what a serving run recorded.
    """

    requests: tuple[Request, ...]
    samples: Sequence[Mapping[str, Any]]
    facts: EngineFacts
    row: Mapping[str, Any]


RECORDED = (
    *("error_rate_pct", "start_to_container_s", "container_to_ready_s", "first_request_s"),
    *("server_queue_mean_ms", "prefix_cache_hit_pct", "server_weights_gib"),
)
"""Metrics of serving runs that stand in the row already."""
Compute = Callable[[RunData], float | None]


@dataclass(frozen=True)
class Metric:
    """One metric of a run, a column of `runs`."""

    column: Column
    better: Better
    compute: Compute

    @property
    def name(self) -> str:
        """Name of its column; it ends in the unit."""
        return self.column.name


def _span_s(data: RunData) -> float | None:
    """Seconds from the first submission to the last end."""
    if not data.requests:
        return None
    span = max(r.end_ns for r in data.requests) - min(r.submit_ns for r in data.requests)
    return span / NS_PER_S if span > 0 else None


def _per_second(count: Callable[[RunData], float]) -> Callable[[RunData], float | None]:
    def compute(data: RunData) -> float | None:
        span = _span_s(data)
        return None if span is None else count(data) / span

    return compute


def _latencies_ms(data: RunData) -> list[float]:
    return [(r.end_ns - r.submit_ns) / NS_PER_MS for r in data.requests]


def _ttfts_ms(data: RunData) -> list[float]:
    return [(r.first_token_ns - r.submit_ns) / NS_PER_MS for r in data.requests if r.first_token_ns is not None]


def _itls_ms(data: RunData) -> list[float]:
    """Gaps between tokens where every token has a time, else each request's mean gap (end less first, over OSL-1).

    Where only some requests have a time for every token, the mean gap of each other one counts as often as it has gaps.
    """
    import numpy as np  # noqa: PLC0415 - labels need no NumPy, which takes long to import

    each = any(r.token_ns for r in data.requests)
    gaps: list[float] = []
    for r in data.requests:
        if r.token_ns:
            gaps += (np.diff(np.asarray(r.token_ns, dtype=np.int64)) / NS_PER_MS).tolist()
        elif r.first_token_ns is not None and r.output_tokens is not None and r.output_tokens > 1:
            mean_ms = (r.end_ns - r.first_token_ns) / NS_PER_MS / (r.output_tokens - 1)
            gaps += [mean_ms] * (r.output_tokens - 1 if each else 1)
    return gaps


def _tpots_ms(data: RunData) -> list[float]:
    """Each request's mean time per output token after the first."""
    return [
        (r.end_ns - r.first_token_ns) / NS_PER_MS / (r.output_tokens - 1)
        for r in data.requests
        if r.first_token_ns is not None and r.output_tokens is not None and r.output_tokens > 1
    ]


def _goodput_req_s(data: RunData) -> float | None:
    """Requests per second that kept to every limit of the service level objective; None where it has none."""
    limits = {name: limit for name, limit in json.loads(data.row.get("slo") or "{}").items() if limit is not None}
    quantities = {"ttft_ms": _ttfts_ms, "tpot_ms": _tpots_ms, "latency_ms": _latencies_ms}

    def good(request: Request) -> bool:
        alone = replace(data, requests=(request,))
        return all(0 < max(quantities[name](alone), default=0.0) <= limit for name, limit in limits.items())

    return _per_second(lambda each: sum(map(good, each.requests)))(data) if limits else None


def _recorded(name: str) -> Compute:
    """As the row has it."""
    return lambda data: data.row.get(name)


def _mean(values: Sequence[float]) -> float | None:
    import numpy as np  # noqa: PLC0415 - labels need no NumPy, which takes long to import

    return float(np.mean(values)) if len(values) else None


def _percentile(values: Sequence[float], q: float) -> float | None:
    import numpy as np  # noqa: PLC0415 - labels need no NumPy, which takes long to import

    return float(np.percentile(values, q)) if len(values) else None


def _column(data: RunData, name: str) -> list[float]:
    return [float(value) for sample in data.samples if (value := sample.get(name)) is not None]


def _peak(name: str) -> Callable[[RunData], float | None]:
    return lambda data: max(_column(data, name), default=None)


def _sample_mean(name: str) -> Callable[[RunData], float | None]:
    return lambda data: _mean(_column(data, name))


def _drop(before: str, during: str) -> Callable[[RunData], float | None]:
    """Largest fall of a host memory field below its value before the start."""

    def compute(data: RunData) -> float | None:
        start, low = data.row.get(before), min(_column(data, during), default=None)
        return None if start is None or low is None else max(0.0, start - low)

    return compute


def _first(name: str) -> Callable[[RunData], float | None]:
    return lambda data: next(iter(_column(data, name)), None)


def _bytes_as_gib(value: int | None) -> float | None:
    return None if value is None else gib(value)


# NVML clock event reasons: software power cap, hardware slowdown, software and hardware thermal, power brake.
_THROTTLED = 0x04 | 0x08 | 0x20 | 0x40 | 0x80


def _throttled_pct(data: RunData) -> float | None:
    masks = _column(data, "gpu_throttle_reasons")
    return sum(1 for mask in masks if int(mask) & _THROTTLED) / len(masks) * 100 if masks else None


# Least share of the requests' time that samples must span.
_COVERED = 0.8
_IN_USE_PCT = 10.0


def _serving(data: RunData, name: str, device: object = None, *, around: bool = False) -> list[tuple[float, float]]:
    """(time in s, value) of a column from the first submission to the last end; empty where samples cover too little.

    With `around`, where they do, from the last sample before to the first after: a busy machine is sampled rarely.
    """
    span = _span_s(data)
    if span is None:
        return []
    begin, end = (t / NS_PER_S for t in (min(r.submit_ns for r in data.requests), max(r.end_ns for r in data.requests)))
    sampled = [
        (sample["t_ns"] / NS_PER_S, float(value))
        for sample in data.samples
        if (value := sample.get(name)) is not None and "t_ns" in sample and sample.get("device") == device
    ]
    inside = _covering(sampled, begin, end, span)
    if inside or not around:
        return inside
    first = max((time_s for time_s, _ in sampled if time_s < begin), default=begin)
    return _covering(sampled, first, min((time_s for time_s, _ in sampled if time_s > end), default=end), span)


def _covering(
    sampled: Sequence[tuple[float, float]], begin: float, end: float, span: float
) -> list[tuple[float, float]]:
    found = [(time_s, value) for time_s, value in sampled if begin <= time_s <= end]
    return found if found and found[-1][0] - found[0][0] >= _COVERED * span else []


def _busy_serving_pct(data: RunData) -> float | None:
    """Mean weighted by time, since each sample covers the time since the previous one."""
    import numpy as np  # noqa: PLC0415 - labels need no NumPy, which takes long to import

    found = _serving(data, "cpu_busy_pct", around=True)
    if len(found) < 2:  # noqa: PLR2004 - a time between needs two
        return None
    times, busy = np.asarray(found).T
    return float(np.average(busy[1:], weights=np.diff(times)))


def _engine_cpu_serving_pct(data: RunData) -> float | None:
    found = _serving(data, "process_cpu_s", around=True)
    if len(found) < 2:  # noqa: PLR2004 - a rate needs two
        return None
    (began, before), (ended, after) = found[0], found[-1]
    return (after - before) / (ended - began) * 100


def _sm_clock_mean_mhz(data: RunData) -> float | None:
    """Only GPUs with at least 10 % mean utilisation: an idle GPU's clock means nothing."""
    clocks: list[float] = []
    for device in dict.fromkeys(sample.get("device") for sample in data.samples):
        used = _mean([value for _, value in _serving(data, "gpu_util_pct", device)])
        if used is not None and used >= _IN_USE_PCT:
            clocks += [value for _, value in _serving(data, "gpu_sm_clock_mhz", device)]
    return _mean(clocks)


def _family(prefix: str, values: Callable[[RunData], list[float]]) -> dict[str, Compute]:
    """Mean and percentiles of one quantity in ms."""

    def percentile(q: int) -> Compute:
        return lambda data: _percentile(values(data), q)

    mean: dict[str, Compute] = {f"{prefix}_mean_ms": lambda data: _mean(values(data))}
    return mean | {f"{prefix}_p{q}_ms": percentile(q) for q in (50, 95, 99)}


# The function of each metric, in the order of its row.
COMPUTE: Mapping[str, Compute] = {
    "output_throughput_tok_s": _per_second(lambda d: sum(r.output_tokens or 0 for r in d.requests)),
    "request_throughput_req_s": _per_second(lambda d: len(d.requests)),
    **_family("latency", _latencies_ms),
    **_family("ttft", _ttfts_ms),
    **_family("itl", _itls_ms),
    **_family("tpot", _tpots_ms),
    "goodput_req_s": _goodput_req_s,
    **{name: _recorded(name) for name in RECORDED},
    "kv_cache_gib": lambda d: _bytes_as_gib(d.facts.kv_cache_bytes),
    "gpu_util_mean_pct": _sample_mean("gpu_util_pct"),
    "power_mean_w": _sample_mean("gpu_power_w"),
    "energy_j": lambda d: energy.counted_j(d.samples),
    "energy_integrated_j": lambda d: energy.integrated_j(d.samples),
    "host_available_drop_peak_gib": _drop("mem_available_before_gib", "mem_available_gib"),
    "host_free_drop_peak_gib": _drop("mem_free_before_gib", "mem_free_gib"),
    "gpu_process_peak_gib": _peak("gpu_process_gib"),
    "process_rss_peak_gib": _peak("process_rss_gib"),
    "process_pss_peak_gib": _peak("process_pss_gib"),
    "cgroup_anon_peak_gib": _peak("cgroup_anon_gib"),
    "cgroup_file_peak_gib": _peak("cgroup_file_gib"),
    "engine_reported_peak_gib": lambda d: _bytes_as_gib(d.facts.reported_peak_bytes),
    "gpu_temp_start_c": _first("gpu_temp_c"),
    "gpu_temp_max_c": _peak("gpu_temp_c"),
    "gpu_throttled_pct": _throttled_pct,
    "cpu_busy_mean_pct": _sample_mean("cpu_busy_pct"),
    "cpu_busy_serving_pct": _busy_serving_pct,
    "engine_cpu_serving_pct": _engine_cpu_serving_pct,
    "gpu_sm_clock_mean_mhz": _sm_clock_mean_mhz,
}


class Metrics(Mapping[str, Metric]):
    """Metrics by name. The names are those of the functions; the rows are read when a metric is first asked for.

    Args:
        file: `metrics.csv`.
        compute: Functions by name.

    Raises:
        ConfigError: On access: a row without a function, a function without a row, or a row that is not valid.
    """

    def __init__(self, file: Path, compute: Mapping[str, Compute]) -> None:
        self._file, self._compute = file, compute

    def __getitem__(self, name: str) -> Metric:
        """A metric. Raises KeyError when there is none of that name."""
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is a metric of that name."""
        return name in self._compute

    def __iter__(self) -> Iterator[str]:
        """Names of the metrics."""
        return iter(self._compute)

    def __len__(self) -> int:
        """Number of metrics."""
        return len(self._compute)

    @cached_property
    def _read(self) -> Mapping[str, Metric]:
        metrics: dict[str, Metric] = {}
        for place, row in read_rows(self._file, ("name", "better", "label", "meaning")):
            name, better = row["name"], row["better"]
            if name not in self._compute:
                raise ConfigError(f"{place}: {name} has no function", "Add one to COMPUTE in sparkray/metrics.py")
            if better not in get_args(Better) or not row["meaning"]:
                problem = f"better is {better!r}, not one of {', '.join(get_args(Better))}, or the meaning is empty"
                raise ConfigError(f"{place}: {problem}", "Fill in both")
            column = Column(name, "float", row["meaning"], label=row["label"])
            metrics[name] = Metric(column, cast("Better", better), self._compute[name])
        if missing := [name for name in self._compute if name not in metrics]:
            raise ConfigError(f"{self._file} has no row for {', '.join(missing)}", "Add a row for each")
        return metrics


BY_NAME = Metrics(FOLDER / "metrics.csv", COMPUTE)


def metric_columns() -> list[Column]:
    """The columns of all metrics, in order."""
    return [metric.column for metric in BY_NAME.values()]


def compute_all(data: RunData) -> dict[str, float | None]:
    """Every metric of one run, by column name."""
    return {name: compute(data) for name, compute in COMPUTE.items()}


def counted(requests: Sequence[Request]) -> tuple[Request, ...]:
    """The requests that metrics count: no warm-up, no error."""
    return tuple(r for r in requests if not r.warmup and r.error is None)
