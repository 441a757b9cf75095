"""Under sudo, what needs no root gives it up before it reads anything: a real second user."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.other_user import USER, as_user, environment, interpreter

from sparkray.files import replace_file
from sparkray.runtimes.linux.process import is_zombie
from sparkray.runtimes.linux.root_part import Caller

pytestmark = pytest.mark.root
DIVIDED = "import sys\nfrom sparkray.sweep.divided import divided\nVERB = sys.argv[1]\n"
WHO = """
import json, os
from pathlib import Path
lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({"ids": [*os.getresuid(), *os.getresgid()], "groups": os.getgroups(), "home": os.environ["HOME"],
    "locked": lines["NoNewPrivs"].strip(), "sudo": [name for name in os.environ if name.startswith("SUDO_")]}))
"""
# What the driver of a sweep does: it asks for root, starts something as root and ends it, and ends on a signal.
DRIVER = """
import os, signal, subprocess, sys, time
from pathlib import Path
from sparkray.runtimes.linux.root_part import ask, has_root, kill, python_as_root
print(os.getuid(), has_root(), ask("import os; print(os.getuid())").strip(), flush=True)
asleep = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
child = subprocess.Popen(f"exec {python_as_root()} -c '{asleep}'", shell=True, stdout=subprocess.PIPE, text=True)
pid = int(child.stdout.readline())
kill(pid)
status = child.wait(10)
print(Path(f"/proc/{pid}").exists(), status, flush=True)
runner = 'import os, subprocess, time; print(os.getpid(), subprocess.Popen(["sleep", "60"]).pid, flush=True); time.sleep(60)'
stray = subprocess.Popen(f"exec {python_as_root()} -c '{runner}'", shell=True, stdout=subprocess.PIPE, text=True)
print(stray.stdout.readline().strip(), os.environ["SPARKRAY_ROOT_PART"], flush=True)
signal.signal(signal.SIGTERM, lambda *_: os._exit(42))
time.sleep(60)
"""
HAS_ROOT = "from sparkray.runtimes.linux.root_part import has_root; print(has_root())"
OUTSIDER = "from sparkray.runtimes.linux.root_part import ask; print(ask('import os; print(os.getuid())'))"


@pytest.fixture
def python() -> str:
    return interpreter()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def test_a_verb_that_needs_no_root_gives_it_up_for_good(python: str, folder: Path) -> None:
    code = f"{DIVIDED}assert divided([VERB], needing_root=frozenset({{'baseline'}})) is None\n{WHO}"
    done = subprocess.run(
        [python, "-c", code, "analyze"], env=environment(folder), capture_output=True, text=True, check=True
    )
    who = json.loads(done.stdout)
    assert (who["ids"], who["locked"], who["sudo"]) == ([USER] * 6, "1", [])
    assert 0 not in who["groups"]
    assert who["home"] != "/root"


def test_a_sweep_keeps_a_part_that_is_root_and_answers_its_own_processes_alone(python: str, folder: Path) -> None:
    script = folder / "driver.py"
    script.write_text(DRIVER)
    code = (
        "import os, sys\nfrom sparkray.runtimes.linux.root_part import Caller, divide\n"
        f"sys.exit(divide(Caller.of(os.environ), [sys.executable, {str(script)!r}]))"
    )
    with subprocess.Popen([python, "-c", code], env=environment(folder), stdout=subprocess.PIPE, text=True) as sweep:
        assert sweep.stdout is not None
        assert sweep.stdout.readline().split() == [str(USER), "True", "0"]
        assert sweep.stdout.readline().split() == ["False", str(128 + signal.SIGKILL)]
        stray, engine, address = sweep.stdout.readline().split()
        variables = {**environment(folder), "SPARKRAY_ROOT_PART": address}
        outsider = as_user([python, "-c", OUTSIDER], variables)
        assert outsider.returncode != 0
        assert "PrivilegeError" in outsider.stderr
        for name, known in ((address, "True"), ("nobody", "False"), ("x" * 200, "False"), ("\udcff", "False")):
            variables["SPARKRAY_ROOT_PART"] = name
            assert as_user([python, "-c", HAS_ROOT], variables).stdout.strip() == known, name
        assert Path(f"/proc/{stray}").stat().st_uid == 0
        sweep.send_signal(signal.SIGTERM)
        assert sweep.wait(20) == 42
    assert not Path(f"/proc/{stray}").exists()
    deadline = time.monotonic() + 10
    while not is_zombie(int(engine)):
        assert time.monotonic() < deadline, "what a runner started ends with it"
        time.sleep(0.05)


@pytest.mark.parametrize("text", ["0", "-1", "²", "1e3", "", "99999999999999999999", "4294967295"])
def test_a_caller_that_is_none_is_nobody(text: str) -> None:
    assert Caller.of({"SUDO_UID": text, "SUDO_GID": "1000"}) is None


def test_what_root_writes_in_a_users_folder_is_the_users(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("files of another user need root")
    os.chown(tmp_path, 1234, 4321)
    replace_file(tmp_path / "row", b"x")
    assert ((tmp_path / "row").stat().st_uid, (tmp_path / "row").stat().st_gid) == (1234, 4321)


def test_an_interpreter_that_the_caller_may_not_run_is_said(tmp_path: Path) -> None:
    if os.geteuid() != 0 or Caller(USER, USER, (USER,), "nobody", "/").may_run_us():
        pytest.skip("needs root, with a Python of its own")
    done = subprocess.run(
        [sys.executable, "-m", "sparkray.sweep", "status", "--results-dir", str(tmp_path)],
        env={**environment(tmp_path), "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "so that all of sparkray runs as root" in done.stderr
