"""The numbers of an analysis, frozen: a change that alters one must say so in CHANGELOG.md and write the file again.

.venv/bin/python tests/unit/test_analysis_golden.py     # writes tests/golden/analysis.json
"""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sparkray.analysis import analyse
from sparkray.simulate import Plant, plant

GOLDEN = Path(__file__).parents[1] / "golden" / "analysis.json"
STUDY = Plant(
    name="golden",
    models=("Qwen2-1.5B", "Mistral-7B-v0.3", "Llama-3-8B"),
    runs=7,
    requests=12,
    samples=40,
    seed=11,
    speed_ratio={"container_baseline": 0.985, "container_optimized": 0.999},
    memory_ratio={"container_baseline": 1.02},
    cv_ratio={"container_optimized": 0.5},
    flaky=9,
    bad_block=4,
    drift_per_run=0.0004,
)
CODES = frozenset(
    ("model", "environment", "metric", "group_by", "group", "part", "verdict", "test", "family", "against")
)
FEW = {"power_curve": ("n", 10), "requests": ("quantile", 0.95), "temperatures": ("progress_pct", 50.0)}
LEFT_OUT = ("questions", "order", "runs", "checks")
"""Sentences, and rows of the study itself."""


def numbers(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Numbers and codes of the study's tables; nulls, sentences and keys are left out."""
    found = {}
    for name, frame in analyse(plant(folder, STUDY)).tables.items():
        if name not in LEFT_OUT:
            column, value = FEW.get(name, ("", None))
            rows = [row for row in frame.to_dicts() if name not in FEW or math.isclose(row[column], value)]
            if "metric" in frame.columns:
                rows = [row for row in rows if row["metric"] in METRICS]
            found[name] = [{key: _short(cell) for key, cell in row.items() if _kept(key, cell)} for row in rows]
    return found


METRICS = ("output_throughput_tok_s", "latency_mean_ms", "host_available_drop_peak_gib", "latency_ms")


def _kept(key: str, cell: object) -> bool:
    return cell is not None and (key in CODES or not isinstance(cell, str))


def _short(cell: Any) -> Any:
    return float(f"{cell:.12g}") if isinstance(cell, float) else cell


def test_every_number_is_the_frozen_one(tmp_path: Path) -> None:
    frozen, now = json.loads(GOLDEN.read_text()), numbers(tmp_path)
    assert frozen.keys() <= now.keys()
    for table, rows in frozen.items():
        assert len(now[table]) == len(rows), table
        for number, (row, expected) in enumerate(zip(now[table], rows, strict=True)):
            for column, value in expected.items():
                place = f"{table}[{number}].{column}"
                close = pytest.approx(value, rel=1e-8, abs=1e-11) if isinstance(value, float) else value
                assert row.get(column) == close, place
            assert row.keys() <= expected.keys(), f"{table}[{number}] has more: {row.keys() - expected.keys()}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        lines = (
            f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]"
            for name, rows in numbers(Path(folder)).items()
        )
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
