"""The page on the analysis: its tables are the generated ones, and its snippets run."""

import re
import runpy
from pathlib import Path

from support.studies import small_study

from sparkray.analysis.schema import TABLES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "analysis.md").read_text(encoding="utf-8")
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "analysis_tables.py"))


def test_the_committed_tables_are_the_generated_ones() -> None:
    assert SCRIPT["filled"](PAGE) == PAGE, f"run: {SCRIPT['COMMAND']}"
    assert SCRIPT["main"](["--check"]) == 0


def test_a_changed_line_is_seen() -> None:
    changed = PAGE.replace("| `sd_log` | float |", "| `sd_log` | int |")
    assert changed != PAGE
    assert SCRIPT["filled"](changed) == PAGE


def test_every_table_and_column_stands_there() -> None:
    for table in TABLES.values():
        part = PAGE.partition(f"### `{table.name}`")[2].partition("###")[0]
        named = re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)
        columns = [column.name for column in table.columns]
        assert named == ([*columns[:7], columns[-1]] if table.name == "runs" else columns)


def test_an_unknown_option_is_refused() -> None:
    assert SCRIPT["main"](["--wrote"]) == 2


def test_the_snippets_run(tmp_path: Path) -> None:
    first, second = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    study = small_study(tmp_path, name="phase2a", models=2, runs=3, merged=True)
    told: dict[str, object] = {}
    exec(first.replace("results/phase2a", str(study)), told)
    found = told["found"]
    assert getattr(found, "count", 0) == 3
    exec(second.replace('"planted"', f'"{tmp_path / "planted"}"'), {})
