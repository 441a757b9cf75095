"""Docker options as columns of `runs`: every declared option, through a stored dataset and back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from flag_cases import CASES

from sparkray.analysis.context import context_of, protocol_of
from sparkray.analysis.derived.flags import recorded_options
from sparkray.analysis.frames import Frames, open_frames
from sparkray.config.docker import DockerOptions, flag_of, option_names
from sparkray.config.docker_columns import DOCKER_COLUMNS, column_values, options_of_row
from sparkray.errors import DatasetError
from sparkray.records import Outcome
from sparkray.store import Dataset, open_dataset
from sparkray.store.parquet import schema_of


def stored(folder: Path, *many: DockerOptions) -> Dataset:
    """A dataset with one container run of each of some options, in environments `container:0` and so on."""
    dataset = open_dataset(folder, "study", "0")
    for number, options in enumerate(many):
        dataset.write(Outcome(row_of(number) | column_values(options)))
    return dataset


def row_of(number: int) -> dict[str, Any]:
    return {
        "run_id": f"run{number}",
        "attempt": 1,
        "environment": f"container:{number}",
        "model": "m",
        "block": 0,
        "position": number,
        "host": "box",
        "status": "ok",
        "started_at": datetime(2026, 1, 1, tzinfo=UTC),
        "docker_command": "docker run image",
    }


def context(frames: Frames) -> dict[str, Any]:
    return context_of(frames, protocol_of(frames, None, 0))


def test_every_option_is_a_column_and_its_type_is_that_of_the_option() -> None:
    assert [column.name for column in DOCKER_COLUMNS] == [f"docker_{name}" for name in option_names()]
    types = {"string": str, "int": int, "float": float, "bool": bool, "string_list": tuple}
    for name, column in zip(option_names(), DOCKER_COLUMNS, strict=True):
        assert isinstance(CASES[name].value, types[column.kind]), name


def test_every_option_that_was_given_is_read_back_from_a_stored_dataset(tmp_path: Path) -> None:
    """An `int` option came back as text from the printed line once, and ended the report."""
    many = [DockerOptions(**{name: value}) for name in option_names() for value in (CASES[name].value, *examples(name))]
    frames = open_frames(stored(tmp_path, *many).path)
    told = context(frames)
    assert [recorded_options(told, f"container:{number}") for number in range(len(many))] == many


def examples(name: str) -> tuple[Any, ...]:
    return () if flag_of(name).beside else tuple(flag_of(name).values)


def test_a_dataset_without_the_columns_is_read_and_has_no_flags(tmp_path: Path) -> None:
    dataset = stored(tmp_path, DockerOptions(ipc="host"))
    path = dataset.path / "runs/run0-1.parquet"
    older = pq.ParquetFile(path).read().drop_columns([column.name for column in DOCKER_COLUMNS])
    pq.write_table(older, path)
    frames = open_frames(dataset.path)
    assert all(frames.attempts[column.name].null_count() == 1 for column in DOCKER_COLUMNS)
    assert context(frames)["docker_options"] == {}
    assert recorded_options(context(frames), "container:0") == DockerOptions()


def test_an_older_file_and_a_new_one_are_read_together(tmp_path: Path) -> None:
    dataset = stored(tmp_path, DockerOptions(ipc="host"), DockerOptions(cap_add=("ALL",)))
    path = dataset.path / "runs/run0-1.parquet"
    pq.write_table(pq.ParquetFile(path).read().drop_columns([column.name for column in DOCKER_COLUMNS]), path)
    assert context(open_frames(dataset.path))["docker_options"] == {"container:1": {"docker_cap_add": ["ALL"]}}


def test_a_value_that_cannot_be_is_named_with_the_remedy() -> None:
    wrong = {"docker_options": {"container_baseline": {"docker_ipc": "hots"}}}
    with pytest.raises(DatasetError, match=r"container_baseline.*hots"):
        recorded_options(wrong, "container_baseline")


def test_a_row_without_the_columns_has_no_options() -> None:
    assert options_of_row({"run_id": "a"}) == DockerOptions()


def test_the_columns_say_what_they_mean_in_the_file() -> None:
    field = schema_of("runs").field("docker_ulimit_memlock")
    assert field.metadata[b"what"].startswith(b"`--ulimit` as given: locked memory in bytes")
