"""Runs inside the environment: llama.cpp's own HTTP server, which the `xllamacpp` wheel holds, until SIGTERM.

It knows nothing of sparkray's package, so that an image needs only an interpreter and the `xllamacpp` wheel.
"""

import argparse
import os
import signal
import sys


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ctx-size", type=int, default=0, help="of all sequences together; 0 takes the model's")
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0 takes every CPU that the process may run on")
    parser.add_argument("--n-gpu-layers", type=int, default=0)
    return parser.parse_args()


def main():
    asked = arguments()
    import xllamacpp

    sys.stderr.write("xllamacpp " + xllamacpp.__version__ + "\n")
    params = xllamacpp.CommonParams()
    params.model.path = asked.model
    params.model_alias = [asked.alias]
    params.hostnames = [asked.host]
    params.port = asked.port
    params.n_ctx = asked.ctx_size
    params.n_parallel = asked.parallel
    params.n_gpu_layers = asked.n_gpu_layers
    params.cpuparams.n_threads = asked.threads or len(os.sched_getaffinity(0))
    params.cpuparams_batch.n_threads = params.cpuparams.n_threads
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.warmup = False
    params.endpoint_metrics = True
    params.verbosity = int(os.environ.get("LLAMA_LOG_VERBOSITY") or 4)  # the least that tells of the KV cache
    stop = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # threads of the server inherit it, so that only sigwait takes them
    _server = xllamacpp.Server(params)
    signal.sigwait(stop)
    sys.stderr.flush()
    os._exit(0)  # the destructor of a server that has just been loaded can wait for ever


if __name__ == "__main__":
    main()
