"""The options of each version, as `trtllm-bench` declares them."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "int", "float", "choice", "path", "file", "flag", "positive"]
Version = tuple[int, int]
ALL: Version = (1, 0)
NEVER: Version = (99, 0)
CHUNKED_PAIR: Version = (1, 1)
NO_TENSORRT: Version = (1, 3)
CONFIG_ALIAS: Version = (1, 2)


@dataclass(frozen=True)
class Option:
    """One option. `names` as typed, `off` the names that switch a flag off; `path` must exist, `file` is written."""

    names: tuple[str, ...]
    kind: Kind
    default: object = None
    choices: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    required: bool = False
    many: bool = False
    since: Version = ALL
    until: Version = NEVER
    alone: bool = False

    @property
    def dest(self) -> str:
        """The name of its value: that of the last long name."""
        return [name for name in self.names if name.startswith("--")][-1].lstrip("-").replace("-", "_")


_LEVELS = ("internal_error", "error", "warning", "info", "verbose", "debug", "trace")
_GROUP = (
    Option(("--model", "-m"), "text", required=True),
    Option(("--model_path",), "text"),
    Option(("--workspace", "-w"), "text", "/tmp"),  # noqa: S108 - the tool's own default
    Option(("--log_level",), "choice", "info", choices=_LEVELS),
    Option(("--revision",), "text", since=(1, 2)),
    Option(("--telemetry",), "flag", True, off=("--no-telemetry",), since=(1, 3)),
)
_COMMON = (
    Option(("--engine_dir",), "path"),
    Option(("--backend",), "choice", "pytorch", choices=("pytorch", "_autodeploy", "tensorrt"), until=NO_TENSORRT),
    Option(("--backend",), "choice", "pytorch", choices=("pytorch", "_autodeploy"), since=NO_TENSORRT),
    Option(("--extra_llm_api_options",), "text", until=CONFIG_ALIAS),
    Option(("--config", "--extra_llm_api_options"), "text", since=CONFIG_ALIAS),
    Option(("--sampler_options",), "path", since=(1, 1)),
    Option(("--custom_tokenizer",), "text", since=(1, 3)),
    Option(("--max_seq_len",), "int"),
    Option(("--kv_cache_free_gpu_mem_fraction",), "float", 0.9),
    Option(("--dataset",), "path"),
    Option(("--modality",), "choice", choices=("image", "video")),
    Option(("--max_input_len",), "int", 4096),
    Option(("--num_requests",), "int", 0),
    Option(("--warmup",), "int", 2),
    Option(("--duration",), "int", since=(1, 3)),
    Option(("--tp",), "int", 1),
    Option(("--pp",), "int", 1),
    Option(("--ep",), "int"),
    Option(("--beam_width",), "int", 1),
    Option(("--report_json",), "file"),
    Option(("--iteration_log",), "file"),
)
_THROUGHPUT = (
    *_COMMON,
    Option(("--custom_module_dirs",), "path", many=True, since=(1, 1)),
    Option(("--max_batch_size",), "int"),
    Option(("--max_num_tokens",), "int"),
    Option(("--no_skip_tokenizer_init",), "flag", False, since=(1, 1)),
    Option(("--eos_id",), "int", -1),
    Option(("--image_data_format",), "choice", "pt", choices=("pt", "pil"), since=(1, 1)),
    Option(("--data_device",), "choice", "cuda", choices=("cuda", "cpu"), since=(1, 1)),
    Option(("--target_input_len",), "positive"),
    Option(("--target_output_len",), "positive"),
    Option(("--cluster_size",), "int"),
    Option(("--concurrency",), "int", -1, alone=True),
    Option(("--streaming",), "flag", False),
    Option(("--output_json",), "file"),
    Option(("--request_json",), "file"),
    Option(("--enable_chunked_context",), "flag", False, until=CHUNKED_PAIR),
    Option(("--enable_chunked_context",), "flag", True, off=("--disable_chunked_context",), since=CHUNKED_PAIR),
    Option(
        ("--scheduler_policy",), "choice", "guaranteed_no_evict", choices=("guaranteed_no_evict", "max_utilization")
    ),
)
_EXCLUSIVE = ("--beam_width", "--sampler_options")
_LATENCY = (
    *(
        Option(**{**vars(option), "alone": True, "since": ALL}) if option.names[0] in _EXCLUSIVE else option
        for option in _COMMON
    ),
    Option(("--concurrency",), "int", 1, alone=True),
    Option(("--medusa_choices",), "path"),
)


def of_version(options: tuple[Option, ...], version: Version) -> tuple[Option, ...]:
    """Those that this version has."""
    return tuple(option for option in options if option.since <= version < option.until)


def group_options(version: Version) -> tuple[Option, ...]:
    """What stands before the subcommand."""
    return of_version(_GROUP, version)


def throughput_options(version: Version) -> tuple[Option, ...]:
    """What `throughput` takes."""
    return of_version(_THROUGHPUT, version)


def latency_options(version: Version) -> tuple[Option, ...]:
    """What `latency` takes."""
    return of_version(_LATENCY, version)


def subcommands(version: Version) -> tuple[str, ...]:
    """The subcommands there are."""
    return (
        *(("build",) if version < NO_TENSORRT else ()),
        "latency",
        *(("prepare-dataset",) if version >= (1, 2) else ()),
        "throughput",
        *(("visual-gen",) if version >= NO_TENSORRT else ()),
    )
