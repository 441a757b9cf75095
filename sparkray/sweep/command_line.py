"""From the start of the program to its end: streams, sudo, verbs, and what errors become. See `sparkray.sweep`."""

import atexit
import gc
import os
import sys
import tempfile
import traceback
from contextlib import suppress
from io import StringIO, TextIOWrapper
from pathlib import Path

from sparkray.stopping import INTERRUPTED, watched

_MOST = 4000  # characters of a message of click's, which holds what was written
_MEASURING = {"quick", "baseline", "compare", "study", "validate", "calibrate", "optimize"}


def run(argv: list[str] | None) -> int:
    """As `sparkray.sweep.main`, which handles what is raised here."""
    _have_streams()
    gc.set_threshold(200_000)  # what imports and tables make is not garbage: looking for it takes a tenth of the time
    if argv is None:
        atexit.register(gc.freeze)  # nor is there use for a search at the end of the process, which frees all memory
        if os.geteuid() == 0 and "SUDO_UID" in os.environ:
            from sparkray.sweep.divided import divided  # noqa: PLC0415 - only under sudo

            status = divided(sys.argv[1:], needing_root=frozenset({*_MEASURING, "doctor"}))
            if status is not None:
                return status
    with watched():
        return _run(argv)


def _run(argv: list[str] | None) -> int:  # noqa: PLR0911 - one return for each way to end
    import click  # noqa: PLC0415 - a signal during imports must find `watched` active

    from sparkray.errors import SparkrayError  # noqa: PLC0415 - as above
    from sparkray.sweep.app import app  # noqa: PLC0415 - as above
    from sparkray.units import shorten  # noqa: PLC0415 - as above

    try:
        result = app.main(args=argv, prog_name="sparkray", standalone_mode=False)
        sys.stdout.flush()  # a full disk shows at the last write
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        text = StringIO()
        error.show(text)
        click.echo(shorten(text.getvalue(), _MOST), err=True, nl=False)
        return error.exit_code
    except SparkrayError as error:
        from sparkray.sweep.show import error_text  # noqa: PLC0415 - it imports what some verbs do not need

        click.echo(error_text(error), err=True)
        return error.exit_status
    except SystemExit as ended:
        if not isinstance(ended.__context__, BrokenPipeError):  # which click makes a status of its own of
            raise
        return _unread(argv)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _unread(argv)
    except Exception as error:  # noqa: BLE001 - what the machine refused, or a defect of ours: no traceback on the screen
        return _tell(error)
    return result if isinstance(result, int) else 0


def _unread(argv: list[str] | None) -> int:
    """Exit status where the reader of the output went away: a verb that measures has ended before its end."""
    words = sys.argv[1:] if argv is None else argv
    return int(bool(_MEASURING & set(words[:1])))


def _tell(error: Exception) -> int:
    """Say what the operating system refused, or where the details of a defect are. Returns the exit status."""
    import click  # noqa: PLC0415 - as in `_run`

    from sparkray.errors import host_error_of  # noqa: PLC0415 - as above
    from sparkray.units import reason_of  # noqa: PLC0415 - as above

    known = host_error_of(error)
    reason = reason_of(error)
    text = f"sparkray: {known.message}\n  {known.remedy}" if known else ""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter would fail at it once more
    with suppress(OSError):  # standard error may be what is full
        click.echo(
            text or f"sparkray: an unforeseen {type(error).__name__}: {reason}\n  {_keep_details(error)}", err=True
        )
    return known.exit_status if known else 1


def _have_streams() -> None:
    """Open the null device in the place of closed standard streams: else the next file opened would take their output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - kept open until the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - likewise
    sys.stdin = sys.stdin or Path(os.devnull).open()  # noqa: SIM115 - likewise
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a folder need not be text


def _keep_details(error: Exception) -> str:
    """Write a defect's traceback to a file that only this user can read. Returns where it is."""
    try:
        # made exclusively, under a name that nobody can guess and plant a link at
        handle, name = tempfile.mkstemp(prefix="sparkray-defect-", suffix=".txt")
        with os.fdopen(handle, "w") as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError as why:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"Raised in {place.filename}:{place.lineno}; the details cannot be kept: {why.strerror or why}"
    return f"The details are in {name}"
