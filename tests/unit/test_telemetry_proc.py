"""Process trees: the parser, trees made of files, and real processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkray.telemetry import Target, process, pss
from sparkray.telemetry._proc import OpenFile, Tree, parse_stat

MIB = 2**20


def line(pid: int, ppid: int, *, name: str = "python", state: str = "S", session: int = 0, **numbers: int) -> str:
    value = {"utime": 0, "stime": 0, "cutime": 0, "cstime": 0, "threads": 1, "rss": 0, **numbers}
    times = f"{value['utime']} {value['stime']} {value['cutime']} {value['cstime']}"
    return (
        f"{pid} ({name}) {state} {ppid} {pid} {session} 0 -1 4194304 1 2 3 4 {times} 20 0 {value['threads']} 0 "
        f"12345 99999 {value['rss']} 18446744073709551615 1 1 0 0 0 0\n"
    )


def put(proc: Path, pid: int, text: str) -> None:
    (proc / str(pid)).mkdir(exist_ok=True)
    (proc / str(pid) / "stat").write_text(text)
    rss = text.split()[-8]
    (proc / str(pid) / "statm").write_text(f"99 {rss} 5 1 0 9 0\n")


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n"), max_size=16))
def test_any_process_name_is_parsed(name: str) -> None:
    stat = parse_stat(7, line(7, 3, name=name, session=5, utime=11, stime=2, cutime=30, cstime=4, threads=9, rss=77))
    assert stat == (7, "S", 3, 5, 13, 34, 9, 77)
    assert stat.ticks == 47


def test_a_truncated_line_is_refused() -> None:
    with pytest.raises(ValueError, match="fields"):
        parse_stat(7, "7 (python) S 3 7")


def test_a_tree_holds_children_of_children_and_orphans_of_its_sessions_and_nobody_else(tmp_path: Path) -> None:
    put(tmp_path, 100, line(100, 1, session=100))
    put(tmp_path, 300, line(300, 100))
    put(tmp_path, 200, line(200, 300))  # a lower number than its parent, as after a wrap
    put(tmp_path, 400, line(400, 1, session=100))  # its parent ended before anybody looked
    put(tmp_path, 500, line(500, 1, session=500))
    put(tmp_path, 50, line(50, 2))
    (tmp_path / "self").mkdir()
    tree = Tree(100, proc=tmp_path)
    assert {stat.pid for stat in tree.read()} == {100, 200, 300, 400}
    tree.close()
    assert tree.read() == []


def test_children_born_later_are_found_at_the_next_look(tmp_path: Path) -> None:
    now = 0.0
    put(tmp_path, 100, line(100, 1))
    tree = Tree(100, proc=tmp_path, clock=lambda: now)
    assert [stat.pid for stat in tree.read()] == [100]
    put(tmp_path, 101, line(101, 100))
    now = 0.9
    assert [stat.pid for stat in tree.read()] == [100]
    now = 1.1
    assert {stat.pid for stat in tree.read()} == {100, 101}
    tree.close()


def test_nobody_is_looked_for_while_nobody_has_forked(tmp_path: Path) -> None:
    now = 0.0
    put(tmp_path, 100, line(100, 1))
    loadavg = tmp_path / "loadavg"
    loadavg.write_text("0.20 0.18 0.12 1/80 100\n")
    tree = Tree(100, proc=tmp_path, clock=lambda: now)
    assert len(tree.read()) == 1
    put(tmp_path, 101, line(101, 100))
    now = 1.1
    assert len(tree.read()) == 1, "the kernel says that there is nobody new"
    loadavg.write_text("0.20 0.18 0.12 1/80 101\n")
    assert len(tree.read()) == 1, "it is asked once a second"
    now = 2.2
    assert len(tree.read()) == 2
    tree.close()


def test_the_sizes_are_those_of_the_members(tmp_path: Path) -> None:
    put(tmp_path, 100, line(100, 1, rss=11))
    put(tmp_path, 101, line(101, 100, rss=22))
    put(tmp_path, 200, line(200, 1, rss=44))
    tree = Tree(100, proc=tmp_path)
    assert tree.sizes() == [b"99 11 5 1 0 9 0\n"], "children are found by `read`"
    tree.read()
    assert sorted(map(process.resident_pages, tree.sizes())) == [11, 22]
    tree.close()
    assert tree.sizes() == []


def test_cpu_time_is_asked_for_less_often_than_memory(tmp_path: Path) -> None:
    now = 100.0
    put(tmp_path, 100, line(100, 1, utime=200, rss=8))
    with process.Sampler(proc=tmp_path, cpu_period_s=0.2, clock=lambda: now) as sampler:
        sampler.attach(Target(100))
        told = []
        for _ in range(5):
            (row,) = sampler.sample()
            assert row["process_rss_gib"] == 8 * os.sysconf("SC_PAGE_SIZE") / 2**30
            told.append("process_cpu_s" in row)
            now += 0.1
        assert told == [True, False, True, False, True]
        sampler.attach(Target(100))
        assert "process_cpu_s" in sampler.sample()[0], "a new target is asked at once"


def test_a_target_that_has_ended_is_an_empty_tree(tmp_path: Path) -> None:
    assert Tree(100, proc=tmp_path).read() == []


def test_the_sums_over_a_tree(tmp_path: Path) -> None:
    put(tmp_path, 100, line(100, 1, utime=100, stime=20, cutime=5, cstime=1, threads=4, rss=1000))
    put(tmp_path, 101, line(101, 100, utime=50, threads=2, rss=24))
    put(tmp_path, 102, line(102, 100, state="Z", utime=7, threads=1, rss=0))
    with process.Sampler(proc=tmp_path, cpu_period_s=0) as sampler:
        assert sampler.sample() == []
        sampler.attach(Target(100))
        (row,) = sampler.sample()
    assert row["process_cpu_s"] == pytest.approx(183 / os.sysconf("SC_CLK_TCK"))
    assert row["process_threads"] == 6
    assert row["process_rss_gib"] == pytest.approx(1024 * os.sysconf("SC_PAGE_SIZE") / 2**30)


def test_a_zombie_has_cpu_time_but_no_memory(tmp_path: Path) -> None:
    put(tmp_path, 100, line(100, 1, state="Z", utime=200))
    with process.Sampler(proc=tmp_path, cpu_period_s=0) as sampler:
        sampler.attach(Target(100))
        (row,) = sampler.sample()
    assert row["process_cpu_s"] == 200 / os.sysconf("SC_CLK_TCK")
    assert row["process_rss_gib"] is None
    assert row["process_threads"] is None


def test_cpu_time_never_runs_backwards(tmp_path: Path) -> None:
    put(tmp_path, 100, line(100, 1, utime=200))
    with process.Sampler(proc=tmp_path, cpu_period_s=0) as sampler:
        sampler.attach(Target(100))
        before = sampler.sample()[0]["process_cpu_s"]
        put(tmp_path, 100, line(100, 1, utime=150))
        assert sampler.sample()[0]["process_cpu_s"] == before
        put(tmp_path, 100, line(100, 1, utime=300))
        assert sampler.sample()[0]["process_cpu_s"] == 300 / os.sysconf("SC_CLK_TCK")


def test_looks_at_one_target_do_not_count_for_the_next(tmp_path: Path) -> None:
    put(tmp_path, 100, line(100, 1, utime=900, rss=8))
    put(tmp_path, 200, line(200, 1, utime=5, rss=8))
    with process.Sampler(proc=tmp_path, cpu_period_s=0) as sampler:
        captures = []
        for pid in (100, 200):
            sampler.attach(Target(pid))
            captures.append(sampler.capture())
        ticks_per_s = os.sysconf("SC_CLK_TCK")
        assert [sampler.rows(captured)[0]["process_cpu_s"] for captured in captures] == [
            900 / ticks_per_s,
            5 / ticks_per_s,
        ]


def test_pss_is_read_from_the_rollup() -> None:
    text = "00400000-7ffd [rollup]\nRss:  900 kB\nPss:                 512 kB\nPss_Dirty:  100 kB\n"
    assert pss.parse_pss(text) == 512 * 1024
    assert pss.parse_pss("") is None


def test_pss_is_not_summed_over_a_part_of_the_tree(tmp_path: Path) -> None:
    put(tmp_path, 100, line(100, 1))
    put(tmp_path, 101, line(101, 100))
    (tmp_path / "100" / "smaps_rollup").write_text("Pss:   1048576 kB\n")
    (tmp_path / "101" / "smaps_rollup").write_text("Pss:   524288 kB\n")
    with pss.Sampler(proc=tmp_path) as sampler:
        sampler.attach(Target(100))
        assert sampler.sample() == [{"process_pss_gib": 1.5}]


PARENT = """
import subprocess, sys, time
ballast = b"x" * (48 << 20)
child = subprocess.Popen([sys.executable, "-c", '''
import time
end = time.process_time() + 0.25
while time.process_time() < end: pass
print("worked", flush=True)
input()
'''], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
input()
child.stdin.close(); child.wait()
print("reaped", flush=True)
input()
"""


@contextlib.contextmanager
def family() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds 48 MiB, and its child that used 0.25 s of CPU."""
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            yield parent, child
        finally:
            parent.kill()
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def say(parent: subprocess.Popen[str]) -> None:
    assert parent.stdin is not None
    parent.stdin.write("\n")
    parent.stdin.flush()


def test_a_real_family_and_its_finished_child() -> None:
    with family() as (parent, child), process.Sampler(cpu_period_s=0) as sampler, pss.Sampler() as dear:
        sampler.attach(Target(parent.pid))
        dear.attach(Target(parent.pid))
        both = sampler.sample()[0]
        shares = dear.sample()[0]["process_pss_gib"]
        say(parent)
        assert parent.stdout is not None
        parent.stdout.readline()
        alone = sampler.sample()[0]
        parent.kill()
        time.sleep(0.05)
        dead = sampler.sample()[0]
        parent.wait()
        assert sampler.sample() == []
        assert dear.sample() == []
    assert float(both["process_rss_gib"] or 0) * 1024 > 48
    assert 48 < float(shares or 0) * 1024 <= float(both["process_rss_gib"] or 0) * 1024
    assert float(both["process_cpu_s"] or 0) >= 0.25
    assert float(alone["process_cpu_s"] or 0) >= float(both["process_cpu_s"] or 0)
    assert int(both["process_threads"] or 0) == 2
    assert int(alone["process_threads"] or 0) == 1
    assert float(dead["process_cpu_s"] or 0) >= 0.25
    assert dead["process_rss_gib"] is None
    assert not Path(f"/proc/{child}").exists()


def test_a_kept_file_does_not_follow_a_number_to_another_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        kept = OpenFile(f"/proc/{child.pid}/stat")
        assert parse_stat(child.pid, kept.read()).ppid == os.getpid()
        child.kill()
        child.wait()
        with pytest.raises(ProcessLookupError):
            kept.read()
        kept.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_tree_leaves_no_file_open() -> None:
    before = open_files()
    tree = Tree(os.getpid())
    assert tree.read()
    assert open_files() > before
    tree.close()
    assert open_files() == before
