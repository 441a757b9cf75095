"""Do `builtin` and `aiperf` measure the same? Both load one server in turn, with the same prompts; medians side by side.

The server is llama.cpp's, from the `xllamacpp` wheel, with SmolLM2-135M on one CPU; the clients share the others. ITL is
each request's mean, as aiperf defines it. The claim is a difference of at most 3 %; the exit status is 1 when it does not
hold. The difference of two halves of builtin's own rounds is printed beside it: what the machine's noise alone makes.

    PATH=AIPERF_VENV/bin:$PATH python benchmarks/client_agreement.py [--rounds 4] [--requests 20] [--paced]
"""

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from sparkray.client import Load, LoadResult, Target, run_load

MOST = 0.03
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
SERVER = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.hostnames, params.port = sys.argv[1], ["127.0.0.1"], int(sys.argv[2])
params.n_ctx, params.n_parallel, params.cache_prompt, params.cache_ram_mib = 4096, int(sys.argv[3]), False, 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
sys.stdin.read()
"""
PACED = """
import asyncio, json, sys
async def serve(reader, writer):
    while head := (await reader.readuntil(b"\\r\\n\\r\\n")).lower():
        length = int(head.partition(b"content-length:")[2].split(b"\\r\\n")[0] if b"content-length" in head else 0)
        asked = json.loads(await reader.readexactly(length))["max_tokens"] if length else 0
        kind = b"text/event-stream\\r\\nTransfer-Encoding: chunked" if length else b"text/plain\\r\\nContent-Length: 0"
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: " + kind + b"\\r\\n\\r\\n")
        for number in range(asked):
            await asyncio.sleep(0.03 if number else 0.2)
            send(writer, {"choices": [{"text": " a", "finish_reason": None if number + 1 < asked else "length"}]})
        if length:
            send(writer, {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": asked}})
            writer.write(b"e\\r\\ndata: [DONE]\\n\\n\\r\\n0\\r\\n\\r\\n")
def send(writer, document):
    event = b"data: " + json.dumps({"object": "text_completion", **document}).encode() + b"\\n\\n"
    writer.write(b"%x\\r\\n%s\\r\\n" % (len(event), event))
async def main():
    await (await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[2]))).serve_forever()
asyncio.run(main())
"""
"""200 ms to the first token, 30 ms between tokens: what remains is the clients' difference, not the noise of computing."""
Values = dict[str, list[float]]


@contextmanager
def server(script: str, model: Path, concurrency: int, cpu: int) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", script, str(model), str(port), str(concurrency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            os.sched_setaffinity(process.pid, [cpu])
            url = f"http://127.0.0.1:{port}"
            while process.poll() is None and not ready(url):
                time.sleep(0.2)
            yield url
        finally:
            process.kill()


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/health"):
            return True
    except (OSError, urllib.error.HTTPError):
        return False


def values(result: LoadResult) -> Values:
    """Each quantity of the counted requests, in ms, and the throughput of the load."""
    wrong = [r.error for r in result.requests if r.error is not None]
    if wrong:
        raise SystemExit(f"{result.client}: {wrong[0]}")
    counted = [r for r in result.requests if not r.warmup]
    span = max(r.end_ns for r in counted) - min(r.submit_ns for r in counted)
    return {
        "TTFT ms": [(r.first_token_ns - r.submit_ns) / 1e6 for r in counted],
        "ITL ms": [(r.end_ns - r.first_token_ns) / 1e6 / (r.output_tokens - 1) for r in counted],
        "latency ms": [(r.end_ns - r.submit_ns) / 1e6 for r in counted],
        "throughput tok/s": [sum(r.output_tokens for r in counted) / span * 1e9],
    }


def joined(rounds: list[Values]) -> Values:
    return {name: [value for one in rounds for value in one[name]] for name in rounds[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--output-tokens", type=int, default=48)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--paced", action="store_true", help="a server that sleeps in place of one that computes")
    parser.add_argument("--model", type=Path, default=Path.home() / ".cache" / "sparkray" / "models" / MODEL)
    options = parser.parse_args()
    first, *others = sorted(os.sched_getaffinity(0))
    prompts = [f"{n}. Write a long story about a cat that counts to {n}." for n in range(options.requests + 2)]
    load = Load(prompts, options.output_tokens, concurrency=options.concurrency, warmup=2)
    rounds: dict[str, list[Values]] = {"builtin": [], "aiperf": []}
    with server(PACED if options.paced else SERVER, options.model, options.concurrency, first) as url:
        target = Target(url, "m", request_options={"ignore_eos": True, "seed": 0})
        for number in range(options.rounds):
            for client in sorted(rounds, reverse=number % 2 == 0):
                result = run_load(target, load, client=client, cpus=others or [first])
                rounds[client].append(values(result))
                print(f"round {number} {result.client:<14}", *result.notes, file=sys.stderr, flush=True)
    ours, theirs = joined(rounds["builtin"]), joined(rounds["aiperf"])
    halves = joined(rounds["builtin"][::2]), joined(rounds["builtin"][1::2] or rounds["builtin"])
    print(f"{'median of':<18}{'builtin':>10}{'aiperf':>10}{'difference':>12}{'noise':>9}")
    worst = 0.0
    for name in ours:
        a, b = median(ours[name]), median(theirs[name])
        noise = median(halves[1][name]) / median(halves[0][name]) - 1
        worst = max(worst, abs(b / a - 1))
        print(f"{name:<18}{a:>10.3f}{b:>10.3f}{b / a - 1:>+12.2%}{noise:>+9.2%}")
    print(f"WORST {worst:.2%} (limit {MOST:.0%}): {'ok' if worst <= MOST else 'MISSED'}")
    return 0 if worst <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
