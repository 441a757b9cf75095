"""Runs inside the environment: loads a GGUF with llama.cpp, makes the load, writes one JSON document.

It knows nothing of sparkray's package, so that an image needs only an interpreter and the `xllamacpp` wheel. Usage:
`python llamacpp_worker.py REQUEST.json OUTPUT_FOLDER`. Times are ns on CLOCK_MONOTONIC, which every process of the
machine shares, inside and outside of containers.
"""

import gc
import hashlib
import json
import os
import queue
import re
import sys
import threading
import time

CHUNK = 1 << 20
QUIET = 4  # the least verbosity at which llama.cpp logs architecture and KV cache; nothing per token
LIKELIEST = 200  # tokens whose probabilities a debug log holds with each that was taken


def lifetime_s():
    """Seconds since this process was started, by the kernel's record (resolution: one clock tick, 10 ms)."""
    with open("/proc/self/stat", encoding="ascii") as stat:
        ticks = int(stat.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def sha256_of(path):
    """Hash of the model file as this environment sees it."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class EngineLog:
    """llama.cpp's own log, which alone names the architecture and the KV cache; it goes on to stderr afterwards."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "llamacpp.log")
        self.saved = os.dup(2)
        self.file = os.open(self.path, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o644)

    def __enter__(self):
        os.dup2(self.file, 2)
        return self

    def text(self):
        with open(self.path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def __exit__(self, *exc):
        os.dup2(self.saved, 2)
        sys.stderr.write(self.text())


def verbosity():
    """As llama.cpp's own variable has it; above QUIET everything is logged as it comes, as by a debug log left on."""
    return max(QUIET, int(os.environ.get("LLAMA_LOG_VERBOSITY") or QUIET))


def load(request):
    """The server, its thread count and the seconds it took."""
    import xllamacpp

    options = request["options"]
    params = xllamacpp.CommonParams()
    params.model.path = request["model"]
    params.n_ctx = options["n_ctx"]
    params.n_parallel = request["concurrency"]
    params.n_gpu_layers = options["n_gpu_layers"]
    params.cpuparams.n_threads = options["threads"] or len(os.sched_getaffinity(0))
    params.cpuparams_batch.n_threads = params.cpuparams.n_threads
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.warmup = False
    params.verbosity = verbosity()
    began = time.monotonic()
    server = xllamacpp.Server(params)
    return server, params.cpuparams.n_threads, time.monotonic() - began


def why_not_loaded(text):
    """llama.cpp's own words: xllamacpp's exception lacks them."""
    errors = re.findall(r"^[\d.]+ E (.*)", text, re.MULTILINE) or ["it did not say why"]
    return next((error for error in errors if "error loading model" in error), errors[-1]).strip()


def serve_one(server, item):
    """One request, greedy, EOS ignored: its times and counts."""
    times, last, debugging = [], {}, verbosity() > QUIET

    def on_chunk(chunk):
        times.append(time.monotonic_ns())
        if debugging:
            sys.stderr.write(json.dumps(chunk) + "\n")
        last.clear()
        last.update(chunk)
        return False

    body = {
        "prompt": item["prompt"],
        "n_predict": item["output_tokens"],
        "temperature": 0.0,
        "top_k": 1,
        "ignore_eos": True,
        "cache_prompt": False,
        "stream": True,
        "seed": 0,
    }
    if debugging:
        body["n_probs"] = LIKELIEST
    submit = time.monotonic_ns()
    server.handle_completions(body, on_chunk)
    end = time.monotonic_ns()
    usage = last.get("usage") or {}
    error = None if usage else json.dumps(last.get("error") or last)[:500]
    tokens = times[:-1] if usage else times
    return {
        "index": item["index"],
        "warmup": item["warmup"],
        "submit_ns": submit,
        "first_token_ns": tokens[0] if tokens else None,
        "end_ns": end,
        "token_ns": tokens,
        "input_tokens": usage.get("prompt_tokens", 0),
        "output_tokens": usage.get("completion_tokens", 0),
        "error": error,
    }


def serve_all(server, request):
    """Warm-up first, one after the other; then the load with as many in flight as asked for."""
    results = [serve_one(server, item) for item in request["prompts"] if item["warmup"]]
    waiting = queue.SimpleQueue()
    for item in request["prompts"]:
        if not item["warmup"]:
            waiting.put(item)

    def drain():
        while True:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            results.append(serve_one(server, item))

    threads = [threading.Thread(target=drain) for _ in range(request["concurrency"] - 1)]
    for thread in threads:
        thread.start()
    drain()
    for thread in threads:
        thread.join()
    return sorted(results, key=lambda result: result["index"])


def facts_from_log(text):
    """Architecture and KV-cache bytes as llama.cpp logged them; what it did not log is None."""
    arch = re.search(r"print_info: arch\s*=\s*(\S+)", text)
    sizes = re.findall(r"llama_kv_cache(?:\w*): size =\s*([\d.]+) MiB", text)
    return {
        "architecture": arch[1] if arch else None,
        "kv_cache_bytes": round(sum(float(size) for size in sizes) * (1 << 20)) if sizes else None,
    }


def mapped_model(asked):
    """The model file that the process really has mapped, else None: llama.cpp maps weights by default."""
    wanted = os.stat(asked)
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and int(fields[4]) == wanted.st_ino:
                return fields[5].strip()
    return None


def last_words(log):
    """The log of a failed load. llama.cpp writes it from a thread of its own, which is awaited for a second at most."""
    until = time.monotonic() + 1
    while "exiting due to" not in log.text() and time.monotonic() < until:
        time.sleep(0.02)
    return log.text()


def main():
    request_path, folder = sys.argv[1:3]
    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    import xllamacpp

    with EngineLog(folder) as log:
        try:
            server, threads, load_s = load(request)
        except RuntimeError as error:
            sys.exit("llama.cpp could not load the model: " + why_not_loaded(last_words(log)) + " (" + str(error) + ")")
        mapped = mapped_model(request["model"])
        if verbosity() == QUIET:
            requests = serve_all(server, request)
            del server
            gc.collect()
        else:
            time.sleep(0.2)  # llama.cpp writes its log from a thread of its own
    if verbosity() > QUIET:  # lines per token go out as they come: to copy them is what they cost
        requests = serve_all(server, request)
    text = log.text()
    document = {
        "format": "sparkray-worker/1",
        "simulated": False,
        "engine": {
            "version": "xllamacpp " + xllamacpp.__version__,
            "model_path": mapped,
            "model_sha256": sha256_of(mapped or request["model"]),
            "threads": threads,
            "load_s": load_s,
            "build": {key: str(value) for key, value in xllamacpp.BUILD_INFO.items()},
            "system": xllamacpp.get_system_info().strip(),
            **facts_from_log(text),
        },
        "requests": requests,
    }
    document["engine"]["lifetime_s"] = lifetime_s()
    with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as file:
        json.dump(document, file)


if __name__ == "__main__":
    main()
