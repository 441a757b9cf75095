"""Small values for tests, each whole and ordinary: a test changes what it is about and leaves the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparkray.config.docker import DockerOptions
from sparkray.config.experiment import Experiment, Workload
from sparkray.config.model import ModelCard, Shape, Weights
from sparkray.config.site import Environment, Site
from sparkray.metrics import RunData
from sparkray.plan import Study, Treatment
from sparkray.records import EngineFacts, Measurement, Outcome, Request, Verdict

MS = 1_000_000
S = 1_000_000_000


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    status: int
    out: str
    err: str


def shape(**changes: Any) -> Shape:
    """A small dense decoder of 1000 parameters at 16 bits: 2000 bytes."""
    values: dict[str, Any] = {
        "params_total": 1000,
        "layers": 2,
        "hidden": 8,
        "heads": 2,
        "kv_heads": 1,
        "head_dim": 4,
        "intermediate": 16,
        "vocab": 32,
        "context": 128,
    }
    return Shape(**values | changes)


def card(name: str = "Alpha", **changes: Any) -> ModelCard:
    """A model whose weights are a file."""
    values: dict[str, Any] = {
        "architecture": "decoder",
        "licence": "MIT",
        "why": "a test",
        "weights": Weights(kind="file", path=f"/models/{name}.gguf"),
    }
    return ModelCard(name, **values | changes)


def experiment(**changes: Any) -> Experiment:
    """Two environments, four blocks."""
    values: dict[str, Any] = {
        "name": "question",
        "question": "What does it cost?",
        "models": ("Alpha",),
        "environments": ("native", "container_baseline"),
        "runs": 4,
        "workload": Workload(requests=4, input_tokens=8, output_tokens=4),
        "margins": {"output_throughput_tok_s": 0.01},
        "primary_metrics": ("output_throughput_tok_s",),
        "seed": 7,
    }
    return Experiment(**values | changes)


def site(**changes: Any) -> Site:
    """A machine without a GPU."""
    values: dict[str, Any] = {
        "name": "cpu",
        "description": "a test",
        "engine": "double",
        "image": "venv",
        "experiment": "question",
        "validation": "question",
        "environments": {"container_baseline": Environment(DockerOptions(ipc="host"))},
    }
    return Site(**values | changes)


def treatments(*environments: str) -> tuple[Treatment, ...]:
    """Treatments by name; those inside Docker share the host's IPC."""
    return tuple(
        Treatment(name, DockerOptions(ipc="host") if name.startswith("container") else DockerOptions())
        for name in environments
    )


def study(**changes: Any) -> Study:
    """A study of one model; `treatments` and `cards` follow the experiment where they are not given."""
    asked = changes.get("experiment", experiment())
    values: dict[str, Any] = {
        "experiment": asked,
        "site": site(),
        "cards": tuple(card(name) for name in asked.models),
        "treatments": treatments(*asked.environments),
        "engine": "double",
        "engine_options": {"threads": 2},
    }
    return Study(**values | changes)


def request(index: int = 0, **changes: Any) -> Request:
    """One request that took 100 ms, 20 of them to the first of 5 tokens."""
    values: dict[str, Any] = {
        "warmup": False,
        "input_tokens": 8,
        "output_tokens": 5,
        "submit_ns": index * S,
        "first_token_ns": index * S + 20 * MS,
        "end_ns": index * S + 100 * MS,
    }
    return Request(index, **values | changes)


def run_data(
    *requests: Request,
    samples: tuple[Mapping[str, Any], ...] = (),
    before: Mapping[str, float | None] | None = None,
    **facts: Any,
) -> RunData:
    """What metrics are computed from."""
    return RunData(requests, samples, EngineFacts(**facts), before or {})


def measurement(*requests: Request, simulated: bool = False, **facts: Any) -> Measurement:
    """What an engine left."""
    return Measurement(requests, EngineFacts(**facts), simulated)


def row(run_id: str = "a" * 16, **changes: Any) -> dict[str, Any]:
    """A row of `runs` that is ok."""
    values: dict[str, Any] = {
        "run_id": run_id,
        "attempt": 1,
        "experiment": "question",
        "model": "Alpha",
        "environment": "native",
        "block": 0,
        "status": "ok",
        "simulated": False,
    }
    return values | changes


def outcome(run_id: str = "a" * 16, **changes: Any) -> Outcome:
    """A stored run with two requests, one sample and one check."""
    requests = (request(0, warmup=True, token_ns=(1, 2, 3)), request(1, first_token_ns=None, error="lost"))
    samples = ({"sampler": "host", "t_ns": 5, "mem_free_gib": 1.5, "device": None},)
    return Outcome(row(run_id, **changes), requests, samples, (Verdict("tokens", "pass", "fine"),))
