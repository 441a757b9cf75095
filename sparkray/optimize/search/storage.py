"""Where a study lies: an SQLite file, a journal file, any database that Optuna speaks to, or memory."""

import functools
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from filelock import FileLock
from filelock import Timeout as LockTimeoutError
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError

from sparkray.errors import ConfigError, SparkrayError, StorageError, host_error_of
from sparkray.units import reason_of

_PATIENCE_S = 60.0
_SQLITE, _JOURNAL, _MEMORY = "sqlite:///", "journal:", "memory:"
_ANOTHER = "Name another (--storage FILE), or start over (--fresh)"
# What a storage raises when its content is not what Optuna wrote; KeyError and what else it raises on purpose are not here.
_DAMAGE = (StorageInternalError, SQLAlchemyError, ValueError, TypeError, AttributeError, AssertionError, RuntimeError)
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


def open_storage(where: str, *, patience_s: float = _PATIENCE_S) -> BaseStorage:
    """A storage that several drivers may use at once.

    Args:
        where: A file (`.db`, `.sqlite`, `.journal`, `.log`), `sqlite:///FILE`, `journal:FILE`, `memory:`, or any URL that
            SQLAlchemy takes (`postgresql://...`, whose driver must be installed).
        patience_s: How long to wait for another program that has locked a file.

    Raises:
        ConfigError: It is none of these, or holds what Optuna did not write; so do the storage's methods later on.
        StorageError: It is locked, or the machine refuses; so do the storage's methods later on.
    """
    optuna.logging.set_verbosity(logging.WARNING)
    url = where if "://" in where or where.startswith((_JOURNAL, _MEMORY)) else _by_suffix(where)
    named = without_password(where)
    try:
        return _guarded(_opened(url, patience_s), named)
    except Exception as error:  # noqa: BLE001 - whatever a database driver raises
        raise _error_of(error, named, "opened") from None


def without_password(where: str) -> str:
    """A storage for a message."""
    try:
        password = urlsplit(where).password
    except ValueError:
        return where
    return where.replace(f":{password}@", ":***@", 1) if password else where


def _opened(url: str, patience_s: float) -> BaseStorage:
    if url.startswith(_MEMORY):
        return InMemoryStorage()
    if url.startswith(_JOURNAL):
        path = Path(url.removeprefix(_JOURNAL))
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_Lock(path, patience_s)))
    return _sqlite(url, patience_s) if url.startswith(_SQLITE) else RDBStorage(url)


def _guarded(storage: BaseStorage, named: str) -> BaseStorage:
    """The storage, with what its methods raise as errors of ours: a file can be locked or damaged while it is in use."""

    def guard(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - Optuna's own
            try:
                return method(*arguments, **options)
            except (KeyError, UpdateFinishedTrialError, DuplicatedStudyError):
                raise  # what Optuna means to say with them, it says to its callers
            except (*_DAMAGE, OSError) as error:
                raise _error_of(error, named, "used") from None

        return call

    for name in dir(BaseStorage):
        if not name.startswith("_") and callable(getattr(storage, name)):
            setattr(storage, name, guard(getattr(storage, name)))
    return storage


def _error_of(error: Exception, named: str, doing: str) -> SparkrayError:
    """What a storage's error means: somebody holds it, the machine refuses, or it holds what is not Optuna's."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    if isinstance(error, SparkrayError):
        return error
    text = str(cause).partition("\n")[0].rstrip(".")
    if isinstance(cause, LockTimeoutError) or "locked" in text:
        return StorageError(
            f"storage {named!r} is locked by another program, which does not let go of it",
            "Let it end (`fuser FILE` names it), then give the same command again: it goes on where it stopped",
        )
    if isinstance(cause, OSError) and (known := host_error_of(cause)) is not None:
        return StorageError(f"storage {named!r} cannot be {doing}: {reason_of(cause)}", known.remedy)
    if "disk is full" in text or "disk I/O" in text or "readonly" in text:
        return StorageError(
            f"storage {named!r} cannot be {doing}: {text}",
            "Free some space or make it writable; the same command goes on",
        )
    if "no longer compatible" in text:
        text = f"it was written by another version of Optuna than {optuna.__version__}"
    return ConfigError(f"storage {named!r} cannot be {doing}: {text or type(cause).__name__}", _ANOTHER)


class _Lock(JournalFileOpenLock):
    """A lock that the kernel releases when its holder is killed; Optuna's own would hold everybody up for 30 s."""

    def __init__(self, path: Path, patience_s: float) -> None:
        super().__init__(str(path))
        self._patience_s = patience_s
        self._lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        """Waits until nobody else writes."""
        self._lock.acquire(timeout=self._patience_s)
        return True

    def release(self) -> None:
        """Lets the next one write."""
        self._lock.release()


def _by_suffix(where: str) -> str:
    prefix = _SUFFIXES.get(Path(where).suffix)
    if prefix is None:
        raise ConfigError(f"storage {where!r} is none", "Write FILE.db, FILE.journal, memory: or a database URL")
    return f"{prefix}{where}"


def _sqlite(url: str, patience_s: float) -> RDBStorage:
    """SQLite that locks before it reads what it will write.

    SQLite knows no SELECT ... FOR UPDATE, with which Optuna hands a waiting trial to one driver alone: two could take it.
    """
    Path(url.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": patience_s}})
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
