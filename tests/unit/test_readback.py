"""What a process really got, parsed from /proc: from texts, from a tree of files, and from this very process."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkray.runtimes._readback import effective_state, parse_environment, parse_limits, parse_status

LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max stack size            8388608              unlimited            bytes
Max open files            1024                 524288               files
Max locked memory         65536                65536                bytes
Max realtime timeout      unlimited            unlimited            us
Max something new         1                    2                    bytes
"""
STATUS = "Name:\tx\nCapEff:\t00000000a80425fb\nSeccomp:\t2\nSigBlk:\t0000000000000000\nCpus_allowed_list:\t0-3\n"
MOUNTINFO = """\
22 1 0:21 / / rw,relatime - overlay overlay rw,lowerdir=/a:/b
23 22 0:22 / /proc rw - proc proc rw
24 22 8:1 / /sparkray/model/m.gguf ro,relatime shared:1 - ext4 /dev/sda1 rw
25 22 8:1 / /sparkray/modelling ro - xfs /dev/sdb rw
"""
STAT = "7 (a b) c) (d) S " + " ".join(str(number) for number in range(2, 51))
"""A name with spaces and parentheses; after it the state, then field n of the manual holds n - 2."""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with one process, 7, and what may be read of it."""
    here = tmp_path / "7"
    for folder in ("attr", "ns", "root/dev/shm"):
        (here / folder).mkdir(parents=True)
    (tmp_path / "self" / "ns").mkdir(parents=True)
    for name, text in {
        "stat": STAT,
        "oom_score_adj": "-5\n",
        "limits": LIMITS,
        "environ": "B=2\0A=x=y\0",
        "cgroup": "0::/docker/abc\n",
        "attr/current": "docker-default (enforce)\n",
        "status": STATUS,
        "mountinfo": MOUNTINFO,
    }.items():
        (here / name).write_text(text)
    for kind, own in (("mnt", "mnt:[2]"), ("ipc", "ipc:[1]")):
        (here / "ns" / kind).symlink_to(own)
        (tmp_path / "self" / "ns" / kind).symlink_to(f"{kind}:[1]")
    return tmp_path


def test_limits_are_numbers_by_the_names_of_the_resource_module() -> None:
    assert parse_limits(LIMITS) == {
        "cpu": (-1, -1),
        "stack": (8388608, -1),
        "nofile": (1024, 524288),
        "memlock": (65536, 65536),
        "rttime": (-1, -1),
    }
    assert parse_limits("") == {}


def test_the_limits_of_this_process_are_those_the_kernel_tells_it() -> None:
    found = parse_limits(Path("/proc/self/limits").read_text())
    assert len(found) == 16
    for name in ("nofile", "stack", "memlock", "core", "as", "nproc", "rtprio"):
        assert found[name] == resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))


NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="=\0"), min_size=1)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.dictionaries(NAME, TEXT))
def test_every_environment_is_read_whole(variables: dict[str, str]) -> None:
    data = b"".join(f"{name}={value}\0".encode() for name, value in variables.items())
    assert parse_environment(data) == variables


def test_what_is_no_variable_is_left_out() -> None:
    assert parse_environment(b"") == {}
    assert parse_environment(b"A=\0junk\0\xff=\xfe\0") == {"A": "", "\ufffd": "\ufffd"}


def test_the_status_tells_isolation_alone() -> None:
    assert parse_status(STATUS) == {
        "capabilities": "00000000a80425fb",
        "seccomp": "2",
        "signals_blocked": "0000000000000000",
        "cpus_allowed": "0-3",
    }


def test_a_process_is_read_whole(proc: Path) -> None:
    state = effective_state(7, proc)
    assert state.pop("shm_bytes") > 0
    assert state == {
        "nice": 17,
        "oom_score_adj": -5,
        "rlimits": parse_limits(LIMITS),
        "environment": {"A": "x=y", "B": "2"},
        "namespaces": {"mnt": "own", "ipc": "host"},
        "cgroups": ["0::/docker/abc"],
        "apparmor": "docker-default (enforce)",
        "rootfs": "overlay",
        "model_filesystem": "ext4",
        **parse_status(STATUS),
    }


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("stat", ["nice"]),
        ("limits", ["rlimits"]),
        ("environ", ["environment"]),
        ("attr/current", ["apparmor"]),
        ("mountinfo", ["rootfs", "model_filesystem"]),
        ("status", ["capabilities", "seccomp", "signals_blocked", "cpus_allowed"]),
    ],
)
def test_what_may_not_be_read_is_absent_and_the_rest_is_there(proc: Path, name: str, fields: list[str]) -> None:
    before = effective_state(7, proc)
    (proc / "7" / name).unlink()
    after = effective_state(7, proc)
    assert set(before) - set(after) == set(fields)
    assert all(after[field] == before[field] for field in after)


def test_what_cannot_be_parsed_is_absent(proc: Path) -> None:
    (proc / "7" / "oom_score_adj").write_text("much")
    (proc / "7" / "stat").write_text("7 (x) S 1")
    assert not {"oom_score_adj", "nice"} & set(effective_state(7, proc))


def test_of_a_process_that_is_gone_nothing_is_told(proc: Path) -> None:
    assert effective_state(8, proc) == {}


def test_a_real_process_is_read_as_it_was_started() -> None:
    code = "import os, sys; os.nice(3); print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"ONLY": "this"}
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        state = effective_state(process.pid)
        process.communicate()
    assert state["nice"] == min(19, os.nice(0) + 3)
    assert state["environment"]["ONLY"] == "this"
    assert "PATH" not in state["environment"]
    assert set(state["namespaces"].values()) == {"host"}
    assert state["rlimits"]["nofile"] == resource.getrlimit(resource.RLIMIT_NOFILE)
