"""The matrix of bad days: a fault, the moment at which it is played on a real sweep, and what must follow.

`scripts/reliability.py` runs it and writes `docs/reliability.md`. Rows that take long run with SPARKRAY_SLOW=1.
"""

import importlib.util
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest
from days import RUNS, Played, Stage, at_once, docker_does, kill, pause, remove, stop
from docker.models.containers import Container
from spoilt import fill, newer, no_folders, no_inodes, on_disk, on_small_disk, spoilt_spool

NOW, PREPARING, RUNNING, WAITING = "before the first run", "while it prepares", "during a run", "while it waits"
AGAIN = "the same command ends with every run"


@dataclass(frozen=True)
class Day:
    """One row: the fault and when it is played, the exit status that follows, what is said, and what is true afterwards.

    Attributes:
        play: Plays it.
        slow: Whether it runs with SPARKRAY_SLOW=1 alone.
        sweep: Whether it takes the machine.
        ends_s: The longest that the end may take after the fault.
        leaves: Pattern of a message that allows it to leave something for the next start.
        again: Whether the same command must then end with every run, none of them lost or doubled.
    """

    fault: str
    when: str
    status: int
    said: tuple[str, ...]
    play: Callable[[Stage], Played]
    slow: bool = True
    sweep: bool = True
    ends_s: float = 240.0
    leaves: str = ""
    again: bool = False

    @property
    def must(self) -> str:
        """What must follow, in words."""
        words = [f"status {self.status}", *(f"“{text}”" for text in self.said)]
        words += [f"within {self.ends_s:g} s"] if self.ends_s < 100 else []
        return "; ".join([*words, *([AGAIN] if self.again else [])])


def live(*arguments: str, at: str, act: Callable[[Stage, int], object]) -> Callable[[Stage], Played]:
    """A sweep of the double in which `act` happens at a moment."""
    return lambda stage: stage.live(*arguments, at=at, act=act)


def sweep(*arguments: str, env: dict[str, str] | None = None, limits: str = "") -> Callable[[Stage], Played]:
    """A sweep of the double from start to end."""
    return lambda stage: stage.sweep(*arguments, env=env, limits=limits)


def touched(what: Callable[[Container], object]) -> Callable[[Stage], Played]:
    """A sweep of containers, in the first run of which another client of Docker does something."""
    return live("--environments", "container_baseline", at="run", act=docker_does(what))


def shell(script: str) -> Callable[[Stage], Played]:
    """A command in a shell: `$S` is sparkray, `$R` a folder."""
    return lambda stage: stage.shell(script)


def engine_fault(name: str, *more: str) -> Callable[[Stage], Played]:
    return sweep("--set", f"engine.fault={name}", "--set", "experiment.timeout_s=3", *more)


def with_dataset(spoil: Callable[[Path], object]) -> Callable[[Stage], Played]:
    """A sweep into a folder that an earlier one made and somebody spoilt since."""

    def play(stage: Stage) -> Played:
        assert stage.sweep("--runs", "1").status == 0
        spoil(stage.dataset)
        more = ("--runs", "2")  # or nothing would be left to measure, and nothing of the folder be touched
        return replace(stage.sweep(*more), arguments=more)

    return play


REFUSED = "cannot be written: No space left"
ORDERLY = {"status": 130, "ends_s": 20.0, "leaves": "ended at once", "again": True}
DAYS = (
    # what a shell and the system do to a program
    Day(
        "standard output on a full disk",
        NOW,
        3,
        ("No space left on device",),
        shell("$S engines >/dev/full"),
        False,
        False,
    ),
    Day("all three standard streams closed", NOW, 0, (), shell("$S engines <&- >&- 2>&-"), False, False),
    Day(
        "the reader of a pipe goes away", NOW, 0, (), shell("$S engines | head -0; exit ${PIPESTATUS[0]}"), False, False
    ),
    Day(
        "the current folder removed",
        NOW,
        3,
        ("was removed",),
        shell("mkdir $R; cd $R; rmdir $R; $S status"),
        False,
        False,
    ),
    Day(
        "5 files may be open",
        NOW,
        3,
        ("cannot be loaded", "Too many open files"),
        shell("ulimit -n 5; $S engines"),
        False,
        False,
    ),
    Day("the kernel's log given as results", NOW, 2, ("kmsg",), shell("$S audit /proc/kmsg"), sweep=False),
    Day(
        "a FIFO given as an experiment",
        NOW,
        2,
        ("a FIFO",),
        shell("mkfifo $R.f; $S plan --experiment $R.f"),
        sweep=False,
    ),
    Day("10^19 runs", NOW, 2, ("--runs",), shell("$S plan --runs 10000000000000000000"), sweep=False),
    Day("a colon in the results folder", NOW, 2, ("colon",), sweep("--results-dir", "/tmp/a:b"), sweep=False),
    Day("an engine on another machine", NOW, 3, ("ssh://",), sweep(env={"DOCKER_HOST": "ssh://a@b"}), sweep=False),
    Day(
        "no Docker engine",
        NOW,
        3,
        ("no Docker engine answers",),
        sweep(env={"DOCKER_HOST": "unix:///no/docker.sock"}),
        False,
    ),
    Day(
        "RAY_ADDRESS at which nobody answers",
        NOW,
        3,
        ("RAY_ADDRESS",),
        sweep(env={"RAY_ADDRESS": "127.0.0.1:1"}),
        ends_s=60,
    ),
    Day("TMPDIR does not exist", NOW, 3, ("TMPDIR",), sweep(env={"TMPDIR": "/no/such/folder"})),
    Day("64 files may be open", NOW, 3, ("ulimit -n",), sweep(limits="ulimit -n 64"), again=True, ends_s=60),
    Day("a file may have 400 KiB", NOW, 3, ("ulimit -f",), sweep(limits="ulimit -f 400"), again=True, ends_s=60),
    Day("1.5 GB of addresses", NOW, 3, ("ulimit -v",), sweep(limits="ulimit -v 1500000"), again=True, ends_s=60),
    Day("16 files may be open", NOW, 3, ("ulimit -n",), sweep(limits="ulimit -n 16"), ends_s=60),
    Day(
        "a flag that this host cannot honour",
        NOW,
        3,
        ("Leave --runtime=nonesuch out",),
        sweep("--set", "docker.container_baseline.runtime=nonesuch"),
    ),
    Day(
        "a cache that is a file",
        NOW,
        3,
        ("cache",),
        lambda stage: stage.sweep(env={"XDG_CACHE_HOME": stage.file("cache")}),
    ),
    # the disk
    Day("results on a disk of 3 MiB", NOW, 3, ("is full",), on_small_disk(3), False),
    Day("300 KiB left on the disk", NOW, 3, ("is full",), on_small_disk(24, 300), again=True),
    Day(
        "the disk of the results fills",
        RUNNING,
        3,
        ("is full",),
        on_disk(fill, lambda stage: (stage.results.parent / "ballast").unlink()),
        again=True,
    ),
    Day(
        "the disk of the results has no inodes left",
        RUNNING,
        3,
        ("no inode is free",),
        on_disk(no_inodes, lambda stage: shutil.rmtree(stage.results.parent / "many")),
        again=True,
    ),
    # signals
    Day(
        "SIGTERM to the whole group",
        RUNNING,
        said=("interrupted",),
        play=live(at="run", act=stop(signal.SIGTERM, group=True)),
        slow=False,
        **ORDERLY,
    ),
    Day(
        "SIGINT, as by Ctrl-C",
        RUNNING,
        said=("interrupted",),
        play=live(at="run", act=stop(signal.SIGINT, group=True)),
        **ORDERLY,
    ),
    Day("SIGHUP", RUNNING, said=("interrupted",), play=live(at="run", act=stop(signal.SIGHUP)), **ORDERLY),
    Day("SIGINT", PREPARING, said=("interrupted",), play=live(at="preflight", act=stop(signal.SIGINT)), **ORDERLY),
    Day(
        "SIGTERM while Ray starts",
        NOW,
        said=("interrupted",),
        play=live(at="starting Ray", act=stop(signal.SIGTERM)),
        **ORDERLY,
    ),
    Day(
        "two SIGINT",
        RUNNING,
        said=("ended at once: a second signal",),
        play=live(at="run", act=stop(signal.SIGINT, signal.SIGINT)),
        **{**ORDERLY, "ends_s": 10.0},
    ),
    Day(
        "SIGINT, and somebody else measures",
        WAITING,
        said=("interrupted",),
        play=lambda stage: stage.behind_another(stop(signal.SIGINT)),
        **ORDERLY,
    ),
    Day(
        "SIGINT with the runner stopped (SIGSTOP)",
        RUNNING,
        said=(),
        play=live(
            "--set", "engine.fault=hang", at="run", act=at_once(kill("actor", signal.SIGSTOP), stop(signal.SIGINT))
        ),
        slow=False,
        **{**ORDERLY, "again": False},
    ),
    Day(
        "SIGINT with Docker silent",
        RUNNING,
        said=("Docker has not answered for 10 s",),
        play=lambda stage: stage.silent_docker(stop(signal.SIGINT)),
        **{**ORDERLY, "again": False, "leaves": "could not be removed: the next start will do it"},
    ),
    # deaths
    Day("kill -9 of the driver", RUNNING, -9, (), live(at="run", act=kill("driver")), False, leaves="", again=True),
    Day("kill -9 of the engine", RUNNING, 1, ("signal 9",), live(at="run", act=kill("engine")), again=True),
    Day("kill -9 of the runner", PREPARING, 0, ("starting another",), live(at="preflight", act=kill("actor"))),
    Day("kill -9 of the runner", RUNNING, 0, ("starting another",), live(at="run", act=kill("actor"))),
    Day(
        "kill -9 of Ray's GCS", PREPARING, 0, ("Ray's GCS", "another Ray"), live(at="preflight", act=kill("gcs_server"))
    ),
    Day("kill -9 of Ray's GCS", RUNNING, 0, ("Ray's GCS", "another Ray"), live(at="run", act=kill("gcs_server"))),
    Day(
        "kill -9 of Ray's raylet",
        PREPARING,
        0,
        ("Ray's raylet", "another Ray"),
        live(at="preflight", act=kill("raylet/raylet")),
    ),
    Day(
        "kill -9 of Ray's raylet",
        RUNNING,
        0,
        ("Ray's raylet", "another Ray"),
        live(at="run", act=kill("raylet/raylet")),
    ),
    Day(
        "Ray's GCS stopped (SIGSTOP)",
        RUNNING,
        0,
        ("is stopped", "another Ray"),
        live("--set", "engine.load_s=20", at="run", act=kill("gcs_server", signal.SIGSTOP)),
    ),
    # what other clients of Docker do
    Day(
        "docker update --memory",
        RUNNING,
        0,
        ("another client of Docker changed the container", "Memory from 0 to 2147483648"),
        touched(lambda container: container.update(mem_limit="2g", memswap_limit="4g")),
    ),
    Day("docker pause and unpause", RUNNING, 0, ("another client of Docker changed", "paused for"), touched(pause)),
    # what somebody removes or leaves
    Day("the spool folder removed", RUNNING, 0, ("somebody removed",), live(at="run", act=remove("spool"))),
    Day("runs/ removed", RUNNING, 0, (), live(at="run", act=remove("runs"))),
    Day("the whole dataset removed", RUNNING, 3, ("no dataset any more",), live(at="run", act=remove("")), again=True),
    Day(
        "the exported root file system removed",
        RUNNING,
        0,
        (),
        lambda stage: stage.live(at="run", act=lambda s, _: shutil.rmtree(s.export()), cache=True),
    ),
    Day("a spool that cannot be read", NOW, 0, ("set aside",), with_dataset(spoilt_spool)),
    Day("folders that git drops", NOW, 0, (), with_dataset(no_folders)),
    Day("a dataset of a newer schema", NOW, 2, ("newer sparkray", "--fresh"), with_dataset(newer)),
    # engines
    Day("the engine crashes", RUNNING, 1, ("std::bad_alloc", "2 failed"), engine_fault("crash", "--runs", "1")),
    Day("the engine hangs", RUNNING, 1, ("after 3 s", "2 failed"), engine_fault("hang", "--runs", "1")),
    Day(
        "another model is loaded",
        RUNNING,
        1,
        ("SHA-256",),
        engine_fault("wrong_model", "--environments", "native", "--set", "experiment.max_attempts=2"),
    ),
    Day(
        "a file that is no GGUF",
        NOW,
        2,
        ("is not a GGUF file",),
        lambda stage: stage.real(stage.file("m.gguf", b"PK\x03\x04")),
    ),
    Day(
        "a GGUF that is corrupt",
        RUNNING,
        1,
        ("the engine ended with",),
        lambda stage: stage.real(stage.file("m.gguf", b"GGUF" + bytes(4096))),
    ),
    # doors
    Day("a cluster without the resource", NOW, 3, ("ray start --address=",), lambda stage: stage.on_empty_cluster()),
    Day("a second sweep that sees no lock", WAITING, 3, ("busy",), lambda stage: stage.in_other_namespace()),
)


def _param(day: Day) -> object:
    marks = [pytest.mark.slow] if day.slow else []
    if day.sweep:  # what others measure meanwhile takes as long as it takes
        marks += [pytest.mark.docker, pytest.mark.root, pytest.mark.ray, pytest.mark.timeout(2400)]
    return pytest.param(day, id=f"{day.fault}, {day.when}", marks=marks)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(tmp_path, stack)


@pytest.mark.parametrize("day", [_param(day) for day in DAYS])
def test_a_bad_day(day: Day, stage: Stage) -> None:
    played = day.play(stage)
    assert played.status == day.status, played.text
    assert [text for text in day.said if text not in played.text] == [], played.text
    for word in ("Traceback", "unforeseen", "Exception ignored", "(raylet)"):
        assert word not in played.text
    assert played.took_s <= day.ends_s, played.text
    if not day.sweep:
        return
    if day.status != -signal.SIGKILL and not (day.leaves and re.search(day.leaves, played.text)):
        assert stage.left() == [], played.text
    if day.status == 0 or day.again:
        stage.before_again()
        if day.status != 0:
            again = stage.sweep(*played.arguments)
            assert again.status == 0, again.text
        rows = pl.read_parquet(stage.dataset / "runs" / "*.parquet")
        ok = rows.filter(pl.col("status") == "ok")["run_id"].to_list()
        arguments = list(played.arguments)
        blocks = int(arguments[arguments.index("--runs") + 1]) if "--runs" in arguments else RUNS
        assert len(ok) == len(set(ok)) == blocks * (1 if "--environments" in arguments else 2)
        assert set(rows["status"].to_list()) <= {"ok", "interrupted", "failed", "invalid"}
        assert stage.left() == []


def test_the_page_has_these_rows() -> None:
    script = Path(__file__).resolve().parents[2] / "scripts" / "reliability.py"
    spec = importlib.util.spec_from_file_location("reliability", script)
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    sys.modules["reliability"] = page  # where dataclasses look for their module
    spec.loader.exec_module(page)
    assert list(page.known())[1:] == [page.key_of(day) for day in DAYS], f".venv/bin/python {script} writes the page"
