"""Tables as people write them by hand: scores, titles above blocks, remarks behind words of failure, a second table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import Ended

from sparkray.audit.readers import read
from sparkray.audit.results import Results

Call = Callable[..., Ended]
OUT, TTFT = "output_throughput_tok_s", "ttft_mean_ms"
NATIVE, DOCKER = [38.2, 38.6, 38.4, 38.9], [37.9, 38.1, 38.5, 37.7]
RUNS = [pair for n, d in zip(NATIVE, DOCKER, strict=True) for pair in (("native", n), ("docker", d))]
VALUES = [value for _, value in RUNS]
TABLE = "model,environment,tok/s\n" + "".join(f"m-8B,{arm},{value}\n" for arm, value in RUNS)
FIRST = "model,environment,ttft_ms\n" + "".join(f"m-8B,{arm},{200 + at}\n" for at, (arm, _) in enumerate(RUNS))


def written(folder: Path, content: str) -> Path:
    path = folder / "runs.csv"
    path.write_text(content)
    return path


def results_in(folder: Path, content: str) -> Results:
    return read(written(folder, content))


def evidence(ended: Ended) -> dict[str, str]:
    return {finding["kind"]: finding["evidence"] for finding in json.loads(ended.out)["findings"]}


def with_column(header: str, native: Any, docker: Any) -> str:
    cells = {"native": native, "docker": docker}
    return f"model,environment,{header},tok/s\n" + "".join(f"m-8B,{a},{cells[a]},{v}\n" for a, v in RUNS)


@pytest.mark.parametrize(
    ("header", "native", "docker"),
    [
        ("tests passed", "31/164", "33/164"),
        ("HumanEval", "31/164", "33/164"),
        ("problems solved", "31 of 164 (18.9 %)", "33 of 164 (20.1 %)"),
        ("pass@1", "18.9% (31/164)", "20.1% (33/164)"),
        ("tests passed", 31, 33),
        ("MMLU", 61.2, 62.8),
        ("score", "A", "B"),
    ],
)
def test_a_score_is_an_outcome(tmp_path: Path, command_line: Call, header: str, native: Any, docker: Any) -> None:
    path = written(tmp_path, with_column(header, native, docker))
    assert not evidence(command_line("audit", str(path), "--json"))


def test_a_score_out_of_those_asked_is_a_metric(tmp_path: Path) -> None:
    results = results_in(tmp_path, with_column("tests passed", "31/164", "33/164"))
    assert "tests passed" in results.metrics
    assert results.ok["tests passed"].to_list() == pytest.approx([31 / 164, 33 / 164] * 4)


@pytest.mark.parametrize(
    ("header", "native", "docker"),
    [
        ("layers offloaded", "33/33", "20/33"),
        ("mig", "1/7", "2/7"),
        ("questions", 100, 200),
        ("score version", "v1", "v2"),
    ],
)
def test_a_setting_is_no_score(tmp_path: Path, command_line: Call, header: str, native: Any, docker: Any) -> None:
    path = written(tmp_path, with_column(header, native, docker))
    assert list(evidence(command_line("audit", str(path), "--json"))) == ["confounded_arms"]


def test_numbers_of_runs_are_no_scores(tmp_path: Path) -> None:
    rows = "".join(f"m-8B,{arm},{at // 2 + 1}/4,{value}\n" for at, (arm, value) in enumerate(RUNS))
    assert "tests" not in results_in(tmp_path, f"model,environment,tests,tok/s\n{rows}").metrics


BLOCKS = {
    "a line of one cell": f"vLLM\n{TABLE}\nTTFT\n{FIRST}",
    "a comment": f"# vLLM\n{TABLE}\n# TTFT\n{FIRST}",
    "comments alone": f"# vLLM\n# 4 GPUs\n{TABLE}# TTFT, by request\n{FIRST}",
    "empty fields behind": f"vLLM,,\n{TABLE},,\nTTFT,,\n{FIRST}",
    "no blank line": f"vLLM\n{TABLE}TTFT\n{FIRST}",
    "two titles": f"vLLM,,\n2025-11-03,,\n{TABLE}\n\nvLLM,,\nTTFT,,\n{FIRST}",
}


@pytest.mark.parametrize("form", BLOCKS)
def test_titles_above_blocks_are_no_rows(tmp_path: Path, command_line: Call, form: str) -> None:
    results = results_in(tmp_path, BLOCKS[form])
    assert results.ok[OUT].drop_nulls().to_list() == VALUES
    assert results.ok[TTFT].drop_nulls().to_list() == [200.0 + at for at in range(8)]
    assert len(results.ok) == 16
    assert list(evidence(command_line("audit", str(tmp_path / "runs.csv"), "--json"))) == ["missing_values"]


@pytest.mark.parametrize("title", ["{}", "# {}", "{},", "## {}:", "**{}**"])
def test_titles_of_blocks_with_one_header_are_their_arms(tmp_path: Path, title: str) -> None:
    blocks = {"Native": NATIVE, "Docker": DOCKER}
    text = "\n".join(
        f"{title.format(arm)}\nmodel,tok/s\n" + "".join(f"m-8B,{value}\n" for value in values)
        for arm, values in blocks.items()
    )
    ok = results_in(tmp_path, text).ok
    assert ok.filter(environment="Docker")[OUT].to_list() == DOCKER
    assert len(ok) == 8


def test_titles_of_engines_are_cells_of_their_own(tmp_path: Path, command_line: Call) -> None:
    more = "model,environment,tok/s\n" + "".join(f"m-8B,{arm},{value + 20}\n" for arm, value in RUNS)
    path = written(tmp_path, f"# vLLM\n{TABLE}\n# llama.cpp\n{more}")
    assert read(path).ok["section"].to_list() == ["vLLM"] * 8 + ["llama.cpp"] * 8
    assert not evidence(command_line("audit", str(path), "--json"))


def test_a_line_of_one_cell_among_rows_begins_no_table(tmp_path: Path) -> None:
    ok = results_in(tmp_path, "model,tok/s\nm-8B,38.2\nm-9B\nm-7B,fail\nm-2B,99.0\n").ok
    assert ok["model_name"].to_list() == ["m-8B", "m-9B", "m-2B"]


def test_a_comment_inside_of_a_quoted_field_begins_no_table(tmp_path: Path) -> None:
    rows = "".join(f'm-8B,{arm},"a\n# b\nc",{value}\n' for arm, value in RUNS)
    assert results_in(tmp_path, f"model,environment,prompt,tok/s\n{rows}").ok[OUT].to_list() == VALUES


@pytest.mark.parametrize(
    "word",
    ["OOM (24 GB)", "OOM*", "OOM**", "OOM [1]", "(OOM)", "**OOM**", "OOM¹", "failed: CUDA error", "timeout (600 s)"],
)
def test_a_word_of_failure_keeps_its_meaning_with_a_remark(tmp_path: Path, command_line: Call, word: str) -> None:
    path = written(tmp_path, TABLE.replace("38.6", word))
    assert sorted(read(path).ok[OUT].to_list()) == sorted({*VALUES} - {38.6})
    found = evidence(command_line("audit", str(path), "--json"))
    assert set(found) == {"failed_runs", "unequal_cells"}
    assert found["failed_runs"] in ("1 OOM in native", "1 failed in native", "1 timeout in native")


def test_a_failure_with_a_remark_below_an_arm_of_a_wide_table(tmp_path: Path, command_line: Call) -> None:
    table = "model,native tok/s,docker tok/s\nm-8B,38.2,37.9\nm-32B,11.2,OOM (24 GB)\nm-4B,71.0,70.1\n"
    ended = command_line("audit", str(written(tmp_path, table)), "--json")
    assert "1 OOM in docker" in evidence(ended)["failed_runs"]
    assert "lost_values" not in evidence(ended)


@pytest.mark.parametrize("cell", ["no-op", "down 5 %", "oomph", "badly (5)"])
def test_other_words_are_lost_values(tmp_path: Path, command_line: Call, cell: str) -> None:
    path = written(tmp_path, TABLE.replace("38.6", cell))
    assert "lost_values" in evidence(command_line("audit", str(path), "--json"))


@pytest.mark.parametrize("form", ["csv", "markdown"])
def test_columns_of_a_second_table_below_a_long_one_are_read(tmp_path: Path, form: str) -> None:
    rows = [["m-8B", arm, str(at), str(value)] for at in range(30) for arm, value in RUNS]
    more = [["m-8B", arm, str(at), str(200 + at)] for at, (arm, _) in enumerate(RUNS)]
    tables = (
        [["model", "environment", "iteration", "tok/s"], *rows],
        [["model", "environment", "iteration", "TTFT (ms)"], *more],
    )
    if form == "csv":
        text = "\n".join("".join(",".join(row) + "\n" for row in table) for table in tables)
    else:
        lines = [[f"| {' | '.join(row)} |" for row in table] for table in tables]
        text = "\n\n".join("\n".join([head, "|---" * 4 + "|", *below]) for head, *below in lines)
    assert results_in(tmp_path, text).ok[TTFT].drop_nulls().to_list() == [200.0 + at for at in range(8)]
