"""Results as people publish them: read without hand work, and what is lost is said."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audit_cases import case, kinds, of_kind
from builders import Ended
from support.published import AIPERF_CSV, DATA, REQUESTS, SAMPLES

from sparkray.audit import audit
from sparkray.audit.quantities import read_numbers
from sparkray.audit.readers import ONE_ARM, Source, read, read_all
from sparkray.audit.statuses import is_known, kind_of, status_of
from sparkray.errors import DatasetError

Call = Callable[..., Ended]
OUT = "output_throughput_tok_s"


def judged(path: Path, columns: dict[str, str] | None = None, **changes: Any) -> Any:
    return audit(case(read(path, columns), **changes))


def written(folder: Path, text: str | bytes, name: str = "runs.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


RUNS = ["native,12.6", "docker,12.5", "docker,12.4", "native,12.7"]
PLAIN = "model,environment,output_throughput_tok_s\n" + "\n".join(f"m,{run}" for run in RUNS) + "\n"
DIALECTS = {
    "semicolon": PLAIN.replace(",", ";").replace(".", ","),
    "tabs": PLAIN.replace(",", "\t"),
    "pipes": PLAIN.replace(",", " | "),
    "bom": b"\xef\xbb\xbf" + PLAIN.encode(),
    "utf-16": PLAIN.encode("utf-16"),
    "utf-16 without a mark": PLAIN.encode("utf-16-le"),
    "gzip": gzip.compress(PLAIN.encode()),
    "comments": "# measured in October\n# by hand\n" + PLAIN,
    "header behind #": "# a note\n#" + PLAIN,
    "title above": "Runs of October 2026\n\n" + PLAIN,
    "padded": PLAIN.replace(
        "model,environment,output_throughput_tok_s", " model , environment ,  output_throughput_tok_s "
    ),
    "units": PLAIN.replace(".6\n", ".6 tok/s\n").replace(".5\n", ".5 tokens/s\n"),
    "spread": PLAIN.replace(".6\n", ".6 ± 0.1\n").replace(".5\n", ".5 +/- 0.2\n"),
    "windows": PLAIN.replace("\n", "\r\n"),
    "a unit in the header": PLAIN.replace("output_throughput_tok_s", '"Throughput, tok/s"'),
    "names of others": PLAIN.replace("model,environment,output_throughput_tok_s", "Model,Arm,Tokens/s"),
    "markdown": "| model | environment | tok/s |\n|---|---|---:|\n"
    + "".join(f"| m | {r.replace(',', ' | ')} |\n" for r in RUNS),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_table_in_any_dialect_is_the_same(tmp_path: Path, dialect: str) -> None:
    results = read(written(tmp_path, DIALECTS[dialect]))
    assert results.frame[OUT].to_list() == [12.6, 12.5, 12.4, 12.7]
    assert results.frame["environment"].to_list() == ["native", "docker", "docker", "native"]
    assert set(results.ok["model_name"]) == {"m"}


@pytest.mark.parametrize(
    ("name", "cells", "read_as"),
    [
        (OUT, ["1,180.5", "980.25"], [1180.5, 980.25]),
        (OUT, ["1.180,5", "980,25", "1.200"], [1180.5, 980.25, 1200.0]),
        (OUT, ["12,345", "9,5"], [12.345, 9.5]),
        (OUT, ["12,345", "1,180.5"], [12345.0, 1180.5]),
        (OUT, ["1 180.5", "1'180.5", "1\u202f180,5"], [1180.5, 1180.5, None]),
        (OUT, ["1.2k", "1.2 ktok/s", "900 t/s"], [1200.0, 1200.0, 900.0]),
        (OUT, ["56.30 ± 0.21", "56.3 tok/s ± 0.2 tok/s", "56.3 (± 0.2)"], [56.3, 56.3, 56.3]),
        ("latency_mean_ms", ["1.5 s", "900 ms", "250 µs", 7], [1500.0, 900.0, 0.25, 7.0]),
        ("latency_mean_ms", ["12 GB", "3 apples", "2026-10-03", "1_0"], [None, None, None, None]),
        ("memory_gib", ["1 GiB", "512 MiB"], [1.0, 0.5]),
        ("share", ["95 %", "n/a", "-", "", None], [95.0, None, None, None, None]),
    ],
)
def test_numbers_as_people_write_them(name: str, cells: list[Any], read_as: list[float | None]) -> None:
    read_ = read_numbers(name, cells)
    assert read_.values == pytest.approx(read_as)
    given = [cell for cell in cells if cell not in (None, "", "-", "n/a")]
    assert read_.lost == len(given) - sum(value is not None for value in read_as)


def test_grouped_thousands_are_judged(command_line: Call) -> None:
    said = json.loads(
        command_line("audit", str(DATA / "quoted-thousands.csv"), "--site", "dgx-spark", "--batch", "1", "--json").out
    )
    (fatal,) = (finding for finding in said["findings"] if finding["gravity"] == "fatal")
    assert fatal["kind"] == "beyond_roofline"
    assert "1191.5 tok/s, at most 18.2" in fatal["evidence"]


@pytest.mark.parametrize("cell", ["fast", "12.6 parsecs", "~12.6", "12.6/12.7"])
def test_a_lost_metric_is_a_finding_and_no_end_with_0(command_line: Call, tmp_path: Path, cell: str) -> None:
    ended = command_line("audit", str(written(tmp_path, PLAIN.replace("12.6", cell))))
    assert ended.status == 1
    assert "lost_values" in ended.out
    assert "1 of 4 values" in ended.out
    every = PLAIN.translate(str.maketrans("1234567", "abcdefg"))
    ended = command_line("audit", str(written(tmp_path, every)))
    assert (ended.status, "no_metric" in ended.out, "lost_values" in ended.out) == (1, True, True)


def test_the_report_counts_what_was_judged(command_line: Call) -> None:
    out = command_line("audit", str(DATA / "vllm-serve-one.json")).out
    assert "Judged " in out
    assert "; not judged:\n" in out
    assert "because only one environment, docker: no comparison of arms can be judged" in out
    document = json.loads(command_line("audit", str(DATA / "records.json"), "--json").out)
    asked = {question["name"]: question for question in document["questions"]}
    assert document["judged"] == sum(question["judged"] for question in document["questions"]) < len(asked)
    assert asked["blocked_order"]["judged"]
    assert not asked["beyond_memory"]["judged"]
    assert asked["beyond_memory"]["reasons"]


def test_a_column_with_a_comma_in_its_name_can_be_mapped(command_line: Call) -> None:
    ended = command_line("audit", str(DATA / "comma-in-header.csv"), "--map", f"model=model,{OUT}=Throughput, tok/s")
    assert ended.status == 0, ended.err
    ended = command_line("audit", str(DATA / "comma-in-header.csv"), "--ignore", '"Throughput, tok/s"')
    assert (ended.status, "no_metric" in ended.out) == (1, True)


def test_times_with_and_without_a_zone_are_said_and_not_judged() -> None:
    report = judged(DATA / "zones.csv", batch=1)
    assert kinds(report) == {"mixed_time_zones"}
    (found,) = report.findings
    assert "10 times with a zone, 10 without one" in found.evidence
    assert "+7.9 h" in found.evidence


def test_good_ends_are_no_failures() -> None:
    for columns in ({"status": "done_reason"}, {}):
        results = read(DATA / "done-reason.csv", columns)
        assert results.frame["status"].value_counts(sort=True).rows() == [("ok", 10), ("timed_out", 2)]


@pytest.mark.parametrize(
    ("column", "value", "status"),
    [
        ("done_reason", "stop", "ok"),
        ("finish_reason", "length", "ok"),
        ("finish_reason", "content_filter", "content_filter"),
        ("status", "Timed-Out", "Timed-Out"),
        ("status", "sparkling", "sparkling"),
        ("exit_code", "0", "ok"),
        ("exit_code", 137, "failed"),
        ("success", True, "ok"),
        ("success", "no", "failed"),
        ("failed", False, "ok"),
        ("failed", "1", "failed"),
        ("error", "", "ok"),
        ("error", "connection reset", "failed"),
        ("status_code", 200, "ok"),
        ("status_code", "503", "failed"),
    ],
)
def test_statuses_by_their_columns(column: str, value: Any, status: str) -> None:
    kind = kind_of(column)
    assert kind is not None
    assert status_of(value, kind) == status
    assert is_known(status) == (status != "sparkling")


def test_an_unknown_status_is_named_and_does_not_count(tmp_path: Path) -> None:
    rows = [f"m,{run},{word}" for run, word in zip(RUNS, ("ok", "ok", "ok", "sparkling"), strict=True)]
    path = written(tmp_path, "model,environment,output_throughput_tok_s,status\n" + "\n".join(rows))
    report = judged(path)
    assert of_kind(report, "unknown_status")[0].evidence == "1 sparkling"
    assert len(read(path).ok) == 3


def test_an_empty_word_among_others_does_not_count(tmp_path: Path) -> None:
    rows = [f"m,{run},{word}" for run, word in zip(RUNS, ("stop", "length", "", "eos"), strict=True)]
    path = written(tmp_path, "model,environment,output_throughput_tok_s,done_reason\n" + "\n".join(rows))
    assert read(path).frame["status"].to_list() == ["ok", "ok", "unknown", "ok"]


def test_arms_are_named_by_the_user_by_a_field_or_by_folders(command_line: Call, tmp_path: Path) -> None:
    one = json.loads((DATA / "vllm-serve-one.json").read_text())
    for arm in ("native", "docker"):
        (tmp_path / "all" / arm).mkdir(parents=True)
        for index in range(3):
            unlabelled = {key: value for key, value in one.items() if key != "label"} | {
                "date": f"20261003-0{index}0000"
            }
            (tmp_path / "all" / arm / f"run={index}.json").write_text(json.dumps(unlabelled))
    by_folder = read(tmp_path / "all").frame
    named = read_all([Source(tmp_path / "all" / "native", "a"), Source(tmp_path / "all" / "docker", "b")]).frame
    assert by_folder["environment"].to_list() == ["docker"] * 3 + ["native"] * 3
    assert named["environment"].to_list() == ["a"] * 3 + ["b"] * 3
    assert set(read(tmp_path / "all" / "native").frame["environment"]) == {ONE_ARM}
    paths = [f"{arm}={tmp_path / 'all' / arm}" for arm in ("native", "docker")]
    for words in (paths, ["--arm", paths[0], "--arm", paths[1]]):
        assert "vllm bench serve: 6 rows, 6 count" in command_line("audit", *words).out


def test_parameters_of_a_test_make_cells_and_are_no_metrics() -> None:
    results = read(DATA / "llama-bench.csv", {"started_s": "test_time", OUT: "avg_ts", "environment": "arm"})
    assert results.ok["model"].n_unique() == 12
    assert results.ok["level"].unique().sort()[0] == "n_prompt=0 n_gen=32 n_depth=0"
    assert set(results.metrics) == {OUT, "prefill_throughput_tok_s"}
    # A speed of prefill is none of decoding, whatever the map says.
    assert max(value for value in results.frame[OUT] if value is not None) < 60


def test_a_folder_is_one_study_without_copies_and_says_what_it_cannot_read(tmp_path: Path) -> None:
    aiperf = tmp_path / "run"
    aiperf.mkdir()
    sample, *_ = SAMPLES["aiperf"]
    (aiperf / "profile_export_aiperf.json").write_text(sample.text)
    (aiperf / "profile_export_aiperf.csv").write_text(AIPERF_CSV)
    (aiperf / "profile_export.jsonl").write_text(REQUESTS)
    (aiperf / "inputs.json").write_text('{"data": 1}')
    results = read(tmp_path)
    assert len(results.frame) == 1
    assert results.frame.select("requests_completed", "requests_failed").row(0) == (55, 9)
    (aiperf / "broken.json").write_text('{"model_id": ')
    report = audit(case(read(tmp_path)))
    assert "run/broken.json" in of_kind(report, "unreadable")[0].evidence


def test_a_line_that_is_cut_short_is_a_finding(tmp_path: Path) -> None:
    text = (DATA / "vllm-serve-runs.jsonl").read_text()
    path = written(tmp_path, text[:-100], "runs.jsonl")
    report = judged(path)
    assert len(read(path).frame) == 7
    assert of_kind(report, "broken_lines")[0].evidence == "1 lines of runs.jsonl"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"speed": {"of": "light"}}'),
        ("a.json", "[1, 2, 3]"),
        ("a.json", '{"models": 3}'),
        ("a.csv", "Werkzeug,Tempo\nA,3\n"),
        ("a.xlsx", b"PK\x03\x04\0\0\0\0"),
        ("a.txt", "Nothing but prose."),
        ("a.csv.gz", b"\x1f\x8b\x08nothing"),
        ("a.csv", ""),
    ],
)
def test_what_is_no_known_format_is_refused(command_line: Call, tmp_path: Path, name: str, text: str | bytes) -> None:
    path = written(tmp_path, text, name)
    with pytest.raises(DatasetError):
        read(path)
    ended = command_line("audit", str(path))
    assert (ended.status, ended.out, name in ended.err) == (2, "", True)


def test_an_arm_without_the_metric_is_a_finding(command_line: Call, tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN.replace("docker,12.5", "docker,n/a").replace("docker,12.4", "docker,"))
    ended = command_line("audit", str(path))
    assert (ended.status, "2 of 4 runs that count, of m in docker" in ended.out) == (1, True)


@pytest.mark.parametrize(
    ("document", "arms"),
    [
        ({"native": [{"speed": 1}], "docker": [{"speed": 2}]}, {"native", "docker"}),
        ([{"arm": "a", "result": {"speed": 1}}, {"arm": "b", "result": {"speed": 2}}], {"a", "b"}),
        ([{"speed": 1, "label": "openai"}, {"speed": 2, "label": "openai"}], {ONE_ARM}),
    ],
)
def test_the_arm_may_stand_around_a_result(tmp_path: Path, document: Any, arms: set[str]) -> None:
    one = json.loads((DATA / "vllm-serve-one.json").read_text()) | {"label": None}

    def filled(node: Any) -> Any:
        if isinstance(node, list):
            return [filled(inner) for inner in node]
        return (
            one | node
            if "speed" in node
            else {key: filled(inner) if isinstance(inner, list | dict) else inner for key, inner in node.items()}
        )

    path = written(tmp_path, json.dumps(filled(document)), "runs.json")
    assert set(read(path).frame["environment"]) == arms


def test_a_spreadsheets_first_line_and_a_line_of_units_are_no_runs(tmp_path: Path) -> None:
    lines = PLAIN.replace(",", ";").replace(".", ",").splitlines()
    path = written(tmp_path, "\n".join(["sep=;", lines[0], ";;[tok/s]", *lines[1:]]))
    assert read(path).frame[OUT].to_list() == [12.6, 12.5, 12.4, 12.7]


def test_files_are_arms_by_a_word_of_their_names(tmp_path: Path) -> None:
    bare = PLAIN.replace("model,environment,", "model,").replace("native,", "").replace("docker,", "")
    paths = [written(tmp_path, bare, name) for name in ("run1-docker.csv", "run2-docker.csv", "native.csv")]
    results = read_all([Source(path) for path in paths])
    assert dict(results.frame.group_by("environment").len().iter_rows()) == {"docker": 8, "native": 4}
    assert set(read(written(tmp_path, bare, "docker-vs-native.csv")).frame["environment"]) == {ONE_ARM}


def test_what_is_no_regular_file_is_not_waited_for(command_line: Call, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = command_line("audit", str(tmp_path / "fifo"))
    assert (done.status, "it is a FIFO" in done.err) == (2, True), done.err


def test_markdown_that_begins_with_a_link_is_read(tmp_path: Path) -> None:
    text = "[![build](x)](y)\n\n| model | test | t/s |\n|---|---|---|\n| a | tg32 | 5.1 |\n| a | tg32 | 5.2 |\n"
    path = tmp_path / "README.md"
    path.write_text(text)
    assert len(read(path).frame) == 2


def test_files_of_every_arm_have_blocks_of_their_own_and_those_of_one_arm_share_them(tmp_path: Path) -> None:
    def table(name: str, *arms: str) -> Source:
        lines = [f"m,{arm},{block},{100 + block}" for block in (0, 1) for arm in arms]
        (tmp_path / name).write_text("\n".join(["model,environment,block,output_throughput_tok_s", *lines]))
        return Source(tmp_path / name)

    both = read_all([table("one.csv", "native", "docker"), table("two.csv", "docker", "native")]).frame
    assert both["block"].to_list() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert both["row"].n_unique() == 8
    split = read_all([table("native.csv", "native"), table("docker.csv", "docker")]).frame
    assert split["block"].to_list() == [0, 1, 0, 1]
