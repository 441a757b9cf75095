"""Machines, Docker engines and checkpoints for the tests of `doctor`, and its findings by name."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pynvml
from support.fake_nvml import FakeNvml

from sparkray.catalog import Catalog, data_root
from sparkray.config.site import Site
from sparkray.machine.doctor import Finding, examine
from sparkray.machine.finding import DockerFacts, ImageFacts, Seen
from sparkray.machine.fingerprint import Machine

GIB = 2**30
SPARK_FACTS = {"memory_gib": 121.69, "kernel": "6.17.0-1008-nvidia", "os": "Ubuntu 24.04.4 LTS", "cgroup_version": 2}
SPARK = Machine("spark", ("NVIDIA GB10",), ("GPU-10",), SPARK_FACTS)
LAPTOP = Machine("laptop", (), (), {"memory_gib": 16.0, "cgroup_version": 2})
NO_NVML = FakeNvml(init_error=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
DOCKER = DockerFacts("29.2.1", "1.53", ("nvidia", "runc"), ImageFacts("sha256:ab", 30 * GIB))
NO_DOCKER = DockerFacts(problem="no Docker engine answers", remedy="Start the engine")


def site_of(name: str, **changes: Any) -> Site:
    return replace(Catalog(data_root()).site(name), **changes)


def checkpoint(folder: Path, *, shards: int = 2) -> Path:
    """A whole checkpoint, of a few bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    names = [f"model-{n}-of-{shards}.safetensors" for n in range(1, shards + 1)]
    for name in names:
        header = json.dumps(
            {"__metadata__": {}, "w": {"dtype": "BF16", "shape": [8], "data_offsets": [0, 16]}}
        ).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    index = {"metadata": {}, "weight_map": {f"layer{n}": name for n, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def by_name(seen: Seen) -> dict[str, Finding]:
    findings = examine(seen)
    assert len({finding.name for finding in findings}) == len(findings)
    for finding in findings:
        assert finding.value
        assert finding.why
        assert finding.state in ("good", "info") or finding.remedy, finding
    return {finding.name: finding for finding in findings}


def found(seen: Seen, name: str) -> tuple[str, str]:
    finding = by_name(seen)[name]
    return finding.state, finding.value
