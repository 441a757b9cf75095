"""Disks that fill or refuse, and datasets that somebody spoilt, for the matrix of bad days."""

import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from days import Played, Stage


def on_small_disk(mib: int, free_kib: int | None = None) -> Callable[[Stage], Played]:
    """A sweep with results on a disk of so many MiB, with so many KiB left."""

    def play(stage: Stage) -> Played:
        stage.mount(mib)
        if free_kib is not None:
            ballast = stage.results.parent / "ballast"
            ballast.write_bytes(bytes(shutil.disk_usage(ballast.parent).free - free_kib * 1024))
            stage.before_again = ballast.unlink
        return stage.sweep()

    return play


def fill(stage: Stage) -> None:
    """Take what is left of the results' disk."""
    ballast = stage.results.parent / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(ballast.parent).free))


def remount(options: str) -> Callable[[Stage], object]:
    """Mount the results' disk with other options."""
    return lambda stage: subprocess.run(["mount", "-o", f"remount,{options}", str(stage.results.parent)], check=True)


def no_inodes(stage: Stage) -> None:
    """Take every inode of the results' disk."""
    remount("nr_inodes=1000")(stage)
    many = stage.results.parent / "many"
    many.mkdir()
    with suppress(OSError):
        for number in range(1000):
            (many / str(number)).touch()


def on_disk(spoil: Callable[[Stage], object], mend: Callable[[Stage], object]) -> Callable[[Stage], Played]:
    """A sweep with results on a disk of its own, to which something happens during a run, until somebody mends it."""

    def play(stage: Stage) -> Played:
        stage.mount(40)
        stage.before_again = lambda: mend(stage)
        return stage.live(at="run", act=lambda _, __: spoil(stage))

    return play


def newer(dataset: Path) -> None:
    """Have a dataset be of a schema of the future."""
    path = dataset / "dataset.json"
    path.write_text(re.sub(r'"schema": "[^"]+"', '"schema": "999.0"', path.read_text()))


def spoilt_spool(dataset: Path) -> None:
    """Leave an attempt that cannot be read."""
    (dataset / "spool" / "x-1").mkdir()
    (dataset / "spool" / "x-1" / "row.json").write_text("{")


def no_folders(dataset: Path) -> None:
    """Drop what git does not keep."""
    for name in ("spool", "samples", "checks"):
        shutil.rmtree(dataset / name)
