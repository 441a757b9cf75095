"""Whose a calibration is: a machine is known by its installation and its GPUs, not by its name."""

import json
from collections.abc import Callable
from pathlib import Path

from builders import Ended
from calibration_runs import row

from sparkray.machine.fingerprint import machine_id
from sparkray.records import Outcome
from sparkray.store import Dataset, open_dataset
from sparkray.workflows.calibration_file import (
    FORMAT,
    calibration_beside,
    machine_file,
)

Call = Callable[..., Ended]


def test_two_machines_of_one_name_do_not_share_a_calibration(tmp_path: Path) -> None:
    def measured_on(machine: str | None, name: str) -> Dataset:
        made = open_dataset(tmp_path, name, "0" * 64)
        text = None if machine is None else json.dumps({"machine_id": machine})
        made.write(Outcome(row(1, 100.0, machine=text)))
        return made

    def stored(runs: int, machine: str | None) -> dict[str, object]:
        whole = dict.fromkeys(("sound", "made_at", "model", "environment", "simulated"))
        document = {"format": FORMAT, "source": "sweep", "host": "box", **whole, "runs": runs, "metrics": {}}
        path = machine_file("box", "cpu", tmp_path, machine=machine)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document | ({"machine": machine} if machine else {})))
        return document

    one, other, old = (measured_on(machine, f"d{machine}") for machine in ("1", "2", None))
    stored(1, "1")
    assert [calibration_beside(each, "box", "cpu", cache=tmp_path) is not None for each in (one, other, old)] == [
        True,
        False,
        False,
    ]
    stored(9, None)  # of an older version: of whichever has the name, and is not calibrated itself
    found = [calibration_beside(each, "box", "cpu", cache=tmp_path) for each in (one, other, old)]
    assert [document and document["runs"] for document in found] == [1, 9, 9]


def test_a_machine_is_known_by_its_installation_and_its_gpus(tmp_path: Path) -> None:
    assert machine_id(root=tmp_path) is None
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("a" * 32 + "\n")
    bare, gpus = machine_id(root=tmp_path), machine_id(("GPU-2", "GPU-1"), tmp_path)
    assert gpus == machine_id(("GPU-1", "GPU-2"), tmp_path)
    assert len({None, bare, gpus, machine_id(("GPU-1",), tmp_path)}) == 4
    assert "a" * 8 not in f"{bare}{gpus}", "systemd keeps the id of an installation to the machine"
