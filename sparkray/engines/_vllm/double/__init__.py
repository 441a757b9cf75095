"""A simulated vLLM 0.26 for machines without a GPU and for tests: `bench latency` and `bench throughput`.

It takes the options that sparkray gives and refuses others as argparse does, writes the log lines and the report of the
real tool, and keeps a compile cache in VLLM_CACHE_ROOT: the first start is cold, and its KV cache is smaller; the hash
depends on CC and CXX. Standard library alone, since it lives in images without sparkray. It serves nothing.
SPARKRAY_DOUBLE_FAULT is `crash`, `oom`, `no_report` or `short`; SPARKRAY_DOUBLE_BANDWIDTH_GB_S the memory's, default 273.
"""
