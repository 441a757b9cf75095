"""`study` goes through every phase on a simulated Spark, and goes on where it stopped."""

from pathlib import Path

import pytest
from sweeping import sparkray

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1500)]


def test_a_study_with_a_budget_ends_with_the_page(tmp_path: Path) -> None:
    arguments = (
        "study",
        "--site",
        "dgx-spark-double",
        "--budget-hours",
        "0.2",
        "--results-dir",
        str(tmp_path),
        "--yes",
    )
    first = sparkray(*arguments, timeout_s=1200)
    assert first.code in (0, 1), first.err
    for stage in ("doctor", "quick", "baseline", "optimize", "validate", "analyze and report"):
        assert f"== {stage}" in first.out
    page = Path(first.out.strip().splitlines()[-1].rpartition(": ")[2])
    assert "SIMULATED" in page.read_text(encoding="utf-8").upper()
    again = sparkray(*arguments, timeout_s=300)
    assert again.code == first.code
    assert "0 to go" in again.out
