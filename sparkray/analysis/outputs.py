"""Tables on disk: Parquet, CSV, LaTeX, and one JSON document with everything."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl
import polars.selectors as cs

from sparkray.analysis.latex import latex
from sparkray.analysis.study import Analysis
from sparkray.errors import UnknownNameError
from sparkray.store.writing import storage_errors, write_atomically

FORMAT = "sparkray-analysis/1"
FORMATS = ("parquet", "csv", "json", "tex")
DOCUMENT = "analysis.json"


def write(analysis: Analysis, folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write an analysis. Returns what was written, in order.

    Args:
        analysis: What was found.
        folder: Where to; made when it is not there. `<table>.<format>`, and `analysis.json` with everything.
        formats: Some of parquet, csv, json, tex.

    Raises:
        UnknownNameError: There is no format of that name.
        StorageError: Something cannot be written.
    """
    for name in formats:
        if name not in FORMATS:
            raise UnknownNameError("format", name, list(FORMATS))
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    contents: dict[Path, bytes] = {}
    for name in formats:
        if name == "json":
            contents[folder / DOCUMENT] = document(analysis).encode()
            continue
        for table, frame in analysis.tables.items():
            content = _WRITERS[name](table, frame, analysis)
            if content is not None:
                contents[folder / f"{table}.{name}"] = content
    for path, content in contents.items():
        write_atomically(path, content, durable=False)  # another analysis makes it again
    return list(contents)


def document(analysis: Analysis) -> str:
    """Everything as one JSON document: `{"format", "context", "tables": {name: [row, ...]}}`. Times are ISO 8601, UTC."""
    tables = ",\n".join(f"{json.dumps(name)}: {_plain(frame).write_json()}" for name, frame in analysis.tables.items())
    context = json.dumps(analysis.context, allow_nan=False, default=str)
    return f'{{"format": {json.dumps(FORMAT)},\n"context": {context},\n"tables": {{\n{tables}\n}}}}\n'


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(cs.datetime().dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ"))


def _parquet(_: str, frame: pl.DataFrame, __: Analysis) -> bytes:
    sink = io.BytesIO()
    frame.write_parquet(sink)
    return sink.getvalue()


def _csv(_: str, frame: pl.DataFrame, __: Analysis) -> bytes:
    return _plain(frame).write_csv().encode()


def _tex(table: str, frame: pl.DataFrame, analysis: Analysis) -> bytes | None:
    text = latex(table, frame, analysis.context["primary_metrics"])
    return None if text is None else text.encode()


_WRITERS: Mapping[str, Callable[[str, pl.DataFrame, Analysis], bytes | None]] = {
    "parquet": _parquet,
    "csv": _csv,
    "tex": _tex,
}
