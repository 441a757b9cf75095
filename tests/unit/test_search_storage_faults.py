"""A storage of the search that is damaged, locked or another's is named with a remedy, before and while it is used."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock
from search_driver import settings_for, small_feasible_space

from sparkray.errors import ConfigError, SparkrayError, StorageError
from sparkray.optimize.search import open_storage, open_study, without_password

DAMAGE: dict[str, tuple[Callable[[Path], object] | str, str]] = {
    "no database": (lambda path: path.write_bytes(b"garbage" * 100), "file is not a database"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:9000]), "malformed"),
    "another version's": ("update alembic_version set version_num='v9.9.0'", "another version of Optuna than"),
    "a damaged value": ("update study_user_attributes set value_json='{'", "cannot be used: Expecting property name"),
}


def used(where: Path) -> None:
    storage = open_storage(str(where), patience_s=0.2)
    open_study(small_feasible_space(), settings_for("", 4), storage=storage)
    storage.remove_session()


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_database_is_refused_with_what_to_do(tmp_path: Path, what: str) -> None:
    spoil, said = DAMAGE[what]
    used(path := tmp_path / "optuna.db")
    if isinstance(spoil, str):
        with closing(sqlite3.connect(path)) as database:
            database.execute(spoil)
            database.commit()
    else:
        for log in tmp_path.glob("optuna.db-*"):
            log.unlink()
        spoil(path)
    with pytest.raises(ConfigError, match=said) as refused:
        used(path)
    assert str(path) in refused.value.message
    assert "--storage FILE" in refused.value.remedy
    assert "\n" not in str(refused.value)


def test_a_journal_of_something_else_is_refused(tmp_path: Path) -> None:
    (path := tmp_path / "x.journal").write_text("a log of a server\n")
    with pytest.raises(ConfigError, match="Expecting value"):
        used(path)


def test_a_storage_that_somebody_holds_is_the_machines_fault_and_named(tmp_path: Path) -> None:
    used(database := tmp_path / "optuna.db")
    used(journal := tmp_path / "optuna.journal")
    with closing(sqlite3.connect(database, isolation_level=None)) as other, FileLock(f"{journal}.lock"):
        other.execute("begin exclusive")
        for path in (database, journal):
            with pytest.raises(StorageError, match="is locked by another program") as refused:
                used(path)
            assert refused.value.exit_status == 3


def test_a_password_is_not_shown() -> None:
    with pytest.raises(SparkrayError) as refused:
        open_storage("nosuch://me:hunter2@127.0.0.1/x")
    assert "hunter2" not in str(refused.value)
    assert without_password("postgresql://me:hunter2@h/x") == "postgresql://me:***@h/x"
    assert without_password("/data/optuna.db") == "/data/optuna.db"
