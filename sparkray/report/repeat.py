"""The command that asks the same question again, from what a dataset says of itself.

What differs from the experiment and the site of that name as they ship is set on the command line. `left_open` names what a
dataset does not record.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from sparkray.analysis.derived.flags import recorded_options
from sparkray.catalog import Catalog, data_root
from sparkray.config.docker import given
from sparkray.config.site import CONTAINER_OPTIMIZED, NATIVE
from sparkray.errors import SparkrayError
from sparkray.report.data import ReportData

_CALIBRATION = "aa"
_OWN_OPTION = ("name", "question", "models", "environments", "runs", "seed", "workload.requests", "fold")
_DESCRIPTIVE = ("hypotheses", "expected_hours")
_OF_SITE = (
    "image",
    "models_root",
    "hf_cache",
    "engine",
    "engine_cpus",
    "client_cpus",
    "memory_gib",
    "bandwidth_gb_s",
    "compute_tflops",
)
_FILE = "experiment.yaml"


def repeat_line(data: ReportData) -> str:
    """The command that measures the same question again."""
    context = data.context
    shipped = _shipped(context)
    name = str(context.get("experiment"))
    words = ["python", "-m", "sparkray.sweep", _verb(context), "--experiment", name if shipped is not None else _FILE]
    words += [word for option in _options(context) for word in option]
    for setting in (*_experiment_settings(context, shipped), *_site_settings(context), *_docker_settings(context)):
        words += ["--set", setting]
    return shlex.join(words)


def left_open(data: ReportData) -> Mapping[str, Any]:
    """What the line cannot say, for `templates/commands.sh.j2`."""
    context = data.context
    recorded = context.get("docker_options") or {}
    return {
        "file": None if _shipped(context) is not None else _FILE,
        "unrecorded": [name for name in context.get("docker_commands") or {} if name not in recorded],
        "tuned": CONTAINER_OPTIMIZED in (context.get("environments") or []),
    }


def _verb(context: Mapping[str, Any]) -> str:
    environments = context.get("environments") or []
    if CONTAINER_OPTIMIZED in environments:
        return "validate"
    alone = environments == [NATIVE] and str(context.get("experiment")).partition("-")[0] == _CALIBRATION
    return "calibrate" if alone else "baseline"


def _options(context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What has an option of its own."""
    for option, key in (("--site", "site"), ("--models", "models"), ("--environments", "environments")):
        value = context.get(key)
        if value:
            yield option, ",".join(value) if isinstance(value, list) else str(value)
    requests = (context.get("workload") or {}).get("requests")
    for option, number in (
        ("--runs", context.get("pairs_planned")),
        ("--requests", requests),
        ("--seed", context.get("seed")),
    ):
        if number is not None:
            yield option, str(number)


def _shipped(context: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The experiment of that name as it ships, with what its site changes of it; None where none does."""
    try:
        protocol = Catalog(data_root()).site(str(context.get("site"))).protocol
    except SparkrayError:
        protocol = {}
    try:
        found = Catalog(data_root()).experiment(
            str(context.get("experiment")), {f"protocol.{key}": value for key, value in protocol.items()}
        )
    except SparkrayError:
        return None
    return _plain(asdict(found))


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it, so that tuples are lists."""
    return dict(json.loads(json.dumps(value, default=str)))


def _experiment_settings(context: Mapping[str, Any], shipped: Mapping[str, Any] | None) -> Iterator[str]:
    definition = context.get("definition") or {}
    if shipped is None:
        return
    for key, value in _leaves(definition):
        if key not in (*_OWN_OPTION, *_DESCRIPTIVE) and value != _at(shipped, key):
            yield f"experiment.{key}={_yaml(value)}"


def _site_settings(context: Mapping[str, Any]) -> Iterator[str]:
    try:
        shipped = _plain(asdict(Catalog(data_root()).site(str(context.get("site")))))
    except SparkrayError:
        return
    definition = context.get("site_definition") or {}
    for key in _OF_SITE:
        if key in definition and definition[key] != shipped[key]:
            yield f"site.{key}={_yaml(definition[key])}"


def _docker_settings(context: Mapping[str, Any]) -> Iterator[str]:
    """Flags of the containers that really ran, where the site does not have them so."""
    try:
        environments = Catalog(data_root()).site(str(context.get("site"))).environments
    except SparkrayError:
        environments = {}
    for name in context.get("docker_options") or {}:
        known = (
            {option: value for option, _, value in given(environments[name].options)} if name in environments else {}
        )
        for option, _, value in given(recorded_options(context, name)):
            if known.get(option) != value:
                yield f"docker.{name}.{option}={_yaml(value)}"


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted key; lists and empty mappings are values."""
    for key, inner in value.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, name)
        else:
            yield name, inner


def _at(value: Any, path: str) -> Any:  # noqa: ANN401 - JSON
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _yaml(value: object) -> str:
    """A value as `--set` reads it: JSON is YAML."""
    if isinstance(value, str):
        return value
    return json.dumps(list(value) if isinstance(value, tuple) else value)
