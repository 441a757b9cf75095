"""What comes before the first run: root, and the user's consent."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from sparkray.catalog.weights import cache_folder
from sparkray.files import give_to
from sparkray.runtimes.linux.privilege import through_sudo
from sparkray.runtimes.linux.root_part import Caller, has_root
from sparkray.stopping import INTERRUPTED
from sparkray.workflows.options import Options

# What the native arm needs to be root's: it is entered as root, with owners of its own.
_OF_ROOT = ("rootfs", "idle")


def as_root() -> None:
    """Continue through sudo where we are not root and have no part that is: a chroot needs it."""
    if not has_root():
        command = through_sudo([sys.executable, "-m", "sparkray.sweep", *sys.argv[1:]], os.environ)
        click.echo(
            "sparkray: native runs need root: their runner is started through sudo, all else stays yours", err=True
        )
        os.execv(command[0], command)  # noqa: S606 - this very program again, as root
    if os.geteuid() != 0:
        with suppress(OSError):  # the runner, as root, would make it root's
            cache_folder().mkdir(parents=True, exist_ok=True)


def caller() -> tuple[int, int] | None:
    """User and group id of whoever called sudo, where this process is root all the same; None where it is not."""
    found = Caller.of(os.environ)
    return (found.uid, found.gid) if found else None


@contextmanager
def handed_back(results_dir: Path, *experiments: str, file: Path | None = None) -> Iterator[None]:
    """What is written meanwhile belongs, however it ends, to whoever called sudo; what was root's before stays so.

    Args:
        results_dir: Of what lies there, what is new, and the folders of the experiments.
        experiments: Names of experiments.
        file: One that is written elsewhere.
    """
    user, folder = caller(), results_dir.absolute()
    if user is None:
        yield
        return
    before = _names(folder)
    is_new_file = file is not None and not file.exists()
    own = re.compile("|".join(f"{re.escape(name)}([-@._].*)?" for name in experiments) or "$.")
    try:
        yield
    finally:
        if before is None:
            give_to(folder, *user)
        else:
            give_to(folder, *user, only=lambda name: name not in before or bool(own.fullmatch(name)))
        give_cache(*user)
        if file is not None and is_new_file:
            give_to(file.absolute().parent, *user, only=lambda name: name == file.name)


def give_cache(user: int, group: int) -> None:
    """Hand a user what root made in the user's own cache, but for what the native arm needs to be root's."""
    cache = cache_folder()
    if cache.parent.is_dir() and cache.parent.stat().st_uid == user:
        give_to(cache, user, group, only=lambda name: name not in _OF_ROOT)


def _names(folder: Path) -> set[str] | None:
    """What a folder holds; None where there is none."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else None


def ask(options: Options) -> None:
    """Ask before hours of work, where there is somebody to ask."""
    if not options.yes and not options.json and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm("Continue?", default=True, abort=True)


def interrupted() -> int:
    """Tell the user how to resume. Returns the exit status."""
    click.echo("interrupted; the same command continues where it stopped", err=True)
    return INTERRUPTED
