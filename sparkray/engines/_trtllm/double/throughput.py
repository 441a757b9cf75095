"""`trtllm-bench throughput`, simulated."""

import json
import os
import random
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from . import gpu
from .checkpoint import Checkpoint
from .console import log, memory
from .prepare import apply_options_file, prepare
from .report import iteration_lines
from .results import write_results
from .schedule import Machine, Played, Prompt, play
from .settings import Settings
from .versions import text

GIB = 2**30
OVERHEAD_GIB = 2.9
LIBRARY_FRACTION = 0.9
NS = 1e9
Values = dict[str, Any]


def throughput(settings: Settings, values: Values) -> int:
    """The whole subcommand; the value is the exit status."""
    _mark(settings, values)
    log(settings, "prepare_throughput")
    try:
        model, prompts = prepare(settings, values)
    except Exception:  # noqa: BLE001 - the tool dies of whatever it is, with a traceback
        sys.stderr.write(traceback.format_exc())
        return 1
    try:
        _run(settings, values, model=model, prompts=prompts)
    except KeyboardInterrupt:
        log(settings, "interrupted")
    except Exception:  # noqa: BLE001 - as the tool does it
        if settings.has("catches_errors"):
            log(settings, "failed", "E", trace=traceback.format_exc())
        else:
            sys.stderr.write(traceback.format_exc())
        return 1
    return 0


def _mark(settings: Settings, values: Values) -> None:
    if values["report_json"]:
        note = Path(values["report_json"]).parent / "sparkray-double.json"
        note.write_text(json.dumps({"simulated": True, **asdict(settings)}, indent=2))


def _run(settings: Settings, values: Values, *, model: Checkpoint, prompts: Sequence[Prompt]) -> None:
    log(settings, "set_up")
    apply_options_file(settings, values, prompts)
    kv_bytes = _kv_bytes(settings, values, model)
    gpu.start_engine(settings)
    memory(settings, values, model=model, kv_bytes=kv_bytes)
    if values["warmup"] > 0:
        log(settings, "set_up_warmup")
        log(settings, "warmup")
        with _benchmark(settings, values["warmup"]):
            pass
        log(settings, "warmup_done")
    played = _play(settings, values, model=model, prompts=prompts)
    with _benchmark(settings, len(played), iterations=values["iteration_log"] is not None) as monitor:
        origin = time.perf_counter_ns()
        span_s = max(one.end for one in played) / NS
        _pass_time(settings, span_s)
        if settings.fault == "crash":
            os.abort()
        if settings.fault == "sigint":
            raise KeyboardInterrupt
        if values.get("duration") is not None and span_s >= values["duration"]:
            log(settings, "duration_reached")
    if values["iteration_log"]:
        kv_tokens = int(kv_bytes // model.kv_per_token)
        Path(values["iteration_log"]).write_text("".join(iteration_lines(values, played, kv_tokens)))
    log(settings, "done")
    energy = monitor is not None and monitor.known
    write_results(settings, values, model=model, played=played, origin=origin, energy=energy)


@contextmanager
def _benchmark(settings: Settings, count: int, *, iterations: bool = False) -> Iterator[gpu.EnergyMonitor | None]:
    """The log lines around one asynchronous benchmark, be it the warm-up or the measured one, and its energy."""
    log(settings, "start_task")
    log(settings, "start")
    monitor = gpu.EnergyMonitor() if settings.has("energy_monitor") else None
    try:
        with monitor or nullcontext():
            if iterations:
                log(settings, "iteration_log_starts")
            seconds = 0.0001 * count
            log(settings, "submitted", count=count, seconds=seconds, rate=count / seconds)
            yield monitor
        log(settings, "complete")
    finally:
        log(settings, "stop_backend")
        if iterations:
            log(settings, "iteration_log_ends")
        log(settings, "backend_stopped")


def _kv_bytes(settings: Settings, values: Values, model: Checkpoint) -> float:
    left = settings.memory_gib * GIB - model.resident - OVERHEAD_GIB * GIB
    if left <= 0 or settings.fault == "oom":
        raise RuntimeError(text("no_memory"))
    size = left * (values["kv_cache_free_gpu_mem_fraction"] or LIBRARY_FRACTION)
    if values["kv_max_tokens"]:
        size = min(size, values["kv_max_tokens"] * model.kv_per_token)
    if size < values["max_seq_len"] * model.kv_per_token:
        raise RuntimeError(text("small_kv_cache", gib=size / GIB))
    return float(size)


def _play(settings: Settings, values: Values, *, model: Checkpoint, prompts: Sequence[Prompt]) -> list[Played]:
    wanted = list(prompts)
    if settings.fault == "wrong_count":
        wanted = wanted[:-1]
    if settings.fault == "short_output":
        wanted = [replace(prompt, output_tokens=prompt.output_tokens - 1) for prompt in wanted]
    machine = Machine(settings.bandwidth, slowness=2.0 if settings.fault == "slow" else 1.0)
    noise = random.Random(settings.seed)  # noqa: S311 - noise, no secret
    return play(
        wanted,
        model,
        machine=machine,
        slots=values["max_batch_size"],
        concurrency=values["concurrency"],
        noise=noise,
    )


def _pass_time(settings: Settings, simulated_s: float) -> None:
    if settings.fault == "hang":
        while True:
            time.sleep(0.1)
    wait = 0.3 + min(0.7, simulated_s / 1000) if settings.scale is None else simulated_s * settings.scale
    time.sleep(wait)
