"""The data dictionary: the committed page is the generated one, and its snippets read a real dataset."""

import re
import runpy
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sparkray.records import Outcome
from sparkray.schema import Column
from sparkray.store import open_dataset
from sparkray.store.tables import TABLES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "data.md"
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "data_dictionary.py"))


def test_the_committed_page_is_the_generated_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == SCRIPT["page"](), f"run: {SCRIPT['COMMAND']}"


def test_check_tells_a_fresh_page_from_a_stale_one(tmp_path: Path, capsys: Any) -> None:
    main, target = SCRIPT["main"], tmp_path / "data.md"
    assert main(["--check"], target) == 1
    assert main(["--write"], target) == 0
    assert main(["--check"], target) == 0
    target.write_text(SCRIPT["page"]().replace("`latency_p95_ms`", "`latency_p96_ms`"))
    capsys.readouterr()
    assert main(["--check"], target) == 1
    assert "scripts/data_dictionary.py --write" in capsys.readouterr().err


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    assert SCRIPT["main"](["--wrote"], tmp_path / "data.md") == 2
    assert not (tmp_path / "data.md").exists()


def test_every_table_and_column_stands_there_once() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for table, columns in TABLES.items():
        start = lines.index(f"### `{table}`")
        end = next((i for i in range(start + 1, len(lines)) if lines[i].startswith("### ")), len(lines))
        named = [found[1] for line in lines[start:end] if (found := re.match(r"\| `(\w+)` \|", line))]
        assert sorted(named) == sorted(column.name for column in columns)


def test_every_quantity_ends_in_its_unit() -> None:
    assert [
        column.name for table in TABLES.values() for column in table if column.kind == "float" and not column.unit
    ] == []


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("output_throughput_tok_s", "float", "tok/s"),
        ("latency_p95_ms", "float", "ms"),
        ("memory_bandwidth_gb_s", "float", "GB/s"),
        ("end_ns", "int", "ns"),
        ("token_ns", "int_list", "ns"),
        ("requests_done", "int", ""),
        ("input_tokens", "int", ""),
        ("status_s", "string", ""),
    ],
)
def test_units_come_from_the_end_of_the_name(name: str, kind: Any, unit: str) -> None:
    assert Column(name, kind, "").unit == unit


def snippets(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_each_snippet_is_three_lines_and_reads_a_dataset(tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path / "results", "local", "0" * 64)
    for number, (environment, status, speed) in enumerate(
        [
            ("native", "ok", 100.0),
            ("native", "ok", 102.0),
            ("native", "failed", 7.0),
            ("container_baseline", "ok", 98.0),
        ]
    ):
        row = {
            "run_id": f"{number:016x}",
            "attempt": 1,
            "environment": environment,
            "status": status,
            "started_at": datetime.now(UTC),
            "output_throughput_tok_s": speed,
        }
        dataset.write(Outcome(row=row))
    found = snippets(PAGE)
    assert [code.split()[1] for code in found] == ["polars", "duckdb", "pandas"]
    assert [len(code.splitlines()) for code in found] == [3, 3, 3]
    done = subprocess.run(
        [sys.executable, "-c", "\nprint('next')\n".join(found)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for printed in done.stdout.split("next\n"):
        assert "101.0" in printed  # the mean of the two ok runs: the failed one does not count
        assert "98.0" in printed
