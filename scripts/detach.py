"""Start a program that outlives its caller, from a declared state: `detach.py PIDFILE LOG PROGRAM [ARGUMENT ...]`.

A container inherits what its daemon was started with, so the daemon must inherit nothing of the shell it was started
from: no environment but PATH, HOME and proxies, no descriptors, nice 0, oom_score_adj 0, every CPU, soft limits at the
hard ones, default signals, a session of its own. What the host forbids is left as it is and said in LOG.
Standard library alone: it runs before anything is installed.
"""

import contextlib
import ctypes
import os
import platform
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE)
RT_SIGACTION = {"x86_64": 13, "aarch64": 134}


def raise_soft_limits() -> None:
    """Set soft limits to the hard ones, as the service file of Docker does."""
    for limit in LIMITS:
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (hard, hard))


def default_signals() -> None:
    """Give every signal its default action, and block none.

    GNU make starts its recipes with posix_spawn, which leaves glibc's own two signals (32 and 33) ignored; a container
    would inherit that. Since glibc's sigaction refuses these two, the kernel is asked itself.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    call = RT_SIGACTION.get(platform.machine())
    if call is not None:
        libc = ctypes.CDLL(None)
        for internal in (32, 33):
            libc.syscall(call, internal, bytes(64), None, 8)  # an all-zero action is SIG_DFL
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def steps() -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and deed of everything that is put back to the declared state."""
    yield "nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, 0)
    yield "oom_score_adj", lambda: Path("/proc/self/oom_score_adj").write_text("0", encoding="ascii")
    yield "affinity", lambda: os.sched_setaffinity(0, range(os.cpu_count() or 1))
    yield "limits", raise_soft_limits
    yield "signals", default_signals


def become(log: Path, command: list[str]) -> None:
    """Turn this process into `command`; its output is appended to `log`.

    Raises:
        OSError: `log` cannot be opened, or the program cannot be started.
    """
    os.chdir("/")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 1)
    os.dup2(1, 2)
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for name, deed in steps():
        try:
            deed()
        except (OSError, ValueError) as error:
            os.write(2, f"detach: {name} stays as it was: {error}\n".encode())
    kept = {name: os.environ[name] for name in PROXIES if name in os.environ}
    os.execvpe(command[0], command, {"PATH": os.environ["PATH"], "HOME": "/root", **kept})  # noqa: S606 - no shell wanted


def main(pid_file: Path, log: Path, command: list[str]) -> int:
    """Fork; the child becomes `command` in a session of its own, the parent writes the child's pid and ends.

    Returns:
        The exit status.
    """
    child = os.fork()
    if child:
        pid_file.write_text(f"{child}\n", encoding="ascii")
        return 0
    try:
        os.setsid()
        become(log, command)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(2, f"detach: {command[0]} was not started: {error}\n".encode())
    os._exit(127)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
