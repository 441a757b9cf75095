"""Options of the `vllm` engine, and the arguments that they become. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from sparkray.catalog.random_weights import TOKENIZER
from sparkray.config.boundary import STRICT
from sparkray.config.model import ModelCard
from sparkray.engines import server


@dataclass(frozen=True)
class Options(server.Options):
    """The options of a server, and vLLM's own for both kinds of workload.

    `program` starts vLLM's command line; empty, it is the recipe's for a server, and Python with vLLM's module offline.
    `tool` is the benchmark of an offline workload: `latency` gives the time of each batch, `throughput` only that of all
    requests together. `eager` turns compilation and CUDA graphs off. An empty `load_format` is `dummy` for a card with
    random weights, else vLLM's own; a number of 0 leaves vLLM's own.
    """

    __pydantic_config__ = STRICT

    program: tuple[str, ...] = ()
    tool: Literal["latency", "throughput"] = "latency"
    dtype: str = "auto"
    eager: bool = False
    gpu_memory_utilization: Annotated[float, Ge(0), Le(1)] = 0.0
    max_num_batched_tokens: Annotated[int, Ge(0)] = 0
    prefix_caching: bool = False
    load_format: str = ""


def engine_arguments(options: Mapping[str, Any], card: ModelCard, model: str) -> tuple[str, ...]:
    """Arguments of vLLM's engine that its server and its benchmarks share, apart from lengths and batch.

    Args:
        options: The engine's, checked.
        card: The model.
        model: Its path as vLLM sees it.
    """
    random = card.weights.kind == "random"
    load_format = options["load_format"] or ("dummy" if random else "")
    number = options["max_num_batched_tokens"]
    share = options["gpu_memory_utilization"]
    return (
        *(("--dtype", options["dtype"]) if options["dtype"] != "auto" else ()),
        *(("--enforce-eager",) if options["eager"] else ()),
        *(("--gpu-memory-utilization", f"{share:g}") if share else ()),
        *(("--max-num-batched-tokens", str(number)) if number else ()),
        *(("--load-format", load_format) if load_format else ()),
        *(("--tokenizer", f"{model}/{TOKENIZER}") if random else ()),
    )
