"""What a dataset's files hold, checked when it is read back: anybody can have changed, cut or replaced one.

A shape is a type, a tuple of types, `[shape]` for a list, `{str: shape}` for any keys, or `{"key": shape}`, in which a key
that ends in `?` may be missing or null and keys that are not named may hold anything. pydantic, which checks what users
write, takes too long to import for `status`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from sparkray.config.boundary import read_json
from sparkray.errors import DatasetError, remedy_of
from sparkray.records import SCHEMA_VERSION, STATUSES
from sparkray.units import did_you_mean, reason_of, short

NUMBER = (int, float)
DESCRIPTION = {"format": str, "experiment": str, "definition_sha256": str}
PROGRESS = {"run": int, "of": int, "run_id": str, "environment": str, "model": str, "since": NUMBER, "eta_s": NUMBER}
STUDY = {
    "experiment?": {
        "name?": str,
        "question?": str,
        "runs?": int,
        "seed?": int,
        "order?": str,
        "margins?": {str: NUMBER},
        "difference_margins?": {str: NUMBER},
        "primary_metrics?": [str],
        "families?": {str: [str]},
        "planned_effect?": NUMBER,
        "sequential?": {"looks": [int], "spending": str},
        "workload?": {f"{name}?": int for name in ("requests", "input_tokens", "output_tokens", "concurrency")},
        "protocol?": {"cooldown?": str},
        "checks?": {str: str},
        "models?": [str],
        "environments?": [str],
    },
    "cards?": [
        {
            "name": str,
            "architecture?": str,
            "quantisation?": str,
            "dtype?": str,
            "max_batch_size?": int,
            "shape?": {"params_total?": int},
        }
    ],
    "site?": {"name?": str, "environments?": {str: {}}},
    "environments?": [str],
    "policies?": {str: str},
}
_TRIAL = {"experiments": int, "rejections": int, "low": NUMBER, "high": NUMBER}
CALIBRATION = {
    "experiment?": str,
    "model?": str,
    "runs?": int,
    "metrics?": {
        str: {
            "trials?": [{"paired": _TRIAL, "blocked": {"experiments": int, "rejections": int}}],
            "noise?": {"sd_log?": NUMBER, "cv_pct?": NUMBER},
            "reach?": {"smallest_pct?": NUMBER},
            "cause?": str,
        }
    },
}
ROW = {"run_id": str, "attempt": int, "host": str, "model": str, "environment": str, "deviations?": str}
JSON_COLUMNS: Mapping[str, Any] = {
    "machine": {
        **dict.fromkeys(("machine_id?", "kernel?", "cpu?", "driver?", "docker?"), str),
        "memory_gib?": NUMBER,
        "gpus?": [str],
        "gpu_memory_gib?": [NUMBER],
    },
    "start_state": {},
    "effective_state": {"environment?": {str: str}},
    "slo": {},
    "deviations": [str],
}
NEVER_NULL: Mapping[str, tuple[str, ...]] = {
    "runs": ("run_id", "attempt", "model", "environment", "status"),
    "requests": ("run_id", "attempt"),
    "samples": ("run_id", "attempt", "t_ns"),
    "checks": ("run_id", "attempt", "check", "verdict"),
}
WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "runs": {"status": STATUSES},
    "checks": {"verdict": ("pass", "warn", "invalid")},
}
LARGEST = 1e30
"""No number that is measured comes near; of larger ones, squares and their sums overflow."""
LONGEST_NAME = 300
NAMES = ("run_id", "model", "level", "environment", "host", "site", "experiment", "engine", "check", "sampler")
"""Texts that are shown beside others, or are part of a file's name."""
ONE_ROW = ("run_id", "attempt")
"""What one row of `runs` has alone."""
_RUN_ID = re.compile(r"[^/\\*?\[\]\x00-\x1f\x7f]+")
_KINDS = {dict: "keys and values", list: "a list", str: "text", int: "a whole number", float: "a number"}
REMOVE = "Remove the file: its run is measured again"


def read_document(path: Path, shape: Any, *, remedy: str) -> Mapping[str, Any]:  # noqa: ANN401 - see the module
    """A JSON file of a dataset.

    Raises:
        DatasetError: It cannot be read, is not valid JSON, or has another shape; with the key, the value and `remedy`.
    """
    try:
        document = read_json(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {reason_of(error)}", remedy_of(error, remedy)) from None
    wrong = unlike(document, shape)
    if wrong is not None:
        raise DatasetError(f"{path} is not what sparkray writes there: {wrong}", remedy)
    return cast("Mapping[str, Any]", document)


def unlike(value: object, shape: Any, where: str = "") -> str | None:  # noqa: ANN401 - see the module
    """How a value differs from a shape, in words; None where it does not."""
    if isinstance(shape, dict):
        return _kind(value, dict, where) or _unlike_keys(cast("Mapping[str, Any]", value), shape, where)
    if isinstance(shape, list):
        items = cast("Sequence[object]", value)
        wrong = _kind(value, list, where)
        return wrong or next(filter(None, (unlike(item, shape[0], f"{where}[]") for item in items)), None)
    return _kind(value, shape, where)


def _unlike_keys(value: Mapping[str, Any], shape: Mapping[Any, Any], where: str) -> str | None:
    prefix = f"{where}." if where else ""
    if str in shape:
        return next(filter(None, (unlike(item, shape[str], f"{prefix}{key}") for key, item in value.items())), None)
    for key, inner in shape.items():
        name, optional = key.removesuffix("?"), key.endswith("?")
        if optional and value.get(name) is None:
            continue
        if name not in value:
            near = did_you_mean(name, map(str, value))
            return f"key {prefix + name!r} is missing{f' (it has {near!r})' if near else ''}"
        wrong = unlike(value[name], inner, prefix + name)
        if wrong is not None:
            return wrong
    return None


def _kind(value: object, kinds: Any, where: str) -> str | None:  # noqa: ANN401 - see the module
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if isinstance(value, wanted) and not isinstance(value, bool):
        return None
    return f"{where or 'the whole'} is {short(value, 80)}, not {_KINDS[wanted[-1]]}"


def odd_row(table: str, row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row of a table, in words; None where nothing is. Columns that it lacks are not judged."""
    for name in NEVER_NULL[table]:
        if name in row and row[name] is None:
            return f"{name} is null"
    for name, words in WORDS.get(table, {}).items():
        if name in row and row[name] not in words:
            return f"{name} is {short(row[name], 80)}, not one of {', '.join(words)}"
    if (wrong := _odd_name(row)) is not None:
        return wrong
    for name, value in row.items():
        if type(value) is float and not abs(value) <= LARGEST:
            return f"{name} is {value}, which cannot be measured"
    if table == "runs":
        return next(filter(None, (_odd_json(name, row.get(name), kind) for name, kind in JSON_COLUMNS.items())), None)
    return None


def _odd_name(row: Mapping[str, Any]) -> str | None:
    if "run_id" in row and not _RUN_ID.fullmatch(row["run_id"]):  # names of files are made of it
        return f"run_id is {short(row['run_id'], 80)}, which cannot be part of a file's name or is a pattern"
    long = next((name for name in NAMES if len(row.get(name) or "") > LONGEST_NAME), None)
    return f"{long} is {short(row[long], 80)}, longer than {LONGEST_NAME} characters" if long else None


def _odd_json(name: str, text: str | None, shape: Any) -> str | None:  # noqa: ANN401 - see the module
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return f"{name} is {short(text, 80)}, which is not valid JSON"
    return unlike(value, shape, name)


def newer_schema(document: Mapping[str, Any]) -> str | None:
    """The schema of a dataset's description where this version does not know it yet: it may mean other things."""
    schema = str(document.get("schema", ""))
    try:
        return schema if _numbers(schema) > _numbers(SCHEMA_VERSION) else None
    except ValueError:
        return schema


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
