"""The options of the TensorRT-LLM engine, and what follows from them for one model.

Two choices for the size of the KV cache, because on unified memory it decides what is compared:

* `kv_cache: self`: each run sizes its own, `kv_fraction` of what CUDA calls free once the weights are loaded. That is
  the tool's default and the protocol of the study before this one. On a GB10 CUDA's free is the kernel's MemFree, so
  page cache shrinks the KV cache one to one.
* `kv_cache: fixed`: `kv_cache_config.max_tokens` bounds it at the same number of tokens in every arm, beside the
  fraction: twice what all sequences in flight need, unless `kv_cache_max_tokens` says otherwise.

On unified memory (`unified_memory_gib`, which a site of such machines sets) the host has nothing left but what the KV cache
leaves, and the watchdog ends a run at 8 GiB. The tool's 0.9 leaves 9.6 GiB beside 8 billion parameters in BF16, and less
beside larger models. So the default follows the model: at most 0.85, and less where that would leave under 10 GiB (0.63
beside Mixtral's 87 GiB). A card can lower it; the user's own `kv_fraction` is taken as it is. The fraction follows and not
the floor, since the floor is what keeps the machine from hanging. It depends on card and site alone, never on what is free
at the moment, so that it is the same in every arm and run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import floor
from typing import Annotated, Any, Literal

from annotated_types import Gt, Lt

from sparkray.config.boundary import STRICT, parse
from sparkray.config.experiment import Workload
from sparkray.config.gpu_choice import by_index
from sparkray.config.model import ModelCard
from sparkray.engines._trtllm.messages import message, note
from sparkray.errors import ConfigError
from sparkray.units import gib

ENGINE = "trtllm"
TOOL_FRACTION = 0.9  # the tool's own default of the share of free memory that the KV cache gets
UNIFIED_FRACTION = 0.85
# What the system itself holds, and what is allocated after the KV cache was sized: both assumed, not measured.
SYSTEM_GIB, GROWTH_GIB = 5.0, 2.0
KEEP_GIB = 8.0 + GROWTH_GIB  # must stay free: the watchdog's usual floor, and what comes later
LEAST_TOKENS_PER_STEP = 8192
TOKENS_PER_BLOCK = 64  # the larger of the block sizes in use (32, 64): sequences are rounded up to it
_LEAST_FRACTION = 0.05
Positive = Annotated[int, Gt(0)]
Fraction = Annotated[float, Gt(0), Lt(1)]

# Keys of the tool that have an option of their own here. Set in two places, the winner differs between versions.
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


@dataclass(frozen=True)
class TrtllmOptions:
    """The engine's own options. None takes what the card has, else the tool's default.

    `extra` goes into the options file of the tool as it is; `environment` into the environment of its process.
    `nvml_shim` is on by default on every GPU; the module of that name explains why.
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
    unified_memory_gib: Annotated[float, Gt(0)] | None = None
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
    by_index(options.environment, (), source)
    if options.kv_cache_max_tokens is not None and options.kv_cache != "fixed":
        raise ConfigError(*message("kv_tokens_not_fixed", source=source))
    if not options.cuda_graph and "cuda_graph_config" in options.extra:
        raise ConfigError(*message("cuda_graph_twice", source=source))
    if not isinstance(options.extra.get("kv_cache_config", {}), Mapping):
        raise ConfigError(*message("kv_cache_no_mapping", source=source))
    for key in _leaves(options.extra):
        if key in OWN_KEYS:
            raise ConfigError(*message("own_option", source=source, key=key))
    return options


def as_mapping(options: TrtllmOptions) -> dict[str, Any]:
    """The options as `Job.options` carries them."""
    return asdict(options)


def for_card(options: TrtllmOptions, card: ModelCard) -> TrtllmOptions:
    """The options with what the card asks for wherever the user gave nothing.

    Raises:
        ConfigError: The card has options that this engine lacks.
    """
    wanted = card.engine_options.get(ENGINE, {})
    default = TrtllmOptions()
    given = {name: value for name, value in asdict(options).items() if value != getattr(default, name)}
    merged = read_options({**wanted, **given}, f"model card {card.name}")
    if options.kv_fraction is None and (most := most_kv_fraction(merged, card)) is not None:
        return replace(merged, kv_fraction=min(merged.kv_fraction or 1.0, most))
    return merged


def most_kv_fraction(options: TrtllmOptions, card: ModelCard) -> float | None:
    """The KV cache's share of what the weights leave, by default on unified memory; None on any other."""
    if options.unified_memory_gib is None:
        return None
    left = _left_gib(options, card)
    keeps = 1.0 if left is None else floor(100 * (1 - KEEP_GIB / max(left, KEEP_GIB))) / 100
    return max(_LEAST_FRACTION, min(UNIFIED_FRACTION, keeps))


def expected_free_gib(options: TrtllmOptions, card: ModelCard) -> float | None:
    """What stays free on unified memory beside weights and KV cache, GiB, at the least; None where it is not known.

    Args:
        options: As `for_card` made them.
        card: The model.
    """
    left = _left_gib(options, card)
    return None if left is None else left * (1 - (options.kv_fraction or TOOL_FRACTION))


def memory_warning(options: TrtllmOptions, card: ModelCard, floor_gib: float) -> str | None:
    """That the watchdog is likely to end this model's runs, in words with values; None when it is not known to be.

    Args:
        options: As `for_card` made them.
        card: The model.
        floor_gib: MemAvailable at which the watchdog ends a run; 0 when nothing watches.
    """
    free, left = expected_free_gib(options, card), _left_gib(options, card)
    if free is None or left is None or free >= floor_gib or options.kv_cache == "fixed":
        return None
    fraction, most = options.kv_fraction or TOOL_FRACTION, floor(100 * (1 - (floor_gib + GROWTH_GIB) / left)) / 100
    return note(
        "little_memory",
        model=card.name,
        fraction=fraction,
        free=max(free, 0),
        total=options.unified_memory_gib,
        floor=floor_gib,
        remedy=note("smaller_fraction" if most > 0 else "smaller_model", fraction=most),
    )


def _left_gib(options: TrtllmOptions, card: ModelCard) -> float | None:
    """What system and weights leave of unified memory, GiB."""
    if options.unified_memory_gib is None or card.shape is None:
        return None
    return options.unified_memory_gib - SYSTEM_GIB - gib(card.shape.weight_bytes)


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
