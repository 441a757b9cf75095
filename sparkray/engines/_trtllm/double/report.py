"""The report, the request file and the iteration log in each version's schema."""

from collections.abc import Sequence
from typing import Any

from .checkpoint import Checkpoint
from .schedule import Played
from .settings import Settings
from .versions import table

Numbers = Sequence[float]
NS_PER_MS = 1e6
BLOCK = 32
WATTS = 55.0


def percentiles(values: Numbers) -> dict[str, float]:
    """As the tool takes them: `sorted[int(n*q)]`, without interpolation."""
    ordered = sorted(values)
    count = len(ordered)
    named = {f"p{q}": ordered[min(count - 1, count * q // 100)] for q in (50, 90, 95, 99)}
    return {**named, "minimum": ordered[0], "maximum": ordered[-1], "average": sum(ordered) / count}


def request_records(played: Sequence[Played], origin: int, *, streaming: bool) -> list[dict[str, Any]]:
    """`--request_json`; `origin` is `perf_counter_ns` at the start of the measurement."""
    return [_record(one, origin, streaming=streaming) for one in played]


def _record(one: Played, origin: int, *, streaming: bool) -> dict[str, Any]:
    whole, generated = one.end - one.start, one.output_tokens - 1
    first = origin + one.first if streaming else -1
    generation = one.end - one.first if streaming else whole
    return {
        "id": one.id,
        "num_input_tokens": one.input_tokens,
        "error_tokens": 0,
        "start_timestamp": origin + one.start,
        "first_token_timestamp": first,
        "end_timestamp": origin + one.end,
        "decode_iteration": generated,
        "num_total_output_tokens": one.output_tokens,
        "num_generated_tokens": generated,
        "generation_time": generation,
        "time_to_first_token": one.first - one.start if streaming else 0.0,
        "intertoken_latency": (origin + one.end - first) / generated if generated > 0 else 0.0,
        "end_to_end_latency": whole,
        "total_token_throughput": (one.input_tokens + one.output_tokens) / max(1, whole),
        "generation_token_throughput": generated / max(1, generation),
        "output_token_throughput": one.output_tokens / max(1, whole),
        "output": "",
        "output_tokens": one.output_tokens,
    }


def report(
    values: dict[str, Any],
    model: Checkpoint,
    *,
    settings: Settings,
    played: Sequence[Played],
    machine: dict[str, Any] | None,
    energy: bool,
) -> dict[str, Any]:
    """`--report_json`; `energy` is whether NVML reported it."""
    document: dict[str, Any] = {"engine": _engine(values, model, settings)}
    if settings.has("machine_query"):
        document["machine"] = machine
    document["world_info"] = _world(values, played)
    document["request_info"] = _request_info(played)
    document["performance"] = _performance(values, played)
    if energy:
        document["energy"] = _energy(played)
    if values["streaming"]:
        document["streaming_metrics"] = _streaming(played)
    lengths = [(one.input_tokens, one.output_tokens) for one in played]
    document["dataset"] = dataset_statistics(lengths, values["dataset"])
    return document


def _engine(values: dict[str, Any], model: Checkpoint, settings: Settings) -> dict[str, Any]:
    other = "Qwen/Qwen2.5-0.5B" if settings.fault == "wrong_model" else values["model"]
    return {
        "model": other,
        "model_path": str(values["model_path"]),
        "engine_dir": "None",
        "version": settings.full,
        "backend": "Pytorch",
        "dtype": model.dtype,
        "kv_cache_dtype": None,
        "quantization": model.quantization,
    }


def _world(values: dict[str, Any], played: Sequence[Played]) -> dict[str, Any]:
    starts = [one.start for one in played]
    return {
        "tp_size": values["tp"],
        "pp_size": values["pp"],
        "ep_size": values["ep"],
        "world_size": values["tp"] * values["pp"],
        "max_batch_size": values["max_batch_size"],
        "max_num_tokens": values["max_num_tokens"],
        "scheduling_policy": values["scheduler_policy"].upper(),
        "kv_cache_percentage": values["kv_cache_free_gpu_mem_fraction"],
        "issue_rate": (max(starts) - min(starts)) / len(played) * 1e9,
    }


def _request_info(played: Sequence[Played]) -> dict[str, Any]:
    count = len(played)
    return {
        "num_requests": count,
        "avg_num_concurrent_requests": sum(one.end - one.start for one in played) / _span(played),
        "avg_input_length": sum(one.input_tokens for one in played) / count,
        "avg_output_length": sum(one.output_tokens for one in played) / count,
    }


def _performance(values: dict[str, Any], played: Sequence[Played]) -> dict[str, Any]:
    seconds = _span(played) / 1e9
    outputs = sum(one.output_tokens for one in played)
    inputs = sum(one.input_tokens for one in played)
    latencies = [(one.end - one.start) / NS_PER_MS for one in played]
    return {
        "total_latency_ms": seconds * 1e3,
        "avg_request_latency_ms": sum(latencies) / len(latencies),
        "request_throughput_req_s": len(played) / seconds,
        "system_output_throughput_tok_s": outputs / seconds,
        "system_total_throughput_tok_s": (inputs + outputs) / seconds,
        "output_throughput_per_user_tok_s": sum(one.output_tokens / (one.end - one.start) for one in played)
        / len(played)
        * 1e9,
        "output_throughput_per_gpu_tok_s": outputs / seconds / (values["tp"] * values["pp"]),
        "request_latency_percentiles_ms": percentiles(latencies),
    }


def _energy(played: Sequence[Played]) -> dict[str, float]:
    seconds = _span(played) / 1e9
    rate = sum(one.output_tokens for one in played) / seconds
    return {"total_energy_j": WATTS * seconds, "output_tps_per_w": rate / WATTS, "average_gpu_power": WATTS}


def _streaming(played: Sequence[Played]) -> dict[str, Any]:
    ttft = [(one.first - one.start) / NS_PER_MS for one in played]
    tpot = [(one.end - one.first) / NS_PER_MS / max(1, one.output_tokens - 1) for one in played]
    speed = [1e3 / value if value else 0.0 for value in tpot]
    return {
        "token_output_speed_tok_s": sum(speed) / len(speed),
        "avg_ttft_ms": sum(ttft) / len(ttft),
        "avg_tpot_ms": sum(tpot) / len(tpot),
        "ttft_percentiles": percentiles(ttft),
        "tpot_percentiles": percentiles(tpot),
        "gen_tps_percentiles": percentiles(speed),
    }


def dataset_statistics(lengths: Sequence[tuple[int, int]], path: object) -> dict[str, Any]:
    """The report's `dataset`, from the input and output tokens of each request."""
    inputs, outputs = [one for one, _ in lengths], [one for _, one in lengths]
    totals = [sum(pair) for pair in lengths]
    named = (("isl", inputs), ("osl", outputs), ("sequence_length", totals))
    return {
        "isl_stats": percentiles(inputs),
        "osl_stats": percentiles(outputs),
        "seq_len_stats": percentiles(totals),
        "num_requests": len(lengths),
        "dataset_path": str(path),
        **{f"max_{name}": max(numbers) for name, numbers in named},
        **{f"avg_{name}": sum(numbers) // len(numbers) for name, numbers in named},
    }


def _span(played: Sequence[Played]) -> int:
    return max(1, max(one.end for one in played) - min(one.start for one in played))


def iteration_lines(values: dict[str, Any], played: Sequence[Played], kv_tokens: int, *, most: int = 200) -> list[str]:
    """`--iteration_log`: a Python repr a line."""
    steps = sum(one.output_tokens for one in played) // values["max_batch_size"] + 1
    blocks = kv_tokens // BLOCK
    each = max(1, steps // most)
    took = _span(played) / NS_PER_MS / steps
    return [repr(_iteration(values, step, took=took, blocks=blocks)) + "\n" for step in range(0, steps, each)]


def _iteration(values: dict[str, Any], step: int, *, took: float, blocks: int) -> dict[str, Any]:
    batch, tokens = values["max_batch_size"], values["max_num_tokens"]
    used = min(blocks, batch * 20)
    fixed = table()["iteration"]
    kv_cache = {"maxNumBlocks": blocks, "freeNumBlocks": blocks - used}
    kv_cache |= dict.fromkeys(("usedNumBlocks", "allocTotalBlocks", "allocNewBlocks", "missedBlocks"), used)
    return {
        **fixed,
        "timestamp": f"11-22-2026 12:00:00.{step % 1_000_000:06d}",
        "iter": step,
        "iterLatencyMS": took,
        **dict.fromkeys(
            ("numActiveRequests", "maxNumActiveRequests", "maxBatchSizeStatic", "maxBatchSizeRuntime"), batch
        ),
        **dict.fromkeys(("maxNumTokensStatic", "maxNumTokensRuntime"), tokens),
        "kvCacheStats": {**fixed["kvCacheStats"], **kv_cache},
        "inflightBatchingStats": {
            **fixed["inflightBatchingStats"],
            **dict.fromkeys(("numScheduledRequests", "numGenRequests"), batch),
        },
    }
