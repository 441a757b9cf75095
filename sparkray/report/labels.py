"""What things are called in front of a reader: metrics with their units, environments, verdicts. Pure."""

import re
from collections.abc import Mapping

from sparkray.metrics import BY_NAME
from sparkray.schema import Column, label_of

_SHORT: Mapping[str, str] = {
    "native": "native",
    "host": "host process",
    "container_baseline": "container",
    "container_optimized": "tuned container",
    "container_against": "second container",
}
_TINY: Mapping[str, str] = {"container_baseline": "cont.", "container_optimized": "tuned", "host": "host"}
_LONG: Mapping[str, str] = {
    "native": "native (chroot into the image's own files)",
    "host": "plain process of the host",
    "container_baseline": "container with the baseline flags",
    "container_optimized": "container with the tuned flags",
}


def metric_name(metric: str) -> str:
    """A metric's name without its unit."""
    return BY_NAME[metric].column.label if metric in BY_NAME else label_of(metric)


def axis_label(metric: str) -> str:
    """Name and unit, for an axis: `Mean latency (ms)`."""
    return Column(metric, "float", "", label=metric_name(metric)).axis


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
