"""A dataset of sparkray's: the best attempt of every run."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparkray.audit.finding import Finding
from sparkray.audit.planned import Planned
from sparkray.audit.reading import Reading
from sparkray.audit.results import DATASET, STATE, Results
from sparkray.audit.rows import Row
from sparkray.audit.table import results_of
from sparkray.audit.values import integer, text
from sparkray.checks.roofline import gpus_of
from sparkray.config.boundary import read_json
from sparkray.files import check_regular
from sparkray.metrics import BY_NAME
from sparkray.units import reason_of

LABEL = DATASET
TRIED = "datasets of sparkray's own experiments"
_NAMES = {
    "model": "model_name",
    "started_at": "started_s",
    "replicate": "iteration",
    **{name: name for name in ("environment", "level", "status", "simulated", "block", "position", "site")},
    **{
        name: name
        for name in ("model_path", "model_sha256", "image", "image_digest", "rootfs_digest", *STATE, *BY_NAME)
    },
}


def read_folder(folder: Path) -> Reading | None:
    """The runs of a dataset's folder, or of its `runs`; broken files are findings. None where there are none."""
    runs = folder if folder.name == "runs" else folder / "runs"
    remarks: list[Finding] = []
    rows: list[Row] = []
    files = sorted(runs.glob("*.parquet"))
    if not files:
        return None
    import pyarrow as pa  # noqa: PLC0415 - takes long to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    for file in files:
        try:
            check_regular(file)
            rows += pq.ParquetFile(file).read().to_pylist()
        except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
            remarks.append(Finding("unreadable", {"file": file.name, "error": reason_of(error)}, "note"))
    return reading_of(rows, _experiment_of(runs.parent, remarks), tuple(remarks))


def inner_datasets(folder: Path) -> list[str]:
    """Names of the datasets in a folder."""
    return [file.parent.name for file in sorted(folder.glob("*/dataset.json"))]


def _experiment_of(folder: Path, remarks: list[Finding]) -> Mapping[str, Any]:
    """`experiment.json`; empty where it is not there, with a remark where it cannot be read."""
    path = folder / "experiment.json"
    if not path.exists():
        return {}
    try:
        document = read_json(path)
    except (OSError, ValueError) as error:
        remarks.append(Finding("unreadable", {"file": path.name, "error": reason_of(error)}, "note"))
        return {}
    return document if isinstance(document, Mapping) else {}


def dataset_results(rows: Sequence[Row], document: Mapping[str, Any] | None = None) -> Results:
    """Results from the rows of `runs` of a dataset, already read: the best attempt of every run.

    Args:
        rows: Of every attempt.
        document: The dataset's `experiment.json`.
    """
    reading = reading_of(rows, document or {}, ())
    return results_of(reading.label, reading.rows, **reading.known)


def reading_of(rows: Sequence[Row], document: Mapping[str, Any], remarks: tuple[Finding, ...]) -> Reading:
    """Rows of `runs` as a reading."""
    planned = Planned(document)
    sites = {name for row in rows if (name := text(row.get("site")))}
    known = {
        "default_site": sites.pop() if len(sites) == 1 else None,
        "planned": planned.cells,
        "own_images": planned.own_images,
        "gpus": tuple(dict.fromkeys(name for row in rows for name in _gpus(row))),
    }
    return Reading(LABEL, [_row(row, planned) for row in _standing(rows)], {}, known, remarks)


def _gpus(row: Row) -> tuple[str, ...]:
    try:
        return gpus_of(row)
    except (ValueError, TypeError, AttributeError):
        return ()


def _standing(rows: Iterable[Row]) -> list[Row]:
    """One row a run: the attempt that is ok, else the last."""
    best: dict[Any, Row] = {}
    for index, row in enumerate(sorted(rows, key=lambda row: integer(row.get("attempt")) or 0)):
        key = text(row.get("run_id")) or index
        if key not in best or best[key].get("status") != "ok":
            best[key] = row
    return list(best.values())


def _row(row: Row, planned: Planned) -> Row:
    return {
        **{ours: row.get(name) for name, ours in _NAMES.items()},
        **planned.load(row),
        "row": f"{row.get('run_id')}-{row.get('attempt')}",
        "model": row.get("model"),
    }
