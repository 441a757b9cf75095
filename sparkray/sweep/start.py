"""What comes before the first run: root, and the user's consent."""

import os
import sys
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


def give_back(results_dir: Path) -> None:
    """Hand the results of a sweep that went through sudo to whoever called it."""
    user, group = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and user.isdecimal() and group.isdecimal() and int(user) != 0:
        give_to(results_dir.absolute(), int(user), int(group))


def ask(options: Options) -> None:
    """Ask before hours of work, where there is somebody to ask."""
    if not options.yes and not options.json and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm("Continue?", default=True, abort=True)


def interrupted() -> int:
    """Tell the user how to resume. Returns the exit status."""
    click.echo("interrupted; the same command continues where it stopped", err=True)
    return INTERRUPTED
