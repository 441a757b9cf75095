"""The stage of the matrix of bad days: sweeps of the simulated engine, moments of them, and what is done to them then."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker
import psutil
from docker.models.containers import Container
from sweeping import DOUBLE, NOTHING, Patience, actor_pid, command, engine_pid, remains, under_way

from sparkray.catalog.weights import cache_folder
from sparkray.machine.lock import MachineLock
from sparkray.runtimes.linux.owner import LABEL

RUNS = 1
LIMIT_S = 300.0
"""The longest that a command may take, apart from its wait for the machine."""
_STARTS = 5
"""How often a Ray is started that gives up after 30 s: a busy machine may take longer."""
PACE = ("--set", "engine.tokens_per_s=60")
"""Runs of some seconds, so that something can happen in one."""
Act = Callable[["Stage", int], object]


@dataclass(frozen=True)
class Played:
    """How a command ended: status, what it said on both streams, seconds from the fault to the end, its own arguments."""

    status: int
    text: str
    took_s: float = 0.0
    arguments: Sequence[str] = ()


@dataclass
class Stage:
    """A folder for one row of the matrix. `before_again` is called before the command is given again."""

    folder: Path
    stack: ExitStack
    before_again: Callable[[], object] = lambda: None
    env: dict[str, str] = field(default_factory=dict)
    _disk: Path | None = None

    @property
    def results(self) -> Path:
        """Where results go."""
        return (self._disk or self.folder) / "r"

    @property
    def dataset(self) -> Path:
        """The sweep's dataset."""
        return self.results / "local"

    def file(self, name: str, content: bytes = b"in the way") -> str:
        """The path of a file that is made."""
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def mount(self, mib: int) -> None:
        """Have the results on a file system of their own, of so many MiB."""
        self._disk = self.folder / "disk"
        self._disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(self._disk)]
        subprocess.run(mount, check=True)
        self.stack.callback(subprocess.run, ["umount", "--lazy", str(self._disk)], check=True)

    def words(self, *arguments: str, double: bool = True) -> list[str]:
        """A command line."""
        place = () if "--results-dir" in arguments else ("--results-dir", str(self.results))
        runs = () if "--runs" in arguments else ("--runs", str(RUNS))
        return command("baseline", "--yes", *runs, *place, *(DOUBLE if double else ()), *arguments)

    def sweep(self, *arguments: str, env: Mapping[str, str] | None = None, limits: str = "") -> Played:
        """A sweep of the simulated engine, to its end."""
        words = self.words(*arguments)
        return self._ended(["bash", "-c", f'{limits}\nexec "$@"', "bash", *words] if limits else words, env)

    def real(self, model: str) -> Played:
        """A sweep of a model file, by the real engine, in the chroot."""
        words = self.words("--models", model, "--environments", "native", double=False)
        return self._ended(words)

    def shell(self, script: str) -> Played:
        """A command in a shell."""
        here = script.replace("$S", f"{sys.executable} -m sparkray.sweep").replace("$R", str(self.folder / "given"))
        return self._ended(["bash", "-c", here])

    def _ended(self, words: Sequence[str], env: Mapping[str, str] | None = None) -> Played:
        environment = {**os.environ, **self.env, **(env or {})}
        with tempfile.TemporaryFile("w+") as log:
            driver = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
            patience = Patience(driver.pid)
            status = ended(driver, patience)
            log.seek(0)
            return Played(status, log.read(), patience.spent_s)

    def live(self, *arguments: str, at: str, act: Act, cache: bool = False) -> Played:
        """A sweep in which something happens: `at` is a line of it, or `run`."""
        if cache:
            self.env["XDG_CACHE_HOME"] = str(self.folder / "cache")
            models = self.folder / "cache" / "sparkray" / "models"
            shutil.copytree(cache_folder() / "models", models)
        arguments = (*PACE, *arguments)
        with subprocess.Popen(
            self.words(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**os.environ, **self.env},
        ) as driver:
            lines = self.lines = list[str]()
            patience = self.patience = Patience(driver.pid)
            reader = threading.Thread(target=lambda: lines.extend(driver.stdout or ()), daemon=True)
            if at != "run":
                reader = threading.Thread(target=self._lines_until, args=(driver, lines, at, act), daemon=True)
            reader.start()
            if at == "run":
                here = patience.until(lambda: under_way(self.results) or driver.poll() is not None, LIMIT_S)
                assert here, f"no run was started: {lines}"
                assert driver.poll() is None, lines
                time.sleep(0.5)
                self.began = patience.spent_s
                act(self, driver.pid)
            status = ended(driver, patience)
            took_s = patience.spent_s - self.began
            reader.join(10)
        return Played(status, "".join(lines), took_s, arguments)

    def _lines_until(self, driver: "subprocess.Popen[str]", lines: list[str], at: str, act: Act) -> None:
        waiting = True
        for line in driver.stdout or ():
            lines.append(line)
            if waiting and at in line:
                waiting = False
                self.began = self.patience.spent_s
                act(self, driver.pid)

    began: float = 0.0
    lines: list[str] = field(default_factory=list)
    patience: Patience = field(default_factory=lambda: Patience(0))

    def export(self) -> Path:
        """The native arm's files, once they are there."""
        found = Path(self.env["XDG_CACHE_HOME"]) / "sparkray" / "rootfs"
        return next(path for path in found.iterdir() if not path.name.startswith("."))

    def behind_another(self, act: Act) -> Played:
        """A sweep that waits for the machine, which this process holds."""
        with MachineLock(("machine",)).held("wait", on_wait=lambda _: None, should_stop=lambda: False):
            return self.live(at="waiting: ", act=act)

    def silent_docker(self, act: Act) -> Played:
        """A sweep whose Docker engine takes requests and answers none, from a run on; then something happens."""
        proxy = Proxy(self.folder / "docker.sock", os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
        self.stack.callback(proxy.close)
        self.env["DOCKER_HOST"] = f"unix://{proxy.path}"

        def silence(stage: "Stage", driver: int) -> None:
            proxy.silent.set()
            # the run ends, then Docker is asked, then it is silent for 10 s
            assert self.patience.until(lambda: any("has not answered" in line for line in self.lines), 60)
            self.began = self.patience.spent_s
            act(stage, driver)

        return self.live("--environments", "container_baseline", at="run", act=silence)

    def on_empty_cluster(self) -> Played:
        """A sweep on a Ray without sparkray's resource."""
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a socket's path may have 107 bytes
        ray = str(Path(sys.executable).with_name("ray"))
        port = _free_port()
        options = f"--head --port={port} --num-cpus=0 --include-dashboard=false --disable-usage-stats"
        start = [ray, "start", *options.split(), "--object-store-memory=80000000", f"--temp-dir={folder}"]
        env = {**os.environ, "RAY_memory_monitor_refresh_ms": "0"}
        self.stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self.stack.callback(lambda: [process.kill() for process in _of(folder)])
        for _ in range(_STARTS):
            started = subprocess.run(start, capture_output=True, text=True, check=False, env=env, timeout=LIMIT_S)
            if "timed out during startup" not in started.stderr:
                break
            for process in _of(folder):
                process.kill()
        assert started.returncode == 0, started.stdout + started.stderr
        return self.sweep("--address", f"127.0.0.1:{port}")

    def in_other_namespace(self) -> Played:
        """A sweep with a folder of locks of its own, beside one that measures."""
        mine = self.words("--lock", "fail", "--results-dir", str(self.folder / "second"))
        second = 'mount -t tmpfs tmpfs /run/lock && chmod 1777 /run/lock && exec "$@"'
        found: list[Played] = []

        def act(stage: "Stage", driver: int) -> None:
            found.append(stage._ended(["unshare", "--mount", "bash", "-c", second, "bash", *mine]))
            os.kill(driver, signal.SIGTERM)

        self.live("--set", "engine.fault=hang", at="run", act=act)
        return found[0]

    def left(self) -> list[str]:
        """What a sweep must not leave, and does."""
        found = remains(self.results)
        return [f"{kind}: {item}" for kind, items in found.items() for item in items if kind in NOTHING]


def ended(driver: "subprocess.Popen[str]", patience: Patience) -> int:
    """The exit status, once it has ended; one that takes too long is ended."""
    try:
        assert patience.until(lambda: driver.poll() is not None, LIMIT_S), f"it did not end within {LIMIT_S:g} s"
    finally:
        if driver.poll() is None:
            driver.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                driver.wait(30)
            driver.kill()
    return driver.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _of(words: str) -> list[psutil.Process]:
    every = psutil.process_iter(["cmdline"])
    return [process for process in every if any(words in word for word in process.info["cmdline"] or ())]


def kill(what: str, number: signal.Signals = signal.SIGKILL) -> Act:
    """Send a signal to the driver, the actor, the engine, or the driver's descendant with such a command line."""

    def act(_: Stage, driver: int) -> None:
        known = {"driver": lambda: driver, "actor": lambda: actor_pid(driver), "engine": engine_pid}
        pid = known.get(what, lambda: _descendant(driver, what))()
        assert pid is not None, f"there is no {what}"
        os.kill(pid, number)

    return act


def _descendant(driver: int, words: str) -> int | None:
    for process in psutil.Process(driver).children(recursive=True):
        with suppress(psutil.Error):
            if words in " ".join(process.cmdline()):
                return process.pid
    return None


def stop(*signals: signal.Signals, group: bool = False) -> Act:
    """Send signals to the driver, or to its whole process group as a terminal does; half a second apart."""

    def act(_: Stage, driver: int) -> None:
        for number in signals:
            (os.killpg if group else os.kill)(driver, number)
            time.sleep(0.5)

    return act


def docker_does(what: Callable[[Container], object]) -> Act:
    """Another client of Docker does something to the container of the run, which has the seconds for it."""

    def act(_: Stage, __: int) -> None:
        client = docker.from_env()
        with closing(client):
            what(client.containers.list(filters={"label": LABEL})[0])

    return act


def pause(container: Container) -> None:
    """Pause it for half a second."""
    container.pause()
    time.sleep(0.5)
    container.unpause()


def remove(name: str) -> Act:
    """Remove a folder of the dataset, or all of it."""
    return lambda stage, _: shutil.rmtree(stage.dataset / name if name else stage.dataset)


def at_once(*acts: Act) -> Act:
    """One after the other."""
    return lambda stage, driver: [act(stage, driver) for act in acts]


class Proxy:
    """A Docker socket in front of the real one, which stops answering once `silent` is set."""

    def __init__(self, path: Path, target: str) -> None:
        self.path, self.silent = path, threading.Event()
        self._target = target.removeprefix("unix://")
        self._server = socket.socket(socket.AF_UNIX)
        self._open: list[socket.socket] = []
        self._server.bind(str(path))
        self._server.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Take no more, and let go of what was taken."""
        for one in (self._server, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._server.accept()
                there = socket.socket(socket.AF_UNIX)
                self._open += (here, there)
                there.connect(self._target)
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                while self.silent.is_set():
                    time.sleep(0.1)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
