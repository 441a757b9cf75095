"""The command line: verbs, options, progress. `python -m sparkray.sweep VERB`, or `sparkray VERB`.

Exit status: 0 all planned runs are ok or over-saturated; 1 some are not; 2 the input is wrong; 3 the machine cannot;
130 interrupted.
This is the one room that prints, and the one place where errors become exit statuses.
"""

import os
import sys
import tempfile
import traceback
from pathlib import Path

from sparkray.stopping import INTERRUPTED, watched


def main(argv: list[str] | None = None) -> int:
    """Run a command line. Returns its exit status; no traceback reaches a user, whenever a signal comes.

    Args:
        argv: Arguments without the program's name; None takes the process's own.
    """
    try:
        with watched():
            return _run(argv)
    except KeyboardInterrupt:  # while the program was still being imported, or while it told how it ended
        os.write(2, b"interrupted\n")
        return INTERRUPTED


def _run(argv: list[str] | None) -> int:  # noqa: PLR0911 - one return for each way to end
    import click  # noqa: PLC0415 - a signal during imports must find `main` on the stack

    from sparkray.errors import SparkrayError  # noqa: PLC0415 - as above
    from sparkray.sweep.app import app  # noqa: PLC0415 - as above

    try:
        result = app.main(args=argv, prog_name="sparkray", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SparkrayError as error:
        from sparkray.sweep.show import error_text  # noqa: PLC0415 - it imports what some verbs do not need

        click.echo(error_text(error), err=True)
        return error.exit_status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - a defect of ours, told without a traceback on the screen
        path = Path(tempfile.gettempdir(), f"sparkray-defect-{os.getpid()}.txt")
        path.write_text("".join(traceback.format_exception(error)))
        click.echo(f"sparkray: an unforeseen {type(error).__name__}: {error}\n  The details are in {path}", err=True)
        return 1
    return result if isinstance(result, int) else 0
