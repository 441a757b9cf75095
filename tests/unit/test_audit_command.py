"""`audit` as a user meets it, and its three forms of input."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from audit_cases import case, dataset_in, of_kind
from builders import Ended
from markupsafe import escape
from support.audit_study import previous_study, sound_study

from sparkray.audit import audit
from sparkray.audit.readers import read
from sparkray.records import Outcome

Call = Callable[..., Ended]
COLUMNS = {
    "model": "Model",
    "environment": "Arm",
    "started_s": "When",
    "output_throughput_tok_s": "Tokens",
    "engine_reported_peak_gib": "Peak",
    "kv_cache_gib": "KV",
}
MAP = ",".join(f"{ours}={theirs}" for ours, theirs in COLUMNS.items())


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(previous_study()))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "results.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Model", "Arm", "When", "Tokens", "Peak", "KV"])
        for model, arms in previous_study()["models"].items():
            for arm, runs in arms.items():
                for run in runs:
                    keys = ("timestamp", "output_throughput", "peak_memory", "kv_cache")
                    writer.writerow([model, arm, *(run[key] for key in keys)])
    return path


def test_text_says_gravity_evidence_rows_and_what_is_open(command_line: Call, study: Path) -> None:
    ended = command_line("audit", str(study))
    assert ended.status == 1
    assert ended.out.index("FATAL  beyond_memory") < ended.out.index("GRAVE  blocked_order") < ended.out.index("NOTE ")
    for part in (
        "judged as from dgx-spark",
        "Evidence: weights 135.4 GiB",
        "and 19 more",
        "Could not be judged:",
        "2 fatal",
    ):
        assert part in ended.out


def test_json_document(command_line: Call, study: Path) -> None:
    document = json.loads(command_line("audit", str(study), "--json", "--batch", "8").out)
    assert set(document) == {"findings", "not_judged", "judged", "questions"}
    assert document["judged"] == sum(question["judged"] for question in document["questions"]) >= 10
    for finding in document["findings"]:
        assert set(finding) == {"kind", "gravity", "message", "evidence", "rows"}
    assert [f["gravity"] for f in document["findings"] if f["kind"] == "beyond_roofline"] == ["fatal"]
    assert all(set(left) == {"kind", "reason"} for left in document["not_judged"])


@pytest.mark.parametrize("kind", ["study", "dataset"])
def test_a_page_of_any_input(command_line: Call, tmp_path: Path, study: Path, kind: str) -> None:
    words = {
        "study": [str(study)],
        "dataset": [str(dataset_in(tmp_path).path)],
    }[kind]
    page = tmp_path / "audit.html"
    said = json.loads(command_line("audit", *words, "--json", "--output", str(page)).out)
    html = page.read_text()
    ET.fromstring(re.sub(r"<meta[^>]*>|<!DOCTYPE html>", "", html))  # every tag is closed
    assert not re.search(r"https?://|<script|<link|src=", re.sub(r' xmlns(:\w+)?="[^"]*"', "", html)), (
        "it needs nothing else"
    )
    assert html.count("<svg") == html.count("<figure") == min(3, len(said["findings"])), "the gravest have a plot"
    for finding in said["findings"]:
        assert finding["kind"].replace("_", " ") in html.casefold()
        assert escape(finding["evidence"]) in html
    assert all(escape(left["reason"]) in html for left in said["not_judged"])


def test_a_name_from_the_data_is_no_markup(command_line: Call, tmp_path: Path) -> None:
    document = sound_study()
    document["models"]["<script>alert(1)</script>-7b"] = {"native": [{"exit_code": 1}]}
    path, page = tmp_path / "odd.json", tmp_path / "audit.html"
    path.write_text(json.dumps(document))
    command_line("audit", str(path), "--output", str(page))
    assert "<script" not in page.read_text()
    assert "&lt;script&gt;" in page.read_text()


def test_a_page_that_cannot_be_written_is_said(command_line: Call, tmp_path: Path, study: Path) -> None:
    ended = command_line("audit", str(study), "--output", str(tmp_path / "nowhere" / "audit.html"))
    assert (ended.status, "cannot be written" in ended.err) == (3, True)


def test_a_sound_study_ends_with_0(command_line: Call, tmp_path: Path) -> None:
    path = tmp_path / "sound.json"
    path.write_text(json.dumps(sound_study()))
    ended = command_line("audit", str(path))
    assert (ended.status, ended.out.splitlines()[-1]) == (0, "Nothing found.")


def test_a_table_with_a_map(command_line: Call, table: Path) -> None:
    said = json.loads(command_line("audit", str(table), "--map", MAP, "--site", "dgx-spark", "--json").out)
    kinds = {finding["kind"] for finding in said["findings"]}
    assert kinds >= {
        "beyond_memory",
        "blocked_order",
        "indistinguishable_models",
        "redundant_metrics",
        "ambiguous_memory",
    }
    (memory,) = (finding for finding in said["findings"] if finding["kind"] == "beyond_memory")
    assert memory["rows"] == [f"row {number}" for number in range(41, 64)]


def test_a_parquet_table_says_the_same_as_the_csv(tmp_path: Path, table: Path) -> None:
    parquet = tmp_path / "results.parquet"
    pl.read_csv(table).write_parquet(parquet)
    assert read(parquet, COLUMNS).frame.equals(read(table, COLUMNS).frame)


def written(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_what_is_mapped_is_kept_whatever_it_is_called(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "model,environment,run,index", ["m,native,7,1", "m,native,8,2"])
    results = read(path, {"iteration": "run"})
    assert results.frame["iteration"].to_list() == [7, 8]
    assert results.metrics == ()


def test_what_is_mapped_stands_before_a_column_of_that_name(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "Name,environment,model", ["right,native,wrong"])
    results = read(path, {"model": "Name"})
    assert (results.frame["model"].to_list(), results.frame["model_name"].to_list()) == (["right"], ["right"])


ARMS = ("native", "container", "container", "native") * 5


def timed(path: Path, name: str, first: float, step: float) -> Path:
    rows = [f"m,{arm},{index},{first + step * index},{100 + index % 3}" for index, arm in enumerate(ARMS)]
    return written(path / "t.csv", f"model,environment,position,{name},output_throughput_tok_s", rows)


@pytest.mark.parametrize(
    ("name", "first"),
    [("end_time", 1.7e9), ("end_time", 0.0), ("Finished At", 3.0), ("timestamp_ms", 1.7e12), ("wall_clock", 1.7e9)],
)
def test_when_something_was_is_no_metric(command_line: Call, tmp_path: Path, name: str, first: float) -> None:
    said = json.loads(command_line("audit", str(timed(tmp_path, name, first, 60.0)), "--json").out)
    assert [finding for finding in said["findings"] if name in finding["message"] + finding["evidence"]] == []
    assert [left["reason"] for left in said["not_judged"] if left["kind"] == "columns"] == [
        f"{name} holds times: not used as a metric"
    ]


@pytest.mark.parametrize(("name", "first"), [("response_time", 3.0), ("peak_bytes", 1.7e9), ("load_time_s", 2.0)])
def test_how_long_something_took_is_one(tmp_path: Path, name: str, first: float) -> None:
    assert name in read(timed(tmp_path, name, first, 60.0)).metrics


def test_a_column_can_be_left_out(command_line: Call, tmp_path: Path) -> None:
    path = timed(tmp_path, "battery", 3.0, 1.0)
    drifts = [finding["kind"] for finding in json.loads(command_line("audit", str(path), "--json").out)["findings"]]
    assert "drift" in drifts
    ended = command_line("audit", str(path), "--ignore", "battery", "--json")
    assert "drift" not in {finding["kind"] for finding in json.loads(ended.out)["findings"]}


def test_without_a_site_the_machine_is_open(command_line: Call, table: Path) -> None:
    said = json.loads(command_line("audit", str(table), "--map", MAP, "--json").out)
    assert {"beyond_memory", "beyond_roofline"} <= {left["kind"] for left in said["not_judged"]}
    assert "beyond_memory" not in {finding["kind"] for finding in said["findings"]}


H100 = "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize("words", [("--gpu", H100), ("--gpu", H100, "--site", "discrete-gpu")])
def test_a_table_from_a_gpu_is_held_against_its_data_sheet(
    command_line: Call, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A 72B of 16 bits fits into no H100, and a 7B reads 14.1 GB a step: 237 steps a second."""
    rows = [
        f"{model},{arm},{index},{speed + index % 3}"
        for model, speed in (("Qwen2.5-72B", 20), ("DeepSeek-R1-7B", 300))
        for index, arm in enumerate(ARMS)
    ]
    path = written(tmp_path / "t.csv", "model,environment,position,output_throughput_tok_s", rows)
    ended = command_line("audit", str(path), "--batch", "1", *words, "--json")
    fatal = {finding["kind"] for finding in json.loads(ended.out)["findings"] if finding["gravity"] == "fatal"}
    assert fatal == {"beyond_memory", "beyond_roofline"}
    assert f"judged as from discrete-gpu ({H100})" in command_line("audit", str(path), *words).out
    left = json.loads(command_line("audit", str(path), "--site", "discrete-gpu", "--json").out)["not_judged"]
    assert "its GPU with --gpu" in next(one["reason"] for one in left if one["kind"] == "beyond_roofline")


def test_a_table_from_a_spark_or_from_a_gpu_that_is_described(command_line: Call, tmp_path: Path) -> None:
    rows = [f"DeepSeek-R1-7B,{arm},{index},{60 + index % 3}" for index, arm in enumerate(ARMS)]
    path = written(tmp_path / "t.csv", "model,environment,position,output_throughput_tok_s", rows)
    ended = command_line("audit", str(path), "--batch", "1", "--gpu", "NVIDIA GB10")
    assert "judged as from dgx-spark (NVIDIA GB10)" in ended.out
    assert "beyond_roofline" in ended.out
    described = ("--gpu", "NVIDIA X100", "--set", "site.bandwidth_gb_s=2000")
    ended = command_line("audit", str(path), "--batch", "1", *described)
    assert "judged as from discrete-gpu (NVIDIA X100)" in ended.out
    assert "FATAL" not in ended.out
    assert command_line("audit", str(path), "--gpu", "NVIDIA X100").status == 2
    assert command_line("audit", str(path), "--set", "experiment.runs=3").status == 2


def test_a_name_that_means_another_card(command_line: Call, study: Path) -> None:
    words = ("audit", str(study), "--json", "--models-as", "Qwen2.5-72B-Instruct=Qwen2-1.5B")
    kinds = {finding["kind"] for finding in json.loads(command_line(*words).out)["findings"]}
    assert "beyond_memory" not in kinds
    assert "redundant_metrics" in kinds


def test_a_dataset_of_sparkray(command_line: Call, tmp_path: Path) -> None:
    dataset = dataset_in(tmp_path)
    said = json.loads(command_line("audit", str(dataset.path), "--json").out)
    (memory,) = (finding for finding in said["findings"] if finding["kind"] == "beyond_memory")
    assert memory["rows"] == [f"r{index:02d}-1" for index in range(12)]
    assert "blocked_order" not in {finding["kind"] for finding in said["findings"]}


def test_the_attempt_that_is_ok_stands_for_its_run(tmp_path: Path) -> None:
    dataset = dataset_in(tmp_path, run_id="same", status="failed", attempt=1)
    dataset.write(Outcome({"run_id": "same", "attempt": 2, "model": "m", "environment": "native", "status": "ok"}))
    dataset.write(Outcome({"run_id": "same", "attempt": 3, "model": "m", "environment": "native", "status": "failed"}))
    assert read(dataset.path).ok["row"].to_list() == ["same-2"]


def test_a_broken_file_of_a_dataset_is_reported(tmp_path: Path) -> None:
    dataset = dataset_in(tmp_path)
    (dataset.path / "runs" / "r03-1.parquet").write_bytes(b"PAR1 no more")
    results = read(dataset.path)
    assert len(results.ok) == 11
    (lost,) = of_kind(audit(case(results)), "unreadable")
    assert "r03-1.parquet" in lost.evidence


def test_levels_of_a_load_are_cells_apart(tmp_path: Path) -> None:
    results = read(dataset_in(tmp_path, level="batch 8").path)
    assert results.ok["model"].unique().to_list() == ["Qwen2.5-72B batch 8"]
    assert results.ok["model_name"].unique().to_list() == ["Qwen2.5-72B"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["{folder}/none"], ["none is not there"]),
        (["{folder}/nothing"], ["holds no runs"]),
        (["{odd}"], ["no column 'model'", "--map model=Modul", "Velocity"]),
        (["{table}", "--map", "model=Modl"], ["unknown column in results.csv 'Modl'", "Did you mean 'Model'?"]),
        (["{table}", "--map", "modle=Model"], ["unknown column of sparkray 'modle'", "Did you mean 'model'?"]),
        (["{table}", "--map", "model"], ["--map 'model' is not of the form a=b"]),
        (["{table}", "--map", "model=Model,environment=Model"], ["mapped to two names"]),
        (["{table}", "--ignore", "Peek"], ["unknown column in results.csv 'Peek'", "Did you mean 'Peak'?"]),
        (["{table}", "--map", "model=Model", "--ignore", "Model"], ["unknown column in results.csv 'Model'"]),
        (["{study}", "--ignore", "latency"], ["is no table", "Leave --map and --ignore out"]),
        (["{study}", "--site", "dgx-spar"], ["unknown site 'dgx-spar'", "Did you mean 'dgx-spark'?"]),
        (["{study}", "--models-as", "gpt-oss-120b=gpt-os"], ["unknown model 'gpt-os'"]),
        (["{study}", "--models-as", "gpt-os=GPT-OSS-120B"], ["unknown model in the results 'gpt-os'", "gpt-oss-120b"]),
        (["{study}", "--gpu", "NVIDIA H10"], ["unknown GPU 'NVIDIA H10'", "NVIDIA H100 80GB HBM3"]),
        (["{study}", "--site", "dgx-spark", "--gpu", "NVIDIA H200"], ["unknown GPU of site dgx-spark 'NVIDIA H200'"]),
        (["{text}"], ["is not valid JSON"]),
        (["{empty}"], ["is in no known format", "vllm bench serve", "llama-bench"]),
        ([], ["no results are named"]),
    ],
)
def test_bad_input_ends_with_2(
    command_line: Call, tmp_path: Path, study: Path, table: Path, *, words: list[str], parts: list[str]
) -> None:
    (tmp_path / "text.json").write_text("no JSON")
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "odd.csv").write_text("Modul,Velocity\nm,3\n")
    names = {
        "folder": tmp_path,
        "study": study,
        "table": table,
        "text": tmp_path / "text.json",
        "empty": tmp_path / "empty.json",
        "odd": tmp_path / "odd.csv",
    }
    ended = command_line("audit", *(word.format(**names) for word in words))
    assert (ended.status, ended.out) == (2, "")
    for part in parts:
        assert part in ended.err
