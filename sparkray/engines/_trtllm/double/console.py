"""The tool's log lines, in the form of each version."""

import sys
import time
from typing import Any

from .checkpoint import Checkpoint
from .report import BLOCK
from .settings import Settings
from .versions import text

GIB = 2**30


def banner(settings: Settings) -> None:
    """The first line of every call: `import tensorrt_llm` prints it."""
    write(text("banner", settings.minor, full=settings.full))


def log(settings: Settings, key: str, level: str = "I", /, *, module: str = "bench", **values: object) -> None:
    """One record of the Python logger: a text of this version."""
    record(settings, text(key, settings.minor, **values), level, module=module)


def record(settings: Settings, words: str, level: str = "I", *, module: str = "bench", form: str = "record") -> None:
    """One record of the Python logger, whatever its words."""
    stamp = time.strftime("[%m/%d/%Y-%H:%M:%S]")
    write(text(form, settings.minor, stamp=stamp, level=level, module=module, text=words))


def write(line: str) -> None:
    """A line of standard output, at once: a killed tool's log must be there."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def memory(settings: Settings, values: dict[str, Any], *, model: Checkpoint, kv_bytes: float) -> None:
    """Loading, profiling, and the KV cache: first the one for profiling, then the final one."""
    weights, outside = model.resident / GIB, 1.8
    peak = weights + outside + 1.1
    _worker(settings, "model_init", seconds=model.resident / 2e9)
    _kv_cache(settings, values, model=model, size=0.02 * kv_bytes)
    _worker(settings, "profile", weights=weights, outside=outside)
    _worker(
        settings,
        "peak",
        peak=peak,
        room=settings.memory_gib - peak,
        fraction=values["kv_cache_free_gpu_mem_fraction"],
        kv_per_token=model.kv_per_token,
        total=settings.memory_gib,
        kv_tokens=int(kv_bytes // model.kv_per_token),
        kv_gib=kv_bytes / GIB,
    )
    _worker(settings, "limits", **{key: value for key, value in values.items() if key.startswith("max_")})
    _kv_cache(settings, values, model=model, size=kv_bytes)


def _worker(settings: Settings, key: str, /, **values: object) -> None:
    """A record a line, of the process that runs the model: it alone has a rank."""
    for line in text(key, settings.minor, **values).splitlines():
        record(settings, line, form="worker_record", module="_torch")


def _kv_cache(settings: Settings, values: dict[str, Any], *, model: Checkpoint, size: float) -> None:
    """Manager V2 logs its quota, unrounded and without a space; the older one, in C++, its blocks."""
    tokens = int(size // model.kv_per_token // BLOCK) * BLOCK
    gib = tokens * model.kv_per_token / GIB
    if settings.has("kv_cache_manager_v2") and values["kv_manager_v2"]:
        _worker(settings, "kv_quota", gib=gib)
    else:
        write(text("kv_cache", block=BLOCK, gib=gib, tokens=tokens))
