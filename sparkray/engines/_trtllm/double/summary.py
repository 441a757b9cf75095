"""The report for people: the table of the dataset before a run, and all sections after it."""

from collections.abc import Iterator, Mapping
from typing import Any

from .report import ENERGY_SINCE, MACHINE_SINCE, REVISION_SINCE
from .settings import Settings

_LINE = "=" * 59
_ORDER = ("minimum", "maximum", "average", "p50", "p90", "p95", "p99")
_WIDE = 100_000
Section = Mapping[str, Any]


def dataset_table(dataset: Section) -> str:
    """The table of input and output lengths."""
    rows = [("MIN", "minimum"), ("MAX", "maximum"), ("AVG", "average")]
    rows += [(f"P{q}", f"p{q}") for q in (50, 90, 95, 99)]
    lines = ["", _LINE, "= DATASET DETAILS", _LINE]
    lines += [f"Dataset Path:         {dataset['dataset_path']}", f"Number of Sequences:  {dataset['num_requests']}"]
    lines += ["", "-- Percentiles statistics ---------------------------------", ""]
    lines += ["        Input              Output           Seq. Length", "-" * 59]
    for name, key in rows:
        cells = (_cell(dataset[part][key]) for part in ("isl_stats", "osl_stats", "seq_len_stats"))
        lines.append(f"{name}:  " + (" " * 10).join(cells))
    return "\n".join([*lines, _LINE, ""])


def summary(settings: Settings, document: Section) -> str:
    """All sections, as one record of many lines."""
    parts = [*_engine(settings, document["engine"]), "", *_requests(document["request_info"])]
    if settings.minor >= MACHINE_SINCE:
        parts += ["", *_machine(document["machine"])]
    parts += ["", *_world(document["world_info"]), "", *_performance(document["performance"])]
    if settings.minor >= ENERGY_SINCE and "energy" in document:
        parts += _energy(document["energy"])
    if "streaming_metrics" in document:
        parts += _streaming(document["streaming_metrics"])
    parts += ["", "-- Request Latency Breakdown (ms) -----------------------", ""]
    latencies = document["performance"]["request_latency_percentiles_ms"]
    parts += [f"[Latency] {key.upper():<7}: {value:.4f}" for key, value in latencies.items()]
    return "\n\n" + "\n".join(parts) + "\n" + dataset_table(document["dataset"])


def _title(name: str) -> tuple[str, str, str]:
    return _LINE, f"= {name}", _LINE


def _engine(settings: Settings, engine: Section) -> Iterator[str]:
    yield from _title("PYTORCH BACKEND")
    yield f"Model:\t\t\t{engine['model']}"
    yield f"Model Path:\t\t{engine['model_path']}"
    if settings.minor >= REVISION_SINCE:
        yield "Revision:\t\tN/A"
    yield f"TensorRT LLM Version:\t{engine['version']}"
    yield f"Dtype:\t\t\t{engine['dtype']}"
    yield f"KV Cache Dtype:\t\t{engine['kv_cache_dtype']}"
    yield f"Quantization:\t\t{engine['quantization']}"


def _requests(requests: Section) -> Iterator[str]:
    yield from _title("REQUEST DETAILS ")
    yield f"Number of requests:             {requests['num_requests']}"
    yield f"Number of concurrent requests:  {requests['avg_num_concurrent_requests']:.4f}"
    yield f"Average Input Length (tokens):  {requests['avg_input_length']:.4f}"
    yield f"Average Output Length (tokens): {requests['avg_output_length']:.4f}"


def _machine(machine: Section | None) -> Iterator[str]:
    yield from _title("MACHINE DETAILS ")
    if machine is None:
        yield "No GPU info available"
        return
    clock = "N/A" if machine["clocks.mem"] is None else f"{machine['clocks.mem']:.2f} GHz"
    yield f"{machine['name']}, memory {machine['memory.total']:.2f} GB, {clock}"


def _world(world: Section) -> Iterator[str]:
    fraction = world["kv_cache_percentage"]
    yield from _title("WORLD + RUNTIME INFORMATION ")
    yield f"TP Size:                {world['tp_size']}"
    yield f"PP Size:                {world['pp_size']}"
    yield f"EP Size:                {world['ep_size']}"
    yield f"Max Runtime Batch Size: {world['max_batch_size']}"
    yield f"Max Runtime Tokens:     {world['max_num_tokens']}"
    yield f"Scheduling Policy:      {world['scheduling_policy']}"
    yield f"KV Memory Percentage:   {None if fraction is None else format(fraction, '.2%')}"
    yield f"Issue Rate (req/sec):   {world['issue_rate']:.4E}"


def _performance(performance: Section) -> Iterator[str]:
    yield from _title("PERFORMANCE OVERVIEW ")
    yield f"Request Throughput (req/sec):                     {performance['request_throughput_req_s']:.4f}"
    yield f"Total Output Throughput (tokens/sec):             {performance['system_output_throughput_tok_s']:.4f}"
    yield f"Total Token Throughput (tokens/sec):              {performance['system_total_throughput_tok_s']:.4f}"
    yield f"Total Latency (ms):                               {performance['total_latency_ms']:.4f}"
    yield f"Average request latency (ms):                     {performance['avg_request_latency_ms']:.4f}"
    yield f"Per User Output Throughput [w/ ctx] (tps/user):   {performance['output_throughput_per_user_tok_s']:.4f}"
    yield f"Per GPU Output Throughput (tps/gpu):              {performance['output_throughput_per_gpu_tok_s']:.4f}"


def _energy(energy: Section) -> Iterator[str]:
    yield f"Total Energy (J):                                 {energy['total_energy_j']:.4f}"
    yield f"Output Tokens per Second per Watt (tps/W):        {energy['output_tps_per_w']:.4f}"
    yield f"Average GPU Power (W):                            {energy['average_gpu_power']:.4f}"


def _streaming(streaming: Section) -> Iterator[str]:
    yield f"Average time-to-first-token [TTFT] (ms):          {streaming['avg_ttft_ms']:.4f}"
    yield f"Average time-per-output-token [TPOT] (ms):        {streaming['avg_tpot_ms']:.4f}"
    yield f"Per User Output Speed (tps/user):                 {streaming['token_output_speed_tok_s']:.4f}"
    parts = (
        ("-- Per-Request Time-per-Output-Token [TPOT] Breakdown (ms)", "TPOT", "tpot_percentiles"),
        ("-- Per-Request Time-to-First-Token [TTFT] Breakdown (ms) ", "TTFT", "ttft_percentiles"),
        ("-- Per-Request Generation Throughput [GTPS] Breakdown (tps/user)", "GTPS", "gen_tps_percentiles"),
    )
    for title, name, key in parts:
        yield from ("", title, "", *(f"[{name}] {which.upper():<7}: {streaming[key][which]:.4f}" for which in _ORDER))


def _cell(value: float) -> str:
    """Nine characters."""
    return (f"{value:9.2e}" if value >= _WIDE else f"{value:9.4f}").ljust(9)
