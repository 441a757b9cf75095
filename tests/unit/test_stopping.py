"""Signals end the program: in an orderly way first, at once when that is not heeded; no traceback, whenever they come."""

import signal
import subprocess
import sys
import time

import pytest

# Heeds no KeyboardInterrupt and no event, as a main thread that waits inside Ray; has a child, which must not stay.
DEAF = """
import subprocess, sys, threading, time
from sparkray.stopping import LEFT, interruptible, watched
LEFT["run"] = "run a1 in /data/question"
child = subprocess.Popen(["sleep", "60"])
with watched(orderly_s=float(sys.argv[1])), interruptible(threading.Event()):
    print(child.pid, flush=True)
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""
# A signal in the middle of the imports, in `eval` of a text too, as `namedtuple` has it.
IMPORTING = """
import os, signal, sys
module, number = sys.argv[1], signal.Signals[sys.argv[2]]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            eval("os.kill(os.getpid(), number)")
sys.meta_path.insert(0, Finder())
sys.argv[1:] = ["plan", "--site", "cpu"]
from sparkray.sweep import main
sys.exit(main())
"""
# A signal once all is said, while the interpreter ends.
ENDING = """
import atexit, os, signal, sys
atexit.register(os.kill, os.getpid(), signal.Signals[sys.argv.pop()])
from sparkray.sweep import main
sys.exit(main())
"""
# A signal in a destructor, which only prints what is raised in it.
DESTROYING = """
import os, signal, time
from sparkray.stopping import watched
class Brief:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
try:
    with watched():
        Brief()
        time.sleep(60)
except KeyboardInterrupt:
    print("stopped in order")
"""


def is_gone(pid: int) -> bool:
    for _ in range(100):
        if subprocess.run(["kill", "-0", str(pid)], capture_output=True, check=False).returncode != 0:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("orderly_s", "signals", "why"),
    [
        ("60", [signal.SIGINT, signal.SIGINT], "a second signal"),
        ("60", [signal.SIGTERM, signal.SIGHUP], "a second signal"),
        ("0.5", [signal.SIGINT], "the orderly end took longer than 0.5 s"),
    ],
)
def test_what_does_not_end_is_ended(orderly_s: str, signals: list[signal.Signals], why: str) -> None:
    command = [sys.executable, "-c", DEAF, orderly_s]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        for number in signals:
            process.send_signal(number)
            time.sleep(0.3)
        _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f"ended at once: {why}. Left for the next start, which cleans up: run a1 in /data/question" in told
    assert "Traceback" not in told
    assert is_gone(child)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("module", ["sparkray.sweep.command_line", "sparkray.stopping", "click", "sparkray.sweep.plan"])
def test_a_signal_during_imports_leaves_no_traceback(module: str, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, module, name], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr.strip()) == (130, "interrupted")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_at_the_interpreters_end_changes_nothing(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDING, "--version", name], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_signal_in_a_destructor_is_heeded() -> None:
    done = subprocess.run([sys.executable, "-c", DESTROYING], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("stopped in order\n", "", 0)


@pytest.mark.parametrize("is_stuck", [False, True])
def test_the_interpreters_own_end_is_left_out_while_a_thread_is_stuck_in_ray(is_stuck: bool) -> None:
    code = f"""
import atexit, sys
from sparkray import stopping
from sparkray.sweep import main
stopping.STUCK += ["a thread"] * {is_stuck:d}
atexit.register(print, "the interpreter's own end")
sys.argv = ["sparkray", "--version"]
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sparkray" in done.stdout, "what was printed is not lost"
    assert ("the interpreter's own end" in done.stdout) is not is_stuck


def test_little_is_imported_before_signals_are_handled() -> None:
    code = "import sys; before = set(sys.modules); import sparkray.sweep; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) <= {"sparkray", "sparkray.sweep", "atexit"}


def test_a_program_under_nohup_goes_on() -> None:
    code = "import os, signal\nfrom sparkray.stopping import watched\nwith watched(): os.kill(os.getpid(), signal.SIGHUP)\n"
    ignoring = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{code}print('went on')"
    done = subprocess.run([sys.executable, "-c", ignoring], capture_output=True, text=True, check=False, timeout=30)
    assert (done.stdout, done.returncode) == ("went on\n", 0)


# What `compare` of a user who is not root waits for: sudo, which passes the signal on.
WAITING = """
import sys
from sparkray.stopping import watched
from sparkray.sweep.compare import _awaited
with watched():
    try:
        _awaited(["sh", "-c", "trap 'echo stored; exit 130' TERM; echo ready; while :; do sleep 0.1; done"])
    except KeyboardInterrupt:
        sys.exit(130)
"""


def test_a_stop_reaches_the_command_that_is_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20)[0] == "stored\n"
    assert process.returncode == 130
