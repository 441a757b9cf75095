"""Runs inside the environment in place of an engine: sleeps like one, and can play an engine's faults.

Usage: `python double_worker.py REQUEST.json OUTPUT_FOLDER`. What it writes says `simulated`.
"""

import ctypes
import hashlib
import json
import os
import random
import sys
import time


def lifetime_s():
    """Seconds since this process was started, by the kernel's record."""
    with open("/proc/self/stat", encoding="ascii") as stat:
        ticks = int(stat.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def play(fault, folder):
    """The faults that end the process, or hold it, before there is a result."""
    if fault == "crash":
        sys.stderr.write("double: terminate called after throwing an instance of 'std::bad_alloc'\n")
        sys.exit(1)
    if fault == "signal":
        ctypes.string_at(0)  # a true fault: the kernel shields the first process of a container from a mere kill()
    if fault == "hang":
        while True:
            time.sleep(3600)
    if fault == "missing":
        sys.exit(0)
    if fault == "garbage":
        with open(os.path.join(folder, "result.json"), "wb") as file:
            file.write(b"\x00\xff{not json")
        sys.exit(0)


def one(item, options, rng):
    """One simulated request: a first token, then a steady pace with a little noise."""
    submit = time.monotonic_ns()
    step_s = 1.0 / options["tokens_per_s"]
    tokens = []
    output_tokens = item["output_tokens"] - (1 if options["fault"] == "short" else 0)
    for _ in range(output_tokens):
        time.sleep(step_s * (1 + options["noise"] * rng.uniform(-1, 1)))
        tokens.append(time.monotonic_ns())
    if options["fault"] == "clock" and item["index"] == 2:
        tokens = [t - (5_000_000_000 if i else 0) for i, t in enumerate(tokens)]
    return {
        "index": item["index"],
        "warmup": item["warmup"],
        "submit_ns": submit,
        "first_token_ns": tokens[0],
        "end_ns": time.monotonic_ns(),
        "token_ns": tokens,
        "input_tokens": len(item["prompt"]),
        "output_tokens": output_tokens,
        "error": None,
    }


def main():
    request_path, folder = sys.argv[1:3]
    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    options = request["options"]
    sys.stderr.write("double: loading " + request["model"] + "\n")
    with open(request["model"], "rb") as file:
        sha256 = hashlib.sha256(file.read()).hexdigest()
    time.sleep(options["load_s"])
    play(options["fault"], folder)
    rng = random.Random(os.getpid())
    requests = [one(item, options, rng) for item in request["prompts"]]
    if options["fault"] == "lost":
        requests = requests[:-1]
    document = {
        "format": "sparkray-worker/1",
        "simulated": True,
        "engine": {
            "version": "double 1",
            "model_path": request["model"],
            "threads": 1,
            "load_s": options["load_s"],
            "model_sha256": "0" * 64 if options["fault"] == "wrong_model" else sha256,
            "architecture": "double",
            "kv_cache_bytes": options["kv_cache_bytes"],
        },
        "requests": requests,
    }
    document["engine"]["lifetime_s"] = lifetime_s()
    text = json.dumps(document)
    with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as file:
        file.write(text[: len(text) // 2] if options["fault"] == "truncated" else text)


if __name__ == "__main__":
    main()
