"""The public Python API on a stored dataset."""

import subprocess
import sys
from pathlib import Path

import pytest
from builders import outcome

import sparkray
from sparkray.errors import DatasetError
from sparkray.store import open_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    stored = open_dataset(tmp_path / "results", "local", "0" * 64)
    for block in range(4):
        for position, (environment, speed) in enumerate((("native", 100.0), ("container_baseline", 98.0 + block / 10))):
            stored.write(
                outcome(
                    f"{block * 2 + position:016x}",
                    block=block,
                    position=block * 2 + position,
                    environment=environment,
                    output_throughput_tok_s=speed + block,
                )
            )
    return stored.path


def test_a_dataset_is_opened_and_compared(dataset: Path) -> None:
    results = sparkray.load(dataset)
    assert results.runs.height == 8
    assert results.runs["run_id"].n_unique() == 8
    compared = results.compare().filter(metric="output_throughput_tok_s")
    assert compared["environment"].to_list() == ["container_baseline"]
    assert compared["ratio"].item() == pytest.approx(0.98, abs=0.01)
    assert results.requests.collect().height > 0


def test_a_folder_of_datasets_names_them(dataset: Path) -> None:
    with pytest.raises(DatasetError, match="is not a dataset") as refused:
        sparkray.load(dataset.parent)
    assert str(dataset) in refused.value.remedy


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a dataset"):
        sparkray.load(tmp_path / "nothing")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = sparkray.lod


def test_importing_sparkray_imports_nothing_heavy() -> None:
    code = "import sys, sparkray; print([n for n in ('polars', 'scipy', 'ray', 'matplotlib', 'pandas') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
