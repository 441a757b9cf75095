"""Drives NVIDIA's `aiperf` as a process and reads its records into the same rows as the `builtin` generator's.

Facts are of aiperf 0.13. Its times are of the wall clock; they are moved to the monotonic clock by the difference of the two
at the start, and a change of that difference during the load is a note. Its warm-up runs at the load's concurrency.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from sparkray.client import Load, LoadResult, Target
from sparkray.client._builtin import last_line
from sparkray.client._rows import Row, asked, result_of
from sparkray.errors import ClientFailedError, ConfigError, HostError
from sparkray.units import NS_PER_MS

_PATIENCE_S = 15.0
_STEP_MS = 1.0
_PINNED = (
    "import os,sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); os.execv(sys.argv[2], sys.argv[2:])"
)
_ARRIVALS = {"constant": "constant", "poisson": "poisson"}
_TOKENIZER = {
    "tokenizer.json": {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
    },
    "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"},
}
"""aiperf wants a tokenizer, and its own comes from the network. Tokens are counted by the server, so any will do."""


def run(target: Target, load: Load, *, cpus: Sequence[int] | None, stop_fd: int | None) -> LoadResult:
    """See `client.run_load`. Raises ConfigError for a load that aiperf cannot make, HostError where it is missing."""
    _supported(load)
    program = find_program()
    with tempfile.TemporaryDirectory(prefix="sparkray-aiperf-") as name:
        folder, log = Path(name), Path(name) / "aiperf.log"
        argv = [program, *command(target, load, folder)]
        if cpus is not None:
            argv = [sys.executable, "-c", _PINNED, ",".join(map(str, sorted(cpus))), *argv]
        offset_ns = time.monotonic_ns() - time.time_ns()
        stopped, code, cpu_s = _run(argv, log, stop_fd)
        step_ms = (time.monotonic_ns() - time.time_ns() - offset_ns) / NS_PER_MS
        rows = read_records(folder / "out", load, offset_ns)
        if not stopped and len(rows) < len(load.prompts):
            raise ClientFailedError(
                f"aiperf ended with status {code} after {len(rows)} of {len(load.prompts)} requests: {last_line(log)}"
            )
        version = _version(folder / "out")
    result = result_of(rows, load, ended="stopped" if stopped else "complete", cpu_s=cpu_s)
    moved = f"the wall clock, which aiperf uses, moved by {step_ms:+.1f} ms against the monotonic clock"
    notes = (*result.notes, moved) if abs(step_ms) > _STEP_MS else result.notes
    return replace(result, client=f"aiperf {version}", max_rate_share=None, notes=notes)


def find_program(*, path: str | None = None, python: Path = Path(sys.executable)) -> str:
    """Path of `aiperf`, beside the interpreter or on PATH. Raises HostError."""
    beside = python.with_name("aiperf")
    program = str(beside) if beside.exists() else shutil.which("aiperf", path=path)
    if program is None:
        remedy = "pip install 'sparkray[aiperf]', or install aiperf 0.13 elsewhere and put it on PATH"
        raise HostError("the load generator aiperf is not installed", remedy)
    return program


def _supported(load: Load) -> None:
    if not all(isinstance(prompt, str) for prompt in load.prompts):
        raise ConfigError("aiperf takes prompts as text, not as token ids", "Use the builtin load generator")
    if load.arrival.kind == "trace" or (load.most_in_flight, load.most_latency_s) != (None, None):
        raise ConfigError(
            "sparkray drives aiperf without traces and without bounds that end a load early", "Use builtin"
        )


def command(target: Target, load: Load, folder: Path) -> tuple[str, ...]:
    """Arguments of aiperf; the dataset and the tokenizer are written into `folder`."""
    lines = [
        json.dumps({"text": prompt, "output_length": asked(load, index)}) for index, prompt in enumerate(load.prompts)
    ]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    for name, content in _TOKENIZER.items():
        (folder / name).write_text(json.dumps(content))
    extra = {"temperature": 0, **{k: v for k, v in target.request_options.items() if v is not None}}
    options: list[tuple[str, object]] = [
        ("--model", target.model),
        ("--url", target.url.rstrip("/").removesuffix("/v1")),
        ("--endpoint-type", target.endpoint),
        ("--input-file", folder / "prompts.jsonl"),
        ("--custom-dataset-type", "single_turn"),
        ("--dataset-sampling-strategy", "sequential"),
        ("--tokenizer", folder),
        ("--request-count", len(load.prompts) - load.warmup),
        ("--request-timeout-seconds", load.timeout_s),
        ("--extra-inputs", json.dumps(extra)),
        ("--artifact-dir", folder / "out"),
        ("--export-level", "records"),
        ("--random-seed", load.seed),
        ("--ui", "none"),
    ]
    options += [("--header", f"{name}:{value}") for name, value in target.headers.items()]
    if load.warmup:
        options.append(("--warmup-request-count", load.warmup))
    if load.concurrency is not None:
        options.append(("--concurrency", load.concurrency))
    if load.arrival.kind in _ARRIVALS:
        options += [
            ("--request-rate", load.arrival.rate_req_s),
            ("--arrival-pattern", _ARRIVALS[load.arrival.kind]),
        ]
    flags = ("profile", "--streaming", "--use-server-token-count", "--use-legacy-max-tokens")
    return (*flags, *(str(word) for option in options for word in option))


def _run(argv: Sequence[str], log: Path, stop_fd: int | None) -> tuple[bool, int, float]:
    """Whether it was stopped, its exit status and the CPU seconds of its processes."""
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    ended = os.pidfd_open(process.pid)
    try:
        ready, _, _ = select.select([ended, *([] if stop_fd is None else [stop_fd])], [], [])
        stopped = ended not in ready
        if stopped:
            os.killpg(process.pid, signal.SIGINT)
            if not select.select([ended], [], [], _PATIENCE_S)[0]:
                os.killpg(process.pid, signal.SIGKILL)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        os.close(ended)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return stopped, process.returncode, usage.ru_utime + usage.ru_stime


def read_records(folder: Path, load: Load, offset_ns: int) -> list[Row]:
    """Rows of `profile_export.jsonl`; empty where there is none.

    Args:
        folder: aiperf's artifacts.
        load: What was asked for.
        offset_ns: Monotonic clock less wall clock.
    """
    try:
        sessions = json.loads((folder / "inputs.json").read_bytes())["data"]
        lines = (folder / "profile_export.jsonl").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    index = {session["session_id"]: number for number, session in enumerate(sessions)}
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    rows = [_row(record, index[record["metadata"]["conversation_id"]], offset_ns) for record in records]
    if load.arrival.kind in _ARRIVALS:
        for row, record in zip(rows, records, strict=True):
            row["due_ns"] = None if row["warmup"] else record["metadata"]["credit_issued_ns"] + offset_ns
    return rows


def _row(record: Mapping[str, Any], index: int, offset_ns: int) -> Row:
    metadata, metrics = record["metadata"], {name: m["value"] for name, m in record["metrics"].items()}
    submit_ns = metadata["request_start_ns"] + offset_ns
    row: Row = {
        "index": index,
        "warmup": metadata["benchmark_phase"] == "warmup",
        "due_ns": None,
        "submit_ns": submit_ns,
        "ended_ns": metadata["request_end_ns"] + offset_ns,
        "chunk_ns": [],
        "usage": (metrics.get("usage_prompt_tokens"), metrics.get("usage_completion_tokens")),
    }
    first_ms = metrics.get("time_to_first_token")
    if first_ms is not None:
        times_ms = accumulate(metrics.get("inter_chunk_latency") or (), initial=first_ms)
        row["chunk_ns"] = [submit_ns + round(ms * NS_PER_MS) for ms in times_ms]
    error = record.get("error")
    if error is not None or metadata["was_cancelled"]:
        row["error_kind"], row["error"] = _error(error or {}, cancelled=metadata["was_cancelled"])
    return row


def _error(error: Mapping[str, Any], *, cancelled: bool) -> tuple[str, str]:
    code, name = error.get("code"), str(error.get("type"))
    text = str(error.get("message") or "aiperf cancelled the request")
    if cancelled:
        return "interrupted", text
    if isinstance(code, int) and code >= 400:  # noqa: PLR2004 - HTTP's own number
        return "status", f"HTTP {code}: {text}"
    for kind, parts in (("timeout", ("Timeout",)), ("truncated", ("Payload",)), ("connection", ("Connect", "Reset"))):
        if any(part in name for part in parts):
            return kind, text
    return "server", text


def _version(folder: Path) -> str:
    try:
        return str(json.loads((folder / "profile_export_aiperf.json").read_bytes())["aiperf_version"])
    except (FileNotFoundError, KeyError, ValueError):
        return "of unknown version"
