"""What a dataset says beside its rows: the load of each run, and the cells that were planned."""

import json
from pathlib import Path
from typing import Any

import pytest
from audit_cases import case, dataset_in, kinds

from sparkray.audit import audit
from sparkray.audit.planned import Planned
from sparkray.audit.readers import read

DOCUMENT: dict[str, Any] = {
    "experiment": {
        "workload": {"concurrency": 0},
        "levels": [{"concurrency": 1, "max_batch_size": None}, {"concurrency": 32, "max_batch_size": 8}],
        "engine": {"tp": 1},
    },
    "cards": [{"name": "A", "max_batch_size": 64}, {"name": "B", "max_batch_size": 4}],
    "environments": ["native", "container_baseline"],
    "engine_options": {"tp": 2, "pp": 2, "max_batch_size": 16},
}
PLANNED = Planned(DOCUMENT)


@pytest.mark.parametrize(
    ("row", "batch"),
    [
        ({"model": "A", "level": ""}, 16),
        ({"model": "B", "level": ""}, 4),
        ({"model": "A", "level": "concurrency=1"}, 1),
        ({"model": "A", "level": "concurrency=32 batch=8"}, 8),
        ({"model": "A", "level": "concurrency=32"}, 16),
        ({"model": "A", "level": "concurrency=32", "concurrency": 2}, 2),
        ({"model": "C"}, 16),
    ],
)
def test_the_batch_of_a_row(row: dict[str, Any], batch: int) -> None:
    assert PLANNED.load(row)["batch"] == batch


def test_devices_and_speculation_of_a_row() -> None:
    assert PLANNED.load({})["devices"] == 4
    assert PLANNED.load({"engine_devices": 8})["devices"] == 8
    assert PLANNED.load({})["speculative"] is False
    drafted = Planned({"engine_options": {"extra": {"speculative_config": {"decoding_type": "MTP"}}}})
    assert drafted.load({})["speculative"] is True


def test_a_document_from_before_tells_what_it_can() -> None:
    before = Planned({name: DOCUMENT[name] for name in ("experiment", "cards")})
    assert before.load({"model": "B", "level": "concurrency=32"}) == {"batch": 32, "devices": 1, "speculative": False}
    assert before.cells == ()


@pytest.mark.parametrize("document", [{}, {"experiment": 3, "cards": "x", "environments": "y"}, {"cards": [1, {}]}])
def test_a_document_that_is_none_tells_nothing(document: dict[str, Any]) -> None:
    assert Planned(document).cells == ()
    assert Planned(document).load({"level": 7, "model": "A"}) == {"batch": None, "devices": 1, "speculative": False}


def test_the_cells_that_were_planned() -> None:
    assert len(PLANNED.cells) == 8
    assert ("B concurrency=32 batch=8", "container_baseline") in PLANNED.cells
    one = Planned(DOCUMENT | {"experiment": {}})
    assert ("A", "native") in one.cells


def test_a_dataset_is_read_with_its_document(tmp_path: Path) -> None:
    dataset = dataset_in(tmp_path, level="concurrency=32 batch=8", model="A")
    (dataset.path / "experiment.json").write_text(json.dumps(DOCUMENT))
    results = read(dataset.path)
    assert set(results.ok["batch"]) == {8}
    assert set(results.ok["devices"]) == {4}
    assert results.planned == PLANNED.cells
    assert set(results.ok["model"]) == {"A concurrency=32 batch=8"}


def test_models_that_have_each_a_batch_of_their_own_are_the_cells_that_were_planned(tmp_path: Path) -> None:
    for name in ("A", "B"):
        dataset = dataset_in(tmp_path, model=name, prefix=name)
    document = DOCUMENT | {"experiment": {"workload": {"concurrency": 0}}}
    (dataset.path / "experiment.json").write_text(json.dumps(document))
    results = read(dataset.path)
    assert set(results.ok["batch"]) == {4, 16}
    assert set(results.ok["model"]) == {"A", "B"}
    assert "missing_cells" not in kinds(audit(case(results)))


def test_a_document_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    dataset = dataset_in(tmp_path)
    (dataset.path / "experiment.json").write_text("{")
    assert [remark.kind for remark in read(dataset.path).remarks] == ["unreadable"]


def test_the_gpus_of_the_machine_are_known(tmp_path: Path) -> None:
    dataset = dataset_in(tmp_path, machine=json.dumps({"gpus": ["NVIDIA H200"]}))
    assert read(dataset.path).gpus == ("NVIDIA H200",)
