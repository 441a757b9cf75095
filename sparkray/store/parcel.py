"""Files on their way from a machine that measured to the dataset of the driver, which acknowledges them.

A machine of a cluster keeps what it measures in a dataset of its own until it is acknowledged. Only then, at the end of its
part, is that dataset removed: a driver, a network or a machine that dies in between loses nothing that was stored.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from sparkray.errors import ClusterError, DatasetError
from sparkray.files import read_regular
from sparkray.store import Dataset
from sparkray.store.parquet import digest_of, judged
from sparkray.store.run_index import Rows, add_to_index
from sparkray.store.tables import TABLES
from sparkray.store.writing import storage_errors, write_atomically, write_together
from sparkray.units import MIB, short

# In the order in which they are sent. An attempt exists when its row is there, so that comes last.
_FOLDERS = ("inputs", "requests", "samples", "checks", "logs", "set-aside", "runs")
_WRITTEN_ONCE = frozenset({"requests", "samples", "logs", "set-aside"})
_MOST_BYTES = 16 * MIB
_ID_LENGTH = 16
_NAME_MAX = 255
_LATE = "-late.parquet"
ASIDE = "set-aside"
Stamp = tuple[int, int]
Parcel = Mapping[str, bytes | None]
"""Content by path inside the dataset; None for verdicts of a re-validation that stand no more."""


@dataclass(frozen=True)
class Origin:
    """The dataset of a driver, as a machine of its cluster knows it."""

    name: str
    description: bytes

    def opened(self, root: Path, earlier: dict[str, int]) -> "NodeDataset":
        """The machine's own dataset for it. Raises StorageError."""
        dataset = NodeDataset(root / self.name, earlier)
        with storage_errors(dataset.path):
            dataset.path.mkdir(parents=True, exist_ok=True)
        write_atomically(dataset.path / "dataset.json", self.description)
        dataset.make_folders()
        return dataset


def origin_of(dataset: Dataset) -> Origin:
    """Of a dataset: another folder or another description is another one. Raises DatasetError."""
    path = dataset.path / "dataset.json"
    try:
        description = read_regular(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
    identity = hashlib.sha256(str(dataset.path).encode() + b"\0" + description).hexdigest()
    return Origin(f"{dataset.path.name[:40]}-{identity[:_ID_LENGTH]}", description)


@dataclass(frozen=True)
class NodeDataset(Dataset):
    """A machine's own dataset.

    Attributes:
        earlier: Attempts at runs that the driver has, of any machine, by run id.
        changed: Names of files to send that were written or removed, and not offered since.
    """

    earlier: dict[str, int] = field(compare=False)
    changed: dict[str, None] = field(default_factory=dict, compare=False)

    def put(self, path: Path, content: bytes | None) -> None:
        """Likewise; takes note of it."""
        super().put(path, content)
        name = path.relative_to(self.path).as_posix()
        if name.partition("/")[0] in _FOLDERS:
            self.changed[name] = None

    def attempts(self, run_id: str) -> int:
        """How many attempts at a run are stored here or there."""
        return max(super().attempts(run_id), self.earlier.get(run_id, 0))


@dataclass
class Outbox:
    """What of a machine's dataset the driver has not acknowledged. `has_more` is whether the last parcel was not all."""

    dataset: NodeDataset
    known: dict[str, Stamp] = field(default_factory=dict)
    offered: dict[str, Stamp] = field(default_factory=dict)
    has_more: bool = False

    def parcel(self, *, every: bool = True) -> Parcel:
        """Files that are new or were changed, at most so many bytes of them; empty when there are none.

        Args:
            every: Whether all files are compared with what the driver has; else those that were written since the last
                parcel, which takes as long after 100,000 runs as after one.
        """
        changed = self.dataset.changed
        files: dict[str, bytes | None] = dict.fromkeys(filter(self._is_withdrawn, self.known if every else changed))
        size, self.has_more = 0, False
        for name in _files_of(self.dataset) if every else sorted(changed, key=_order):
            stamp = self._new_stamp(name)
            if stamp is not None:
                if files and size + stamp[1] > _MOST_BYTES:
                    self.has_more = True
                    return files
                files[name], self.offered[name] = (self.dataset.path / name).read_bytes(), stamp
                size += stamp[1]
            changed.pop(name, None)
        changed.clear()
        return files

    def _new_stamp(self, name: str) -> Stamp | None:
        """When a file was changed, and its size; None where the driver has it, or it is gone."""
        known = self.known.get(name)
        if known is not None and name.partition("/")[0] in _WRITTEN_ONCE:
            return None
        try:
            status = os.stat(os.path.join(self.dataset.path, name))  # noqa: PTH116, PTH118 - of every file: a `Path` takes longer
        except FileNotFoundError:
            return None
        stamp = (status.st_mtime_ns, status.st_size)
        return None if stamp == known else stamp

    def _is_withdrawn(self, name: str) -> bool:
        """Whether a re-validation removed its verdicts. A file that is gone with its run's row was cleaned away here."""
        gone = name in self.known and is_late(name) and not (self.dataset.path / name).exists()
        return (
            gone and (self.dataset.path / "runs" / f"{PurePosixPath(name).name.removesuffix(_LATE)}.parquet").exists()
        )

    def acknowledge(self, names: Collection[str], refused: Collection[str] = ()) -> None:
        """The driver has these files. Those that it refused are removed here."""
        for name in names:
            stamp = self.offered.pop(name, None)
            if stamp is None or name in refused:
                self.known.pop(name, None)
            else:
                self.known[name] = stamp
        for name in refused:
            (self.dataset.path / name).unlink(missing_ok=True)

    def seed(self, files: Mapping[str, bytes]) -> None:
        """Write what the driver has of this machine's earlier runs. Raises StorageError."""
        for name, content in files.items():
            path = self.dataset.path / name
            write_atomically(path, content, durable=False)
            status = path.stat()
            self.known[name] = (status.st_mtime_ns, status.st_size)

    def close(self) -> None:
        """Remove the machine's dataset, if the driver has all of it."""
        if not self.parcel():
            shutil.rmtree(self.dataset.path, ignore_errors=True)


@dataclass(frozen=True)
class Vouched:
    """What the sender of a file found in it, which is sound: the file's digest, and the rows of one of `runs`."""

    digest: bytes
    rows: Rows


def vouched(parcel: Parcel) -> dict[str, Vouched]:
    """The files of a parcel that are sound, judged by the machine that sends them: the driver has many machines."""
    found = dict[str, Vouched]()
    for name, content in parcel.items():
        table, _, file = name.partition("/")
        if table in TABLES and content is not None:
            why, rows = judged(content, table, file.removesuffix(_LATE).removesuffix(".parquet"))
            if why is None:
                found[name] = Vouched(digest_of(content, table), rows if table == "runs" else [])
    return found


def is_late(name: str) -> bool:
    """Whether a file holds verdicts of a re-validation, which alone may be withdrawn."""
    return name.startswith("checks/") and name.endswith(_LATE)


def _order(name: str) -> tuple[int, str]:
    return _FOLDERS.index(name.partition("/")[0]), name


def _files_of(dataset: Dataset) -> Iterator[str]:
    for folder in _FOLDERS:
        yield from sorted(_below(dataset.path / folder, folder))


def _below(folder: Path, name: str) -> Iterator[str]:
    """Regular files below a folder, without a system call for each: a machine lists them after every run."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _below(folder / entry.name, f"{name}/{entry.name}")
            elif entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                yield f"{name}/{entry.name}"


def seeds_of(dataset: Dataset, host: str) -> dict[str, bytes]:
    """What a machine needs of its earlier runs: their rows and verdicts, and the samples of the first that is ok.

    Raises:
        DatasetError: A file cannot be read.
    """
    rows = dataset.read("runs", ["run_id", "attempt", "host", "status", "started_at"])
    mine = [row for row in rows if row["host"] == host]
    names = [f"{row['run_id']}-{row['attempt']}" for row in mine]
    files = [f"{table}/{name}{late}.parquet" for name in names for table, late in _SEEDED]
    ok = [row for row in mine if row["status"] == "ok"]
    first = min(ok, key=lambda row: (row["started_at"] is None, row["started_at"]), default=None)
    if first is not None:
        files.append(f"samples/{first['run_id']}-{first['attempt']}.parquet")
    found: dict[str, bytes] = {}
    for name in files:
        with suppress(FileNotFoundError):
            found[name] = (dataset.path / name).read_bytes()
    return found


_SEEDED = (("runs", ""), ("checks", ""), ("checks", "-late"))


def receive(
    dataset: Dataset,
    parcel: Parcel,
    host: str,
    *,
    late: bool,
    notify: Callable[[str], None],
    begun: Collection[str] = (),
    sound: Mapping[str, Vouched] | None = None,
) -> list[str]:
    """Store files that a machine sent.

    Args:
        dataset: The driver's.
        parcel: The files, rows last.
        host: The machine.
        late: Whether they are what an earlier sweep of this machine left. A run that was begun again on another machine
            meanwhile must not count twice: its files are set aside.
        notify: Called with a line where something is set aside.
        begun: Ids of runs that are under way on other machines.
        sound: Files that the machine has judged: one that arrived as it was is not judged again.

    Returns:
        Names of those that were set aside: of late ones, and of attempts of which a file is damaged or foreign.

    Raises:
        ClusterError: The machine sent something that is no file of a dataset. Nothing is stored then.
        DatasetError: The driver's own rows cannot be read.
        StorageError: Something could not be written, or somebody removed the dataset: what came before is lost with it.
    """
    dataset.make_folders()
    _must_be_files(parcel, host)
    aside = _taken(dataset, parcel, host, begun) if late else set()
    again = bool(aside)
    bad, rows = _judge(dataset, parcel, host, sound or {})
    for attempt, why in bad.items():
        aside |= {name for name in parcel if _attempt_of(name) == attempt}
        notify(f"set aside what {host} sent of {attempt}, which is measured again: {why}")
    written = list(_to_write(dataset, parcel, Path(ASIDE, host), aside))
    write_together(written)
    fresh = {path for path, _ in written}  # what is sent again is in the index
    for name, of_file in rows.items():
        if (path := dataset.path / name) in fresh:
            add_to_index(path, of_file)
    if again:
        notify(f"set aside what {host} had measured of runs that were begun again: {dataset.path / ASIDE / host}")
    return sorted(aside)


def _to_write(dataset: Dataset, parcel: Parcel, folder: Path, aside: Collection[str]) -> Iterator[tuple[Path, bytes]]:
    """What is not there as it was sent; what was withdrawn is removed on the way."""
    there = set[Path]()
    for name, content in parcel.items():
        path = dataset.path / (folder / name if name in aside else name)
        with storage_errors(path):
            if content is None:
                path.unlink(missing_ok=True)
                continue
            if path.parent not in there:
                if not path.parent.is_dir():
                    path.parent.mkdir(parents=True, exist_ok=True)
                there.add(path.parent)
        if not path.is_file() or path.read_bytes() != content:
            yield path, content


def _must_be_files(parcel: Parcel, host: str) -> None:
    """Raises ClusterError."""
    if host in ("", ".", "..") or "/" in host or "\0" in host:
        raise ClusterError(f"{host!r} is no name of a machine")
    for name, content in parcel.items():
        if not _is_file(name):
            raise ClusterError(f"{host} sent {short(name)}, which is no file of a dataset")
        if content is None and not is_late(name):
            raise ClusterError(f"{host} asked to remove {short(name)}, which is kept")


def _is_file(name: str) -> bool:
    folder, *rest = name.split("/")
    try:
        plain = all(part not in ("", ".", "..") and len(os.fsencode(part)) <= _NAME_MAX for part in rest)
    except UnicodeEncodeError:
        return False
    flat = len(rest) == 1 or folder not in (*TABLES, "logs")
    return folder in _FOLDERS and bool(rest) and flat and plain and "\0" not in name


def _attempt_of(name: str) -> str:
    """The attempt that a file of a table or a log is of, with `-late` for a re-validation's; empty for other files."""
    table, _, file = name.partition("/")
    return file.rpartition(".")[0] if table in TABLES or table == "logs" else ""


def _judge(
    dataset: Dataset, parcel: Parcel, host: str, sound: Mapping[str, Vouched]
) -> tuple[dict[str, str], dict[str, Rows]]:
    """Files of tables, judged like those that are read, since they come from elsewhere.

    Returns:
        Attempts of which a file is none of a dataset, and why; and the rows of each file of runs.
    """
    found, rows = dict[str, str](), dict[str, Rows]()
    for name, content in parcel.items():
        table, attempt = name.partition("/")[0], _attempt_of(name)
        if table not in TABLES or content is None or attempt in found:
            continue
        known = sound.get(name)
        if known is not None and known.digest == digest_of(content, table):
            why, of_file = None, known.rows
        else:
            why, of_file = judged(content, table, attempt.removesuffix("-late"))
        if table == "runs":
            why = why or _lost_before(dataset, parcel, f"{attempt}.parquet", host)
            rows[name] = of_file
        if why is not None:
            found[attempt] = f"{name}: {why}"
    return found, rows


def _lost_before(dataset: Dataset, parcel: Parcel, file: str, host: str) -> str | None:
    """Why a row does not stand whose requests, samples or checks came in an earlier parcel and were set aside."""
    if not (dataset.path / ASIDE / host).is_dir():
        return None
    for table in TABLES:
        aside = dataset.path / ASIDE / host / table / file
        is_here = f"{table}/{file}" in parcel or (dataset.path / table / file).is_file()
        if table != "runs" and aside.is_file() and not is_here:
            return f"its {table} were set aside"
    return None


def _taken(dataset: Dataset, parcel: Parcel, host: str, begun: Collection[str]) -> set[str]:
    """Files of attempts at runs that another machine has rows of or makes now, or whose own row is stored already."""
    rows = dataset.read("runs", ["run_id", "attempt", "host"])
    elsewhere = {*begun, *(row["run_id"] for row in rows if row["host"] != host)}
    stored = {f"{row['run_id']}-{row['attempt']}" for row in rows}
    found = set()
    for name, content in parcel.items():
        table, _, file = name.partition("/")
        attempt = file.partition(".")[0].removesuffix("-late")
        if table in TABLES or table == "logs":
            path = dataset.path / name
            same = path.is_file() and path.read_bytes() == content
            if not same and (attempt in stored or attempt.rpartition("-")[0] in elsewhere):
                found.add(name)
    return found
