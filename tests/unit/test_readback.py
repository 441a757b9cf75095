"""What a process really got, parsed from /proc: from texts, from a tree of files, and from this very process."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkray.runtimes.linux.readback import (
    Mounted,
    differences,
    effective_state,
    parse_environment,
    parse_interfaces,
    parse_limits,
    parse_mountinfo,
    parse_online,
    parse_pid_inside,
    parse_status,
)

LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max stack size            8388608              unlimited            bytes
Max open files            1024                 524288               files
Max locked memory         65536                65536                bytes
Max realtime timeout      unlimited            unlimited            us
Max something new         1                    2                    bytes
"""
STATUS = (
    "Name:\tx\nUmask:\t0022\nNSpid:\t4711\t7\nCapEff:\t00000000a80425fb\nSeccomp:\t2\n"
    "SigBlk:\t0000000000000000\nCpus_allowed_list:\t0-3\n"
)
NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     120       2    0    0    0     0          0         0      120       2    0    0    0     0       0          0
  eth0: 1051230     811    0    0    0     0          0         0    60402     722    0    0    0     0       0          0
"""
PROC_STAT = "cpu  9 0 9\ncpu0 3 0 3\ncpu1 3 0 3\ncpu3 3 0 3\nintr 5 0\nctxt 7\n"
MOUNTINFO = """\
22 1 0:21 / / rw,relatime - overlay overlay rw,lowerdir=/a:/b
23 22 0:22 / /proc rw - proc proc rw
24 22 8:1 / /sparkray/model/m.gguf ro,relatime shared:1 - ext4 /dev/sda1 rw
26 22 0:40 / /dev/shm rw,nosuid - tmpfs shm rw,size=65536k
25 22 8:1 / /sparkray/modelling ro - xfs /dev/sdb rw
"""
STAT = "7 (a b) c) (d) S " + " ".join(str(number) for number in range(2, 51))
"""A name with spaces and parentheses; after it the state, then field n of the manual holds n - 2."""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with one process, 7, and what may be read of it."""
    here = tmp_path / "7"
    for folder in ("attr", "ns", "net", "root/dev/shm"):
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
        "net/dev": NET_DEV,
    }.items():
        (here / name).write_text(text)
    group = tmp_path / "groups" / "docker" / "abc"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("67108864\n")
    (tmp_path / "self" / "mountinfo").write_text(f"31 24 0:27 / {tmp_path}/groups rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "stat").write_text(PROC_STAT)
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
        "umask": "0022",
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
        "cgroup_limits": {"memory_bytes": 67108864, "cpus": -1, "pids": -1},
        "interfaces": ["eth0", "lo"],
        "pid_inside": 7,
        "cpus_online": "0-1,3",
        "apparmor": "docker-default (enforce)",
        "rootfs": "overlay",
        "root_read_only": False,
        "shm_filesystem": "tmpfs",
        "model_filesystem": "ext4",
        "model_source": "/dev/sda1",
        "model_read_only": True,
        **parse_status(STATUS),
    }


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("stat", ["nice"]),
        ("limits", ["rlimits"]),
        ("environ", ["environment"]),
        ("attr/current", ["apparmor"]),
        ("cgroup", ["cgroups", "cgroup_limits"]),
        ("../self/mountinfo", ["cgroup_limits"]),
        ("../stat", ["cpus_online"]),
        ("net/dev", ["interfaces"]),
        (
            "mountinfo",
            ["rootfs", "root_read_only", "shm_filesystem", "model_filesystem", "model_source", "model_read_only"],
        ),
        ("status", ["capabilities", "seccomp", "signals_blocked", "cpus_allowed", "umask", "pid_inside"]),
    ],
)
def test_what_may_not_be_read_is_absent_and_the_rest_is_there(proc: Path, name: str, fields: list[str]) -> None:
    before = effective_state(7, proc)
    (proc / "7" / name).unlink()
    after = effective_state(7, proc)
    assert set(before) - set(after) == set(fields)
    assert all(after[field] == before[field] for field in after)


def test_the_last_mount_on_a_place_is_the_one_that_is_seen(proc: Path) -> None:
    over = "30 22 0:50 / /sparkray/model/m.gguf rw - tmpfs none rw\n31 22 0:51 / / ro - ext4 /dev/a\\040disk rw\n"
    (proc / "7" / "mountinfo").write_text(MOUNTINFO + over)
    state = effective_state(7, proc)
    told = ("rootfs", "root_read_only", "model_filesystem", "model_source", "model_read_only")
    assert [state[name] for name in told] == ["ext4", True, "tmpfs", "none", False]


def test_a_process_without_such_mounts_has_none(proc: Path) -> None:
    (proc / "7" / "mountinfo").write_text("22 1 0:21 / /proc rw - proc proc rw\n")
    state = effective_state(7, proc)
    assert [state[name] for name in ("rootfs", "shm_filesystem", "model_filesystem", "model_source")] == [None] * 4


def test_mounts_are_read_with_spaces_optional_fields_and_either_kind_of_read_only() -> None:
    text = (
        "1 0 8:1 / /a\\040b rw shared:1 master:2 - ext4 /dev/sda rw\n2 0 8:2 / /c rw - iso9660 /dev/sr0 ro\nnonsense\n"
    )
    assert parse_mountinfo(text) == [
        Mounted("/a b", "ext4", "/dev/sda", read_only=False),
        Mounted("/c", "iso9660", "/dev/sr0", read_only=True),
    ]


def test_interfaces_are_named_without_the_headline() -> None:
    assert parse_interfaces(NET_DEV) == ["eth0", "lo"]
    assert parse_interfaces("") == []


def test_a_number_inside_is_the_innermost_one() -> None:
    assert parse_pid_inside("NSpid:\t9\n") == 9
    assert parse_pid_inside(STATUS) == 7
    with pytest.raises(ValueError, match="NSpid"):
        parse_pid_inside("Name:\tx\n")


@pytest.mark.parametrize(("on", "text"), [([0], "0"), ([0, 1], "0-1"), ([0, 2, 3, 4, 7], "0,2-4,7"), ([9, 10], "9-10")])
def test_cpus_that_are_on_are_a_list(on: list[int], text: str) -> None:
    assert parse_online("cpu  1 2\n" + "".join(f"cpu{number} 1 2\n" for number in on)) == text


def test_this_machine_has_the_cpus_that_the_kernel_tells_it() -> None:
    assert parse_online(Path("/proc/stat").read_text()) == Path("/sys/devices/system/cpu/online").read_text().strip()


@pytest.mark.parametrize(
    ("effective", "wrong"),
    [({"umask": "0022"}, []), ({"umask": "0077"}, ["umask is 0077, declared 0022"]), ({}, [])],
)
def test_a_umask_is_compared_where_the_kernel_tells_it(effective: dict[str, str], wrong: list[str]) -> None:
    declared = {"nice": 0, "oom_score_adj": 0, "rlimits": {}, "umask": 0o022}
    assert differences(declared, {"nice": 0, "oom_score_adj": 0, **effective}) == wrong


def test_what_cannot_be_parsed_is_absent(proc: Path) -> None:
    (proc / "7" / "oom_score_adj").write_text("much")
    (proc / "7" / "stat").write_text("7 (x) S 1")
    assert not {"oom_score_adj", "nice"} & set(effective_state(7, proc))


def test_of_a_process_that_is_gone_nothing_is_reported(proc: Path) -> None:
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
    assert state["umask"] == parse_status(Path("/proc/self/status").read_text())["umask"]
    assert state["pid_inside"] == process.pid
    assert "lo" in state["interfaces"]
