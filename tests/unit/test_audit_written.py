"""Tables as people write them: sums below, merged cells, words in place of numbers, other languages and encodings."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import Ended

from sparkray.audit.readers import Source, read, read_all
from sparkray.audit.results import Results
from sparkray.errors import DatasetError

Call = Callable[..., Ended]
OUT, TTFT = "output_throughput_tok_s", "ttft_mean_ms"
NATIVE, DOCKER = [38.2, 38.6, 38.4, 38.9], [37.9, 38.1, 38.5, 37.7]
RUNS = [pair for n, d in zip(NATIVE, DOCKER, strict=True) for pair in (("native", n), ("docker", d))]
VALUES = [value for _, value in RUNS]
HEADER = "model,environment,iteration,tok/s\n"
TABLE = "model,environment,tok/s\n" + "".join(f"m-8B,{arm},{value}\n" for arm, value in RUNS)


def written(folder: Path, content: str | bytes, name: str = "runs.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def results_in(folder: Path, content: str | bytes, name: str = "runs.csv") -> Results:
    return read(written(folder, content, name))


def column(header: str, native: Any, docker: Any, row: str = "m-8B,{arm},{cell},{value}") -> str:
    """A table with one more column, of one value in each arm."""
    cells = {"native": native, "docker": docker}
    return f"model,environment,{header},tok/s\n" + "".join(
        row.format(arm=arm, cell=cells[arm], value=value) + "\n" for arm, value in RUNS
    )


def marked(header: str, good: str, bad: str) -> str:
    """A table of which the third run is marked as failed."""
    lines = [f"m-8B,{arm},{bad if at == 2 else good},{value}" for at, (arm, value) in enumerate(RUNS)]
    return f"model,environment,{header},tok/s\n" + "\n".join(lines) + "\n"


def findings(ended: Ended) -> dict[str, str]:
    """The evidence of each finding of a report in JSON, by kind."""
    return {finding["kind"]: finding["evidence"] for finding in json.loads(ended.out)["findings"]}


JAPANESE = "モデル,環境,回,スループット(tok/s)\n" + "".join(f"m-8B,{a},{i},{v}\n" for i, (a, v) in enumerate(RUNS))
CHINESE = "模型,环境,轮次,吞吐量(tok/s)\n" + "".join(f"m-8B,{a},{i},{v}\n" for i, (a, v) in enumerate(RUNS))
SAME = {
    "sums below": TABLE + f"TOTAL,,{sum(VALUES):.1f}\nAverage,,{sum(VALUES) / 8:.2f}\n",
    "a mean below each arm": HEADER
    + "".join(f"m-8B,native,{i},{v}\n" for i, v in enumerate(NATIVE))
    + "m-8B,native,avg,38.5\n"
    + "".join(f"m-8B,docker,{i},{v}\n" for i, v in enumerate(DOCKER))
    + "m-8B,docker,avg,38.1\n",
    "the header again": HEADER
    + "".join(f"m-8B,native,{i},{v}\n" for i, v in enumerate(NATIVE))
    + HEADER
    + "".join(f"m-8B,docker,{i},{v}\n" for i, v in enumerate(DOCKER)),
    "merged cells": "Model,Environment,Run,tok/s\nm-8B,native,1,38.2\n"
    + "".join(f",,{i},{v}\n" for i, v in enumerate(NATIVE[1:], 2))
    + ",docker,1,37.9\n"
    + "".join(f",,{i},{v}\n" for i, v in enumerate(DOCKER[1:], 2)),
    "a note below": TABLE + "\nMeasured on a workstation, driver 580\n",
    "lines of an old Mac": TABLE.replace("\n", "\r"),
    "Japanese": JAPANESE,
    "Japanese in Shift-JIS": JAPANESE.encode("cp932"),
    "Chinese": CHINESE,
    "Chinese in GBK": CHINESE.encode("gb18030"),
    "French": "Modèle;Environnement;Essai;Débit (jetons/s)\n"
    + "".join(f"m-8B;{a};{i};{v}\n".replace(".", ",") for i, (a, v) in enumerate(RUNS)),
    "cells with markup": "| Model | Env | tok/s |\n|---|---|---|\n"
    + "".join(f"| [m-8B](https://example.org/m) | {a} | **{v}**<br> |\n" for a, v in RUNS),
    "units in words": "model,environment,speed\n" + "".join(f"m-8B,{a},{v} tokens per second\n" for a, v in RUNS),
    "a unit behind the name": TABLE.replace("tok/s", "output_token_throughput_per_s"),
    "a frame": "┌──────┬────────┬───────┐\n│ model│ env    │ tok/s │\n├──────┼────────┼───────┤\n"
    + "".join(f"│ m-8B │ {a} │ {v} │\n" for a, v in RUNS)
    + "└──────┴────────┴───────┘\n",
    "means beside extremes": "model,environment,min tok/s,avg tok/s,max tok/s\n"
    + "".join(f"m-8B,{a},{30 + i % 3},{v},{50 + i % 4}\n" for i, (a, v) in enumerate(RUNS)),
    "a run that warms up": HEADER
    + "m-8B,native,warmup,3.1\nm-8B,docker,Warm-up,2.9\n"
    + "".join(f"m-8B,{a},{i},{v}\n" for i, (a, v) in enumerate(RUNS)),
    "rows marked as warm-up": "model,environment,warmup,tok/s\nm-8B,native,yes,3.1\nm-8B,docker,yes,2.9\n"
    + "".join(f"m-8B,{a},no,{v}\n" for a, v in RUNS),
    "ditto marks": "model,environment,tok/s\n"
    + "".join(f"{'m-8B' if i == 0 else '〃'},{a},{v}\n" for i, (a, v) in enumerate(RUNS)),
    "arms by their words": TABLE.replace("environment", "where it ran"),
}


@pytest.mark.parametrize("form", SAME)
def test_the_same_runs_are_read_from_every_form(tmp_path: Path, form: str, command_line: Call) -> None:
    results = results_in(tmp_path, SAME[form])
    ok = results.ok
    assert sorted(ok[OUT].to_list()) == sorted(VALUES)
    assert ok.filter(environment="docker")[OUT].to_list() == DOCKER
    assert set(ok["environment"]) == {"native", "docker"}
    assert set(ok["model_name"]) == {"m-8B"}
    assert command_line("audit", str(tmp_path / "runs.csv")).status == 0


@pytest.mark.parametrize(
    "table",
    [
        marked("Erfolgreich", "ja", "nein"),
        marked("ok", "WAHR", "FALSCH"),
        marked("Succès", "oui", "non"),
        marked("Éxito", "sí", "no"),
        marked("成功", "はい", "いいえ"),
        marked("Fehlgeschlagen", "nein", "ja"),
        TABLE.replace("38.6", "OOM"),
        TABLE.replace("38.6", "timeout"),
    ],
)
def test_a_run_that_failed_does_not_count(tmp_path: Path, command_line: Call, table: str) -> None:
    assert sorted(results_in(tmp_path, table).ok[OUT].to_list()) == sorted({*VALUES} - {38.6})
    ended = command_line("audit", str(tmp_path / "runs.csv"), "--json")
    assert ended.status == 1
    assert set(findings(ended)) == {"failed_runs", "unequal_cells"}


def test_a_model_that_failed_in_one_arm_is_missing_there(tmp_path: Path, command_line: Call) -> None:
    rows = ("m-8B | 38.2 t/s | 37.9 t/s", "m-32B | 11.2 t/s | fail", "m-4B | 71.0 t/s | -")
    table = "| Model | Native | Docker |\n|---|---|---|\n" + "".join(f"| {row} |\n" for row in rows)
    ended = command_line("audit", str(written(tmp_path, table, "t.md")))
    assert ended.status == 1
    assert "no runs that count for m-32B docker, m-4B docker" in " ".join(ended.out.split())
    assert "lost_values" not in ended.out


def merged(*names: str) -> str:
    """A table of two rows a name, of which the second has none."""
    return "| Model | Env | tok/s |\n|---|---|---|\n" + "".join(
        f"| {name} | native | {value} |\n| | docker | {value - 1} |\n" for value, name in enumerate(names, 40)
    )


WIDE = "model,native tok/s,docker tok/s\nm-8B,38.2,38.0\nm-7B,41.0,40.8\nm-9B,33.3,33.1\n"
FOOT = ("Average,37.5,37.3", "Avg. overhead,,0.5%", "Mean ± SD,37.5 ± 3.9,37.3 ± 3.9", "Std. Dev.,3.9,3.9")
FEET = (*FOOT, "Total (3 models),112.5,111.9", "Average (n=3),37.5,37.3", "max,41,40.8", "p99,41,40.8", "CV,0.1,0.1")


@pytest.mark.parametrize("table", [merged("m-8B", "m-7B", "**Average**"), merged("m-8B", "m-7B", "Average", "Max")])
def test_merged_lines_of_sums_do_not_go_to_the_model_above(tmp_path: Path, table: str) -> None:
    ok = results_in(tmp_path, table, "t.md").ok
    assert ok["model_name"].to_list() == ["m-8B", "m-8B", "m-7B", "m-7B"]
    assert ok[OUT].to_list() == [40, 39, 41, 40]


def test_runs_below_a_mean_in_a_merged_column_are_those_of_the_model_above(tmp_path: Path) -> None:
    runs = {"m-8B": "38.2", "m-7B": "41.0"}
    rows = "".join(
        f"{m},native,1,{v}\n,,2,{v}\nMean,,,{v}\n,docker,1,{v}\n,,2,{v}\nMean,,,{v}\n" for m, v in runs.items()
    )
    ok = results_in(tmp_path, HEADER + rows).ok
    assert ok["model_name"].to_list() == ["m-8B"] * 4 + ["m-7B"] * 4
    once = "m-8B,native,1,38.2\n,,2,38.6\nMean,,,38.4\n,docker,1,37.9\n,,2,38.1\n"
    assert results_in(tmp_path, HEADER + once).ok["model_name"].to_list() == ["m-8B"] * 4


@pytest.mark.parametrize("foot", [*FEET, "\n".join(FOOT), "\n".join(FEET)])
def test_lines_below_a_table_are_no_models(tmp_path: Path, foot: str) -> None:
    ok = results_in(tmp_path, f"{WIDE}{foot}\n").ok
    assert ok[OUT].to_list() == [38.2, 38.0, 41.0, 40.8, 33.3, 33.1]


@pytest.mark.parametrize("name", ["max", "p40", "Total"])
def test_a_model_with_the_name_of_a_sum_keeps_its_runs(tmp_path: Path, name: str) -> None:
    rows = "".join(f"{m},{a},{i // 2},{v}\n" for m in ("m-8B", "m-4B", name) for i, (a, v) in enumerate(RUNS))
    assert set(results_in(tmp_path, HEADER + rows).ok["model_name"]) == {"m-8B", "m-4B", name}


@pytest.mark.parametrize(
    ("header", "native", "docker"),
    [("warmup_runs", 1, 0), ("Warm-up runs", 0, 1), ("warmup", 3, 1), ("warmup", 1, 0), ("warm-up", "no", "yes")],
)
def test_warm_ups_that_differ_between_arms_drop_no_run(
    tmp_path: Path, command_line: Call, header: str, native: Any, docker: Any
) -> None:
    path = written(tmp_path, column(header, native, docker))
    assert read(path).ok[OUT].to_list() == VALUES
    assert list(findings(command_line("audit", str(path), "--json"))) == ["confounded_arms"]


def test_counts_of_warm_ups_mark_no_run(tmp_path: Path) -> None:
    for header in ("Warm-up runs", "warmup"):
        rows = "".join(f"m-8B,{arm},{1 + at // 2 % 2},{value}\n" for at, (arm, value) in enumerate(RUNS))
        assert results_in(tmp_path, f"model,environment,{header},tok/s\n{rows}").ok[OUT].to_list() == VALUES
    rows = "".join(f"m-8B,{arm},{int(at < 2)},{value}\n" for at, (arm, value) in enumerate(RUNS))
    assert results_in(tmp_path, f"model,environment,warmup,tok/s\n{rows}").ok[OUT].to_list() == VALUES[2:]


@pytest.mark.parametrize("header", ["Successful requests", "ok", "completed"])
def test_requests_out_of_those_asked_for_are_counts(tmp_path: Path, command_line: Call, header: str) -> None:
    found = findings(command_line("audit", str(written(tmp_path, column(header, "50/50", "41/50"))), "--json"))
    assert list(found) == ["lost_requests"]
    assert "36 of 200 in docker" in found["lost_requests"]


def test_a_share_of_requests_is_no_setting(tmp_path: Path, command_line: Call) -> None:
    found = findings(command_line("audit", str(written(tmp_path, column("Success rate", "100%", "82%"))), "--json"))
    assert list(found) == ["lost_requests"]
    assert "up to 18 % in docker" in found["lost_requests"]


def test_two_tables_in_one_file_are_two(tmp_path: Path, command_line: Call) -> None:
    second = "model,environment,ttft_ms\n" + "".join(f"m-8B,{a},{200 + i}\n" for i, (a, _) in enumerate(RUNS))
    results = results_in(tmp_path, f"{TABLE}\n\n{second}")
    assert results.ok[OUT].drop_nulls().to_list() == VALUES
    assert results.ok[TTFT].drop_nulls().to_list() == [200.0 + i for i in range(8)]
    assert "lost_values" not in command_line("audit", str(tmp_path / "runs.csv")).out


def test_times_in_minutes_and_seconds(tmp_path: Path) -> None:
    results = results_in(tmp_path, column("latency", "1m12s", "1h 1m 3.5s"))
    assert results.ok["latency_mean_ms"].to_list() == [72_000.0, 3_663_500.0] * 4


def test_columns_of_yes_and_no_and_of_other_runtimes_are_arms(tmp_path: Path) -> None:
    rows = "".join(f"m-8B,{'no' if arm == 'native' else 'yes'},{value}\n" for arm, value in RUNS)
    assert set(results_in(tmp_path, f"model,Docker,tok/s\n{rows}").ok["environment"]) == {"docker", "no docker"}
    wide = "model,bare metal tok/s,nerdctl tok/s\nm-8B,38.2,37.9\nm-4B,71.0,70.1\n"
    assert set(results_in(tmp_path, wide).ok["environment"]) == {"bare_metal", "nerdctl"}
    won = "model,native tok/s,docker tok/s,winner\nm-8B,38.2,37.9,native\nm-4B,70.0,70.1,docker\n"
    assert set(results_in(tmp_path, won).ok["environment"]) == {"native", "docker"}


def test_files_are_arms_by_the_names_of_runtimes(tmp_path: Path) -> None:
    for arm in ("k8s", "wsl2", "nerdctl"):
        written(tmp_path, "model,tok/s\nm-8B,38.2\n", f"{arm}-run.csv")
    assert set(read_all([Source(tmp_path)]).ok["environment"]) == {"k8s", "wsl2", "nerdctl"}


def test_runs_without_an_arm_among_others_are_a_finding(tmp_path: Path, command_line: Call) -> None:
    written(tmp_path, "model,tok/s\nm-8B,38.2\n", "docker.csv")
    written(tmp_path, "model,tok/s\nm-8B,38.4\n", "laptop.csv")
    ended = command_line("audit", str(tmp_path))
    assert ended.status == 1
    assert "unplaced_rows" in ended.out
    assert "1 of 2 rows, such as laptop.csv" in ended.out


def test_a_workbook_and_an_archive_are_refused_by_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("runs.csv", TABLE)
    with pytest.raises(DatasetError, match="is a zip archive") as refused:
        results_in(tmp_path, buffer.getvalue())
    assert "Unpack it" in str(refused.value.remedy)
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "")
        archive.writestr("xl/workbook.xml", "")
    with pytest.raises(DatasetError, match="is an xlsx workbook"):
        results_in(tmp_path, buffer.getvalue())


def test_perf_analyzer_is_read(tmp_path: Path) -> None:
    table = "Concurrency,Inferences/Second,p50 latency,Avg latency\n1,41.2,24100,24213\n2,80.1,24700,24728\n"
    ok = results_in(tmp_path, table).ok
    assert ok["request_throughput_req_s"].to_list() == [41.2, 80.1]
    assert ok["batch"].to_list() == [1, 2]
    assert "latency_mean_ms" not in ok.columns  # its unit is nowhere


@pytest.mark.parametrize("unit", ["queries/s", "QPS", "samples/s", "infer/sec"])
def test_rates_of_requests_have_many_units(tmp_path: Path, unit: str) -> None:
    ok = results_in(tmp_path, f"model,clients,throughput ({unit})\nm-8B,1,1.2\nm-8B,2,2.2\n").ok
    assert ok["request_throughput_req_s"].to_list() == [1.2, 2.2]


def test_settings_of_arms_in_a_wide_table_are_compared(tmp_path: Path, command_line: Call) -> None:
    table = "model,Backend native,Backend docker,native tok/s,docker tok/s\nm-8B,b65,b66,38.2,37.9\nm-4B,b65,b66,70.1,69.8\n"
    found = findings(command_line("audit", str(written(tmp_path, table)), "--json"))
    assert found == {"confounded_arms": "Backend: b65 in native, b66 in docker (4 runs of m-8B, m-4B)"}


def test_one_run_a_model_and_arm_shows_settings_over_models(tmp_path: Path, command_line: Call) -> None:
    rows = [("m-8B", 38.2, 37.9), ("m-4B", 70.1, 69.8), ("m-2B", 99.0, 98.1)]
    lines = [f"{m},native,580,{n}\n{m},docker,570,{d}\n" for m, n, d in rows]
    found = findings(
        command_line("audit", str(written(tmp_path, "model,arm,driver,tok/s\n" + "".join(lines))), "--json")
    )
    assert found == {"confounded_arms": "driver: 580 in native, 570 in docker (6 runs of m-8B, m-4B, m-2B)"}
    same = "model,arm,driver,tok/s\n" + "".join(lines).replace("570", "580")
    assert not findings(command_line("audit", str(written(tmp_path, same)), "--json"))


def test_hours_of_one_digit_are_times(tmp_path: Path) -> None:
    rows = "m,native,2025-11-03 9:05:00+00:00,38.2\nm,docker,2025-11-03 9:10:00+00:00,37.9\n"
    table = f"model,environment,timestamp,tok/s\n{rows}"
    first, second = results_in(tmp_path, table).ok["started_s"].to_list()
    assert second - first == 300


def test_a_model_without_values_in_an_arm_is_named(tmp_path: Path, command_line: Call) -> None:
    found = findings(
        command_line("audit", str(written(tmp_path, f"{TABLE}m-32B,native,11.2\nm-32B,docker,N/A\n")), "--json")
    )
    assert found["no_metric"] == "1 of 10 runs that count, of m-32B in docker"


@pytest.mark.parametrize("words", [("prefill", "decode"), ("prompt", "generation"), ("pp512", "tg128")])
def test_prefill_in_rows_of_its_own_is_not_decoding(tmp_path: Path, command_line: Call, words: tuple[str, str]) -> None:
    rows = [
        f"Llama-3-8B,{a},{word},{value}\n" for a, v in RUNS for word, value in zip(words, (v * 100, v / 3), strict=True)
    ]
    path = written(tmp_path, "model,environment,phase,tok/s\n" + "".join(rows))
    ok = read(path).ok
    assert ok[OUT].drop_nulls().to_list() == pytest.approx([value / 3 for value in VALUES])
    assert ok["prefill_throughput_tok_s"].drop_nulls().to_list() == pytest.approx([value * 100 for value in VALUES])
    assert not findings(command_line("audit", str(path), "--site", "dgx-spark", "--batch", "1", "--json"))


@pytest.mark.parametrize("gpu", ["RTX 4090", "NVIDIA GeForce RTX 4090", "DGX Spark", "GB10"])
def test_a_column_names_the_gpu_as_people_do(tmp_path: Path, command_line: Call, gpu: str) -> None:
    def judged(factor: float) -> dict[str, str]:
        rows = "".join(f"Llama-3-8B,{gpu},{a},{v * factor:.2f}\n" for a, v in RUNS)
        path = written(tmp_path, f"model,GPU,environment,tok/s\n{rows}")
        return findings(command_line("audit", str(path), "--batch", "1", "--json"))

    assert list(judged(3.0)) == ["beyond_roofline"]
    assert judged(0.4) == {}


def test_runs_on_two_gpus_are_two_cells(tmp_path: Path, command_line: Call) -> None:
    rows = "".join(f"m-8B,{gpu},{a},{v + more}\n" for a, v in RUNS for gpu, more in (("RTX 4090", 40), ("RTX 3090", 0)))
    assert not findings(command_line("audit", str(written(tmp_path, f"model,GPU,environment,tok/s\n{rows}")), "--json"))


def test_a_format_behind_a_name_is_that_of_its_card(tmp_path: Path, command_line: Call) -> None:
    def judged(speed: float) -> dict[str, str]:
        rows = "".join(f"Llama-3-8B-Q4_K_M,{a},{v + speed:.2f}\n" for a, v in RUNS)
        path = written(tmp_path, f"model,environment,tok/s\n{rows}")
        return findings(command_line("audit", str(path), "--site", "dgx-spark", "--batch", "1", "--json"))

    assert judged(10) == {}
    assert "at most 59.5" in judged(40)["beyond_roofline"]
    asked = ("roofline", "--site", "dgx-spark", "--batch", "1", "--throughput", "46", "--json")
    by_name = command_line(*asked, "--model", "Llama-3-8B-Q4_K_M").out
    assert by_name == command_line(*asked, "--model", "Llama-3-8B", "--weights", "q4_k_m").out
    assert command_line(*asked, "--model", "m-8B-Q4_K_M").status == 2


def test_arms_on_different_days_ran_in_blocks(tmp_path: Path, command_line: Call) -> None:
    days = {"native": "2025-11-03", "docker": "2025-11-05"}
    rows = "".join(f"m-8B,{a},{days[a]},{v}\n" for a, v in RUNS)
    found = findings(command_line("audit", str(written(tmp_path, f"model,environment,date,tok/s\n{rows}")), "--json"))
    assert set(found) == {"blocked_order", "pseudo_replication"}
    assert "by dates" in found["blocked_order"]


def test_rounded_values_are_not_two_states(tmp_path: Path, command_line: Call) -> None:
    def judged(values: list[float]) -> dict[str, str]:
        rows = "".join(f"m-8B,{arm},{value}\n" for value in values for arm in ("native", "docker"))
        return findings(command_line("audit", str(written(tmp_path, f"model,environment,tok/s\n{rows}")), "--json"))

    assert judged([12, 13, 13, 12, 12, 13, 12, 13, 13, 12]) == {}
    assert list(judged([12, 19, 19, 12, 12, 19, 12, 19, 19, 12])) == ["two_states"]


def test_another_word_among_yes_and_no_does_not_count(tmp_path: Path, command_line: Call) -> None:
    found = findings(command_line("audit", str(written(tmp_path, marked("ok", "yes", "nearly"))), "--json"))
    assert found["unknown_status"] == "1 nearly"


def test_objects_around_values_do_not_hide_them(tmp_path: Path) -> None:
    runs = [{"model": "m-8B", "env": a, "metrics": {"tok_s": v, "prefill": {"tok_s": 9.0}}} for a, v in RUNS]
    ok = results_in(tmp_path, json.dumps({"meta": {"date": "2025-11-03"}, "results": runs}), "runs.json").ok
    assert ok[OUT].to_list() == VALUES
    assert set(ok["prefill_throughput_tok_s"]) == {9.0}


def test_a_folder_of_what_tools_print_is_one_study(tmp_path: Path, command_line: Call) -> None:
    text = "Successful requests:  50\nOutput token throughput (tok/s):  {}\nMean TTFT (ms):  210.1\n"
    for index, (arm, value) in enumerate(RUNS):
        (tmp_path / arm).mkdir(exist_ok=True)
        written(tmp_path / arm, text.format(value), f"run{index}.log")
    ok = read_all([Source(tmp_path)]).ok
    assert ok.filter(environment="docker")[OUT].to_list() == DOCKER
    written(tmp_path, TABLE, "runs.csv")  # the logs may show the same runs again
    written(tmp_path, "# Runs\nSee the table.\n", "README.md")
    assert read_all([Source(tmp_path)]).ok[OUT].to_list() == VALUES
    assert command_line("audit", str(tmp_path)).status == 0


def test_settings_of_two_single_runs_are_compared(tmp_path: Path, command_line: Call) -> None:
    rows = "m-8B,native,{},a1f3,2025-11-03,38.2\nm-8B,docker,0.10.2,b77c,2025-11-04,37.9\n"
    table = f"model,arm,vllm_version,job,date,tok/s\n{rows}"
    found = findings(command_line("audit", str(written(tmp_path, table.format("0.11.0"))), "--json"))
    assert found == {"confounded_arms": "vllm_version: 0.11.0 in native, 0.10.2 in docker (2 runs of m-8B)"}
    assert not findings(command_line("audit", str(written(tmp_path, table.format("0.10.2"))), "--json"))
