"""aiperf's command and records. The records are of aiperf 0.13.0 against `support.http_server`, with fewer fields."""

import json
from pathlib import Path

import pytest

from sparkray.client import Load, Target, run_load
from sparkray.client._aiperf import command, find_program, read_records
from sparkray.client._rows import result_of
from sparkray.config.arrival import Arrival
from sparkray.errors import ConfigError, HostError

OFFSET_NS = -1_795_000_000_000_000_000
TEXT = Load(["a b", "c d", "e f", "g h"], 3, warmup=1, concurrency=2)


def _record(number: int, *, error: dict | None = None, **metrics: object) -> str:
    metadata = {
        "conversation_id": f"c{number}",
        "credit_issued_ns": 1_795_000_000_000_000_000 + number,
        "request_start_ns": 1_795_000_000_000_001_000 + number,
        "request_end_ns": 1_795_000_000_009_000_000 + number,
        "benchmark_phase": "profiling" if number else "warmup",
        "was_cancelled": False,
    }
    values = {name: {"value": value, "unit": "ms"} for name, value in metrics.items()}
    return json.dumps({"metadata": metadata, "metrics": values, **({"error": error} if error else {})})


def _artifacts(folder: Path) -> Path:
    good = {"time_to_first_token": 2.0, "usage_prompt_tokens": 2, "usage_completion_tokens": 3}
    refused = {"code": 500, "type": "X", "message": "fails on purpose"}
    broken = {"type": "ClientPayloadError", "message": "Response payload is not completed"}
    lines = [
        _record(2, error=refused),
        _record(0, inter_chunk_latency=[1.0, 1.5], **good),
        _record(1, inter_chunk_latency=[1.5], **good),
        _record(3, error=broken),
    ]
    (folder / "inputs.json").write_text(json.dumps({"data": [{"session_id": f"c{n}"} for n in range(4)]}))
    (folder / "profile_export.jsonl").write_text("\n".join(lines) + '\n{"metadata": {"conver')
    return folder


def test_records_become_the_same_rows(tmp_path: Path) -> None:
    rows = read_records(_artifacts(tmp_path), TEXT, OFFSET_NS)
    requests = result_of(rows, TEXT, ended="complete", cpu_s=1.0).requests
    assert [(r.index, r.warmup, r.error_kind) for r in requests] == [
        (0, True, None),
        (1, False, None),
        (2, False, "status"),
        (3, False, "truncated"),
    ]
    first, several, refused, _ = requests
    assert (first.submit_ns, first.first_token_ns, first.end_ns) == (1000, 2_001_000, 4_501_000)
    assert (first.input_tokens, first.output_tokens, first.token_ns) == (2, 3, (2_001_000, 3_001_000, 4_501_000))
    assert (several.output_tokens, several.chunks, several.token_ns) == (3, 2, ())
    assert (refused.error, refused.output_tokens, refused.first_token_ns) == ("HTTP 500: fails on purpose", None, None)


def test_requests_of_a_rate_are_due_when_their_credit_is_issued(tmp_path: Path) -> None:
    load = Load(TEXT.prompts, 3, warmup=1, concurrency=None, arrival=Arrival("poisson", rate_req_s=2.0))
    rows = read_records(_artifacts(tmp_path), load, OFFSET_NS)
    assert {row["index"]: row["due_ns"] for row in rows} == {0: None, 1: 1, 2: 2, 3: 3}
    assert "--request-rate 2.0 --arrival-pattern poisson" in " ".join(
        command(Target("http://h:1", "m"), load, tmp_path)
    )


def test_the_command_is_that_of_the_documentation(tmp_path: Path) -> None:
    target = Target("http://127.0.0.1:8000/v1", "m", request_options={"ignore_eos": True, "seed": None})
    words = command(target, TEXT, tmp_path)
    assert words[:4] == ("profile", "--streaming", "--use-server-token-count", "--use-legacy-max-tokens")
    line = " ".join(words)
    for part in (
        "--url http://127.0.0.1:8000 --endpoint-type completions",
        '--extra-inputs {"temperature": 0, "ignore_eos": true}',
        "--request-count 3",
        "--warmup-request-count 1 --concurrency 2",
    ):
        assert part in line
    lines = [json.loads(text) for text in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    assert lines[0] == {"text": "a b", "output_length": 3}
    assert (tmp_path / "tokenizer.json").exists()


def test_what_aiperf_cannot_do_is_refused(tmp_path: Path) -> None:
    target = Target("http://127.0.0.1:1", "m")
    with pytest.raises(ConfigError, match="as text, not as token ids"):
        run_load(target, Load([[1]], 3), client="aiperf")
    with pytest.raises(ConfigError, match="without traces"):
        run_load(target, Load(["a"], 3, arrival=Arrival("trace", offsets_s=(0.0,))), client="aiperf")
    with pytest.raises(HostError, match="aiperf is not installed"):
        find_program(path=str(tmp_path), python=tmp_path / "python")
