"""The command line: verbs, options, progress. `python -m sparkray.sweep VERB`, or `sparkray VERB`.

Exit status: 0 all planned runs are ok or over-saturated; 1 some are not; 2 the input is wrong; 3 the machine cannot;
130 interrupted.
This is the one room that prints, and the one place where errors become exit statuses.
"""

import _signal  # type: ignore[import-not-found] # built in: `signal` imports other modules, during which signals may come
import atexit
import os
import sys

_INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run a command line. Returns its exit status; no traceback reaches a user, whenever a signal comes.

    Args:
        argv: Arguments without the program's name; None takes the process's own.
    """
    if argv is not None:
        return _run(argv)
    _end_at_signals()
    status = _run(argv)
    _end_where_stuck(status)
    return status


def _run(argv: list[str] | None) -> int:
    """Returns the exit status."""
    try:
        from sparkray.sweep.command_line import run  # noqa: PLC0415 - what comes before is too short for a signal

        return run(argv)
    except KeyboardInterrupt:  # while it reported how it ended
        os.write(2, b"interrupted\n")
        return _INTERRUPTED
    except (
        OSError,
        MemoryError,
        ImportError,
    ) as error:  # too few files may be open, or too little memory, to import us
        os.write(2, f"sparkray cannot be loaded: {str(error) or 'out of memory'}\n".encode())
        return 3
    finally:
        # a KeyboardInterrupt that left an `eval` of text (`namedtuple` has one) counts as unhandled for CPython, which
        # then ends itself with SIGINT whatever the status is; another `eval` of text makes it forget that
        eval("0")  # noqa: S307 - as above


def _end_where_stuck(status: int) -> None:
    """End at once where a thread waits for ever inside Ray: the interpreter's own end would crash."""
    stopping = sys.modules.get("sparkray.stopping")
    if stopping is not None and stopping.STUCK:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):  # closed, or on a full disk
                continue
        os._exit(status)


def _end_at_signals() -> None:
    """Have signals end the program without a traceback where `stopping.watched` does not: at its start and its end.

    SIGHUP stays ignored where it was (nohup).
    """

    def on_signal(_: int, __: object) -> None:
        os.write(2, b"interrupted\n")
        os._exit(_INTERRUPTED)

    def handle(handler: object) -> None:
        for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
            if number != _signal.SIGHUP or _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, handler)

    handle(on_signal)
    # last of all: what is left is the interpreter's own end, which nothing may interrupt without a trace
    atexit.register(handle, _signal.SIG_IGN)
