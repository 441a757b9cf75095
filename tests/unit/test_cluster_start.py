"""Ray's start: what it raises becomes an error of ours with a remedy, and a time-out is tried once more."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import ray

from sparkray.cluster import RunnerLostError, connected, start
from sparkray.cluster.pulse import RayLostError, connection
from sparkray.cluster.start import must_answer
from sparkray.errors import ClusterError
from sparkray.machine.ray_folder import _remove_dead, ray_folder
from sparkray.stopping import LEFT, SIGNALS

TIMED_OUT = "The current node timed out during startup. This could happen because some of the raylet failed to startup"


def test_a_signal_that_rays_own_handler_gets_is_an_interruption() -> None:
    def init() -> None:  # as Ray's
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        start(init, address="local", origin="")
    assert signal.getsignal(signal.SIGTERM) == before


def failing(*errors: Exception | None) -> tuple[Callable[[], str], list[int]]:
    """An `init` that raises these in turn; None: it starts."""
    calls: list[int] = []

    def init() -> str:
        error = errors[len(calls)]
        calls.append(1)
        if error is not None:
            raise error
        return "context"

    return init, calls


def test_a_start_that_timed_out_is_tried_once_more() -> None:
    init, calls = failing(Exception(TIMED_OUT), None)
    assert start(init, address="local", origin="") == "context"
    assert len(calls) == 2


def test_a_second_time_out_says_that_the_machine_is_busy() -> None:
    init, calls = failing(Exception(TIMED_OUT), Exception(TIMED_OUT))
    with pytest.raises(ClusterError, match="cannot be started") as refused:
        start(init, address="local", origin="")
    assert "busy" in refused.value.remedy
    assert len(calls) == 2


@pytest.mark.parametrize("origin", ["--address", "RAY_ADDRESS"])
@pytest.mark.parametrize("error", [ConnectionError("no cluster"), Exception(TIMED_OUT), ValueError("bad address")])
def test_an_address_that_cannot_be_reached_names_where_it_came_from(origin: str, error: Exception) -> None:
    init, calls = failing(error)
    with pytest.raises(ClusterError, match="cannot be reached") as refused:
        start(init, address="10.0.0.1:1", origin=origin)
    assert refused.value.remedy == f"Check {origin}"
    assert len(calls) == 1


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), ray.exceptions.RaySystemError("no raylet")])
def test_what_ray_raises_bare_once_it_is_gone_is_a_lost_connection(error: Exception) -> None:
    with (
        pytest.raises(RayLostError, match=r"^the connection to Ray was lost: .*(Broken pipe|no raylet)") as lost,
        connection(),
    ):
        raise error
    assert "The same command goes on" in lost.value.remedy


def test_an_error_of_what_ray_carries_out_is_no_lost_connection() -> None:
    error = ray.exceptions.RayTaskError("run", "the traceback", FileNotFoundError("a file")).as_instanceof_cause()
    assert isinstance(error, OSError)
    with pytest.raises(FileNotFoundError), connection():
        raise error


def test_an_error_of_another_kind_stays_itself() -> None:
    init, _ = failing(Exception("something new"))
    with pytest.raises(Exception, match="something new"):
        start(init, address="local", origin="")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:8265", "no HOST:PORT of a Ray cluster"),
        ("garbage", "no HOST:PORT of a Ray cluster"),
        ("127.0.0.1:99999999999", "no HOST:PORT of a Ray cluster"),
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 (from RAY_ADDRESS)"),
        ("no..such..host:6379", "no Ray cluster answers"),
        ("ray://127.0.0.1:10001", "no HOST:PORT of a Ray cluster"),
    ],
)
def test_an_address_at_which_nobody_answers_is_refused_at_once(address: str, said: str) -> None:
    began = time.monotonic()
    with pytest.raises(ClusterError) as refused:
        must_answer(address, "RAY_ADDRESS", patience_s=2.0)
    assert said in refused.value.message
    assert "RAY_ADDRESS" in refused.value.remedy
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"", "timed out"), (b"SSH-2.0-x\r\n", "no Ray"), (b"x", "no Ray"), (b"HTTP/1.1 400 Bad\r\n\r\n", "no Ray")],
)
def test_an_address_at_which_something_else_listens_is_refused(answer: bytes, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:

        def serve() -> None:
            there, _ = server.accept()
            with there:
                there.sendall(answer)
                if answer:
                    there.shutdown(socket.SHUT_WR)
                while there.recv(1000):
                    pass

        pool.submit(serve)
        with pytest.raises(ClusterError, match=said):
            must_answer(f"127.0.0.1:{server.getsockname()[1]}", "RAY_ADDRESS", patience_s=1.0)


def with_tmpdir(value: str) -> str:
    """Where a process with this TMPDIR puts Ray's folder, or why it is refused."""
    code = (
        "from sparkray.machine.ray_folder import base_folder\nfrom sparkray.errors import ClusterError\n"
        "try:\n    print(base_folder())\nexcept ClusterError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TMPDIR": value}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("value", ["1", "true", "True"])
def test_a_cluster_with_tls_is_left_to_ray(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Ray has the certificate, so that nobody else hears how a server begins."""
    monkeypatch.setenv("RAY_USE_TLS", value)
    with socket.create_server(("127.0.0.1", 0)) as server:
        must_answer(f"127.0.0.1:{server.getsockname()[1]}", "RAY_ADDRESS", patience_s=1.0)


def test_a_tmpdir_that_ray_cannot_use_is_named_or_left_for_a_short_one(tmp_path: Path) -> None:
    assert "TMPDIR=/no/such/folder is no folder that this user can write to. Set TMPDIR" in with_tmpdir(
        "/no/such/folder"
    )
    deep = tmp_path / ("d" * 95)
    deep.mkdir()
    assert with_tmpdir(str(deep)) == "/tmp"
    assert with_tmpdir("/var/tmp") == "/var/tmp"


def test_the_folder_of_a_killed_sweep_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    for name in ("ray-dead", "ray-lives", "ray-young"):
        (tmp_path / name).mkdir(mode=0o700)
        (tmp_path / name / "in-use").touch()
        if name != "ray-young":
            os.utime(tmp_path / name / "in-use", (0, 0))
    with (tmp_path / "ray-lives" / "in-use").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove_dead(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"ray-lives", "ray-young"}


def listening(pids: set[int]) -> list[str]:
    """Addresses of the TCP sockets on which processes listen, as the kernel lists them, in hexadecimal."""
    own = set()
    for pid in pids:
        with suppress(OSError):
            own |= {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    found = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == "0A" and f"socket:[{parts[9]}]" in own:
                found.append(parts[1].partition(":")[0])
    return found


@pytest.mark.ray
def test_a_ray_of_our_own_listens_on_loopback_alone_in_a_folder_that_is_private() -> None:
    with connected(None) as cluster:
        assert cluster.token is not None
        runner = cluster.runner(None, "q", "wait", print, lambda: False)
        me = psutil.Process()
        sockets = listening({me.pid, runner.pid, *(child.pid for child in me.children(recursive=True))})
        assert len(sockets) > 5
        assert set(sockets) <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
        assert cluster.token.stat().st_mode & 0o777 == 0o600
        assert cluster.token.parent.stat().st_mode & 0o777 == 0o700
        runner.release()
        assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(cluster.token)  # and not one in a home
    assert not cluster.token.parent.exists()


@pytest.mark.ray
def test_a_runner_that_is_killed_as_it_starts_is_lost_and_one_that_cannot_be_made_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed:  # in here, since a worker cannot import this module
        def identity(self) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    class Broken:
        def __init__(self) -> None:
            raise ImportError("no such module")

        def identity(self) -> None: ...

    with connected(None, dashboard=False) as cluster:
        monkeypatch.setattr("sparkray.cluster._ACTOR", ray.remote(num_cpus=0)(Killed))
        with pytest.raises(RunnerLostError, match="died as it started"):
            cluster.runner(None, "q", "wait", print, lambda: False)
        monkeypatch.setattr("sparkray.cluster._ACTOR", ray.remote(num_cpus=0)(Broken))
        with pytest.raises(ClusterError, match="no such module") as refused:
            cluster.runner(None, "q", "wait", print, lambda: False)
        assert not isinstance(refused.value, RunnerLostError)


@pytest.mark.ray
def test_a_ray_of_our_own_has_no_process_that_a_sweep_makes_no_use_of_and_leaves_signals_alone() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with connected(None, dashboard=False):
        assert [signal.getsignal(number) for number in SIGNALS] == before  # or SIGTERM ends the program with status 15
        lines = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert any("raylet" in line for line in lines)
    assert not [line for line in lines if "monitor.py" in line or "dashboard.py" in line]


def test_a_folder_of_ray_is_named_to_who_ends_the_program_at_once() -> None:
    with ray_folder() as folder:
        assert LEFT["ray"] == f"Ray's folder {folder.parent}"
    assert "ray" not in LEFT
