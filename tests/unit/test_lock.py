"""One benchmark at a time, between real processes: held, waited for, refused, and let go when the holder is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sparkray.errors import HostError, LockHeldError
from sparkray.machine.lock import Holder, MachineLock, process_start, write_note

HOLD = """
import sys, time
from pathlib import Path
from sparkray.machine.lock import MachineLock
lock = MachineLock(tuple(sys.argv[2:]), Path(sys.argv[1]))
with lock.held("wait", on_wait=lambda said: print("waiting", said, flush=True), should_stop=lambda: False) as before:
    lock.note("run-7", "/data/question")
    print("held", "-" if before is None else before.run, flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""

TURNS = """
import json, os, sys
from pathlib import Path
from sparkray.machine.lock import MachineLock
lock = MachineLock(folder=Path(sys.argv[1]))
for user, dies in ((1234, True), (4321, False), (1234, True), (0, False), (4321, False)):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        continue
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    with lock.held("fail", on_wait=print, should_stop=lambda: False) as before:
        lock.note(f"of-{user}")
        assert lock.holder().run == f"of-{user}"
        print(json.dumps([user, before.run if before else None]), flush=True)
        if dies:
            os._exit(0)
    os._exit(0)
"""


class Other:
    """Another process that holds the lock until it is told to let go, or is killed."""

    def __init__(self, folder: Path, *keys: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder), *(keys or ("machine",))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def let_go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.says() == "released"

    def end(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def other(folder: Path, *keys: str) -> Iterator[Other]:
    process = Other(folder, *keys)
    try:
        yield process
    finally:
        process.end()


@contextmanager
def held(lock: MachineLock, mode: str = "fail") -> Iterator[Holder | None]:
    with lock.held(mode, on_wait=lambda _: None, should_stop=lambda: False) as before:  # type: ignore[arg-type]
        yield before


def test_another_process_is_refused_by_name_while_one_holds(tmp_path: Path) -> None:
    with other(tmp_path) as holder:
        assert holder.says() == "held -"
        with pytest.raises(LockHeldError) as error, held(MachineLock(folder=tmp_path)):
            pass
        assert error.value.message == (
            f"this machine is busy: process {holder.process.pid} of user id {os.getuid()} is measuring, run run-7 "
            "into /data/question"
        )
        assert error.value.remedy == "Wait for it: --lock wait"
        with pytest.raises(LockHeldError, match=f"process {holder.process.pid} of user"):
            MachineLock(folder=tmp_path).must_be_free()
        assert error.value.exit_status == 3
        note = MachineLock(folder=tmp_path).holder()
        assert note == Holder(
            holder.process.pid, process_start(holder.process.pid), os.getuid(), "run-7", "/data/question"
        )
        assert note.is_alive()
        holder.let_go()
        with held(MachineLock(folder=tmp_path)) as before:
            assert before is None
    MachineLock(folder=tmp_path).must_be_free()


def test_a_holder_without_a_note_is_named_however_often_it_is_asked(tmp_path: Path) -> None:
    with other(tmp_path) as holder:
        assert holder.says() == "held -"
        (tmp_path / "sparkray-machine.json").unlink()
        for _ in range(5):
            with pytest.raises(LockHeldError, match=f"process {holder.process.pid} measures"):
                MachineLock(folder=tmp_path).must_be_free()
        (tmp_path / "sparkray-machine.lock").rename(tmp_path / "moved")  # what is left is the kernel's name
        for _ in range(5):
            with pytest.raises(LockHeldError, match=f"process {holder.process.pid} measures"):
                MachineLock(folder=tmp_path).must_be_free()


def test_a_waiting_sweep_names_each_holder_once_and_not_each_of_its_runs(tmp_path: Path) -> None:
    said: list[str] = []
    questions = iter(range(4))
    with other(tmp_path) as holder:
        holder.says()
        note = MachineLock(folder=tmp_path).holder()
        assert note is not None

        def next_run() -> bool:
            number = next(questions)
            write_note(tmp_path / "sparkray-machine.json", asdict(replace(note, run=f"run-{number}")))
            return number == 3

        with (
            pytest.raises(LockHeldError, match="run run-2"),  # what it knew when it asked
            MachineLock(folder=tmp_path).held("wait", on_wait=said.append, should_stop=next_run),
        ):
            pass
    assert len(said) == 1
    assert "run run-7" in said[0]


def test_the_holder_is_reported_once_to_who_waits_and_gets_it_when_it_is_free(tmp_path: Path) -> None:
    said: list[str] = []
    with other(tmp_path) as holder:
        holder.says()
        timer = threading.Timer(0.6, holder.let_go)
        timer.start()
        began = time.monotonic()
        lock = MachineLock(folder=tmp_path)
        with lock.held("wait", on_wait=said.append, should_stop=lambda: False) as before:
            assert time.monotonic() - began > 0.3
            assert before is None
        timer.join()
    assert [line for line in said if not line.endswith("is locked")] == said[:1]  # the note goes before the lock
    assert f"process {holder.process.pid} " in said[0]


def test_a_wait_can_be_stopped(tmp_path: Path) -> None:
    asked = threading.Event()
    with other(tmp_path) as holder:
        holder.says()
        threading.Timer(0.3, asked.set).start()
        lock = MachineLock(folder=tmp_path)
        with (
            pytest.raises(LockHeldError, match=f"process {holder.process.pid} "),
            lock.held("wait", on_wait=lambda _: None, should_stop=asked.is_set),
        ):
            pass


def test_a_holder_that_is_killed_lets_go_and_leaves_its_note_to_the_next(tmp_path: Path) -> None:
    with other(tmp_path) as holder:
        holder.says()
        holder.end()
        with held(MachineLock(folder=tmp_path)) as before:
            assert before is not None
            assert (before.pid, before.run, before.dataset) == (holder.process.pid, "run-7", "/data/question")
            assert not before.is_alive()
        with held(MachineLock(folder=tmp_path)) as before:
            assert before is None


def test_a_note_that_was_written_by_a_dead_one_is_read_by_another_process_too(tmp_path: Path) -> None:
    with other(tmp_path) as first:
        first.says()
        first.end()
    with other(tmp_path) as second:
        assert second.says() == "held run-7"


def test_two_who_want_the_same_gpus_in_another_order_take_turns(tmp_path: Path) -> None:
    assert MachineLock(("b", "a"), tmp_path).keys == MachineLock(("a", "b"), tmp_path).keys == ("a", "b")
    with other(tmp_path, "GPU-b", "GPU-a") as first:
        assert first.says() == "held -"
        with other(tmp_path, "GPU-a", "GPU-b") as second:
            assert second.says().startswith("waiting process")
            first.let_go()
            assert second.says() == "held -"


def test_one_gpu_leaves_another_free_and_is_seen_by_who_wants_both(tmp_path: Path) -> None:
    with other(tmp_path, "GPU-b") as holder:
        holder.says()
        with held(MachineLock(("GPU-a",), tmp_path)):
            pass
        with pytest.raises(LockHeldError), held(MachineLock(("GPU-a", "GPU-b"), tmp_path)):
            pass
        with held(MachineLock(("GPU-a",), tmp_path)):
            pass


def test_who_gets_one_of_two_leaves_the_note_of_a_dead_holder(tmp_path: Path) -> None:
    with other(tmp_path, "GPU-a") as dead:
        dead.says()
        dead.end()
    with other(tmp_path, "GPU-b") as holder:
        holder.says()
        with pytest.raises(LockHeldError), held(MachineLock(("GPU-a", "GPU-b"), tmp_path)):
            pass
    with held(MachineLock(("GPU-a",), tmp_path)) as before:
        assert before is not None
        assert before.run == "run-7"


def test_the_note_of_a_dead_holder_of_any_of_the_gpus_is_found(tmp_path: Path) -> None:
    with other(tmp_path, "GPU-b") as dead:
        dead.says()
        dead.end()
    with held(MachineLock(("GPU-a", "GPU-b"), tmp_path)) as before:
        assert before is not None
        assert before.run == "run-7"


@pytest.mark.root
def test_users_take_turns_in_a_folder_where_nobody_may_remove_anothers_files() -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    with TemporaryDirectory() as folder:  # other users may not enter pytest's own
        Path(folder).chmod(0o1777)
        done = subprocess.run([sys.executable, "-c", TURNS, folder], capture_output=True, text=True, check=True)
        left = MachineLock(folder=Path(folder)).holder()
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        [1234, None],  # dies
        [4321, "of-1234"],  # takes it over and lets go
        [1234, None],  # dies again
        [0, "of-1234"],
        [4321, None],
    ]
    assert left is None


def test_a_lock_holds_against_another_lock_of_the_same_process_too(tmp_path: Path) -> None:
    with held(MachineLock(folder=tmp_path)), pytest.raises(LockHeldError, match=f"process {os.getpid()} "):
        MachineLock(folder=tmp_path).held("fail", on_wait=lambda _: None, should_stop=lambda: False).__enter__()


def test_whatever_happens_inside_the_lock_is_let_go_and_its_note_removed(tmp_path: Path) -> None:
    lock = MachineLock(folder=tmp_path)

    def fail() -> None:
        with held(lock):
            lock.note("run-1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert lock.holder() is None
    with held(lock) as before:
        assert before is None
        note = lock.holder()
        assert note is not None
        assert (note.pid, note.run) == (os.getpid(), "")


def test_a_recycled_pid_is_another_process() -> None:
    own = process_start(os.getpid())
    assert own > 0
    assert Holder(os.getpid(), own, 0).is_alive()
    assert not Holder(os.getpid(), own - 1, 0).is_alive()
    assert process_start(2**22 + 1) == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "started": 2, "user": 3, "more": 4}'])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "sparkray-machine.json").write_text(text)
    lock = MachineLock(folder=tmp_path)
    assert lock.holder() is None
    with held(lock) as before:
        assert before is None


def test_a_lock_without_a_note_is_named_by_its_file(tmp_path: Path) -> None:
    with other(tmp_path) as holder:
        holder.says()
        (tmp_path / "sparkray-machine.json").unlink()
        with (
            pytest.raises(LockHeldError, match=r"sparkray-machine\.lock is locked"),
            held(MachineLock(folder=tmp_path)),
        ):
            pass


def test_a_note_can_be_read_by_every_user(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_note(path, {"pid": 1})
    assert json.loads(path.read_text()) == {"pid": 1}
    assert path.stat().st_mode & 0o777 == 0o666
    assert [p.name for p in tmp_path.iterdir()] == ["note.json"]


def test_a_holder_with_another_lock_file_is_met_all_the_same(tmp_path: Path) -> None:
    """As in another mount namespace: the file of that name is another, and so is the note."""
    with other(tmp_path) as holder:
        holder.says()
        for path in list(tmp_path.iterdir()):
            path.unlink()
        with (
            pytest.raises(LockHeldError, match=f"process {holder.process.pid} measures"),
            held(MachineLock(folder=tmp_path)),
        ):
            pass
    with held(MachineLock(folder=tmp_path)):
        pass


def test_a_sweep_that_cannot_read_its_gpus_has_the_machine_for_itself(tmp_path: Path) -> None:
    """NVML that fails changes the key from the GPU's UUID to the machine."""
    with other(tmp_path, "GPU-a") as holder:
        holder.says()
        with pytest.raises(LockHeldError, match=f"process {holder.process.pid} "), held(MachineLock(folder=tmp_path)):
            pass
        with held(MachineLock(("GPU-b",), tmp_path)):
            pass
    with held(MachineLock(folder=tmp_path)), pytest.raises(LockHeldError), held(MachineLock(("GPU-a",), tmp_path)):
        pass


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_what_is_no_file_in_the_locks_place_is_refused_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sparkray-machine.lock"
    make = {"fifo": lambda: os.mkfifo(path), "link": lambda: path.symlink_to("/etc/passwd"), "folder": path.mkdir}
    make[kind]()
    with pytest.raises(HostError, match=r"sparkray-machine\.lock "), held(MachineLock(folder=tmp_path)):
        pass


def test_a_fifo_in_the_notes_place_is_no_note_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sparkray-machine.json")
    lock = MachineLock(folder=tmp_path)
    assert lock.holder() is None
    with held(lock) as before:
        assert before is None
