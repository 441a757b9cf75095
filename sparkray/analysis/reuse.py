"""An analysis that is kept in the dataset's cache, taken over where nothing that it was made of has changed.

Its key is a hash of all that an analysis depends on: the files of every table (names, sizes, times, inodes), the content of
`experiment.json` and `calibration.json`, the model cards that ship, margins and seed, sparkray's own code, and versions of
Python, NumPy, SciPy and Polars. What cannot be written as JSON and read back the same is not kept.
"""

import io
import json
import platform
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from operator import methodcaller
from pathlib import Path

import numpy as np
import polars as pl
import scipy

from sparkray.analysis.cache import FOLDER, PACKAGE, Listing, digest, find, keep, listing, sources
from sparkray.analysis.context import DEFAULT_SEED
from sparkray.analysis.frames import listings_of, open_frames
from sparkray.analysis.schema import TABLES, polars_types
from sparkray.analysis.study import Analysis, analyse
from sparkray.catalog import data_root
from sparkray.files import read_regular

_NAME, _CONTEXT = "analysis", "context.json"
_DOCUMENTS = ("dataset.json", "experiment.json", "calibration.json")
_LIBRARIES = (np.__version__, scipy.__version__, pl.__version__)


def fresh_analysis(path: Path, *, margins: Mapping[str, float] | None = None, seed: int = DEFAULT_SEED) -> Analysis:
    """The analysis of a dataset: the one that was kept if it is fresh, else a new one, kept where the folder can be written.

    Raises:
        DatasetError: As `analyse`.
        UnknownNameError: As `analyse`.
    """
    listings = listings_of(path)  # before anything is read: what changes meanwhile makes another key
    key = _key(path, listings, margins, seed)
    if (kept := _kept(path, key, listings)) is not None:
        return kept
    analysis = analyse(path, margins=margins, seed=seed, listings=listings)
    content = _packed(analysis)
    if content is not None:
        keep(path / FOLDER, _NAME, key, methodcaller("write", content))
    return analysis


def _key(path: Path, listings: Mapping[str, Listing], margins: Mapping[str, float] | None, seed: int) -> str:
    tables = [files.files for files in listings.values()]
    documents = [_content(path / name) for name in _DOCUMENTS]
    versions = [platform.python_version(), *_LIBRARIES]
    code = [sources(PACKAGE), listing(data_root() / "conf/models", ".yaml").files]
    return digest(repr((tables, documents, versions, code, sorted((margins or {}).items()), seed)).encode())


def _content(path: Path) -> bytes | None:
    try:
        return read_regular(path)
    except OSError:
        return None


def _packed(analysis: Analysis) -> bytes | None:
    """Tables and context in one archive; None where the context would not come back the same."""
    text = json.dumps(analysis.context, default=str)
    if json.loads(text) != analysis.context:
        return None
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(_CONTEXT, text)
        for name, frame in analysis.tables.items():
            table = io.BytesIO()
            frame.write_ipc(table)
            archive.writestr(name, table.getvalue())
    return sink.getvalue()


def _kept(path: Path, key: str, listings: Mapping[str, Listing]) -> Analysis | None:
    file = find(path / FOLDER, _NAME, key)
    if file is None:
        return None
    with suppress(OSError, zipfile.BadZipFile, KeyError, ValueError, pl.exceptions.PolarsError):
        with zipfile.ZipFile(file) as archive:
            tables = {name: pl.read_ipc(io.BytesIO(archive.read(name))) for name in TABLES}
            context = json.loads(archive.read(_CONTEXT))
        if all(dict(frame.schema) == polars_types(TABLES[name]) for name, frame in tables.items()):
            return Analysis(path, tables, context, open_frames(path, listings))
    return None
