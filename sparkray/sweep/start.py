"""What comes before the first run: root, and the user's consent."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from sparkray.files import give_to
from sparkray.runtimes.linux.privilege import through_sudo
from sparkray.stopping import INTERRUPTED
from sparkray.workflows.options import Options


def as_root() -> None:
    """Continue through sudo where we are not root: a chroot needs it."""
    if os.geteuid() != 0:
        command = through_sudo([sys.executable, "-m", "sparkray.sweep", *sys.argv[1:]], os.environ)
        click.echo("sparkray: native runs need root; continuing through sudo. Results are handed to you.", err=True)
        os.execv(command[0], command)  # noqa: S606 - this very program again, as root


@contextmanager
def handed_back(results_dir: Path, experiment: str) -> Iterator[None]:
    """What an experiment writes there belongs, however it ends, to whoever called sudo; the rest is left alone."""
    user, group = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    through = os.geteuid() == 0 and user.isdecimal() and group.isdecimal() and int(user) != 0
    folder = results_dir.absolute()
    is_new = not folder.exists()
    try:
        yield
    finally:
        if through and folder.is_dir():
            own = re.compile(re.escape(experiment) + r"([-@._].*)?")
            give_to(folder, int(user), int(group), only=None if is_new else own)


def ask(options: Options) -> None:
    """Ask before hours of work, where there is somebody to ask."""
    if not options.yes and not options.json and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm("Continue?", default=True, abort=True)


def interrupted() -> int:
    """Tell the user how to resume. Returns the exit status."""
    click.echo("interrupted; the same command continues where it stopped", err=True)
    return INTERRUPTED
