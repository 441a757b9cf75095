"""The thin reader: a path in, `Results` out. Three forms: a dataset of sparkray's, the JSON of the study before, a table."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sparkray.audit.finding import NotJudged
from sparkray.audit.planned import Planned
from sparkray.audit.results import COLUMNS, DATASET, STATE, Claim, Results, Row, results_of
from sparkray.audit.values import integer, number, text
from sparkray.checks.roofline import gpus_of
from sparkray.errors import DatasetError, UnknownNameError
from sparkray.metrics import BY_NAME
from sparkray.units import did_you_mean

STUDY_SITE = "dgx-spark"
_STUDY_NAMES = {
    "model_id": "model_id",
    "model_path": "model_path",
    "model_name": "stated_model",
    "iteration": "iteration",
    "timestamp": "started_s",
    "start_temp_celsius": "gpu_temp_start_c",
    "end_temp_celsius": "gpu_temp_end_c",
    "exit_code": "exit_code",
    "throughput": "request_throughput_req_s",
    "output_throughput": "output_throughput_tok_s",
    "latency": "latency_mean_ms",
    "peak_memory": "engine_reported_peak_gib",
    "kv_cache": "kv_cache_gib",
    "environment": "stated_environment",
}
_DATASET_NAMES = {
    "model": "model_name",
    "started_at": "started_s",
    "replicate": "iteration",
    **{name: name for name in ("environment", "level", "status", "simulated", "block", "position", "site")},
    **{
        name: name
        for name in ("model_path", "model_sha256", "image", "image_digest", "rootfs_digest", *STATE, *BY_NAME)
    },
}
MAPPABLE = (*(name for name in COLUMNS if name not in ("row", "model_name", "stated_model")), *BY_NAME)
_NO_METRICS = ("exit_code", "seed", "run", "run_id", "attempt", "index", "id", "stated_environment", "schema")
_UNREADABLE = (OSError, ValueError, OverflowError, pa.ArrowException, pl.exceptions.PolarsError)
_FORMS = "Name a dataset's folder, a JSON, a CSV or a Parquet file"
_TABLES = (".csv", ".tsv", ".parquet", ".pq")


def read(path: Path, columns: Mapping[str, str] | None = None, ignored: Collection[str] = ()) -> Results:
    """Results at a path.

    Args:
        path: A folder with `runs/`, a JSON file, or a CSV, TSV or Parquet file.
        columns: For a table, sparkray's names and the table's own: `{"model": "Model", ...}`.
        ignored: Columns of a table that are to be taken as not there, by its own names.

    Raises:
        DatasetError: There is nothing of these forms, or a map of columns for what is no table.
        UnknownNameError: `columns` or `ignored` name a column that there is not.
    """
    table = path.is_file() and path.suffix.casefold() in _TABLES
    if (columns or ignored) and path.exists() and not table:
        raise DatasetError(f"{path} is no table: its columns are known", "Leave --map and --ignore out")
    if path.is_dir():
        return read_dataset(path)
    if not path.is_file():
        raise DatasetError(f"{path} is not there", _FORMS)
    if table:
        return read_table(path, columns or {}, ignored)
    return study_results(_json(path), str(path))


def _json(path: Path) -> Any:  # noqa: ANN401 - whatever it holds
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not valid JSON: {_short(error)}", _FORMS) from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def read_dataset(folder: Path) -> Results:
    """A dataset of sparkray's: the best attempt of every run; broken files are reported and left out.

    Raises:
        DatasetError: The folder holds no runs.
    """
    runs = folder if folder.name == "runs" else folder / "runs"
    remarks: list[NotJudged] = []
    rows: list[Row] = []
    files = sorted(runs.glob("*.parquet"))
    for file in files:
        try:
            rows += pq.ParquetFile(file).read().to_pylist()
        except _UNREADABLE as error:
            remarks.append(NotJudged("unreadable", {"file": file.name, "error": _short(error)}))
    if not files:
        inner = [file.parent.name for file in sorted(folder.glob("*/dataset.json"))]
        raise DatasetError(
            f"{folder} holds no runs",
            f"Name one dataset, such as {folder / inner[0]}" if inner else "Name another folder",
        )
    return dataset_results(rows, _experiment_of(runs.parent, remarks), tuple(remarks))


def _experiment_of(folder: Path, remarks: list[NotJudged]) -> Mapping[str, Any]:
    """`experiment.json`; empty where it is not there, with a remark where it cannot be read."""
    path = folder / "experiment.json"
    if not path.is_file():
        return {}
    try:
        document = _json(path)
    except DatasetError as error:
        remarks.append(NotJudged("unreadable", {"file": path.name, "error": error.message}))
        return {}
    return document if isinstance(document, Mapping) else {}


def dataset_results(
    rows: Sequence[Row], document: Mapping[str, Any] | None = None, remarks: tuple[NotJudged, ...] = ()
) -> Results:
    """Results from the rows of `runs` of a dataset, already read: the best attempt of every run.

    Args:
        rows: Of every attempt.
        document: The dataset's `experiment.json`.
        remarks: On what could not be read.
    """
    planned = Planned(document or {})
    sites = {name for row in rows if (name := text(row.get("site")))}
    return results_of(
        DATASET,
        [_dataset_row(row, planned) for row in _standing(rows)],
        remarks=remarks,
        default_site=sites.pop() if len(sites) == 1 else None,
        planned=planned.cells,
        own_images=planned.own_images,
        gpus=tuple(dict.fromkeys(name for row in rows for name in _gpus(row))),
    )


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


def _dataset_row(row: Row, planned: Planned) -> Row:
    return {
        **{ours: row.get(name) for name, ours in _DATASET_NAMES.items()},
        **planned.load(row),
        "row": f"{row.get('run_id')}-{row.get('attempt')}",
        "model": row.get("model"),
    }


def study_results(document: Any, source: str = "the document") -> Results:  # noqa: ANN401
    """Results from the JSON form of the previous study, already parsed.

    Raises:
        DatasetError: It has no `models`.
    """
    models = document.get("models") if isinstance(document, Mapping) else None
    if not isinstance(models, Mapping):
        raise DatasetError(
            f"{source} has no models", 'Expected {"models": {NAME: {"native": [RUN, ...], "container": [RUN, ...]}}}'
        )
    remarks: list[NotJudged] = []
    rows = list(_study_rows(models, remarks))
    return results_of(
        "study JSON", rows, claims=_claims(document.get("claims")), remarks=tuple(remarks), default_site=STUDY_SITE
    )


def _study_rows(models: Mapping[Any, Any], remarks: list[NotJudged]) -> Iterable[Row]:
    for name, arms in models.items():
        if not isinstance(arms, Mapping):
            remarks.append(NotJudged("dirty_values/model", {"model": text(name)}))
            continue
        for arm, runs in arms.items():
            listed = runs if isinstance(runs, list) else []
            odd = sum(not isinstance(run, Mapping) for run in listed) or (not isinstance(runs, list))
            if odd:
                cell = f"{text(name)} {text(arm)}"
                remarks.append(NotJudged("dirty_values/runs", {"cell": cell, "count": int(odd)}))
            for index, run in enumerate(listed):
                if isinstance(run, Mapping):
                    yield _study_row(run, str(name), str(arm), index)


def _study_row(run: Row, model: str, environment: str, index: int) -> Row:
    unknown = {key: value for key, value in run.items() if key not in _STUDY_NAMES and key not in _NO_METRICS}
    known = {ours: run.get(name) for name, ours in _STUDY_NAMES.items() if ours not in _NO_METRICS}
    return {
        **unknown,
        **known,
        "row": f"{model}/{environment}[{index}]",
        "model": model,
        "model_name": model,
        "environment": environment,
        "status": _status_of(run.get("exit_code")),
    }


def _status_of(exit_code: Any) -> str:  # noqa: ANN401
    return "failed" if integer(exit_code) not in (None, 0) else "ok"


def _claims(listed: Any) -> tuple[Claim, ...] | None:  # noqa: ANN401
    """`claims`: objects of `kind` (difference, equality), `text`, `metric`, `p`, `n`, `correction`, `equivalence_test`."""
    if not isinstance(listed, list):
        return None
    return tuple(
        Claim(
            kind=text(claim.get("kind")) or "difference",
            text=text(claim.get("text")) or "",
            metric=text(claim.get("metric")),
            p=number(claim.get("p")),
            n=integer(claim.get("n")),
            correction=text(claim.get("correction")) or "",
            equivalence_test=text(claim.get("equivalence_test")) or "",
        )
        for claim in listed
        if isinstance(claim, Mapping)
    )


def read_table(path: Path, columns: Mapping[str, str], ignored: Collection[str] = ()) -> Results:
    """A CSV, TSV or Parquet file with one row a run.

    What is mapped comes first: a mapped column stands in the place of one that has sparkray's name by itself, and is kept
    whatever it is called.

    Raises:
        DatasetError: It cannot be read, or names no model or environment.
        UnknownNameError: The map, or what is to be ignored, names a column that there is not, here or there.
    """
    every, rows = _table(path)
    for name in ignored:
        if name not in every:
            raise UnknownNameError(f"column in {path.name}", name, every)
    there = [name for name in every if name not in ignored]
    for ours, theirs in columns.items():
        if ours not in MAPPABLE:
            raise UnknownNameError("column of sparkray", ours, list(MAPPABLE))
        if theirs not in there:
            raise UnknownNameError(f"column in {path.name}", theirs, there)
    named = {theirs: ours for ours, theirs in columns.items()}
    if len(named) < len(columns):
        raise DatasetError("one column is mapped to two names", "Map every column once: --map ours=theirs,...")
    kept = [name for name in there if name not in named and name not in (*_NO_METRICS, *columns)]
    own = {**named, **{name: name for name in kept}}
    for needed in ("model", "environment"):
        if needed not in own.values():
            near = did_you_mean(needed, there)
            raise DatasetError(
                f"{path} has no column {needed!r}",
                f"Say which it is: --map {needed}={near or 'COLUMN'}. There are: {', '.join(there)}",
            )
    return results_of("table", [_table_row(row, own, f"row {index}") for index, row in enumerate(rows, 1)])


def _table(path: Path) -> tuple[list[str], Sequence[Row]]:
    """Column names and rows."""
    try:
        if path.suffix.casefold() in (".parquet", ".pq"):
            table = pq.ParquetFile(path).read()
            return list(table.column_names), table.to_pylist()
        separator = "\t" if path.suffix.casefold() == ".tsv" else ","
        frame = pl.read_csv(
            path, separator=separator, infer_schema=False, encoding="utf8-lossy", truncate_ragged_lines=True
        )
    except _UNREADABLE as error:
        message = f"{path} cannot be read as a table: {_short(error)}"
        raise DatasetError(message, "Give a CSV or Parquet file with a header") from None
    return frame.columns, frame.to_dicts()


def _table_row(row: Row, named: Mapping[str, str], label: str) -> Row:
    """A row under sparkray's names; `named` has them by those of the table, and nothing else is taken."""
    ours = {name: row.get(theirs) for theirs, name in named.items()}
    model = ours.get("model")
    exit_status = {} if ours.get("status") is not None else {"status": _status_of(row.get("exit_code"))}
    return {**ours, **exit_status, "row": label, "model": model, "model_name": model}
