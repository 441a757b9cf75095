"""What can the load generator keep up with, and what does it add? A null server streams chunks at set rates.

The server is another process, on another CPU. It records when it sends each chunk, the client when it receives it; the
difference is the latency that socket and client add (both read the same monotonic clock). A rate is sustained when 99 % of
its chunks arrive in the time that the server takes, and the added latency has a p99 below 10 ms. Claims: 20,000 chunks/s
with 500 streams; p99 below 2 ms with streams of 100 tokens/s. The exit status is 1 when one does not hold. "by CPU" is the
rate at which the client, which is one thread, would use one CPU wholly: it holds on a busy machine too.

    python benchmarks/client_limits.py [--seconds 4] [--most-streams 500]
"""

import argparse
import heapq
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sparkray.client import Load, Target, run_load

RATES = (5_000, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000)
AT_100 = (1, 10, 50, 100, 200)
MOST_P99_MS, SUSTAINED_P99_MS, ARRIVED = 2.0, 10.0, 0.99
CLAIMED = 20_000
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
    sent: dict[int, list[int]] = {}
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
            times.append(time.monotonic_ns())
            streams[fd].send(token)
            if len(times) < tokens:
                heapq.heapreplace(due, (at + period, fd, index, tokens))
                continue
            heapq.heappop(due)
            last = json.dumps(EVENT | {"usage": {"prompt_tokens": 1, "completion_tokens": tokens}, "choices": []})
            streams[fd].send(chunk(last) + chunk("[DONE]") + b"0\r\n\r\n")
    Path(sent_file).write_text(json.dumps(sent))


def measure(streams: int, rate: float, seconds: float) -> tuple[float, float, float, float, float]:
    """Chunks/s sent, received and possible by the client's CPU time, added latency p50 and p99 in ms."""
    cpus = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        sent_file = f"{folder}/sent.json"
        command = [sys.executable, __file__, "--serve", str(rate), sent_file]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            os.sched_setaffinity(server.pid, cpus[:1])
            port = int(server.stdout.readline())
            target = Target(f"http://127.0.0.1:{port}", "null")
            load = Load([[n] for n in range(streams)], max(2, round(rate * seconds)), concurrency=streams)
            result = run_load(target, load, cpus=cpus[1:2] or cpus)
            server.terminate()
            server.wait()
        sent = {int(index): times for index, times in json.loads(Path(sent_file).read_text()).items()}
    wrong = [request for request in result.requests if request.error is not None]
    if wrong:
        raise SystemExit(f"request {wrong[0].index}: {wrong[0].error}")
    got = np.concatenate([request.token_ns for request in result.requests])
    out = np.concatenate([sent[request.index] for request in result.requests])
    spans = [(times.max() - times.min()) / 1e9 for times in (out, got)]
    added = (got - out) / 1e6
    possible = np.unique(got // 10**9, return_counts=True)[1].max() / (result.max_rate_share or np.nan)
    return len(out) / spans[0], len(got) / spans[1], possible, *np.percentile(added, [50, 99])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--most-streams", type=int, default=500)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(float(options.serve[0]), options.serve[1])
        return 0
    cases = [(options.most_streams, rate / options.most_streams) for rate in RATES] + [(n, 100.0) for n in AT_100]
    print(f"{'streams':>8}{'tok/s each':>12}{'sent/s':>10}{'received/s':>12}{'by CPU':>10}{'p50 ms':>9}{'p99 ms':>9}")
    sustained, kept = 0.0, True
    for streams, rate in cases:
        sent, received, possible, p50, p99 = measure(streams, rate, options.seconds)
        print(
            f"{streams:>8}{rate:>12.0f}{sent:>10.0f}{received:>12.0f}{possible:>10.0f}{p50:>9.3f}{p99:>9.3f}",
            flush=True,
        )
        if streams == options.most_streams and received >= ARRIVED * sent and p99 < SUSTAINED_P99_MS:
            sustained = max(sustained, received)
        kept = kept and (streams > AT_100[-1] or p99 < MOST_P99_MS)
    print(f"LIMIT {sustained:.0f} chunks/s with {options.most_streams} streams (claim {CLAIMED})")
    print(f"p99 below {MOST_P99_MS:g} ms with streams of 100 tokens/s: {'ok' if kept else 'MISSED'}")
    return 0 if kept and sustained >= CLAIMED else 1


if __name__ == "__main__":
    sys.exit(main())
