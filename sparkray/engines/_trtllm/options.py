"""The options of the TensorRT-LLM engine, and what follows from them for one model.

Two choices for the size of the KV cache, because on unified memory it decides what is compared:

* `kv_cache: self`: each run sizes its own, `kv_fraction` of what CUDA calls free once the weights are loaded. That is
  the tool's default and the protocol of the study before this one. On a GB10 CUDA's free is the kernel's MemFree, so
  page cache shrinks the KV cache one to one.
* `kv_cache: fixed`: `kv_cache_config.max_tokens` bounds it at the same number of tokens in every arm, beside the
  fraction: twice what all sequences in flight need, unless `kv_cache_max_tokens` says otherwise.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Gt, Lt

from sparkray.config.boundary import STRICT, parse
from sparkray.config.experiment import Workload
from sparkray.config.model import ModelCard
from sparkray.errors import ConfigError

ENGINE = "trtllm"
TOOL_FRACTION = 0.9
"""The tool's own default of the share of free memory that the KV cache gets."""
LEAST_TOKENS_PER_STEP = 8192
TOKENS_PER_BLOCK = 64
"""The larger of the block sizes in use (32, 64): sequences are rounded up to it."""
Positive = Annotated[int, Gt(0)]
Fraction = Annotated[float, Gt(0), Lt(1)]

OWN_KEYS = (
    "backend",
    "enable_chunked_prefill",
    "kv_cache_config.dtype",
    "kv_cache_config.enable_block_reuse",
    "kv_cache_config.free_gpu_memory_fraction",
    "kv_cache_config.max_tokens",
    "max_batch_size",
    "max_num_tokens",
    "max_seq_len",
    "model",
    "moe_expert_parallel_size",
    "pipeline_parallel_size",
    "scheduler_config.capacity_scheduler_policy",
    "tensor_parallel_size",
)
"""Keys of the tool that have an option of their own here. Set in two places, the winner differs between versions."""


@dataclass(frozen=True)
class TrtllmOptions:
    """The engine's own options. None means: what the card says, else the tool's default.

    `extra` goes into the options file of the tool as it is; `environment` into the environment of its process.
    `nvml_shim` is on by default on every GPU; the module of that name says why.
    """

    __pydantic_config__ = STRICT

    version: str | None = None
    backend: Literal["pytorch", "_autodeploy"] = "pytorch"
    max_batch_size: Positive | None = None
    max_num_tokens: Positive | None = None
    tp: Positive = 1
    pp: Positive = 1
    kv_cache: Literal["self", "fixed"] = "self"
    kv_cache_max_tokens: Positive | None = None
    kv_cache_dtype: str = "auto"
    kv_block_reuse: bool = False
    kv_fraction: Fraction | None = None
    cuda_graph: bool = True
    chunked_context: bool | None = None
    scheduler_policy: Literal["guaranteed_no_evict", "max_utilization"] | None = None
    serial_weight_loading: bool | None = None
    iteration_log: bool = False
    nvml_shim: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def read_options(mapping: Mapping[str, Any], source: str) -> TrtllmOptions:
    """The options from what a file or `--set` gave.

    Raises:
        ConfigError: An unknown key, a bad value, or a key in `extra` that has an option of its own.
    """
    given = dict(mapping)
    if isinstance(given.get("version"), int | float):  # YAML reads 1.2 as a number
        given["version"] = str(given["version"])
    options = parse(TrtllmOptions, given, source)
    if options.kv_cache_max_tokens is not None and options.kv_cache != "fixed":
        raise ConfigError(f"{source}: kv_cache_max_tokens acts only with kv_cache: fixed")
    if not options.cuda_graph and "cuda_graph_config" in options.extra:
        raise ConfigError(f"{source}: cuda_graph: false and extra.cuda_graph_config set the same key twice")
    if not isinstance(options.extra.get("kv_cache_config", {}), Mapping):
        raise ConfigError(f"{source}: extra.kv_cache_config is no mapping of keys to values")
    for key in _leaves(options.extra):
        if key in OWN_KEYS:
            raise ConfigError(
                f"{source}: extra.{key} has an option of its own",
                "Set that one: with both set, the winner differs between versions of the tool",
            )
    return options


def as_mapping(options: TrtllmOptions) -> dict[str, Any]:
    """The options as `Job.options` carries them."""
    return asdict(options)


def for_card(options: TrtllmOptions, card: ModelCard) -> TrtllmOptions:
    """The options with what the card asks for wherever the user said nothing.

    Raises:
        ConfigError: The card's own options are no options of this engine.
    """
    wanted = card.engine_options.get(ENGINE, {})
    default = TrtllmOptions()
    said = {name: value for name, value in asdict(options).items() if value != getattr(default, name)}
    return read_options({**wanted, **said}, f"model card {card.name}")


def batch_size(options: TrtllmOptions, card: ModelCard) -> int:
    """`--max_batch_size`."""
    return options.max_batch_size or card.max_batch_size


def concurrency(options: TrtllmOptions, card: ModelCard, workload: Workload) -> int:
    """`--concurrency`: the workload's, else the batch size. Unlimited, latency would be nothing but queueing."""
    return workload.concurrency or batch_size(options, card)


def tokens_per_step(options: TrtllmOptions, card: ModelCard, workload: Workload) -> int:
    """`--max_num_tokens`: the tool's usual 8192, raised where one prompt beside a full batch needs more."""
    return options.max_num_tokens or max(LEAST_TOKENS_PER_STEP, workload.most_input + batch_size(options, card))


def fixed_kv_tokens(options: TrtllmOptions, card: ModelCard, workload: Workload) -> int | None:
    """`kv_cache_config.max_tokens`; None when each run sizes itself."""
    if options.kv_cache == "self":
        return None
    blocks = -(-(workload.most_input + workload.most_output) // TOKENS_PER_BLOCK)
    return options.kv_cache_max_tokens or 2 * batch_size(options, card) * blocks * TOKENS_PER_BLOCK


def _leaves(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
