"""Recipes: servers as data. What to start, when it is ready, what it reports, how it is loaded and stopped. Pure.

A recipe is one YAML file in `conf/engines/` or of the user's. In its command and environment `{model}` and the other
places are filled in for each run.
"""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, MinLen

from sparkray.config.boundary import STRICT, parse
from sparkray.config.docker_values import not_an_image
from sparkray.config.sparkrun import from_sparkrun, is_sparkrun

PLACES = (
    *("model", "model_name", "served_name", "name", "hf_id", "host", "port", "requests", "context_length"),
    *("total_context", "max_batch_size", "python", "workers", "input"),
)
"""`context_length` is of one sequence, `total_context` of all that run at once; `requests` counts those of a run."""
_SAMPLE = re.compile(r"(?P<name>[\w:]+)(?:\{.*\})?\s+(?P<value>[-+.\deE]+|[+-]?Inf|NaN)(?:\s|$)")
_PLACE = re.compile(r"\{(\w+)\}")
FACTS = (
    "version",
    "architecture",
    "kv_cache_mib",
    "kv_cache_gib",
    "kv_cache_tokens",
    "context_length",
    "weights_gib",
    "load_s",
    "prefix_cache",
    *("attention_backend", "flash_attention", "compile_cache", "compile_cold", "compile_warm"),
    *("compile_s", "graph_capture_s", "engine_init_s"),
)
"""What a log may tell, by the name of its pattern: each has one group."""
TEXT_FACTS = ("version", "architecture", "attention_backend", "compile_cache", "compile_cold", "compile_warm")
"""The facts that are text; the others are numbers."""
COUNTERS = ("queue_s", "queued", "prefix_hits", "prefix_queries")
"""What `/metrics` may tell: counters over the server's life. The mean queue time is `queue_s` / `queued`."""


@dataclass(frozen=True)
class Readiness:
    """When the server is ready: `path` answers a status of `ready`. One of `loading`, or no answer, means not yet.

    Any other status is an error of the server. A process that has ended also refuses, so its exit is watched too.
    """

    __pydantic_config__ = STRICT

    path: str = "/health"
    ready: tuple[int, ...] = (200,)
    loading: tuple[int, ...] = (503,)
    not_for_probing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """Where a server tells something: the key (dotted) of a JSON document."""

    __pydantic_config__ = STRICT

    path: str
    key: str


@dataclass(frozen=True)
class Requests:
    """How requests are made: the endpoint, whether prompts may be token ids, and what every body has beside the load.

    `unsupported` says in words what this server cannot be asked for, such as to ignore the end-of-sequence token.
    """

    __pydantic_config__ = STRICT

    endpoint: Literal["completions", "chat"] = "completions"
    token_ids: bool = True
    body: Mapping[str, Any] = field(default_factory=dict)
    unsupported: str = ""


@dataclass(frozen=True)
class Probe:
    """A command, run inside the environment, whose output holds the version as the pattern's one group."""

    __pydantic_config__ = STRICT

    command: Annotated[tuple[str, ...], MinLen(1)]
    pattern: str


@dataclass(frozen=True)
class Version:
    """What versions from this one on have beyond the recipe."""

    __pydantic_config__ = STRICT

    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    options_file: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verified:
    """One machine that a recipe ran on: where, which version, and what was seen."""

    __pydantic_config__ = STRICT

    where: str
    version: str
    what: str


@dataclass(frozen=True)
class Recipe:
    """One server. `verified` is empty for a recipe that was never run by sparkray.

    Attributes:
        name: As `--engine` takes it.
        description: What it is, in one line.
        source: Where its command, routes and names were read.
        image: `venv` where sparkray builds the image, else the reference that its project publishes.
        images: Patterns (`nvcr.io/nim/*`) of further images that hold the server.
        command: The whole command.
        from_image: How many words of the command, from the first, the image starts by itself. Where the number is known, the
            line of `compare` leaves these words to the image, as its project's documentation does.
        port: Where the server listens in the line of `compare`; in other runs it is a free one.
        with_entrypoint: Whether the command begins with the image's entrypoint, which then needs not be asked what it sets.
        environment: Variables beside the image's own.
        needs: Variables whose values are the user's, such as keys. The line of `compare` passes them on by name.
        volumes: Folders and files mounted in every arm, `SOURCE:TARGET[:ro]`; `~` is the user's home.
        workdir: Where the command runs; empty is `/`.
        options_file: Written as JSON to `{input}/options.yaml`.
        served_name: What the server calls the model in `/v1/models` and in requests; empty: its first model, whatever it is.
        probe: How its version is known before it starts.
        versions: What differs by version (`1.3` and later), for recipes with a probe.
        readiness: When it is ready.
        version: Where the running server tells its version.
        models: The route that lists what is served; empty where there is none.
        log: Patterns by fact (`FACTS`).
        metrics_path: Its Prometheus route; empty where there is none.
        metrics: Names of counters there (`COUNTERS`).
        requests: How it is asked.
        stop_signal: What ends it.
        grace_s: How long it may take to end, s.
        verified: Where it was run.
        unverified: What is assumed, and neither documented nor seen in a run, in words.
        unused: Keys of an imported recipe that sparkray has no use for.
    """

    __pydantic_config__ = STRICT

    name: Annotated[str, MinLen(1)]
    description: str
    command: Annotated[tuple[str, ...], MinLen(1)]
    source: str = ""
    image: str = ""
    images: tuple[str, ...] = ()
    from_image: Annotated[int, Ge(0)] | None = None
    port: int = 8000
    with_entrypoint: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    workdir: str = ""
    options_file: Mapping[str, Any] = field(default_factory=dict)
    served_name: str = "{name}"
    probe: Probe | None = None
    versions: Mapping[str, Version] = field(default_factory=dict)
    readiness: Readiness = field(default_factory=Readiness)
    version: Answer | None = None
    models: str = "/v1/models"
    log: Mapping[str, str] = field(default_factory=dict)
    metrics_path: str = ""
    metrics: Mapping[str, str] = field(default_factory=dict)
    requests: Requests = field(default_factory=Requests)
    stop_signal: str = "SIGTERM"
    grace_s: Annotated[float, Gt(0)] = 30.0
    verified: tuple[Verified, ...] = ()
    unverified: str = ""
    unused: tuple[str, ...] = ()

    @property
    def takes_model(self) -> bool:
        """Whether the server is given a model; otherwise its image has one, or it finds its own."""
        return any("{model}" in word for word in (*self.command, *self.environment.values()))

    def __post_init__(self) -> None:
        if why := not_an_image(self.image):
            raise ValueError(why)
        self._check_places()
        for key, known, given in (("log", FACTS, self.log), ("metrics", COUNTERS, self.metrics)):
            if unknown := set(given) - set(known):
                raise ValueError(f"{key}.{min(unknown)} is unknown: {', '.join(known)}")
        for pattern in (*self.log.values(), *((self.probe.pattern,) if self.probe else ())):
            if _groups(pattern) != 1:
                raise ValueError(f"the pattern {pattern!r} must be a regular expression with one group")
        if self.stop_signal not in signal.Signals.__members__:
            raise ValueError(f"stop_signal {self.stop_signal!r} is no signal, as in SIGTERM")
        for version, own in self.versions.items():
            if twice := set(own.options_file) & set(self.options_file):
                raise ValueError(f"versions.{version}.options_file sets {min(twice)}, which options_file sets too")

    def _check_places(self) -> None:
        own = (word for each in self.versions.values() for word in each.arguments)
        for word in (*self.command, *self.environment.values(), *own):
            if unknown := set(_PLACE.findall(word)) - set(PLACES):
                raise ValueError(f"{{{min(unknown)}}} is no place to fill in: {', '.join(PLACES)}")


def _groups(pattern: str) -> int:
    try:
        return re.compile(pattern).groups
    except re.error:
        return 0


def fill(text: str, places: Mapping[str, object]) -> str:
    """Text with its places filled in; braces around anything else stay (JSON in an argument)."""
    return _PLACE.sub(lambda match: str(places[match[1]]) if match[1] in places else match[0], text)


def counters(text: str, names: Mapping[str, str]) -> dict[str, float]:
    """Counters in Prometheus' text format, by fact; one that stands there with several label sets is added up."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        sample = _SAMPLE.match(line)
        for fact, name in names.items():
            if sample and sample["name"] == name:
                found[fact] = found.get(fact, 0.0) + float(sample["value"])
    return found


def recipe_of(mapping: Mapping[str, Any], source: str) -> Recipe:
    """A recipe from its file, sparkray's own or one of sparkrun.

    Raises:
        ConfigError: An unknown key, a missing one, or a value that cannot be.
    """
    return parse(Recipe, from_sparkrun(mapping, source) if is_sparkrun(mapping) else mapping, source)
