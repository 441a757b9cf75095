"""Where a study lies: an SQLite file, a journal file, any database that Optuna speaks to, or memory."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy import Engine, event

from sparkray.errors import ConfigError

_PATIENCE_S = 60.0
_SQLITE, _JOURNAL, _MEMORY = "sqlite:///", "journal:", "memory:"
_SUFFIXES = {".db": _SQLITE, ".sqlite": _SQLITE, ".sqlite3": _SQLITE, ".journal": _JOURNAL, ".log": _JOURNAL}


@contextmanager
def unstable() -> Iterator[None]:
    """For parts of Optuna that it calls experimental: the version is pinned, and the tests know them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def default_storage(dataset: Path) -> str:
    """The SQLite file of a dataset: `<dataset>/optuna.db`."""
    return f"{_SQLITE}{dataset.absolute() / 'optuna.db'}"


def open_storage(where: str) -> BaseStorage:
    """A storage that several drivers may use at once.

    Args:
        where: A file (`.db`, `.sqlite`, `.journal`, `.log`), `sqlite:///FILE`, `journal:FILE`, `memory:`, or any URL that
            SQLAlchemy takes (`postgresql://...`, whose driver must be installed).

    Raises:
        ConfigError: It is none of these, or cannot be opened.
    """
    optuna.logging.set_verbosity(logging.WARNING)
    url = where if "://" in where or where.startswith((_JOURNAL, _MEMORY)) else _by_suffix(where)
    try:
        if url.startswith(_MEMORY):
            return InMemoryStorage()
        if url.startswith(_JOURNAL):
            path = Path(url.removeprefix(_JOURNAL))
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(path), lock_obj=_Lock(path)))
        if url.startswith(_SQLITE):
            return _sqlite(url)
        return RDBStorage(url)
    except Exception as error:  # whatever a database driver raises
        raise ConfigError(f"storage {where!r} cannot be opened: {error}") from error


class _Lock(JournalFileOpenLock):
    """A lock that the kernel releases when its holder is killed; Optuna's own would hold everybody up for 30 s."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        """Waits until nobody else writes."""
        self._lock.acquire(timeout=_PATIENCE_S)
        return True

    def release(self) -> None:
        """Lets the next one write."""
        self._lock.release()


def _by_suffix(where: str) -> str:
    prefix = _SUFFIXES.get(Path(where).suffix)
    if prefix is None:
        raise ConfigError(f"storage {where!r} is none", "Write FILE.db, FILE.journal, memory: or a database URL")
    return f"{prefix}{where}"


def _sqlite(url: str) -> RDBStorage:
    """SQLite that locks before it reads what it will write.

    SQLite knows no SELECT ... FOR UPDATE, with which Optuna hands a waiting trial to one driver alone: two could take it.
    """
    Path(url.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _PATIENCE_S}})
    _lock_first(storage.engine)
    return storage


def _lock_first(engine: Engine) -> None:
    """The recipe of SQLAlchemy's documentation for serializable isolation on pysqlite, and a write-ahead log.

    With the log nothing is lost to a kill, readers such as optuna-dashboard do not hold up writers, and a power cut loses
    at most the last evaluations, whose runs are in the dataset.
    """
    engine.dispose()

    def connected(connection: Any, _: object) -> None:  # noqa: ANN401 - the database driver's own
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    def begin(connection: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begin)
