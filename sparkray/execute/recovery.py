"""Attempts that a dead sweep left in the spool: stored as interrupted, or set aside where they cannot be read."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparkray.docker_engine import Patience, connect
from sparkray.errors import PrivilegeError, SparkrayError, StorageError
from sparkray.execute.layout import container_name
from sparkray.execute.leftovers import Leftovers, container_log, end_processes
from sparkray.execute.row import ENGINE_LOG, RunRecord, outcome_of
from sparkray.files import drop_foreign, fresh_file
from sparkray.machine.fingerprint import fingerprint
from sparkray.machine.lock import MachineLock
from sparkray.runtimes.linux.root_part import ask, python_as_root
from sparkray.store import Dataset
from sparkray.store.documents import ROW, odd_row, read_document
from sparkray.store.writing import storage_errors
from sparkray.units import reason_of

# What Docker may take at the end of a sweep.
_LAST_S = 2.0
_CLEAR = """
import sys
from pathlib import Path
from sparkray.execute.recovery import clear_after
from sparkray.store import Dataset
clear_after(Dataset(Path(sys.argv[1])) if sys.argv[1] else None, print)
"""


def store_interrupted(
    dataset: Dataset, host: str, notify: Callable[[str], None], container_log: Callable[[str], bytes | None]
) -> list[str]:
    """Store the attempts that a dead sweep of this host left, as interrupted, with their samples up to the last second.

    Args:
        dataset: Where they lie.
        host: This machine; the spool of another that shares the folder may be alive.
        notify: Called with each.
        container_log: What a run's container, by name, has said so far; None where there is none.

    Returns:
        Their run ids.

    Raises:
        StorageError: The folder cannot be written.
    """
    dataset.make_folders()
    dataset.drop_partials()
    found: list[str] = []
    for spool in sorted(dataset.spool.iterdir()):
        if not (spool / "row.json").exists():
            dataset.drop_spool(spool)  # nothing was started yet
            continue
        try:
            row = dict(read_document(spool / "row.json", ROW, remedy=""))
            if row["host"] == host and _is_new(dataset, row):
                notify(f"keeping an interrupted attempt: {row['model']} {row['environment']} {row['run_id']}")
                _store(dataset, spool, row, container_log(container_name(row["run_id"])))
                found.append(row["run_id"])
            elif row["host"] != host:
                continue
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a killed writer left: its run is measured again
            place = set_aside(dataset, spool)
            notify(
                f"set aside an interrupted attempt that cannot be read ({type(error).__name__}: {reason_of(error)}): {place}"
            )
        dataset.drop_spool(spool)
    return found


def _is_new(dataset: Dataset, row: dict[str, Any]) -> bool:
    return bool(dataset.attempts(row["run_id"]) < row["attempt"])


def _store(dataset: Dataset, spool: Path, row: dict[str, Any], said: bytes | None) -> None:
    row.update(status="interrupted", reason="sparkray died during the run")
    if wrong := odd_row("runs", row):
        raise ValueError(wrong)
    if said is not None:
        with storage_errors(spool), fresh_file(spool / "out" / ENGINE_LOG) as log:
            log.write(said)
    drop_foreign(spool / "out")
    dataset.keep_log(row["run_id"], row["attempt"], spool / "out" / ENGINE_LOG)
    dataset.write(outcome_of(RunRecord(row), spool))


def set_aside(dataset: Dataset, spool: Path) -> Path:
    """Move what cannot be read out of the way. Returns where it is. Raises StorageError."""
    folder = dataset.path / "set-aside"
    with storage_errors(folder):
        folder.mkdir(exist_ok=True)
        number = 1
        while (place := folder / f"{spool.name}.{number}").exists():
            number += 1
        spool.rename(place)
    return place


def clear_as_root(dataset: Dataset | None, notify: Callable[[str], None]) -> None:
    """`clear_after`, in the part of sparkray that is root where this one is not: what root started, only root can end."""
    if python_as_root() is None:
        clear_after(dataset, notify)
        return
    try:
        for line in ask(_CLEAR, str(dataset.path) if dataset is not None else "").splitlines():
            notify(line)
    except PrivilegeError as error:
        notify(f"not everything could be cleared up ({error.message}); the next start will do it")


def clear_after(dataset: Dataset | None, notify: Callable[[str], None]) -> None:
    """Clear up after a runner of this machine that died; what cannot be cleared is named. Takes a few seconds at most.

    `dataset`: what only this machine writes; None: nothing in a dataset is touched.
    """
    machine = fingerprint()
    patience = Patience(notify, lambda: True, grace_s=_LAST_S)
    try:
        until = time.monotonic() + _LAST_S  # a runner that was just ended holds the lock for a moment
        lock = MachineLock(machine.lock_keys)
        with lock.held("wait", on_wait=lambda _: None, should_stop=lambda: time.monotonic() > until):
            end_processes(notify)
            if dataset is not None:
                store_interrupted(dataset, machine.host, notify, lambda name: container_log(name, patience))
            Leftovers(connect(patience)).clear(notify)
    except SparkrayError as error:
        notify(f"not everything could be cleared up ({error.message}); the next start will do it")
