"""Files as people have them: what each must be read as, in one table. The values were worked out by hand."""

from pathlib import Path
from typing import Any

import pytest
from audit_cases import case, kinds

from sparkray.audit import audit
from sparkray.audit.readers import read
from sparkray.errors import DatasetError

OUT, PREFILL, TTFT, REQUESTS = (
    "output_throughput_tok_s",
    "prefill_throughput_tok_s",
    "ttft_mean_ms",
    "request_throughput_req_s",
)
VLLM = """INFO 10-03 08:00:00 [serve.py:12] starting
============ Serving Benchmark Result ============
Successful requests:                     91
Failed requests:                         9
Maximum request concurrency:             8
Benchmark duration (s):                  30.61
Request throughput (req/s):              2.97
Output token throughput (tok/s):         380.53
---------------Time to First Token----------------
Mean TTFT (ms):                          91.20
==================================================
"""
OLLAMA = """>>> Tell me something
It is: a story.

total duration:       8.123456789s
prompt eval count:    26 token(s)
prompt eval rate:     253.66 tokens/s
eval duration:        7.9s
eval rate:            39.49 tokens/s
"""
MLPERF = """MLPerf Results Summary
SUT name : PySUT
Scenario : Offline
Samples per second: 12.3456
Tokens per second: 3210.9
Result is : VALID
"""
TIMINGS = """llama_perf_print: prompt eval time = 102.50 ms / 26 tokens ( 3.94 ms per token, 253.66 tokens per second)
llama_perf_context_print:        eval time = 7900.0 ms / 312 runs ( 25.32 ms per token, 39.49 tokens per second)
"""
ARMS = "model,env,{}\nm-8B,native,{}\nm-8B,docker,{}\n"
CASES: list[tuple[str, str, dict[str, list[Any]], set[str]]] = [
    ("vllm.log", VLLM, {OUT: [380.53], TTFT: [91.2], "batch": [8]}, {"lost_requests"}),
    ("twice.log", VLLM + VLLM.replace("380.53", "381.00"), {OUT: [380.53, 381.0]}, {"lost_requests"}),
    ("run.txt", OLLAMA + OLLAMA.replace("39.49", "39.60"), {OUT: [39.49, 39.6], PREFILL: [253.66, 253.66]}, set()),
    ("mlperf_log_summary.txt", MLPERF, {OUT: [3210.9], REQUESTS: [12.3456]}, set()),
    ("units.csv", ARMS.format("throughput", "38.2 tok/s", "1.2k tok/s"), {OUT: [38.2, 1200.0]}, set()),
    ("requests.csv", ARMS.format("throughput", "3.2 req/s", "3.1 req/s"), {REQUESTS: [3.2, 3.1]}, set()),
    ("spread.csv", ARMS.format("tok/s", "38.2 (0.3)", "38.0 (0.2) tok/s"), {OUT: [38.2, 38.0]}, set()),
    ("fr.csv", "Modèle;Environnement;Débit (tok/s)\nm-8B;natif;38,2\nm-8B;docker;38,0\n", {OUT: [38.2, 38.0]}, set()),
    ("rows.md", ("| | Bare metal | Docker | Δ |\n|---|---|---|---|\n"
     "| Throughput | 38.2 tok/s | 38 tok/s | -1 % |\n| TTFT | 91 ms | 93 ms | 2 % |\n"),
     {OUT: [38.2, 38.0], TTFT: [91.0, 93.0], "environment": ["bare_metal", "docker"]}, set()),
    ("units.md", ("| Metric | Unit | A-7B | B-1B |\n|---|---|---|---|\n"
     "| Throughput | tok/s | 38.2 | 99 |\n| TTFT | s | 0.1 | 0.2 |\n"),
     {OUT: [38.2, 99.0], TTFT: [100.0, 200.0], "model": ["A-7B", "B-1B"]}, set()),
    ("long.csv", "model,env,metric,value\nm,native,tok/s,38.2\nm,native,ttft_ms,91\nm,docker,tok/s,38\nm,native,tok/s,9\n",
     {OUT: [38.2, 38.0, 9.0], TTFT: [91.0, None, None]}, set()),
    ("llama.log", TIMINGS, {OUT: [39.49], PREFILL: [253.66]}, set()),
    ("oha.json", '{"summary": {"requestsPerSec": 7, "successRate": 0.9}, "latencyPercentiles": {"p50": 1}}',
     {REQUESTS: [7.0], "latency_p50_ms": [1000.0]}, {"lost_requests"}),
    ("cut.jsonl", '{"model": "m", "eval_count": 40, "eval_duration": 0}\n{"eval_count": 40, "eval_duration": 1e9}\n',
     {OUT: [None, 40.0]}, set()),
]  # fmt: skip


def test_files_of_many_kinds(tmp_path: Path) -> None:
    for name, text, expected, findings in CASES:
        path = tmp_path / name
        path.write_text(text)
        results = read(path)
        for column, values in expected.items():
            assert results.frame[column].to_list() == pytest.approx(values), (name, column)
        assert findings <= kinds(audit(case(results, site=None))), name


@pytest.mark.parametrize("text", ["model,tok/s\n", "a: b\nc: d\n", "Latency 1.10s 200ms\nRequests/sec: 7.30\n"])
def test_headers_and_prose_alone_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(DatasetError):
        read(path)
