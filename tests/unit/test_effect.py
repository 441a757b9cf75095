"""What each Docker option must show in a state: every option, as asked, otherwise, and where nothing can be read."""

from dataclasses import dataclass
from typing import Any

import flag_cases
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkray.config.cpu_list import cpu_list, cpu_numbers
from sparkray.config.docker import DockerOptions, cannot_act, flag_of, option_names
from sparkray.config.effect import expectations, readings
from sparkray.config.privilege import (
    CAPABILITIES,
    DEFAULT_CAPABILITIES,
    apparmor_is,
    capabilities_of,
    capability_names,
    security_choices,
)
from sparkray.config.trace import weights_of

DEFAULT_MASK = "00000000a80425fb"
ALL_MASK = "000001ffffffffff"
MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """Options that give one flag, a state in which it acts, and one in which it does not."""

    options: DockerOptions
    acts: dict[str, Any]
    not_so: dict[str, Any]
    said: str


def own(*kinds: str) -> dict[str, Any]:
    """Namespaces: those named are the process's own."""
    return {
        "namespaces": {
            kind: "own" if kind in kinds else "host" for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup")
        }
    }


def limit(**values: Any) -> dict[str, Any]:
    return {"cgroup_limits": values}


CASES = {
    "ipc host": Case(DockerOptions(ipc="host"), own(), own("ipc"), "--ipc=host, got its own ipc namespace"),
    "ipc private": Case(DockerOptions(ipc="private"), own("ipc"), own(), "got the ipc namespace of the host"),
    "ipc none": Case(
        DockerOptions(ipc="none"),
        own("ipc") | {"shm_filesystem": None},
        own("ipc") | {"shm_filesystem": "tmpfs"},
        "got one on tmpfs",
    ),
    "shm": Case(
        DockerOptions(shm_size="8g"), {"shm_bytes": 8192 * MIB}, {"shm_bytes": 64 * MIB}, "got a /dev/shm of 64m"
    ),
    "network host": Case(DockerOptions(network="host"), own(), own("net"), "got its own net namespace"),
    "network none": Case(
        DockerOptions(network="none"),
        own("net") | {"interfaces": ["lo", "sit0"]},
        own("net") | {"interfaces": ["eth0", "lo"]},
        "got the interfaces eth0, lo",
    ),
    "network bridge": Case(
        DockerOptions(network="bridge"),
        own("net") | {"interfaces": ["eth0", "lo"]},
        own("net") | {"interfaces": ["lo"]},
        "got the interfaces lo",
    ),
    "pid": Case(DockerOptions(pid="host"), own(), own("pid"), "got its own pid namespace"),
    "uts": Case(DockerOptions(uts="host"), own(), own("uts"), "got its own uts namespace"),
    "cgroupns": Case(DockerOptions(cgroupns="private"), own("cgroup"), own(), "got the cgroup namespace of the host"),
    "cgroup parent": Case(
        DockerOptions(cgroup_parent="/bench"),
        {"cgroups": ["4:memory:/bench/1f", "0::/"]},
        {"cgroups": ["0::/docker/1f"]},
        "got the cgroup 0::/docker/1f",
    ),
    "a slice": Case(
        DockerOptions(cgroup_parent="bench.slice"),
        {"cgroups": ["0::/bench.slice/docker-1f.scope"]},
        {"cgroups": ["0::/system.slice/docker-1f.scope"]},
        "got the cgroup",
    ),
    "the root": Case(
        DockerOptions(cgroup_parent="/"), {"cgroups": ["0::/1f"]}, {"cgroups": ["0::/docker/1f"]}, "got the cgroup"
    ),
    "cpuset": Case(
        DockerOptions(cpuset_cpus="0"),
        {"cpus_allowed": "0"} | limit(cpuset="0"),
        {"cpus_allowed": "0-1"} | limit(cpuset="0-1"),
        "asked --cpuset-cpus=0, got CPUs 0-1",
    ),
    "cpuset, by the process alone": Case(
        DockerOptions(cpuset_cpus="5-9,15-19"), {"cpus_allowed": "5-9,15-19"}, {"cpus_allowed": "0-19"}, "got CPUs 0-19"
    ),
    "cpuset, less than asked": Case(
        DockerOptions(cpuset_cpus="0-3"), limit(cpuset="0-3"), {"cpus_allowed": "0-1"} | limit(cpuset="0-1"), "CPUs 0-1"
    ),
    "cpus": Case(DockerOptions(cpus=1.5), limit(cpus=1.5), limit(cpus=-1), "asked --cpus=1.5, got no CPU quota"),
    "cpus, another": Case(DockerOptions(cpus=1.5), limit(cpus=1.501), limit(cpus=2.0), "got a quota of 2 CPUs"),
    "shares, version 1": Case(
        DockerOptions(cpu_shares=512), limit(cpu_shares=512), limit(cpu_shares=1024), "got 1024 shares"
    ),
    "shares, version 2": Case(
        DockerOptions(cpu_shares=512), limit(cpu_weight=20), limit(cpu_weight=100), "got weight 100"
    ),
    "memory": Case(
        DockerOptions(memory="64m"),
        limit(memory_bytes=64 * MIB),
        limit(memory_bytes=-1),
        "asked --memory=64m, got memory up to no limit",
    ),
    "swap": Case(
        DockerOptions(memory="64m", memory_swap="-1"),
        limit(memory_bytes=64 * MIB, memory_swap_bytes=-1),
        limit(memory_bytes=64 * MIB, memory_swap_bytes=128 * MIB),
        "asked --memory-swap=-1, got memory and swap up to 128m",
    ),
    "memlock": Case(
        DockerOptions(ulimit_memlock=-1),
        {"rlimits": {"memlock": (-1, -1)}},
        {"rlimits": {"memlock": (65536, 65536)}},
        "asked --ulimit=memlock=-1, got memlock 65536",
    ),
    "stack, as it was stored": Case(
        DockerOptions(ulimit_stack=67108864),
        {"rlimits": {"stack": [67108864, 67108864]}},
        {"rlimits": {"stack": [8388608, -1]}},
        "got stack 8388608 and -1",
    ),
    "nofile": Case(
        DockerOptions(ulimit_nofile=1024),
        {"rlimits": {"nofile": (1024, 1024)}},
        {"rlimits": {"nofile": (1024, 4096)}},
        "got nofile 1024 and 4096",
    ),
    "oom": Case(DockerOptions(oom_score_adj=500), {"oom_score_adj": 500}, {"oom_score_adj": 0}, "got 0"),
    "privileged": Case(
        DockerOptions(privileged=True),
        {"capabilities_bounding": ALL_MASK, "seccomp": "0"},
        {"capabilities_bounding": DEFAULT_MASK, "seccomp": "2"},
        "asked --privileged, got the capabilities AUDIT_WRITE, CHOWN",
    ),
    "cap add": Case(
        DockerOptions(cap_add=("SYS_NICE",)),
        {"capabilities_bounding": "00000000a88425fb"},
        {"capabilities_bounding": DEFAULT_MASK},
        "asked --cap-add=CAP_SYS_NICE, got the capabilities",
    ),
    "cap add all, of a host that lacks one": Case(
        DockerOptions(cap_add=("ALL",)),
        {"capabilities_bounding": "000001fffeffffff"},
        {"capabilities_bounding": DEFAULT_MASK},
        "got the capabilities",
    ),
    "cap drop": Case(
        DockerOptions(cap_drop=("MKNOD",)),
        {"capabilities_bounding": "00000000a00425fb"},
        {"capabilities_bounding": DEFAULT_MASK},
        "asked --cap-drop=CAP_MKNOD",
    ),
    "cap drop all": Case(
        DockerOptions(cap_drop=("ALL",)),
        {"capabilities_bounding": "0000000000000000"},
        {"capabilities_bounding": DEFAULT_MASK},
        "got the capabilities AUDIT_WRITE",
    ),
    "seccomp": Case(
        DockerOptions(security_opt=("seccomp=unconfined",)), {"seccomp": "0"}, {"seccomp": "2"}, "got seccomp mode 2"
    ),
    "apparmor": Case(
        DockerOptions(security_opt=("apparmor=unconfined",)),
        {"apparmor": "unconfined"},
        {"apparmor": "docker-default (enforce)"},
        "got profile docker-default (enforce)",
    ),
    "new privileges": Case(
        DockerOptions(security_opt=("no-new-privileges:true",)), {"no_new_privs": "1"}, {"no_new_privs": "0"}, "allowed"
    ),
    "init": Case(
        DockerOptions(init=True), {"pid_inside": 7}, {"pid_inside": 1}, "asked --init, got the engine as first"
    ),
    "variables": Case(
        DockerOptions(env=("LOG=5", "MODE=a=b")),
        {"environment": {"LOG": "5", "MODE": "a=b", "HOME": "/root"}},
        {"environment": {"MODE": "a", "LOG": "5"}},
        "asked -e=LOG=5 -e=MODE=a=b, got MODE=a",
    ),
    "read-only": Case(
        DockerOptions(read_only=True), {"root_read_only": True}, {"root_read_only": False}, "got a root to write on"
    ),
}


CASES |= {
    name: Case(DockerOptions(**{name: case.value}), dict(case.acts), dict(case.denied or {}), case.said)
    for name, case in flag_cases.CASES.items()
    if case.acts is not None
}
WITHOUT_TRACE = [name for name in option_names() if flag_of(name).trace is None]


def last(options: DockerOptions, state: dict[str, Any]) -> tuple[bool | None, str]:
    """What is said of the last option that was given."""
    shown = readings(options, state)[-1]
    return shown.acts, shown.sentence


def test_every_option_has_a_case_or_leaves_no_trace() -> None:
    seen = {shown.option for case in CASES.values() for shown in readings(case.options, {})}
    assert seen | set(WITHOUT_TRACE) == set(option_names())
    assert not seen & set(WITHOUT_TRACE)


@pytest.mark.parametrize("name", CASES)
def test_a_flag_that_acts_is_seen_to(name: str) -> None:
    assert last(CASES[name].options, CASES[name].acts)[0] is True


@pytest.mark.parametrize("name", CASES)
def test_a_flag_that_came_to_something_else_is_named_with_what_was_asked_and_got(name: str) -> None:
    acts, sentence = last(CASES[name].options, CASES[name].not_so)
    assert acts is False
    assert sentence.startswith("asked -")
    assert CASES[name].said in sentence


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_read_is_neither(name: str) -> None:
    assert last(CASES[name].options, {"nice": 0, "cgroup_limits": {}, "namespaces": {}, "rlimits": {}})[0] is None


def test_options_without_a_trace_show_nothing() -> None:
    options = DockerOptions(gpus="all", log_driver="none", runtime="crun", device=("/dev/null",), other=("--tmpfs=/a",))
    assert readings(options, {"nice": 0}) == ()
    assert {name: expectations(name, options) for name in WITHOUT_TRACE} == dict.fromkeys(WITHOUT_TRACE, ())


def test_options_that_say_no_show_nothing() -> None:
    assert readings(DockerOptions(privileged=False, init=False, read_only=False), {"seccomp": "2"}) == ()


def test_sizes_are_those_of_whole_pages() -> None:
    assert last(DockerOptions(shm_size="67108865"), {"shm_bytes": 67112960})[0] is True
    assert last(DockerOptions(shm_size="67108865"), {"shm_bytes": 67108864})[0] is False
    assert last(DockerOptions(memory="6291457"), limit(memory_bytes=6291456))[0] is True
    assert last(DockerOptions(memory="6m"), limit(memory_bytes=6 * MIB + 4096))[0] is False


def test_one_field_that_denies_outweighs_one_that_confirms() -> None:
    state = own("net") | {"interfaces": ["eth0", "lo"]}
    assert last(DockerOptions(network="none"), state) == (False, "asked --network=none, got the interfaces eth0, lo")


def test_an_engine_that_takes_fewer_cpus_for_itself_has_its_cpuset_all_the_same() -> None:
    assert last(DockerOptions(cpuset_cpus="0-3"), {"cpus_allowed": "2"} | limit(cpuset="0-3"))[0] is True


def test_another_security_module_is_not_taken_for_apparmor() -> None:
    assert apparmor_is("unconfined", "system_u:system_r:container_t:s0:c1,c2") is None
    assert apparmor_is("unconfined", None) is True
    assert apparmor_is("mine", None) is None
    assert apparmor_is("docker-default", "docker-default (enforce)") is True
    assert apparmor_is("docker", "docker-default (enforce)") is False


@pytest.mark.parametrize(("shares", "weights"), [(2, {1}), (1024, {39, 100}), (2000, {77, 170}), (262144, {10000})])
def test_weights_are_those_that_the_runtimes_print(shares: int, weights: set[int]) -> None:
    """2000 is the example of opencontainers/runc#4896, 1024 that of #4772."""
    assert weights_of(shares) == weights


@given(st.integers(1, 1 << 20))
def test_weights_are_weights(shares: int) -> None:
    assert all(1 <= weight <= 10000 for weight in weights_of(shares))


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", {0}), ("0-3", {0, 1, 2, 3}), ("5-6,15", {5, 6, 15}), ("", set()), ("3,1-1\n", {1, 3})]
)
def test_cpu_lists(text: str, cpus: set[int]) -> None:
    assert cpu_numbers(text) == cpus


@given(st.frozensets(st.integers(0, 300)))
def test_a_cpu_list_is_read_back(numbers: frozenset[int]) -> None:
    assert cpu_numbers(cpu_list(numbers)) == numbers


def test_what_is_no_cpu_list_is_refused() -> None:
    with pytest.raises(ValueError, match="performance"):
        cpu_numbers("performance")


def test_capabilities_have_the_kernels_bits() -> None:
    assert capability_names(DEFAULT_MASK) == DEFAULT_CAPABILITIES
    assert capability_names(ALL_MASK) == set(CAPABILITIES)
    assert capability_names(f"{1 << 21:x}") == {"SYS_ADMIN"}
    assert capability_names(f"{1 << 24:x}") == {"SYS_RESOURCE"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (DockerOptions(), DEFAULT_CAPABILITIES),
        (DockerOptions(privileged=True, cap_drop=("ALL",)), set(CAPABILITIES)),
        (DockerOptions(cap_add=("ALL",), cap_drop=("cap_mknod",)), set(CAPABILITIES) - {"MKNOD"}),
        (DockerOptions(cap_drop=("ALL",), cap_add=("CAP_SYS_NICE",)), {"SYS_NICE"}),
        (DockerOptions(cap_drop=("MKNOD", "KILL"), cap_add=("kill",)), DEFAULT_CAPABILITIES - {"MKNOD"}),
    ],
)
def test_capabilities_are_what_dockerd_makes_of_the_flags(options: DockerOptions, expected: set[str]) -> None:
    assert capabilities_of(options) == expected


def test_what_security_options_ask_beyond_the_default() -> None:
    given_options = ("seccomp:unconfined", "apparmor=mine", "no-new-privileges", "label=disable")
    assert security_choices(DockerOptions(security_opt=given_options)) == {
        "seccomp": "unconfined",
        "apparmor": "mine",
        "no-new-privileges": "true",
        "label=disable": "",
    }
    assert security_choices(DockerOptions(security_opt=("no-new-privileges=false",))) == {}
    assert set(security_choices(DockerOptions(security_opt=given_options, privileged=True))) == {
        "no-new-privileges",
        "label=disable",
    }


@pytest.mark.parametrize(
    ("options", "named", "said"),
    [
        (DockerOptions(ipc="host", shm_size="8g"), "shm_size", "under --ipc=host"),
        (DockerOptions(memory_swap="1g"), "memory_swap", "without --memory"),
        (DockerOptions(privileged=True, cap_add=("SYS_NICE",)), "cap_add", "--cap-add cannot act"),
        (DockerOptions(privileged=True, cap_drop=("ALL",)), "cap_drop", "under --privileged"),
        (DockerOptions(privileged=True, security_opt=("seccomp=unconfined",)), "security_opt", "under --privileged"),
        (DockerOptions(init=True, pid="host"), "init", "under --pid=host"),
    ],
)
def test_options_that_cannot_act_are_named_with_the_reason_and_expected_nowhere(
    options: DockerOptions, named: str, said: str
) -> None:
    assert list(cannot_act(options)) == [named]
    assert said in cannot_act(options)[named]
    assert named not in {shown.option for shown in readings(options, {})}


@pytest.mark.parametrize(
    "options",
    [
        DockerOptions(shm_size="8g", ipc="private"),
        DockerOptions(init=True),
        DockerOptions(cap_add=("SYS_NICE",)),
        DockerOptions(privileged=True, security_opt=("seccomp=unconfined", "no-new-privileges")),
    ],
)
def test_options_that_can_act_are_not(options: DockerOptions) -> None:
    assert cannot_act(options) == {}
