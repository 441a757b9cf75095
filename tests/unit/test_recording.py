"""What the samplers of a run lost, into its row: those that failed, and those whose driver is gone."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.scripted_sampler import Scripted

from sparkray.execute.history import History
from sparkray.execute.recording import recording, vanished
from sparkray.execute.row import RunRecord
from sparkray.records import Outcome
from sparkray.store import open_dataset

MISMATCH = "NVML: Driver/library version mismatch"


class Absent(Scripted):
    unavailable = MISMATCH


def history_of(folder: Path, *samplers: str) -> History:
    """Of one ok run, in which those samplers saw something; of none where there are none."""
    dataset = open_dataset(folder, "question", "d")
    if samplers:
        row = {
            "run_id": "a",
            "attempt": 1,
            "status": "ok",
            "host": "here",
            "model": "Alpha",
            "environment": "native",
            "started_at": datetime(2026, 1, 1, tzinfo=UTC),
        }
        samples = tuple({"run_id": "a", "attempt": 1, "sampler": name, "t_ns": 1} for name in samplers)
        dataset.write(Outcome(row, samples=samples))
    return History(dataset, "here")


def told(folder: Path, gpus: tuple[str, ...], *before: str) -> list[str]:
    record = RunRecord({"deviations": "[]"})
    samplers = [Absent("gpu", 60, lambda _: []), Scripted("host", 60, lambda _: [])]
    with recording(record, folder, gpus=gpus, history=history_of(folder, *before), samplers=samplers):
        pass
    found: list[str] = json.loads(record.columns["deviations"])
    return found


LOST = [f"samples lost: sampler gpu: {MISMATCH}, though there was something to see"]


@pytest.mark.parametrize(
    ("gpus", "before", "lost"),
    [
        ((), (), []),
        ((), ("host",), []),
        (("NVIDIA H100",), (), LOST),
        ((), ("host", "gpu"), LOST),
        (("NVIDIA H100",), ("host", "gpu"), LOST),
    ],
)
def test_a_driver_that_is_gone_is_no_machine_without_a_gpu(
    tmp_path: Path, gpus: tuple[str, ...], before: tuple[str, ...], lost: list[str]
) -> None:
    assert told(tmp_path, gpus, *before) == lost


def test_a_sampler_of_the_process_may_find_nothing_in_one_arm() -> None:
    """The memory cgroup of a chroot is not that of a container."""
    assert vanished({"cgroup": "cannot be seen"}, ("NVIDIA H100",), lambda: {"cgroup"}) == []


def test_the_board_is_known_by_what_it_told_before() -> None:
    absent = {"spark_hwmon": "no device"}
    assert vanished(absent, ("NVIDIA GB10",), lambda: {"gpu"}) == []
    assert len(vanished(absent, ("NVIDIA GB10",), lambda: {"gpu", "spark_hwmon"})) == 1


def test_samples_that_cannot_be_read_tell_of_nothing(tmp_path: Path) -> None:
    history = history_of(tmp_path, "gpu")
    (file,) = (history.dataset.path / "samples").glob("*.parquet")
    file.write_bytes(b"no more")
    record = RunRecord({"deviations": "[]"})
    with recording(record, tmp_path, gpus=(), history=history, samplers=[Absent("gpu", 60, lambda _: [])]):
        pass
    assert record.columns["deviations"] == "[]"
