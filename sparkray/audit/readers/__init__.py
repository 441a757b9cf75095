"""Readers of results, one file each, found by name: what people publish in, `Results` out.

A reader is a table of keys, `NAME.yaml` (a `KeyReader`), or a module with `LABEL`, `TRIED` and `read(content, asked)`, which
gives None for what is not its format. `table` comes last, since any list of objects is one.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

from sparkray.audit.content import Content, load
from sparkray.audit.finding import Finding, NotJudged
from sparkray.audit.reading import Asked, KeyReader, Reading
from sparkray.audit.results import Results, Role
from sparkray.audit.rows import Row, Table, as_columns
from sparkray.audit.table import results_of
from sparkray.audit.values import integer
from sparkray.audit.wordlists import parsed_yaml
from sparkray.errors import DatasetError

Read = Callable[[Content, Asked], Reading | None]
ONE_ARM, NO_MODEL = "all runs", "unnamed model"
_LAST = "table"
_SEVERAL = 2
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".pq", ".md", ".sql", ".gz")
# What tools print; read where a folder has nothing else, since a server's log may show the same runs again.
_PRINTED = (".txt", ".log", ".out")
_PROSE = (".md", *_PRINTED)
# Files beside the results that hold no runs, by name.
_BESIDE = (
    "inputs.json", "*config*", "*prometheus*", "*server_metrics*", "*telemetry*", "*timeslices*", "*manifest*", "*metadata*",
    "deployment.json", "measurement.json", "qualification.json", "power.json", "tasks.json", "tools.json", "failures.json",
    "turns.jsonl",
)  # fmt: skip
_ARM_WORDS = (
    "native", "host", "bare", "baremetal", "chroot", "docker", "container", "podman", "nerdctl", "containerd", "enroot",
    "lxc", "lxd", "nspawn", "apptainer", "singularity", "kubernetes", "k8s", "wsl", "wsl2", "vm",
)  # fmt: skip
_FORMS = "Name a dataset's folder, a file with results, or a folder of such files"


@dataclass(frozen=True)
class Source:
    """A file or folder, and the arm that its runs are of, where the user names it."""

    path: Path
    arm: str | None = None


@dataclass(frozen=True)
class Reader:
    """A format: its name, what it was tried on, and how it is read."""

    name: str
    label: str
    tried: str
    read: Read


@cache
def readers() -> tuple[Reader, ...]:
    """Every reader of files, the one of tables last."""
    found: list[Reader] = []
    for path in files(__name__).iterdir():
        if path.name.endswith(".yaml"):
            keys = KeyReader(**parsed_yaml(path))
            found.append(Reader(path.name.removesuffix(".yaml"), keys.label, keys.tried, keys.read))
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if hasattr(module, "read"):
            found.append(Reader(info.name, module.LABEL, module.TRIED, module.read))
    return tuple(sorted(found, key=lambda reader: (reader.name == _LAST, reader.name)))


def read(path: Path, columns: Mapping[str, str] | None = None, ignored: Collection[str] = ()) -> Results:
    """Results at one path; see `read_all`."""
    return read_all([Source(path)], columns, ignored)


def read_all(
    sources: Sequence[Source], columns: Mapping[str, str] | None = None, ignored: Collection[str] = ()
) -> Results:
    """Results of one study, in one or several files or folders.

    Args:
        sources: Where they are, each with its arm, if the user names it.
        columns: Sparkray's names and the file's own: `{"model": "Model", ...}`.
        ignored: Columns that are to be taken as not there, by their own names.

    Raises:
        DatasetError: There is nothing of a known format, or a map of columns for a format that needs none.
        UnknownNameError: `columns` or `ignored` name a column that there is not.
    """
    asked = Asked(columns or {}, ignored)
    return _joined([reading for source in sources for reading in _readings(source, asked)])


def _readings(source: Source, asked: Asked) -> Iterator[Reading]:
    path = source.path
    if not path.exists():
        raise DatasetError(f"{path} is not there", _FORMS)
    found = _folder(path, asked) if path.is_dir() else [(path, _file(path, asked))]
    several = len(found) > 1
    for file, reading in found:
        arms = source.arm, _arm_of(file, path if path.is_dir() else path.parent)
        labels = [_label(file, reading, index, several=several) for index in range(1, len(reading.rows) + 1)]
        yield replace(reading, rows=_placed(reading.rows, arms, labels))


def _label(file: Path, reading: Reading, index: int, *, several: bool) -> str:
    if not several:
        return f"row {index}"
    return file.name if len(reading.rows) == 1 else f"{file.name} row {index}"


def _placed(rows: Sequence[Row], arms: tuple[str | None, str | None], labels: Sequence[str]) -> Table:
    """Rows with their arm: the one that the user names, else its own, else that of the list it is in, else by its file."""
    columns = dict(as_columns(rows))
    groups = [str(group or "") for group in columns.pop("group", [None] * len(rows))]
    by_group = {group: group for group in dict.fromkeys(groups) if _arm_words(group)}
    given = columns.get("environment", [None] * len(rows))
    own = [by_group.get(group) if arm in (None, "") else arm for arm, group in zip(given, groups, strict=True)]
    return Table({"row": labels, **columns, "environment": [arms[0] or arm or arms[1] for arm in own]})


def _arm_words(name: str) -> set[str]:
    """Words for an arm in a name."""
    return {word for word in re.split(r"[^a-z0-9]+", name.casefold()) if word in _ARM_WORDS}


def _arm_of(file: Path, top: Path) -> str | None:
    """The arm by the name of a folder below the one that was named (`native/run1.json`), else by one word of the file's."""
    *folders, _ = file.relative_to(top).parts if file != top else [""]
    by_folder = next((part for part in folders if _arm_words(part)), None)
    words = _arm_words(file.name.split(".")[0])
    return by_folder or (words.pop() if len(words) == 1 else None)


def _file(path: Path, asked: Asked) -> Reading:
    """The reading of the first reader that knows a file.

    Raises:
        DatasetError: None does.
    """
    content = load(path)
    for reader in readers():
        reading = reader.read(content, asked)
        if reading is not None:
            broken = {"file": path.name, "count": content.broken}
            extra = (Finding("broken_lines", broken, "note"),) if content.broken else ()
            return replace(reading, remarks=(*reading.remarks, *extra))
    known = ", ".join(reader.label for reader in readers())
    raise DatasetError(f"{path} is in no known format", f"Known are: {known}. Else give a table with --map")


def _folder(path: Path, asked: Asked) -> list[tuple[Path, Reading]]:
    """The readings of a dataset, or of every file in a folder.

    Raises:
        DatasetError: There are none.
    """
    from sparkray.audit.readers import dataset  # noqa: PLC0415 - imports pyarrow

    whole = dataset.read_folder(path)
    if whole is not None:
        if asked.columns or asked.ignored:
            raise DatasetError(f"{path} is a dataset: its columns are known", "Leave --map and --ignore out")
        return [(path, whole)]
    inner = dataset.inner_datasets(path)
    if inner:
        raise DatasetError(f"{path} holds no runs", f"Name one dataset, such as {path / inner[0]}")
    found: list[tuple[Path, Reading]] = []
    foreign: list[str] = []
    remarks: list[Finding | NotJudged] = []
    every = sorted(file for file in path.rglob("*") if file.is_file())
    chosen = [file for file in every if file.suffix.casefold() in _SUFFIXES]
    for file in chosen or [file for file in every if file.suffix.casefold() in _PRINTED]:
        try:
            found.append((file, _file(file, asked)))
        except DatasetError as error:
            foreign.append(str(file.relative_to(path)))
            beside = any(fnmatchcase(file.name.casefold(), pattern) for pattern in _BESIDE)
            beside = beside or file.suffix.casefold() in _PROSE
            values = {"file": foreign[-1], "error": error.message.replace(str(file), "it")}
            remarks.append(NotJudged("beside", values) if beside else Finding("unreadable", values, "note"))
    if not found:
        detail = f": {', '.join(foreign[:5])} are in no known format" if foreign else ""
        known = ", ".join(reader.label for reader in readers())
        raise DatasetError(f"{path} holds no runs{detail}", f"{_FORMS}. Known are: {known}")
    kept, left = _without_copies(found)
    remarks += [NotJudged("copies", {"files": left})] if left else []
    first, reading = kept[0]
    return [(first, replace(reading, remarks=(*reading.remarks, *remarks))), *kept[1:]]


def _without_copies(found: list[tuple[Path, Reading]]) -> tuple[list[tuple[Path, Reading]], list[str]]:
    """Readings without those that show again what a better one of the same folder and tool shows, and their names."""
    left = {file for file, reading in found if reading.family and _has_better(file, reading, found)}
    return [pair for pair in found if pair[0] not in left], sorted(file.name for file in left)


def _has_better(file: Path, reading: Reading, found: list[tuple[Path, Reading]]) -> bool:
    """Whether a file of the folder has the same runs by themselves, or in a form of smaller rank."""
    alike = [(other, one) for other, one in found if one.family == reading.family and other != file]
    below = any("summary" not in other.name and other.is_relative_to(file.parent) for other, _ in alike)
    beside = any(one.rank < reading.rank and other.parent == file.parent for other, one in alike)
    return beside or (below and "summary" in file.name)


def _joined(readings: Sequence[Reading]) -> Results:
    """One study of several readings."""
    tables = list(_apart(readings))
    total = sum(map(len, tables))
    columns = {name: _stacked(name, tables) for name in dict.fromkeys(chain.from_iterable(t.columns for t in tables))}
    roles: dict[str, Role] = {name: role for reading in readings for name, role in reading.roles.items()}
    remarks: list[Finding | NotJudged] = [remark for reading in readings for remark in reading.remarks]
    unnamed = ("environment", ONE_ARM, NotJudged("no_arms")), ("model", NO_MODEL, NotJudged("no_models"))
    for name, default, remark in unnamed:
        if total and all(cell in (None, "") for cell in columns.get(name, ())):
            columns[name] = [default] * total
            remarks.append(remark)
    labels = list(dict.fromkeys(reading.label for reading in readings))
    known = _known(readings, columns.get("gpu", ()))
    return results_of(" and ".join(labels), Table(columns), roles=roles, remarks=tuple(remarks), **known)


def _stacked(name: str, tables: Sequence[Table]) -> Sequence[Any]:
    """A column of all tables; None in those that lack it."""
    if len(tables) == 1:
        return tables[0].columns[name]
    return [cell for table in tables for cell in table.columns.get(name, [None] * len(table))]


def _apart(readings: Sequence[Reading]) -> Iterator[Table]:
    """The rows of each reading; blocks of one that holds several arms are its own, so they are numbered after those before.

    Files of one arm each share their blocks.
    """
    after = 0
    for index, reading in enumerate(readings, start=1):
        columns = as_columns(reading.rows)
        blocks = [integer(cell) for cell in columns.get("block", ())]
        numbers = [block for block in blocks if block is not None]
        if not numbers or len(numbers) < len(blocks) or len(set(columns["environment"])) < _SEVERAL:
            yield Table(columns)
            continue
        own = _later(columns, after, index) if after else columns
        yield Table({**own, "study_number": [index] * len(blocks)})
        after += max(numbers) + 1


def _later(columns: Mapping[str, Sequence[Any]], after: int, index: int) -> Mapping[str, Sequence[Any]]:
    """Rows of the reading of that number, their blocks and repetitions behind those of the readings before."""
    moved = {
        name: [cell if (number := integer(cell)) is None else number + after for cell in columns[name]]
        for name in ("block", "iteration")
        if name in columns
    }
    return {**columns, **moved, "row": [f"{row} of {index}" for row in columns["row"]]}


def _known(readings: Sequence[Reading], gpus: Sequence[Any]) -> dict[str, Any]:
    """Further fields of `Results`, over all readings."""
    every = [reading.known for reading in readings]
    sites = {known.get("default_site") for known in every}
    listed = dict.fromkeys(str(gpu or "") for gpu in gpus)
    named = dict.fromkeys(name.strip() for names in listed for name in names.split(",") if name.strip())
    claims = [claim for known in every for claim in known.get("claims") or ()]
    return {
        "default_site": sites.pop() if len(sites) == 1 else None,
        "planned": tuple(dict.fromkeys(cell for known in every for cell in known.get("planned", ()))),
        "own_images": {arm: image for known in every for arm, image in known.get("own_images", {}).items()},
        "gpus": tuple(dict.fromkeys([*(name for known in every for name in known.get("gpus", ())), *named])),
        "claims": tuple(claims) if any(known.get("claims") is not None for known in every) else None,
    }
