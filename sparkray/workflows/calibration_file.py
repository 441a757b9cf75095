"""Where calibrations lie, what is read of one, and the sentence that stands beside every verdict of its machine.

Apart from what makes one, since the verbs that only tell of it shall not wait for what they do not need.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparkray.catalog.weights import cache_folder
from sparkray.errors import SparkrayError
from sparkray.store import Dataset, description, write_atomically

FORMAT = "sparkray-calibration/1"
FILE = "calibration.json"
Document = Mapping[str, Any]


def machine_file(host: str, site: str, cache: Path | None = None) -> Path:
    """Where the calibration of a machine lies: in the user's own cache unless another is given."""
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in f"{host}-{site}")
    return (cache or cache_folder()) / "calibration" / f"{name}.json"


def load_calibration(host: str, site: str, *, cache: Path | None = None) -> Document | None:
    """The calibration of a machine as it was stored last; None where there is none that can be read and is whole."""
    return _read(machine_file(host, site, cache))


def _read(path: Path) -> Document | None:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    known = isinstance(document, dict) and document.get("format") == FORMAT and "source" in document
    return document if known and is_whole(document) else None


def calibration_beside(dataset: Dataset, host: str, site: str, *, cache: Path | None = None) -> Document | None:
    """The machine's calibration, kept with a dataset of its runs too, so that a report made elsewhere has it.

    Returns:
        It; None where there is none. A dataset that cannot be written to is left as it is.
    """
    document = load_calibration(host, site, cache=cache)
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
    for folder in folders:
        calibration_beside(Dataset(folder), host, site, cache=cache)
    return load_calibration(host, site, cache=cache)


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
    rows = dataset.read("runs", ["host", "site"])
    told = next(((row["host"], row["site"]) for row in rows if row["host"] and row["site"]), None)
    return own if told is None else calibration_beside(dataset, *told, cache=cache) or own


def rate_words(rate: Mapping[str, Any]) -> str:
    """A rate of false positives with its interval, in words."""
    low, high = 100 * rate["low"], 100 * rate["high"]
    return f"{rate['rejections']} of {rate['experiments']} experiments (95 % CI {low:.1f} to {high:.1f} %)"


def _subject(document: Document) -> str:
    begin = "Calibration" if document["sound"] else "FAILED calibration"
    return (
        f"{begin} of {document['host']} ({document['runs']} runs of {document['model']} in {document['environment']} "
        f"against themselves, {document['made_at'][:10]}{', SIMULATED' if document['simulated'] else ''})"
    )


def calibration_line(document: Document) -> str:
    """Whether the machine's calibration passed, in one line."""
    verdicts = {True: "passed", False: "verdicts may be wrong more often than they say"}
    return f"{_subject(document)}: {verdicts.get(document['sound'], 'nothing could be judged')}."


def calibration_sentence(document: Document) -> str:
    """One paragraph to stand beside a verdict of the same machine."""
    of = _subject(document)
    parts = []
    for name, metric in document["metrics"].items():
        if metric["not_estimable"] is not None:
            continue
        trial, reach = metric["trials"][0], metric["reach"]
        sees = (
            ""
            if reach["smallest_pct"] is None
            else f", {reach['planned_pairs']} pairs see {reach['smallest_pct']:.2g} %"
        )
        parts.append(
            f"{name} {rate_words(trial['paired'])}, blocked {trial['blocked']['rejections']}{sees}"
            + (f", likely cause: {metric['cause']}" if metric["cause"] else "")
        )
    missing = not_judged(document)
    left_out = f" Not judged: {', '.join(missing)}." if missing else ""
    said = "; ".join(parts)
    return f"{of}: the paired design finds a difference where there is none in: {said}. Sound is 5 %.{left_out}"


def not_judged(document: Document) -> list[str]:
    """Metrics that the runs told too little of."""
    return [name for name, metric in document["metrics"].items() if metric["not_estimable"] is not None]


def is_whole(document: Document) -> bool:
    """Whether all is there that a sentence beside a verdict says: a file can be cut short, or be of another version."""
    try:
        calibration_sentence(document)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return False
    return True
