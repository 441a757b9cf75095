"""Studies that are judged together: what another machine or day did is not an arm's doing."""

from pathlib import Path

import numpy as np
import pytest
from audit_cases import case, of_kind

from sparkray.audit import audit
from sparkray.audit.finding import Report
from sparkray.audit.readers import Source, read_all

PUBLISHED = sorted((Path(__file__).parents[2] / "results" / "h200-vllm-docker").glob("occasion-*"))
COLUMNS = "model,environment,block,started_at,gpu_temp_start_c,output_throughput_tok_s"
# Machine A was measured first, and is cooler and slower.
COOL, WARM = {"celsius": 40.0, "speed": 100.0}, {"celsius": 50.0, "speed": 120.0, "start": 1e5}


def occasion(
    path: Path, *arms: str, celsius: float, speed: float, start: float = 0, blocks: int = 8, hotter: float = 0
) -> Path:
    """A table of arms that take turns; every arm but the first starts `hotter` degrees above it."""
    chance, lines = np.random.default_rng(1), [COLUMNS]
    for run in range(blocks * len(arms)):
        block, place = divmod(run, len(arms))
        arm = (place + block) % len(arms)
        warmth = celsius + (hotter if arm else 0) + chance.normal(0, 0.3)
        lines.append(
            f"m,{arms[arm]},{block},{1.7e9 + start + 60 * run:.0f},{warmth:.3f},{speed + chance.normal(0, 1):.3f}"
        )
    path.write_text("\n".join(lines))
    return path


def judged(*paths: Path) -> Report:
    return audit(case(read_all([Source(path) for path in paths]), site=None))


@pytest.fixture
def cool(tmp_path: Path) -> Path:
    return occasion(tmp_path / "cool.csv", "native", "docker", **COOL)


def test_an_arm_of_one_machine_is_compared_on_that_machine(cool: Path, tmp_path: Path) -> None:
    report = judged(cool, occasion(tmp_path / "warm.csv", "native", "docker", "podman", **WARM))
    assert of_kind(report, "thermal_state") == []
    assert of_kind(report, "confounded_arms") == []


def test_an_arm_that_is_hotter_on_its_machine_is_reported(cool: Path, tmp_path: Path) -> None:
    report = judged(cool, occasion(tmp_path / "warm.csv", "native", "podman", hotter=5.0, **WARM))
    (found,) = of_kind(report, "thermal_state")
    assert "podman" in found.evidence
    assert len(found.rows) == 16  # of the warm machine alone: what the other one ran shows nothing of it


def test_a_faster_machine_is_no_drift_and_no_second_state(cool: Path, tmp_path: Path) -> None:
    report = judged(cool, occasion(tmp_path / "warm.csv", "native", "docker", **WARM))
    assert [found.kind for found in report.findings] == []


def test_arms_that_no_occasion_has_both_of_are_compared_all_the_same(cool: Path, tmp_path: Path) -> None:
    report = judged(cool, occasion(tmp_path / "warm.csv", "bare", "podman", **WARM))
    assert {found.kind for found in report.findings} >= {"thermal_state"}


def test_a_column_of_that_name_is_the_users_own(cool: Path) -> None:
    """Each arm on an occasion of its own: the occasions differ as the arms do."""
    lines = [line.split(",") for line in cool.read_text().splitlines()[1:]]
    warmer = {"native": 0.0, "docker": 18.0}
    rows = [",".join([*row[:4], str(float(row[4]) + warmer[row[1]]), row[5], row[1][0]]) for row in lines]
    cool.write_text("\n".join([f"{COLUMNS},occasion", *rows]))
    assert "thermal_state" in {found.kind for found in judged(cool).findings}


def test_a_longer_occasion_has_no_unequal_cells(cool: Path, tmp_path: Path) -> None:
    report = judged(cool, occasion(tmp_path / "warm.csv", "native", "docker", blocks=14, **WARM))
    assert of_kind(report, "unequal_cells") == []
    lines = cool.read_text().splitlines()
    (tmp_path / "cut.csv").write_text("\n".join(lines[:-1]))
    (found,) = of_kind(judged(tmp_path / "cut.csv", tmp_path / "warm.csv"), "unequal_cells")
    assert found.evidence.startswith("8 runs are usual; m ")
    assert "occasion 1 has 7" in found.evidence


def test_the_published_occasions_accuse_nobody() -> None:
    assert len(PUBLISHED) > 1
    assert [found.kind for found in judged(*PUBLISHED).findings if found.gravity != "note"] == []
