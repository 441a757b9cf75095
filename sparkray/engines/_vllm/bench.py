"""`vllm bench latency` and `vllm bench throughput`: the command, and the requests in the report that each leaves."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparkray.engines import EngineCommand, Job, Paths
from sparkray.engines._vllm.options import engine_arguments
from sparkray.engines.server import sizes_of
from sparkray.errors import ConfigError, EngineOutputError
from sparkray.records import Request
from sparkray.units import NS_PER_S

REPORT = "report.json"
PROGRAM = ("python3", "-m", "vllm.entrypoints.cli.main")


def bench_command(job: Job, paths: Paths, environment: Mapping[str, str]) -> EngineCommand:
    """The command of an offline run; `environment` are variables beside those of the arm.

    Raises:
        ConfigError: The load cannot be made by the benchmark.
    """
    load, options = job.workload, job.options
    if load.input_spread or load.output_spread:
        raise ConfigError(
            "vllm bench makes requests of one length: input_spread and output_spread must be 0", "Set both to 0"
        )
    context, batch = sizes_of(job)
    own = _latency(job) if options["tool"] == "latency" else _throughput(job)
    caching = "--enable-prefix-caching" if options["prefix_caching"] else "--no-enable-prefix-caching"
    argv = (
        *(*(options["program"] or PROGRAM), "bench", options["tool"], "--model", paths.model),
        *("--max-model-len", str(context), "--max-num-seqs", str(batch), caching),
        *engine_arguments(options, job.card, paths.model),
        *("--seed", str(job.seed)),
        *own,
        *("--output-json", f"{paths.output}/{REPORT}"),
        *options["arguments"],
    )
    return EngineCommand(argv, environment, dataset_sha256=_digest(job))


def _digest(job: Job) -> str:
    """The hash of what fixes the prompts: vLLM draws them itself."""
    load = job.workload
    drawn = [job.options["tool"], job.seed, load.requests, load.warmup_requests, load.input_tokens, load.output_tokens]
    return hashlib.sha256(json.dumps(drawn).encode()).hexdigest()


def batch_of(job: Job) -> int:
    """Sequences of one batch of `latency`.

    Raises:
        ConfigError: The requests are no whole number of batches.
    """
    batch, requests = job.concurrency, job.workload.requests
    if requests % batch:
        raise ConfigError(
            f"{requests} requests are no whole number of batches of {batch}, which vllm bench latency runs",
            f"Ask for {max(1, requests // batch) * batch}: --requests {max(1, requests // batch) * batch}",
        )
    return batch


def _latency(job: Job) -> tuple[str, ...]:
    load, batch = job.workload, batch_of(job)
    return (
        *("--input-len", str(load.input_tokens), "--output-len", str(load.output_tokens), "--batch-size", str(batch)),
        *("--num-iters-warmup", str(-(-load.warmup_requests // batch)), "--num-iters", str(load.requests // batch)),
    )


def _throughput(job: Job) -> tuple[str, ...]:
    load = job.workload
    return (
        *("--dataset-name", "random", "--random-input-len", str(load.input_tokens)),
        *("--random-output-len", str(load.output_tokens), "--num-prompts", str(load.requests)),
    )


def read_requests(path: Path, job: Job) -> tuple[Request, ...]:
    """The requests of a report. They end when the report was written, and lie back to back before that.

    `latency` reports the time of each batch, so the requests of a batch share it. `throughput` reports only the time of
    all together, so every request has that.

    Raises:
        EngineOutputError: There is no report, it cannot be read, or it is about another number of requests.
    """
    report = _report(path)
    load = job.workload
    try:
        if job.options["tool"] == "latency":
            times, batch = [float(value) for value in report["latencies"]], batch_of(job)
        else:
            times, batch = [float(report["elapsed_time"])], int(report["num_requests"])
            _expect(int(report["total_num_tokens"]), load.requests * (load.input_tokens + load.output_tokens), "tokens")
    except (KeyError, TypeError, ValueError) as error:
        raise EngineOutputError(f"the report of vllm bench has an unexpected shape: {error!r}") from None
    _expect(len(times) * batch, load.requests, "requests")
    if not all(0 < value < float("inf") for value in times):
        raise EngineOutputError(f"the report of vllm bench has a time that is none: {times}")
    return _back_to_back(times, batch, job=job, end_ns=_monotonic_ns(path))


def _report(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise EngineOutputError(f"vllm bench left no {path.name}", "See the end of its log") from None
    except (OSError, ValueError) as error:
        raise EngineOutputError(f"the report of vllm bench cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise EngineOutputError(f"the report of vllm bench must be a JSON object, not {type(document).__name__}")
    return document


def _expect(found: int, wanted: int, what: str) -> None:
    if found != wanted:
        raise EngineOutputError(f"vllm bench reports {found} {what}, asked for were {wanted}")


def _monotonic_ns(path: Path) -> int:
    """When a file was written, on the clock of the samples."""
    # In steps of 10 ms, so that two readings of a run give the same times.
    return path.stat().st_mtime_ns - round(time.time_ns() - time.monotonic_ns(), -7)


def _back_to_back(times_s: Sequence[float], batch: int, *, job: Job, end_ns: int) -> tuple[Request, ...]:
    begin_ns = end_ns - round(sum(times_s) * NS_PER_S)
    requests: list[Request] = []
    for time_s in times_s:
        finish_ns = begin_ns + round(time_s * NS_PER_S)
        requests += [
            Request(
                index=len(requests) + number,
                warmup=False,
                input_tokens=job.workload.input_tokens,
                output_tokens=job.workload.output_tokens,
                submit_ns=begin_ns,
                first_token_ns=None,
                end_ns=finish_ns,
            )
            for number in range(batch)
        ]
        begin_ns = finish_ns
    return tuple(requests)
