"""Files of calibrations: of a machine in the cache, and beside the runs of each of its datasets.

Separate from what makes one, which imports more.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparkray.catalog.weights import cache_folder
from sparkray.config.boundary import read_json
from sparkray.errors import SparkrayError
from sparkray.store import Dataset, description
from sparkray.store.writing import write_atomically

FORMAT = "sparkray-calibration/1"
FILE = "calibration.json"
Document = Mapping[str, Any]


def machine_file(host: str, site: str, cache: Path | None = None, *, machine: str | None = None) -> Path:
    """Where the calibration of a machine lies: in the user's own cache unless another is given.

    Args:
        host: Its name, which another machine may have too.
        site: The site that it was calibrated as.
        cache: The cache.
        machine: Its identity (`machine_id` of its rows), since another may have its name; None where that is not known.
    """
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in f"{host}-{site}{f'-{machine}' if machine else ''}")
    return _folder(cache) / f"{name}.json"


def _folder(cache: Path | None) -> Path:
    return (cache or cache_folder()) / "calibration"


def load_calibration(host: str, site: str, *, cache: Path | None = None, machine: str | None = None) -> Document | None:
    """The calibration of a machine as it was stored last; None where there is none that can be read and is whole.

    One that an older version stored names no machine, and is of whichever has its name.
    """
    own = _read(machine_file(host, site, cache, machine=machine)) if machine else None
    document = own or _read(machine_file(host, site, cache))
    return document if document and document.get("machine") in (None, machine) else None


def machine_of(row: Mapping[str, Any]) -> str | None:
    """The `machine_id` of a row's machine; None where an older version wrote it, or it is not known."""
    try:
        found = json.loads(row.get("machine") or "{}").get("machine_id")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def _machine_in(dataset: Dataset, host: str) -> str | None:
    """The machine of a name that measured last in a dataset. Raises DatasetError."""
    rows = [row for row in dataset.rows("runs", ["run_id", "attempt", "host", "ended_at"]) if row["host"] == host]
    last = max(rows, key=lambda row: str(row["ended_at"]), default=None)
    if last is None:
        return None
    attempts = dataset.rows("runs", ["attempt", "machine"], run_id=last["run_id"])
    return machine_of(next((row for row in attempts if row["attempt"] == last["attempt"]), {}))


def _read(path: Path) -> Document | None:
    try:
        document = read_json(path)
    except (OSError, ValueError):
        return None
    known = isinstance(document, dict) and document.get("format") == FORMAT and "source" in document
    return document if known and is_whole(document) else None


def calibration_beside(dataset: Dataset, host: str, site: str, *, cache: Path | None = None) -> Document | None:
    """The machine's calibration, kept with a dataset of its runs too, so that a report made elsewhere has it.

    Returns:
        It; None where there is none. A dataset that cannot be written to is left as it is.
    """
    document = load_calibration(host, site, cache=cache, machine=_machine_in(dataset, host))
    if document is not None:
        try:
            write_atomically(dataset.path / FILE, json.dumps(document, indent=1).encode())
        except SparkrayError:
            return document
    return document


def calibration_beside_all(
    folders: Iterable[Path], host: str, site: str, *, cache: Path | None = None
) -> Document | None:
    """The machine's calibration, kept with each of several datasets; None where there is none."""
    found = [calibration_beside(Dataset(folder), host, site, cache=cache) for folder in folders]
    return next(filter(None, found), None)


def calibration_for(dataset: Dataset, *, cache: Path | None = None) -> Document | None:
    """What stands beside the verdicts of a dataset that was measured before.

    It is the calibration that its own runs made, else the machine's as it is now, which may be newer than the runs. None
    where there is none.

    Raises:
        DatasetError: It cannot be read.
    """
    own = _read(dataset.path / FILE)
    if own is not None and own["experiment"] == description(dataset).get("experiment"):
        return own
    if not any(_folder(cache).glob("*.json")):  # no machine is calibrated: the rows need not say which they are of
        return own
    rows = dataset.rows("runs", ["host", "site"])
    machine = next(((row["host"], row["site"]) for row in rows if row["host"] and row["site"]), None)
    return own if machine is None else calibration_beside(dataset, *machine, cache=cache) or own


def is_whole(document: Document) -> bool:
    """Whether all is there that stands beside a verdict: a file can be cut short, or be of another version."""
    try:
        for name in ("sound", "made_at", "host", "runs", "model", "environment", "simulated"):
            document[name]
        for metric in document["metrics"].values():
            if metric["not_estimable"] is None:
                trial, reach = metric["trials"][0], metric["reach"]
                trial["blocked"]["rejections"], reach["smallest_pct"], reach["planned_pairs"], metric["cause"]
                [trial["paired"][name] for name in ("rejections", "experiments", "low", "high")]
    except (KeyError, IndexError, TypeError, AttributeError):
        return False
    return True
