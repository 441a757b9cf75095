"""The iteration log (`--iteration_log`): one Python `repr` of a dict a line, which is not JSON.

Written only when the option `iteration_log` is on, since the statistics cost the engine some time. A last line that was
cut off, and lines that two writers mixed up, are left out and counted.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparkray.engines._trtllm.report import number

_NOT_FINITE = re.compile(r"(?<=[\s:,\[(])-?(?:nan|inf)(?=[\s,}\])])")
_LONGEST = 1_000_000


@dataclass(frozen=True)
class Iterations:
    """The iterations in the order of the file, and how many lines could not be read."""

    records: Sequence[Mapping[str, Any]]
    skipped: int = 0

    def summary(self) -> dict[str, Any]:
        """What concerns the whole run: KV cache in tokens and its peak use, peak GPU memory, iterations.

        GPU memory is total less free, as CUDA reports it: on a GB10 it holds the page cache.
        """
        caches = [cache for record in self.records if isinstance(cache := record.get("kvCacheStats"), Mapping)]
        sizes = [size for cache in caches if (size := _tokens(cache)) is not None]
        used = [blocks for cache in caches if (blocks := number(cache.get("usedNumBlocks"))) is not None]
        memory = [taken for record in self.records if (taken := number(record.get("gpuMemUsage"))) is not None]
        return {
            "iterations": len(self.records),
            "iterations_skipped": self.skipped,
            "kv_cache_tokens": sizes[-1] if sizes else None,
            "kv_cache_peak_blocks": max(used, default=None),
            "gpu_memory_peak_bytes": max(memory, default=None),
        }


def read_iterations(text: str) -> Iterations:
    """The iterations. Any text has an answer."""
    lines = [line for line in text.splitlines() if line.strip()]
    parsed = [_record(line) for line in lines]
    records = [record for record in parsed if record is not None]
    return Iterations(records, skipped=len(lines) - len(records))


def _tokens(cache: Mapping[str, Any]) -> int | None:
    blocks, size = number(cache.get("maxNumBlocks")), number(cache.get("tokensPerBlock"))
    tokens = None if blocks is None or size is None else number(blocks * size)
    return None if tokens is None else int(tokens)


def _record(line: str) -> Mapping[str, Any] | None:
    if len(line) > _LONGEST:
        return None
    try:
        value = ast.literal_eval(_NOT_FINITE.sub("None", line.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
