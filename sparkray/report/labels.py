"""What things are called in front of a reader: metrics with their units, environments, verdicts. Pure."""

import re
from collections.abc import Mapping

from sparkray.metrics import BY_NAME

_UNITS: Mapping[str, str] = {
    "_tok_s": "tok/s",
    "_req_s": "req/s",
    "_gb_s": "GB/s",
    "_gib": "GiB",
    "_pct": "%",
    "_ms": "ms",
    "_s": "s",
    "_w": "W",
    "_j": "J",
    "_c": "°C",
}
_NAMES: Mapping[str, str] = {
    "output_throughput_tok_s": "output throughput",
    "request_throughput_req_s": "request throughput",
    "latency_mean_ms": "mean latency",
    "ttft_mean_ms": "mean time to first token",
    "itl_mean_ms": "mean time between tokens",
    "kv_cache_gib": "KV cache",
    "host_available_drop_peak_gib": "peak drop of available memory",
    "host_free_drop_peak_gib": "peak drop of free memory",
    "gpu_process_peak_gib": "GPU memory of the processes",
    "process_rss_peak_gib": "resident memory (RSS)",
    "process_pss_peak_gib": "proportional memory (PSS)",
    "cgroup_anon_peak_gib": "cgroup, anonymous",
    "cgroup_file_peak_gib": "cgroup, page cache",
    "engine_reported_peak_gib": "as the engine reports it",
    "gpu_temp_start_c": "GPU temperature at the start",
    "gpu_temp_max_c": "highest GPU temperature",
    "energy_j": "GPU energy",
    "power_mean_w": "mean GPU power",
}
_WORDS: Mapping[str, str] = {"ttft": "time to first token", "itl": "time between tokens", "gpu": "GPU", "cpu": "CPU"}
_SHORT: Mapping[str, str] = {
    "native": "native",
    "host": "host process",
    "container_baseline": "container",
    "container_optimized": "tuned container",
}
_TINY: Mapping[str, str] = {"container_baseline": "cont.", "container_optimized": "tuned", "host": "host"}
_LONG: Mapping[str, str] = {
    "native": "native (chroot into the image's own files)",
    "host": "plain process of the host",
    "container_baseline": "container with the baseline flags",
    "container_optimized": "container with the tuned flags",
}
VERDICTS: Mapping[str, str] = {
    "equivalent": "inside the margin",
    "different": "outside that margin",
    "undecided": "these runs cannot tell",
}
ARCHITECTURES: Mapping[str, str] = {
    "decoder": "dense decoders",
    "moe": "mixtures of experts",
    "efficient": "small efficient models",
    "reasoning": "reasoning models",
}


def capital(text: str) -> str:
    """With a capital letter in front; the rest as it is."""
    return text[:1].upper() + text[1:]


def unit_of(metric: str) -> str:
    """The unit that a column's name ends in, as it is printed; empty for a ratio or a count."""
    return next((unit for ending, unit in _UNITS.items() if metric.endswith(ending)), "")


def metric_name(metric: str) -> str:
    """A metric's name without its unit."""
    if metric in _NAMES:
        return _NAMES[metric]
    ending = next((ending for ending in _UNITS if metric.endswith(ending)), "")
    words = metric.removesuffix(ending).split("_")
    return " ".join(_WORDS.get(word, word) for word in words)


def axis_label(metric: str) -> str:
    """Name and unit, for an axis: `Mean latency (ms)`."""
    name, unit = metric_name(metric), unit_of(metric)
    return f"{capital(name)}{f' ({unit})' if unit else ''}"


def better(metric: str) -> str:
    """`higher`, `lower` or `neither`; `neither` for a metric that is not known."""
    return BY_NAME[metric].better if metric in BY_NAME else "neither"


def arm(environment: str) -> str:
    """An environment in a word or two."""
    return _SHORT.get(environment, environment.replace("_", " "))


def arm_tiny(environment: str) -> str:
    """An environment in a few letters, for a crowded axis."""
    return _TINY.get(environment, arm(environment))


def arm_in_full(environment: str) -> str:
    """An environment in words that say what it is."""
    return _LONG.get(environment, environment.replace("_", " "))


def readable(sentence: str | None) -> str:
    """A sentence with the columns and environments that it names in a reader's words."""

    def named(match: re.Match[str]) -> str:
        word = match[0]
        if word in BY_NAME:
            return metric_name(word)
        return arm(word) if word in _SHORT else word

    return re.sub(r"\b[a-z]+(?:_[a-z0-9]+)+\b", named, sentence or "")


def cell(model: str, level: str | None) -> str:
    """A model, with the level of the load where an experiment has more than one."""
    return f"{model} {level}" if level else model
