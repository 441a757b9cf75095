"""Results in the forms that people publish: a planted flaw is found, and its sound neighbour is not accused."""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from audit_cases import case, judged_rows, kinds, of_kind, rows_of, shipped
from builders import Ended

from sparkray.audit import audit
from sparkray.audit.readers import read
from sparkray.audit.roles import columns_of
from sparkray.audit.speculation import tokens_per_step
from sparkray.audit.table import results_of

Call = Callable[..., Ended]
DATA = Path(__file__).parents[1] / "data" / "audit"
PAIRS = "ABBABAABABBAABBABAAB"
LOADS = {"batch": "concurrency", "iteration": "repeat"}


@pytest.mark.parametrize(
    ("file", "columns", "known", "expected"),
    [
        ("names-of-formats", {}, {}, set()),
        ("depth-sweep", {}, {"batch": 1}, {("blocked_order", "grave"), ("pseudo_replication", "grave")}),
        ("two-factors", LOADS, {}, set()),
        ("two-factors", LOADS, {"roles": {"effort": "parameter"}}, set()),
        ("two-factors", LOADS, {"roles": {"effort": "identity"}}, set()),
        ("draft-model", {}, {}, set()),
        ("lost-requests", {}, {}, {("lost_requests", "grave"), ("lost_requests", "note")}),
        ("settings-by-arm", {}, {"batch": 1}, {("confounded_arms", "grave")}),
        ("memory-by-cgroup", {}, {"batch": 1}, {("ambiguous_memory", "grave")}),
        ("cold-level", {"batch": "concurrency"}, {}, {("cold_level", "grave")}),
    ],
)
def test_published_tables(
    file: str, columns: Mapping[str, str], known: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    results = read(DATA / f"{file}.csv", columns)
    card = next(card for card in shipped()[0] if card.name == "GPT-OSS-120B")
    named = {name: card for name in set(results.ok["model_name"]) if name.startswith("gpt-oss")}
    report = audit(case(results, named=named, **known))
    assert {(finding.kind, finding.gravity) for finding in report.findings} == expected


def test_a_factor_that_nobody_named_is_asked_for() -> None:
    results = read(DATA / "two-factors.csv", LOADS)
    report = audit(case(results, roles={"effort": "identity"}))
    assert any(
        "effort splits them evenly" in left.reason and "--by effort" in left.reason for left in report.not_judged
    )
    uneven = [row | {"iteration": 1, "style": f"s{index}"} for index, row in enumerate(rows_of(PAIRS, started_s=None))]
    assert "pseudo_replication" in kinds(judged_rows(uneven))


def test_roles_are_explained_and_overruled(command_line: Call) -> None:
    words = (
        "audit",
        str(DATA / "two-factors.csv"),
        "--map",
        "batch=concurrency,iteration=repeat",
        "--json",
        "--explain",
    )
    shown = {column["name"]: column for column in json.loads(command_line(*words).out)["columns"]}
    assert shown["effort"]["role"] == "parameter"
    assert "its name" in shown["effort"]["reason"]
    overruled = json.loads(command_line(*words, "--role", "effort=identity").out)["columns"]
    assert {"name": "effort", "role": "identity", "reason": "as you said"} in overruled
    for wrong in (("--role", "effort=thing"), ("--by", "efort")):
        assert command_line(*words, *wrong).status == 2


SETTINGS = [
    ({"vllm_version": ("0.9", "0.10")}, "vllm_version: 0.9 in native, 0.10 in container (20 runs"),
    ({"max_model_len": (4096.0, 8192.0)}, "max_model_len: 4096 in native, 8192 in container"),
    ({"power_mode": ("MAXN", "30W")}, "power_mode"),
    ({"cache_state": ("cold", "warm")}, "cache_state"),
    ({"batch": (1, 8)}, "batch: 1 in native, 8 in container"),
    ({"zorps": (3, 4)}, "zorps"),
    ({"gpu_clock_mhz": (2400.0, 1900.0)}, "gpu_clock_mhz: 2400 on average in native"),
    ({"runtime": ("native", "docker"), "container_id": ("x", "y"), "label": ("a", "b")}, ""),
    ({"image": (None, "img:1"), "docker_shm_size": (None, "32g")}, ""),
    ({"engine_version": ("1", "1"), "ctx_size": (8192.0, 8192.0)}, ""),
    ({"latency_mean_ms": (5.0, 6.0)}, ""),
    ({"wall_clock_s": (5.0, 6.5), "cold_start_ms": (100.0, 180.0)}, ""),
    ({"tput_per_gpu": (100.0, 95.0), "power_gpu": (300.0, 310.0)}, ""),
    ({"gpu_memory_utilization": (0.9, 0.5)}, "gpu_memory_utilization"),
    ({"model_file": ("/a/m-Q4_K_M.gguf", "/b/m-Q8_0.gguf")}, "model_file: m-Q4_K_M.gguf in native"),
    ({"model_path": ("/a/m.gguf", "/b/m.gguf"), "log_path": ("/a", "/b")}, ""),
]


@pytest.mark.parametrize(("columns", "expected"), SETTINGS)
def test_what_else_differs_between_arms(columns: dict[str, tuple[Any, Any]], expected: str) -> None:
    """A setting that both arms share, that an arm lacks, or that names the arm is no other cause."""
    rows = [
        row | {name: pair[row["environment"] == "container"] for name, pair in columns.items()}
        for row in rows_of(PAIRS)
    ]
    found = of_kind(judged_rows(rows), "confounded_arms")
    assert [finding.gravity for finding in found] == ["grave"] * bool(expected)
    assert all(expected in finding.evidence for finding in found)


def test_a_setting_that_varies_in_both_arms_is_a_level_and_no_cause() -> None:
    rows = [row | {"ctx_size": 4096.0 * (1 + index // 2 % 2)} for index, row in enumerate(rows_of(PAIRS))]
    assert "confounded_arms" not in kinds(judged_rows(rows))
    noisy = [row | {"gpu_clock_mhz": 2400 + 7.0 * (index % 5)} for index, row in enumerate(rows_of(PAIRS))]
    assert "confounded_arms" not in kinds(judged_rows(noisy))


def requests(native: int, container: int, asked: int = 100) -> list[Any]:
    done = {"native": native, "container": container}
    return [
        row | {"requests_asked": asked, "requests_completed": done[row["environment"]]}
        for row in rows_of(PAIRS, batch=8)
    ]


@pytest.mark.parametrize(
    ("native", "container", "gravity"), [(100, 100, None), (100, 99, "grave"), (99, 99, "note"), (90, 90, "grave")]
)
def test_lost_requests(native: int, container: int, gravity: str | None) -> None:
    found = of_kind(judged_rows(requests(native, container)), "lost_requests")
    assert [finding.gravity for finding in found] == ([gravity] if gravity else [])
    assert all("same" not in finding.message for finding in found)


def test_an_arm_that_was_asked_for_nothing_is_no_loss() -> None:
    rows = [row | ({"requests_asked": 0} if row["environment"] == "container" else {}) for row in requests(99, 0)]
    assert {found.gravity for found in of_kind(judged_rows(rows), "lost_requests")} == {"note"}


def noise(count: int, seed: int = 0, digits: int = 6) -> list[float]:
    chance = random.Random(seed)
    return [round(100 + chance.gauss(0, 1), digits) for _ in range(count)]


def test_rows_published_twice() -> None:
    values = noise(10)
    twice = [
        row | {"latency_mean_ms": value}
        for row, value in zip(rows_of(PAIRS, values=values * 2), values * 2, strict=True)
    ]
    (found,) = of_kind(judged_rows(twice), "duplicate_rows")
    assert "20 rows make 10 equal pairs" in found.evidence
    coarse = noise(20, digits=1)
    assert "duplicate_rows" not in kinds(judged_rows(rows_of(PAIRS, values=coarse)))
    assert "duplicate_rows" not in kinds(judged_rows(rows_of(PAIRS, values=noise(20))))
    apart = [round(value / 10 + (90 if arm == "A" else 70), 1) for value, arm in zip(noise(20), PAIRS, strict=True)]
    assert "duplicate_rows" not in kinds(judged_rows(rows_of(PAIRS, values=apart))), "the gap between arms is no room"


def test_a_fast_and_a_slow_state() -> None:
    values = [value * (1.5 if index % 3 == 0 else 1) for index, value in enumerate(noise(20))]
    (found,) = of_kind(judged_rows(rows_of(PAIRS, values=values)), "two_states")
    assert "m native: 6 runs at 100.4, 4 at 15" in found.evidence or "runs at" in found.evidence
    for seed in range(20):
        assert "two_states" not in kinds(judged_rows(rows_of(PAIRS, values=noise(20, seed))))
    one_outlier = [*noise(19), 150.0]
    assert "two_states" not in kinds(judged_rows(rows_of(PAIRS, values=one_outlier)))


@pytest.mark.parametrize(("ttft", "itl", "expected"), [(60.0, 25.1, True), (850.0, 25.1, False), (60.0, 8.0, False)])
def test_a_first_token_that_a_prefix_cache_made_fast(ttft: float, itl: float, *, expected: bool) -> None:
    """Against 900 ms and 25 ms in the native arm."""
    container = {"ttft_mean_ms": ttft, "itl_mean_ms": itl}
    native = {"ttft_mean_ms": 900.0, "itl_mean_ms": 25.0}
    rows = [row | (container if row["environment"] == "container" else native) for row in rows_of(PAIRS)]
    assert ("warm_cache" in kinds(judged_rows(rows))) is expected


def test_a_first_level_that_is_only_less_loaded_is_not_cold() -> None:
    rows = [
        row | {"batch": batch, "output_throughput_tok_s": speed * (1 + index % 3 / 1000)}
        for batch, speed in ((1, 34), (2, 67), (4, 120))
        for index, row in enumerate(rows_of(PAIRS))
    ]
    assert "cold_level" not in kinds(judged_rows(rows))


@pytest.mark.parametrize(
    ("columns", "tokens"),
    [
        ({}, 1.0),
        ({"mean_acceptance_length": 2.3, "num_speculative_tokens": 3}, 2.3),
        ({"num_speculative_tokens": 3}, 4.0),
        ({"num_speculative_tokens": 0, "draft_acceptance_rate": 0}, 1.0),
        ({"draft_acceptance_rate": 0.6}, None),
        ({"speculative_algorithm": "EAGLE3"}, None),
        ({"speculative_algorithm": "none"}, 1.0),
        ({"mtp": "off"}, 1.0),
    ],
)
def test_tokens_of_a_step(columns: dict[str, Any], tokens: float | None) -> None:
    assert tokens_per_step(results_of("rows", [row | columns for row in rows_of("AB")]).frame) == [tokens, tokens]


@pytest.mark.parametrize(
    ("model", "columns", "speed", "gravity"),
    [
        ("Llama-3-8B", {}, 50.0, "fatal"),
        ("Llama-3-8B", {"quantization": "Q4_K_M"}, 50.0, None),
        ("Llama-3-8B", {"model_path": "/m/Llama-3-8B-Instruct-Q4_K_M.gguf"}, 50.0, None),
        ("Llama-3-8B", {"dtype": "bfloat16"}, 50.0, "fatal"),
        ("Qwen3-30B-A3B-Q4_K_M", {}, 90.0, None),
        ("Some-70B-Q4_K_M", {}, 6.0, None),
        ("Some-70B-Q4_K_M", {}, 60.0, "note"),
        ("Some-MoE-70B", {}, 60.0, None),
    ],
)
def test_formats_that_names_and_columns_tell(
    model: str, columns: dict[str, Any], speed: float, gravity: str | None
) -> None:
    rows = [
        row | columns for row in rows_of(PAIRS, model=model, values=[speed + i % 3 / 9 for i in range(20)], batch=1)
    ]
    found = of_kind(audit(case(results_of("rows", rows))), "beyond_roofline")
    assert [finding.gravity for finding in found] == ([gravity] if gravity else [])


def test_many_cells_without_an_order_are_one_line() -> None:
    rows = [
        row | {"model": f"m{number}", "started_s": None, "iteration": None}
        for number in range(100)
        for row in rows_of("AABB")
    ]
    report = judged_rows(rows)
    assert len(report.not_judged) <= 25
    assert [left.reason for left in report.not_judged if left.code == "drift/order"] == [
        "m0 native, m0 container, m1 native, m1 container, and 196 more: the order of its runs is unknown"
    ]


def test_columns_that_the_same_rows_lack_are_one_note() -> None:
    rows = rows_of(PAIRS)
    for row in rows[:4]:
        row["output_throughput_tok_s"] = None
    for index, row in enumerate(rows):
        row |= {f"metric_{number}": None if index < 4 else float(index * number % 7) for number in range(1, 18)}
    (found,) = of_kind(judged_rows(rows), "missing_values")
    assert found.evidence.startswith("4 of 20 rows lack output_throughput_tok_s, metric_1, ")


def test_every_role_has_a_reason() -> None:
    results = results_of(
        "rows", [row | {"n_gen": 32, "gpu_temp_c": 60.0, "host": "a", "thing": 1.5} for row in rows_of("AB")]
    )
    assert {column.name: column.role for column in columns_of(results)} == {
        "output_throughput_tok_s": "metric",
        "n_gen": "parameter",
        "gpu_temp_c": "state",
        "host": "identity",
        "thing": "metric",
    }
    assert all(column.reason for column in columns_of(results))
