"""Numbers that are taken for what they are: use of a device, counts of a test, and values that recur by copying."""

from pathlib import Path
from typing import Any

import pytest
from test_audit_written import Call, column, findings, written


def single(header: str, native: Any, docker: Any) -> str:
    """One run in each of two arms, with one more column."""
    return f"model,environment,{header},tok/s\nm-8B,native,{native},38.2\nm-8B,docker,{docker},37.9\n"


def found_in(folder: Path, table: str, command_line: Call) -> dict[str, str]:
    return findings(command_line("audit", str(written(folder, table)), "--json"))


@pytest.mark.parametrize(
    ("header", "native", "docker"),
    [
        ("CPU %", 45, 47),
        ("CPU (%)", 45, 47),
        ("CPU", "45%", "47%"),
        ("cpu", 45, 47),
        ("gpu", 97, 96),
        ("gpu", 97.1, 96.4),
        ("image", 40, 55),
        ("image_build", 0, 55.1),
        ("other_kernel_device", 3.5, 4.1),
    ],
)
def test_numbers_that_were_measured_are_no_settings_of_single_runs(
    tmp_path: Path, command_line: Call, header: str, native: Any, docker: Any
) -> None:
    table = single(header, native, docker)
    assert not found_in(tmp_path, table, command_line)
    second = table.replace("m-8B", "m-4B").partition("\n")[2]
    assert not found_in(tmp_path, table + second, command_line), "of two models with a run each"


@pytest.mark.parametrize(
    ("header", "native", "docker"),
    [
        ("gpu_memory_utilization", 0.9, 0.5),
        ("cuda", 12.8, 13.1),
        ("driver_version", 580.95, 570.12),
        ("threads", 8, 16),
        ("memory_limit", 7.5, 16),
        ("request_rate", 0.5, 1.5),
        ("GPU", "RTX 4090", "RTX 3090"),
        ("cpu", "Grace", "EPYC"),
    ],
)
def test_settings_of_single_runs_that_are_numbers_or_names_differ(
    tmp_path: Path, command_line: Call, header: str, native: Any, docker: Any
) -> None:
    assert list(found_in(tmp_path, single(header, native, docker), command_line)) == ["confounded_arms"]


@pytest.mark.parametrize(
    "header",
    ["tests passed", "Tasks completed", "completion_tokens", "Completed tasks", "Questions answered", "score_success"],
)
def test_counts_of_a_test_or_of_tokens_are_no_requests(tmp_path: Path, command_line: Call, header: str) -> None:
    assert not found_in(tmp_path, single(header, "31/164", "33/164"), command_line)


@pytest.mark.parametrize("header", ["Requests", "requests done", "OK", "succeeded", "Answered", "Erfolgreich"])
def test_counts_of_requests_are(tmp_path: Path, command_line: Call, header: str) -> None:
    found = found_in(tmp_path, column(header, "50/50", "41/50"), command_line)
    assert "36 of 200 in docker" in found["lost_requests"]


def test_values_that_only_rounding_could_repeat_are_copies_where_they_have_digits(
    tmp_path: Path, command_line: Call
) -> None:
    def table(values: list[float], times: int) -> str:
        rows = (f"m-8B,{arm},{value}\n" for value in values * times for arm in ("native", "docker"))
        return "model,environment,tok/s\n" + "".join(rows)

    fine = [37.73701, 38.29386, 38.09266, 38.00529]
    assert "56 rows make 364 equal pairs" in found_in(tmp_path, table(fine, 7), command_line)["duplicate_rows"]
    ended = command_line("audit", str(written(tmp_path, table([12, 19, 19, 12], 5))))
    assert "rounded values and copies look alike" in " ".join(ended.out.split())
    assert "published twice" not in ended.out
