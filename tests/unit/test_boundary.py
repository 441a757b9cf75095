"""The file boundary: what is wrong with a file is said with its source, its key, its value and the nearest known key."""

import copy
import os
import time
from pathlib import Path
from typing import Any

import pytest

from sparkray.config.boundary import parse, read_yaml
from sparkray.config.docker import DockerOptions
from sparkray.config.experiment import Experiment, Workload
from sparkray.config.model import ModelCard
from sparkray.config.site import Environment, Site
from sparkray.errors import ConfigError

EXPERIMENT: dict[str, Any] = {
    "name": "q",
    "question": "?",
    "models": ["A"],
    "environments": ["native"],
    "runs": 3,
    "workload": {"requests": 4, "input_tokens": 8, "output_tokens": 4},
    "margins": {"latency_mean_ms": 0.01},
    "primary_metrics": ["latency_mean_ms"],
}
SITE: dict[str, Any] = {
    "name": "s",
    "description": "d",
    "engine": "double",
    "image": "venv",
    "experiment": "q",
    "validation": "q",
    "environments": {"container_baseline": {"options": {"ipc": "host"}}},
}
CARD: dict[str, Any] = {
    "name": "A",
    "architecture": "decoder",
    "licence": "MIT",
    "why": "w",
    "weights": {"kind": "file", "path": "/x.gguf"},
    "shape": {
        "params_total": 1000,
        "layers": 2,
        "hidden": 8,
        "heads": 2,
        "kv_heads": 1,
        "head_dim": 4,
        "intermediate": 16,
        "vocab": 32,
        "context": 128,
    },
}
WHOLE = {Experiment: EXPERIMENT, Site: SITE, ModelCard: CARD}


def changed(kind: type[Any], path: str, value: object) -> dict[str, Any]:
    """A whole mapping with one key set, or taken away by `...`."""
    mapping = copy.deepcopy(WHOLE[kind])
    *folders, last = path.split(".")
    inner = mapping
    for folder in folders:
        inner = inner.setdefault(folder, {})
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return mapping


def refused(kind: type[Any], mapping: object) -> str:
    with pytest.raises(ConfigError) as error:
        parse(kind, mapping, "file.yaml")
    return str(error.value)


@pytest.mark.parametrize("kind", list(WHOLE))
def test_a_whole_mapping_is_read_and_left_alone(kind: type[Any]) -> None:
    before = copy.deepcopy(WHOLE[kind])
    assert isinstance(parse(kind, WHOLE[kind], "file.yaml"), kind)
    assert WHOLE[kind] == before


def test_lists_become_tuples_and_mappings_become_dataclasses() -> None:
    read = parse(Experiment, EXPERIMENT, "f")
    assert read.models == ("A",)
    assert read.workload == Workload(requests=4, input_tokens=8, output_tokens=4)
    assert parse(Site, SITE, "f").environments == {"container_baseline": Environment(DockerOptions(ipc="host"))}


@pytest.mark.parametrize(
    ("kind", "key", "near"),
    [
        (Experiment, "run", "runs"),
        (Experiment, "workload.output_token", "output_tokens"),
        (Site, "discription", "description"),
        (Site, "environments.container_baseline.adopt", "adapt"),
        (Site, "environments.container_baseline.options.shm_siz", "shm_size"),
        (Site, "modes.best.privilegd", "privileged"),
        (ModelCard, "license", "licence"),
        (ModelCard, "weights.paths", "path"),
        (ModelCard, "shape.kv_head", "kv_heads"),
    ],
)
def test_an_unknown_key_at_any_depth_names_the_nearest(kind: type[Any], key: str, near: str) -> None:
    said = refused(kind, changed(kind, key, 1))
    assert said == f"file.yaml: unknown key {key!r}, did you mean {near!r}?"


def test_an_unknown_key_that_is_near_nothing_lists_the_known_ones_of_its_place() -> None:
    said = refused(Experiment, changed(Experiment, "workload.zzz", 1))
    assert said.startswith(
        "file.yaml: unknown key 'workload.zzz', known keys: concurrency, input_spread, input_tokens, kind"
    )
    assert "question" not in said


@pytest.mark.parametrize(
    ("kind", "key"), [(Experiment, "runs"), (Experiment, "workload.requests"), (Site, "engine"), (ModelCard, "weights")]
)
def test_a_missing_key_is_named(kind: type[Any], key: str) -> None:
    assert refused(kind, changed(kind, key, ...)) == f"file.yaml: key {key!r} is missing"


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (Experiment, "runs", "many"),
        (Experiment, "runs", 0),
        (Experiment, "runs", -1),
        (Experiment, "runs", 1.5),
        (Experiment, "models", []),
        (Experiment, "models", "A"),
        (Experiment, "order", "sorted"),
        (Experiment, "timeout_s", 0),
        (Experiment, "workload", 5),
        (Experiment, "workload.output_tokens", 1),
        (Experiment, "workload.warmup_requests", -1),
        (Experiment, "workload.kind", "online"),
        (Experiment, "margins.latency_mean_ms", 0),
        (Experiment, "seed", None),
        (Experiment, "name", ""),
        (Site, "memory_gib", 0),
        (Site, "environments.container_baseline.options.cpus", "half"),
        (ModelCard, "architecture", "encoder"),
        (ModelCard, "weights.kind", "cloud"),
        (ModelCard, "shape.layers", 0),
        (ModelCard, "tier", -1),
    ],
)
def test_a_wrong_value_is_reported_with_key_and_value(kind: type[Any], key: str, value: object) -> None:
    said = refused(kind, changed(kind, key, value))
    assert said.startswith(f"file.yaml: {key} = {value!r}: ")
    assert "pydantic" not in said


@pytest.mark.parametrize(
    ("kind", "key", "value", "said"),
    [
        (Experiment, "name", "../up", "name '../up' must be"),
        (Experiment, "name", "a/b", "name 'a/b' must be"),
        (Experiment, "name", "local@2", "name 'local@2' must be"),
        (Site, "modes.best.shm_size", "5q", "modes.best: shm_size: '5q' is not a size"),
        (ModelCard, "shape.params_16bit", 1001, "shape: params_16bit is 1001, more than the 1000"),
    ],
)
def test_what_a_value_says_against_itself_is_reported_without_all_the_rest(
    kind: type[Any], key: str, value: object, said: str
) -> None:
    whole = refused(kind, changed(kind, key, value))
    assert whole.startswith(f"file.yaml: {said}")
    assert "{" not in whole


def test_every_fault_of_a_file_is_reported_at_once() -> None:
    said = refused(Experiment, changed(Experiment, "runs", 0) | {"sede": 1})
    assert "runs = 0" in said
    assert "did you mean 'seed'?" in said


@pytest.mark.parametrize("mapping", [None, "text"])
def test_what_is_no_mapping_is_refused(mapping: object) -> None:
    assert refused(Experiment, mapping) == (f"file.yaml: expected keys and values, got {type(mapping).__name__}")


@pytest.mark.parametrize(
    ("key", "value", "meant"), [("shm_size", 67108864, "67108864"), ("cpuset_cpus", 0, "0"), ("memory_swap", -1, "-1")]
)
def test_numbers_are_taken_where_text_is_meant(key: str, value: int, meant: str) -> None:
    site = parse(Site, changed(Site, f"modes.m.{key}", value), "f")
    assert getattr(site.modes["m"], key) == meant


HOSTILE = {
    "a key twice": ("a: 1\nb: 2\na: 3\n", "the key 'a' stands twice"),
    "a list as a key": ("? [1, 2]\n: 3\n", "no plain value"),
    "deep": ("a: " + "[" * 200 + "]" * 200, "nested more than 100 deep"),
    "deep blocks": ("- " * 5000 + "a", "nested more than 100 deep"),
    "very deep": ("a: " + "[" * 100_000, "nested more than 100 deep"),
    "aliases of aliases": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "more than 500,000 values",
    ),
    "itself": ("a: &a [*a]\n", "more than 500,000 values"),
    "no date": ("a: 2026-13-45\n", "month must be in 1..12"),
    "a number of 5,000 digits": (f"a: {'9' * 5000}\n", "is not valid YAML"),
    "no text": (b"a: \xff\xfe\n", "cannot be read"),
    "a list": ("- 1\n", "expected keys and values, got list"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_at_once_and_in_few_words(tmp_path: Path, what: str) -> None:
    content, words = HOSTILE[what]
    path = tmp_path / "f.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.process_time()
    with pytest.raises(ConfigError) as error:
        read_yaml(path)
    assert words in str(error.value)
    assert len(str(error.value)) < 1000
    assert time.process_time() - began < 2


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.yaml")
    for path in (tmp_path / "f.yaml", Path("/proc/kmsg"), tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigError, match="not a regular file"):
            read_yaml(path)


def test_many_keys_are_read_in_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("".join(f"key{number}: 1\n" for number in range(20_000)))
    began = time.process_time()
    assert len(read_yaml(path)) == 20_000
    assert time.process_time() - began < 2


def test_aliases_that_repeat_little_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("a: &x {b: [1, '[[['], c: 2}\nd: *x\ne: {<<: *x, f: 3}\n")
    assert read_yaml(path)["e"] == {"b": [1, "[[["], "c": 2, "f": 3}


@pytest.mark.parametrize(
    ("kind", "key", "value", "words"),
    [
        (Experiment, "runs", 10**20, "more than 64 bits"),
        (Experiment, "runs", 10**8, "less than or equal to 100000"),
        (Experiment, "runs", True, "a number is needed"),
        (Experiment, "workload.requests", 10**9, "less than or equal to 1000000"),
        (Experiment, "timeout_s", float("inf"), "finite"),
        (Experiment, "margins.latency_mean_ms", float("nan"), "finite"),
        (Experiment, "name", "n" * 300, "at most 200 bytes"),
        (Experiment, "question", ["x" * 10_000], "characters"),
        (Site, "memory_gib", float("inf"), "finite"),
        (Site, "modes.m.cpuset_cpus", "0-99999999999", "a number above 65535"),
        (Site, "modes.m.cpus", float("inf"), "finite"),
        (Site, "modes.m.cpus", True, "a number is needed"),
        (Site, "modes.m.shm_size", "9" * 30 + "g", "more bytes than 64 bits"),
        (Site, "modes.m.pids_limit", 10**30, "more than 64 bits"),
        (ModelCard, "shape.vocab", True, "a number is needed"),
        (ModelCard, "shape.params_total", float("inf"), "finite"),
    ],
)
def test_a_value_out_of_every_bound_is_refused(kind: type[Any], key: str, value: object, words: str) -> None:
    said = refused(kind, changed(kind, key, value))
    assert words in said
    assert len(said) < 1000


def test_a_file_full_of_faults_is_told_in_few_words() -> None:
    said = refused(Experiment, EXPERIMENT | {f"key{number}": 1 for number in range(5000)})
    assert said.endswith("more")
    assert len(said) < 20_000
