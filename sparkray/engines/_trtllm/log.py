"""What only the log shows: KV cache, memory, phases, and why a run failed. Standard output and error together.

The lines come from Python (`[date] [TRT-LLM] [I]`, newer ones with `[RANK n]`), from AutoDeploy, and from C++
(`[TensorRT-LLM][INFO]`), and with several ranks they interleave. Two things need care:

* The KV cache line appears twice, once while memory is profiled: the last one counts. Of several ranks the lowest
  counts, so the figure is per GPU. KV cache manager V2 (1.3) logs a quota instead, as Python prints a float.
* "Peak memory" is total less free, as CUDA reports it. On a GB10 free is the kernel's MemFree, so it holds the page cache
  and every other process. It is recorded, and does not measure the engine's memory.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sparkray.engines._trtllm.features import VERSION

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_RANK = re.compile(r"\[RANK (\d{1,6})\]", re.ASCII)
_STAMP = re.compile(r"\[(\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d)\]", re.ASCII)
_N = r"(\d{1,15}(?:\.\d{0,40})?(?:[eE]-\d{1,2})?)"
_BINARY = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MOST_BYTES = 2**62
# A size with its unit, a space between or none: `44.31 GiB`, `86.86767578125GiB`.
_SIZE = rf"({_N} ?(?:[KMGT]i?B|B|bytes?)\b)"
_PARTS = re.compile(rf"{_N} ?([KMGT]?)(i?)(?:B|bytes?)", re.ASCII)


def _pattern(text: str) -> re.Pattern[str]:
    """A line's pattern: SIZE stands for a number with its unit, which is the first group."""
    return re.compile(text.replace("SIZE", _SIZE), re.ASCII)


_KV_CACHE = (
    _pattern(r"Allocated SIZE for max tokens in paged KV cache(?: \((?P<tokens>\d{1,12})\))?"),
    _pattern(r"Final KV cache size after resize: SIZE"),
    _pattern(r"device (?:cache )?quota set to SIZE"),
)
_PEAK = _pattern(r"Peak memory during memory usage profiling \(torch \+ non-torch\): SIZE")
_WEIGHTS = _pattern(r"Memory used after loading model weights \(inside torch\) in memory usage profiling: SIZE")
_OUTSIDE = _pattern(r"Memory used after loading model weights \(outside torch\) in memory usage profiling: SIZE")
_TOTAL = _pattern(r"device total memory SIZE")
_LOAD = re.compile(rf"Model init total -- {_N} ?s", re.ASCII)
_BLOCK = re.compile(r"(?:Number of tokens per block: |tokens per block=)(\d{1,9})", re.ASCII)
# The banner is `TensorRT-LLM version:` in 1.0 and `TensorRT LLM version:` from 1.1 on.
_VERSION = re.compile(rf"TensorRT[-_ ]?LLM version:? v?({VERSION})(?![\w+]|\.\w)", re.ASCII | re.IGNORECASE)
_ERROR_LINE = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)(?:_\w+)?(?::.*)?", re.ASCII)
_NO_MEMORY = re.compile(
    r"OutOfMemoryError|CUDA out of memory|NV_ERR_NO_MEMORY|std::bad_alloc|cudaErrorMemoryAllocation"
)

FAILED = "Error during benchmarking:"
INTERRUPTED = "Keyboard interrupt, exiting benchmark"
NVML = "NVMLError"
_AFFINITY = "Removing CPU affinity constraints"
_BEGIN, _END = "Warmup done", "Benchmark done. Reporting results"


@dataclass(frozen=True)
class LogFacts:
    """What a log shows; None where it does not. `benchmark_s` is from the end of the warm-up, to the second."""

    kv_cache_bytes: int | None = None
    kv_cache_tokens: int | None = None
    tokens_per_block: int | None = None
    peak_bytes: int | None = None
    weights_bytes: int | None = None
    outside_torch_bytes: int | None = None
    device_total_bytes: int | None = None
    load_s: float | None = None
    benchmark_s: float | None = None
    version: str | None = None
    affinity_removed: bool = False
    failed: bool = False
    interrupted: bool = False
    nvml_error: bool = False
    out_of_memory: bool = False
    last_error: str | None = None


def read_log(text: str) -> LogFacts:
    """What the log shows. Any text has an answer; what is cut off or garbled counts as absent."""
    lines = _ANSI.sub("", text).splitlines()
    ranked = _of_lowest_rank(lines)
    size, tokens = _kv_cache(ranked)
    load = _last(_LOAD, ranked)
    block = _last(_BLOCK, ranked)
    return LogFacts(
        kv_cache_bytes=size,
        kv_cache_tokens=tokens,
        tokens_per_block=None if block is None else int(block),
        peak_bytes=_bytes(_last(_PEAK, ranked)),
        weights_bytes=_bytes(_last(_WEIGHTS, ranked)),
        outside_torch_bytes=_bytes(_last(_OUTSIDE, ranked)),
        device_total_bytes=_bytes(_last(_TOTAL, ranked)),
        load_s=None if load is None else float(load),
        benchmark_s=_seconds_between(lines),
        version=_last(_VERSION, lines),
        affinity_removed=_holds(_AFFINITY, lines),
        failed=_holds(FAILED, lines),
        interrupted=_holds(INTERRUPTED, lines),
        nvml_error=_holds(NVML, lines),
        out_of_memory=any(_NO_MEMORY.search(line) for line in lines),
        last_error=_last_error(lines),
    )


def _holds(phrase: str, lines: Iterable[str]) -> bool:
    return any(phrase in line for line in lines)


def _of_lowest_rank(lines: Sequence[str]) -> list[str]:
    """Lines without a rank, and those of the lowest there is."""
    ranks = [int(match[1]) if (match := _RANK.search(line)) else None for line in lines]
    lowest = min((rank for rank in ranks if rank is not None), default=None)
    return [line for line, rank in zip(lines, ranks, strict=True) if rank in (None, lowest)]


def _last(pattern: re.Pattern[str], lines: Iterable[str]) -> str | None:
    """What the first group of the last match holds."""
    matches = [match[1] for line in lines for match in pattern.finditer(line)]
    return matches[-1] if matches else None


def _bytes(size: str | None) -> int | None:
    """Bytes of a size as a line has it; None for one that no machine has."""
    match = _PARTS.fullmatch(size or "")
    if match is None:
        return None
    number, prefix, binary = match.groups()
    size_bytes = float(number) * (_BINARY if binary else _DECIMAL)[prefix]
    return round(size_bytes) if size_bytes < _MOST_BYTES else None


def _kv_cache(lines: Iterable[str]) -> tuple[int | None, int | None]:
    """Size and tokens by the last line above zero: AutoDeploy prints 0.00 for a placeholder."""
    size, tokens = None, None
    for line in lines:
        for pattern in _KV_CACHE:
            match = pattern.search(line)
            if match and (line_size := _bytes(match[1])):
                size = line_size
                tokens = int(match["tokens"]) if match.groupdict().get("tokens") else None
    return size, tokens


def _seconds_between(lines: Iterable[str]) -> float | None:
    begin, end = None, None
    for line in lines:
        stamp = _STAMP.search(line)
        if stamp and _BEGIN in line:
            begin = _time(stamp[1])
        elif stamp and _END in line:
            end = _time(stamp[1])
    return (end - begin).total_seconds() if begin and end and end >= begin else None


def _time(stamp: str) -> datetime | None:
    try:
        return datetime.strptime(stamp, "%m/%d/%Y-%H:%M:%S")  # noqa: DTZ007 - the tool logs no zone, differences alone are used
    except ValueError:
        return None


def _last_error(lines: Sequence[str]) -> str | None:
    """The last line that reads like the end of a traceback."""
    return next((line.strip()[:300] for line in reversed(lines) if _ERROR_LINE.fullmatch(line.strip())), None)
