"""Tables in the words and shapes of others: each is judged as the same numbers under sparkray's names would be."""

import csv
import io
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from audit_cases import case, kinds, of_kind

from sparkray.audit import audit
from sparkray.audit.finding import Report
from sparkray.audit.readers import read
from sparkray.audit.results import Results
from sparkray.audit.roles import columns_of

OUT = "output_throughput_tok_s"
ORDER = "ABBABAABABBAABBABAAB"


def runs(*, base: float = 14.0, **columns: Any) -> list[dict[str, Any]]:
    """Twenty runs in pairs of random order; a column's value may be a pair, of native and docker."""
    chance, start = random.Random(5), datetime(2026, 10, 3, 8, tzinfo=UTC)
    found = []
    for index, letter in enumerate(ORDER):
        row = {
            "model": "Qwen3-8B",
            "environment": "native" if letter == "A" else "docker",
            "started_at": (start + timedelta(minutes=4 * index)).isoformat(),
            OUT: round(base * (1 + chance.gauss(0, 0.003)), 4),
        }
        found.append(row | {n: v[letter == "B"] if isinstance(v, tuple) else v for n, v in columns.items()})
    return found


def table(folder: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None = None) -> Results:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return read(written(folder, text.getvalue()), columns)


def written(folder: Path, text: str, name: str = "runs.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def judged(results: Results, **known: Any) -> Report:
    return audit(case(results, **known))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"power_cap_w": (140, 100)}, {"confounded_arms"}),
        ({"cached_gb": (50.2, 2.1)}, {"confounded_arms"}),
        ({"python": (3.11, 3.12)}, {"confounded_arms"}),
        ({"state": ("warm", "cold")}, {"confounded_arms"}),
        ({"container_runtime": ("none", "runc")}, set()),
        ({"Requests": 50, "OK": 41}, {"lost_requests"}),
        ({"requests": 50, "errors": 9}, {"lost_requests"}),
        ({"success_rate": "82%"}, {"lost_requests"}),
        ({"error_rate": 0.0}, set()),
        ({"completion_rate": 45}, set()),  # requests a second
        ({"completion_rate": 0.45}, set()),
        ({"completion_pct": 45}, {"lost_requests"}),
        ({"error_rate": 250}, set()),  # an hour
        ({"Requests": 50, "Failed": 0}, set()),
        ({"batch": 1, "Accept length": 4.1}, set()),
        ({"batch": 1, "decoding": "speculative"}, set()),
        ({"batch": 1, "spec_decode_method": "eagle3"}, set()),
        ({"batch": 1, "lookahead": 5}, set()),
        ({"batch": 1, "speculative": "off"}, {"beyond_roofline"}),
        ({"batch": 1, "notes": "no speculation"}, {"beyond_roofline"}),
    ],
)
def test_what_others_call_it(tmp_path: Path, columns: dict[str, Any], expected: set[str]) -> None:
    assert kinds(judged(table(tmp_path, runs(base=160 if "batch" in columns else 14, **columns)))) == expected


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("Result", "PASS", "FAIL"),
        ("status", "✅", "❌"),
        ("run_status", "good", "bad"),
        ("completion_status", "completed", "crashed"),
        ("is_valid", "True", "False"),
        ("status", "200", "503"),
        ("outcome", "done", "DNF"),
    ],
)
def test_two_runs_that_failed(tmp_path: Path, name: str, good: str, bad: str) -> None:
    rows = [row | {name: bad if index in (3, 5) else good} for index, row in enumerate(runs())]
    results = table(tmp_path, rows)
    assert len(results.ok) == 18
    assert kinds(judged(results)) == {"failed_runs", "unequal_cells"}


@pytest.mark.parametrize("name", ["error_pct", "Error %", "error rate (%)", "error_rate_percent", "failure_rate"])
def test_a_per_cent_below_1_is_no_share_of_1(tmp_path: Path, name: str) -> None:
    cell = "0.5%" if name == "failure_rate" else 0.5
    (found,) = of_kind(judged(table(tmp_path, runs(**{name: cell}))), "lost_requests")
    assert found.gravity == "note"
    assert "up to 0.5 %" in found.evidence


@pytest.mark.parametrize("name", ["result", "Completion", "outcome", "run_result"])
def test_whole_numbers_are_no_http_statuses_but_in_a_column_of_that_name(tmp_path: Path, name: str) -> None:
    for cells in ((143, 150, 147), (214, 231, 222), (128, 256, 512), (143, "FAIL", 150)):
        rows = [{"model": "m", "arm": "native", name: cell} for cell in cells]
        results = table(tmp_path, rows)
        assert len(results.ok) == 3, cells
        assert name in results.metrics or "FAIL" in cells, cells
    mapped = table(tmp_path, [{"model": "m", "tok/s": 9, name: cell} for cell in (200, 503)], {"status": name})
    assert len(mapped.ok) == 1


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        *((name, range(1, 6)) for name in ("round", "run_no", "session", "cycle", "sample", "Rep", "Run #", "shuffle")),
        ("Seed", (42, 1337, 2024, 7, 99)),
        ("rng_seed", (42, 1337, 2024, 7, 99)),
    ],
)
def test_a_number_of_the_run_makes_no_cells(tmp_path: Path, name: str, numbers: Sequence[int]) -> None:
    rows = [
        {"model": "m", "env": arm, "batch": batch, name: number, "tok_s": 10 * batch + number / 100}
        for arm in ("native", "docker")
        for batch in (1, 8)
        for number in numbers
    ]
    results = table(tmp_path, rows)
    assert {column.name: column.role for column in columns_of(results)}[name] != "parameter"
    assert sorted(len(cell.frame) for cell in case(results).cells) == [5] * 4
    by_prompt = [{**row, "batch": 1, "prompts": "chat" if row["batch"] == 1 else "code"} for row in rows]
    assert sorted(len(cell.frame) for cell in case(table(tmp_path, by_prompt)).cells) == [5] * 4


@pytest.mark.parametrize(
    ("name", "levels"),
    [("kv_depth", (0, 4096, 16384)), ("ISL/OSL", ("128/128", "1024/1024")), ("prompt_type", ("chat", "code", "long"))],
)
def test_a_column_that_every_arm_is_swept_over_makes_cells(tmp_path: Path, name: str, levels: Sequence[Any]) -> None:
    rows = [row | {name: level, OUT: row[OUT] * (1 - 0.2 * n)} for row in runs() for n, level in enumerate(levels)]
    results = table(tmp_path, rows)
    assert {column.name: column.role for column in columns_of(results)}[name] == "parameter"
    assert len(case(results).cells) == 2 * len(levels)
    at_loads = [row | {"batch": batch} for row in rows[: 2 * len(levels)] for batch in (1, 8)]
    assert len(case(table(tmp_path, at_loads)).cells) == 4 * len(levels)
    numbered = [row | {"pair": index // 2} for index, row in enumerate(runs())]  # of a run, and none of a test
    assert len(case(table(tmp_path, numbered)).cells) == 2


def test_a_level_of_load_by_any_name(tmp_path: Path) -> None:
    for name in ("num_users", "parallel", "Concurrency level"):
        rows = [
            {"model": "m", name: load, "tok/s": speed, "Mean latency (s)": time}
            for load, speed, time in ((1, 3.1, 41.0), (2, 26.0, 9.8), (4, 49.0, 10.4), (8, 90.0, 11.4))
        ]
        assert kinds(judged(table(tmp_path, rows))) == {"cold_level"}, name


def test_columns_of_arms_are_rows_of_arms(tmp_path: Path) -> None:
    head = "| Model | Native (tok/s) | Docker (tok/s) | Δ % |\n|---|---|---|---|\n"
    text = f"{head}| a-7B | 14.2 | 14.1 | -0.7% |\n| b-1B | 90 | 89 | -1.1% |\n"
    results = read(written(tmp_path, text, "README.md"))
    assert results.ok.select("model_name", "environment", OUT).rows() == [
        ("a-7B", "native", 14.2),
        ("a-7B", "docker", 14.1),
        ("b-1B", "native", 90.0),
        ("b-1B", "docker", 89.0),
    ]
    assert not judged(results).findings
    text = "model,run,native_tok_s,docker_tok_s,native_ttft_ms,docker_ttft_ms\nm,1,9.1,9.0,80,81\nm,2,9.2,,82,83\n"
    results = read(written(tmp_path, text))
    assert results.ok.select("environment", OUT, "ttft_mean_ms").rows()[:2] == [
        ("native", 9.1, 80.0),
        ("docker", 9.0, 81.0),
    ]
    assert len(read(written(tmp_path, text.replace("run", "arm")), {"model": "model"}).frame) == 4
    assert len(read(written(tmp_path, "model,arm,host_tok_s,docker_tok_s\nm,a,1,2\n")).frame) == 1


@pytest.mark.parametrize(
    ("header", "arms"),
    [
        ("model,tok_s,temp_before,temp_after", {"native", "docker"}),
        ("model,result,temp_before,temp_after", {"native", "docker"}),
        ("model,result,mem_before_gb,mem_after_gb", {"native", "docker"}),
        ("model,tok_s,host_mem_gb,container_mem_gb", {"native", "docker"}),
        ("model,n,before_tok_s,after_tok_s", {"before", "after"}),
        ("model,n,Before (tok/s),After (tok/s)", {"before", "after"}),
    ],
)
def test_words_of_arms_that_are_none(tmp_path: Path, header: str, arms: set[str]) -> None:
    for arm in ("native", "docker"):
        written(tmp_path, f"{header}\nm,14,50,61\nm,15,51,62\n", f"{arm}.csv")
    frame = read(tmp_path).frame
    assert set(frame["environment"]) == arms
    assert len(frame) == (4 if "docker" in arms else 8)


def test_a_row_of_dashes_is_no_rule_below_a_header(tmp_path: Path) -> None:
    text = "| model | tok/s |\n|---|---|\n| a | 14 |\n| - | - |\n| b | 15 |\n"
    assert read(written(tmp_path, text, "a.md")).ok[OUT].to_list() == [14, 15]
    assert read(written(tmp_path, "model|tok/s\na|14\n-|-\nb|15\n")).ok[OUT].drop_nulls().to_list() == [14, 15]


def test_tests_of_llama_bench_in_columns_under_headings_and_with_builds(tmp_path: Path) -> None:
    header = "| model | fa | test | t/s |\n| --- | -: | ---: | ---: |\n"
    rows = "| m 8B Q4_0 | 1 | tg32 | 50.2 ± 0.1 |\n| m 8B Q4_0 | 1 | tg32 | 50.3 ± 0.1 |\n"
    builds = {"native": "a (1)", "docker": "b (2)"}
    text = "".join(f"# {arm}\n\n{header}{rows}\nbuild: {build}\n\n" for arm, build in builds.items())
    results = read(written(tmp_path, text, "README.md"))
    assert results.ok["environment"].to_list() == ["native"] * 2 + ["docker"] * 2
    (found,) = of_kind(judged(results), "confounded_arms")
    assert "build: a (1) in native, b (2) in docker" in found.evidence
    results = read(
        written(tmp_path, "| Model | pp512 | tg128 t/s |\n|---|---|---|\n| m-8B | 2812 | 38.6 |\n", "wide.md")
    )
    assert results.ok.select("n_prompt", "n_gen", "prefill_throughput_tok_s", OUT).rows() == [
        (512.0, 0.0, 2812.0, None),
        (0.0, 128.0, None, 38.6),
    ]


def test_times_by_zone_letters_and_by_half_days(tmp_path: Path) -> None:
    def stamped(form: str, order: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        start = datetime(2026, 10, 13, 11, 30, tzinfo=UTC)
        return [row | {"started_at": (start + timedelta(minutes=4 * n)).strftime(form)} for n, row in enumerate(order)]

    blocked = sorted(runs(), key=lambda row: str(row["environment"]))
    forms = "%Y-%m-%d %H:%M:%S CEST", "%Y-%m-%d %H:%M:%S utc", "%Y-%m-%dT%H:%M:%SUTC", "%m/%d/%Y %I:%M:%S %p est"
    for form in (*forms, "%m/%d/%Y %I:%M:%S %p"):
        assert kinds(judged(table(tmp_path, stamped(form, blocked)))) >= {"blocked_order"}, form
        assert not judged(table(tmp_path, stamped(form, runs()))).findings, form


def test_equal_values_where_values_crowd_are_no_copies(tmp_path: Path) -> None:
    """Values of three digits at a slow level agree by chance; whole rows twice do not."""
    slow = {3: 1.552, 5: 1.554, 8: 1.552, 11: 1.549, 14: 1.554, 16: 1.546}
    rows = [row | {OUT: slow.get(n, round(row[OUT], 3))} for n, row in enumerate(runs())]
    assert "duplicate_rows" not in kinds(judged(table(tmp_path, rows)))
    assert "duplicate_rows" in kinds(judged(table(tmp_path, [*runs(), *runs()[:5]])))
