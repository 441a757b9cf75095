"""What can the load generator keep up with, and what does it add? A null server streams chunks at set rates.

The server is another process, on another CPU, and its share is reported separately. It takes the time before and after
it sends a chunk, the client when it receives it (both read the same monotonic clock). "client" is from the end of the
send to the client's stamp: what the client adds. "added" is from before the send. "late" is how long after its due time
the server sent.
"others" is the share of the client's CPU that neither is: other processes, interrupts, a virtual machine's neighbours.
Each number is the median of `--repeats` loads.

A rate is sustained when 99 % of its chunks arrive in the time that the server takes, and the client's p99 is below 10 ms.
Claims: 20,000 chunks/s with 500 streams; a client's p99 below 2 ms with streams of 100 tokens/s. The exit status is 1 when
one does not hold. "by CPU" is the rate at which the client, which is one thread, would use one CPU wholly: it holds on a
busy machine too.

    python benchmarks/client_limits.py [--seconds 4] [--most-streams 500] [--repeats 3]
"""

import argparse
import heapq
import json
import os
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from sparkray.client import Load, Target, run_load

RATES = (5_000, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000)
AT_100 = (1, 10, 50, 100, 200)
MOST_P99_MS, SUSTAINED_P99_MS, ARRIVED = 2.0, 10.0, 0.99
QUIET_PCT = 5.0
CLAIMED = 20_000
CPUS = sorted(os.sched_getaffinity(0))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = {
    "id": "cmpl-0123456789abcdef0123456789abcdef",
    "object": "text_completion",
    "created": 1790000000,
    "model": "null",
    "choices": [{"index": 0, "text": " token", "logprobs": None, "finish_reason": None, "stop_reason": None}],
    "usage": None,
}


def chunk(data: str) -> bytes:
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


def serve(rate: float, sent_file: str) -> None:
    """One thread, sockets and a heap of due times: less work per chunk than any client. `rate` is per stream."""
    token, answers = chunk(json.dumps(EVENT)), {}
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    poll, streams, due = select.epoll(), {}, []
    poll.register(listener, select.EPOLLIN)
    sent: dict[int, list[tuple[int, int, int]]] = {}  # due, before the send, after it
    period, now = 1 / rate, time.monotonic
    going = True

    def stop(*_: object) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, stop)
    while going:
        for fd, _ in poll.poll(max(0.0, due[0][0] - now()) if due else 0.1):
            if fd == listener.fileno():
                stream, _ = listener.accept()
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                streams[stream.fileno()] = stream
                poll.register(stream, select.EPOLLIN)
                continue
            received = streams[fd].recv(65536)
            if not received:
                poll.unregister(fd)
                streams.pop(fd).close()
                continue
            answers[fd] = answers.get(fd, b"") + received
            if not answers[fd].endswith(b"}"):
                continue
            body = json.loads(answers.pop(fd).partition(b"\r\n\r\n")[2])
            streams[fd].sendall(HEAD)
            sent[body["prompt"][0]] = []
            heapq.heappush(due, (now() + period * (1 + random.random()), fd, body["prompt"][0], body["max_tokens"]))
        while due and due[0][0] <= now():
            at, fd, index, tokens = due[0]
            times = sent[index]
            before = time.monotonic_ns()
            streams[fd].send(token)
            times.append((int(at * 1e9), before, time.monotonic_ns()))
            if len(times) < tokens:
                heapq.heapreplace(due, (at + period, fd, index, tokens))
                continue
            heapq.heappop(due)
            last = json.dumps(EVENT | {"usage": {"prompt_tokens": 1, "completion_tokens": tokens}, "choices": []})
            streams[fd].send(chunk(last) + chunk("[DONE]") + b"0\r\n\r\n")
    Path(sent_file).write_text(json.dumps(sent))


def children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def busy_s(cpu: int) -> float:
    times = psutil.cpu_times(percpu=True)[cpu]
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice


def measure(streams: int, rate: float, seconds: float) -> dict[str, float]:
    """One load: rates in chunks/s, times in ms, CPU in percent of one."""
    first, *others = CPUS
    cpu = (others or [first])[0]
    began, cpu_s, busy = time.monotonic(), children_cpu_s(), busy_s(cpu)
    with tempfile.TemporaryDirectory() as folder:
        sent_file = f"{folder}/sent.json"
        command = [sys.executable, __file__, "--serve", str(rate), sent_file]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # inherits the first CPU
            port = int(server.stdout.readline())
            target = Target(f"http://127.0.0.1:{port}", "null")
            load = Load([[n] for n in range(streams)], max(2, round(rate * seconds)), concurrency=streams)
            result = run_load(target, load, cpus=[cpu])
            wall_s, busy = time.monotonic() - began, busy_s(cpu) - busy
            server.terminate()
            server.wait()
        sent = {int(index): times for index, times in json.loads(Path(sent_file).read_text()).items()}
    wrong = [request for request in result.requests if request.error is not None]
    if wrong:
        raise SystemExit(f"request {wrong[0].index}: {wrong[0].error}")
    got = np.concatenate([request.token_ns for request in result.requests])
    due, before, after = np.concatenate([sent[request.index] for request in result.requests]).T
    spans = [(times.max() - times.min()) / 1e9 for times in (before, got)]
    return {
        "sent/s": len(before) / spans[0],
        "received/s": len(got) / spans[1],
        "by CPU": np.unique(got // 10**9, return_counts=True)[1].max() / (result.max_rate_share or np.nan),
        "client %": 100 * result.client_cpu_s / wall_s,
        "server %": 100 * (children_cpu_s() - cpu_s - result.client_cpu_s) / wall_s,
        "others %": 100 * max(0.0, busy - result.client_cpu_s) / wall_s,
        "late p99": np.percentile(after - due, 99) / 1e6,
        "added p99": np.percentile(got - before, 99) / 1e6,
        "client p50": np.percentile(np.maximum(0, got - after), 50) / 1e6,
        "client p99": np.percentile(np.maximum(0, got - after), 99) / 1e6,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--most-streams", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(float(options.serve[0]), options.serve[1])
        return 0
    os.sched_setaffinity(0, CPUS[:1])  # parsing what the client left is not the client's work
    cases = [(options.most_streams, rate / options.most_streams) for rate in RATES] + [(n, 100.0) for n in AT_100]
    sustained, kept, disturbed = 0.0, True, 0.0
    for number, (streams, rate) in enumerate(cases):
        loads = [measure(streams, rate, options.seconds) for _ in range(options.repeats)]
        row = {name: float(np.median([load[name] for load in loads])) for name in loads[0]}
        if number == 0:
            print(f"{'streams':>8}{'tok/s':>7}" + "".join(f"{name:>12}" for name in row))
        shown = (f"{value:>12.{2 if 'p5' in name or 'p9' in name else 0}f}" for name, value in row.items())
        print(f"{streams:>8}{rate:>7.0f}" + "".join(shown), flush=True)
        disturbed = max(disturbed, row["others %"])
        if number >= len(RATES):
            kept = kept and row["client p99"] < MOST_P99_MS
        elif row["received/s"] >= ARRIVED * row["sent/s"] and row["client p99"] < SUSTAINED_P99_MS:
            sustained = max(sustained, row["received/s"])
    print(f"LIMIT {sustained:.0f} chunks/s with {options.most_streams} streams (claim {CLAIMED})")
    print(f"client's p99 below {MOST_P99_MS:g} ms with streams of 100 tokens/s: {'ok' if kept else 'MISSED'}")
    if disturbed > QUIET_PCT:
        print(f"NOT QUIET: others took up to {disturbed:.0f} % of the client's CPU, and the latencies are theirs too")
    return 0 if kept and sustained >= CLAIMED else 1


if __name__ == "__main__":
    sys.exit(main())
