"""Treatments that are one treatment: by their flags, and by the state that they led to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkray.config.docker import DockerOptions
from sparkray.config.equivalence import (
    Equivalence,
    acting,
    differing_fields,
    find_equivalences,
    signature,
    state_signature,
)

BASELINE = DockerOptions(ipc="host", ulimit_memlock=-1, ulimit_stack=67108864)
PLAIN = DockerOptions()

SAME = [
    (PLAIN, DockerOptions(ipc="private"), "--ipc=private asks for what Docker does anyway"),
    (PLAIN, DockerOptions(ipc="shareable"), "--ipc=shareable asks for what Docker does anyway"),
    (PLAIN, DockerOptions(network="bridge"), "--network=bridge asks for what Docker does anyway"),
    (PLAIN, DockerOptions(shm_size="64m"), "--shm-size=64m asks for what Docker does anyway"),
    (PLAIN, DockerOptions(oom_score_adj=0), "--oom-score-adj=0 asks for what Docker does anyway"),
    (PLAIN, DockerOptions(privileged=False), "privileged=False asks for what Docker does anyway"),
    (PLAIN, DockerOptions(cap_add=("NET_RAW",)), "--cap-add=CAP_NET_RAW asks for what Docker does anyway"),
    (PLAIN, DockerOptions(cap_drop=("SYS_ADMIN",)), "--cap-drop=CAP_SYS_ADMIN asks for what Docker does anyway"),
    (PLAIN, DockerOptions(security_opt=("no-new-privileges=false",)), "asks for what Docker does anyway"),
    (PLAIN, DockerOptions(memory_swap="1g"), "--memory-swap cannot act without --memory"),
    (DockerOptions(ipc="host"), DockerOptions(ipc="host", shm_size="32g"), "--shm-size cannot act under --ipc=host"),
    (DockerOptions(ipc="host", shm_size="8g"), DockerOptions(ipc="host", shm_size="32g"), "--shm-size cannot act"),
    (
        DockerOptions(memory="64m"),
        DockerOptions(memory="64m", memory_swap="128m"),
        "--memory-swap=128m asks for what Docker does anyway",
    ),
    (DockerOptions(memory="1g"), DockerOptions(memory="1024m"), "--memory=1g and --memory=1g have the same effect"),
    (
        DockerOptions(cpuset_cpus="0-1"),
        DockerOptions(cpuset_cpus="1,0"),
        "--cpuset-cpus=1,0 and --cpuset-cpus=0-1 have the same effect",
    ),
    (DockerOptions(gpus="0,1"), DockerOptions(gpus="device=0,1"), "have the same effect"),
    (
        DockerOptions(cap_add=("SYS_NICE",)),
        DockerOptions(cap_add=("SYS_NICE",), cap_drop=("SYS_ADMIN",)),
        "--cap-drop=CAP_SYS_ADMIN makes no difference here",
    ),
    (
        DockerOptions(privileged=True),
        DockerOptions(privileged=True, cap_add=("SYS_NICE",)),
        "cannot act under --privileged",
    ),
    (DockerOptions(pid="host"), DockerOptions(pid="host", init=True), "--init cannot act under --pid=host"),
]
DIFFERENT = [
    (PLAIN, BASELINE),
    (PLAIN, DockerOptions(shm_size="32g")),
    (PLAIN, DockerOptions(cgroupns="private")),
    (PLAIN, DockerOptions(cgroupns="host")),
    (PLAIN, DockerOptions(log_driver="json-file")),
    (PLAIN, DockerOptions(runtime="runc")),
    (PLAIN, DockerOptions(cpu_shares=1024)),
    (PLAIN, DockerOptions(init=True)),
    (PLAIN, DockerOptions(security_opt=("no-new-privileges",))),
    (PLAIN, DockerOptions(privileged=True)),
    (DockerOptions(memory="64m"), DockerOptions(memory="64m", memory_swap="-1")),
    (DockerOptions(privileged=True), DockerOptions(cap_add=("ALL",), security_opt=("seccomp=unconfined",))),
    (DockerOptions(cap_drop=("ALL",)), DockerOptions(cap_drop=("MKNOD",))),
    (DockerOptions(cpuset_cpus="0-1"), DockerOptions(cpuset_cpus="0,2")),
    (DockerOptions(gpus="1"), DockerOptions(gpus="device=1")),
]


@pytest.mark.parametrize(("one", "other", "why"), SAME)
def test_what_makes_no_difference_is_folded_and_the_reason_said(
    one: DockerOptions, other: DockerOptions, why: str
) -> None:
    [found] = find_equivalences({"first": one, "second": other})
    assert (found.treatment, found.like) == ("second", "first")
    assert len(found.reasons) >= 1
    assert any(why in reason for reason in found.reasons)


@pytest.mark.parametrize(("one", "other", "_"), SAME)
def test_folding_is_the_same_either_way_round(one: DockerOptions, other: DockerOptions, _: str) -> None:
    [found] = find_equivalences({"first": other, "second": one})
    assert found.reasons
    assert signature(one) == signature(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_may_make_a_difference_is_measured(one: DockerOptions, other: DockerOptions) -> None:
    assert find_equivalences({"first": one, "second": other}) == ()


def test_a_caller_that_has_asked_the_daemon_folds_more() -> None:
    told = {"cgroupns": "private", "log_driver": "json-file", "runtime": "runc"}
    options = DockerOptions(cgroupns="private", log_driver="json-file", runtime="runc")
    assert find_equivalences({"first": PLAIN, "second": options}) == ()
    [found] = find_equivalences({"first": PLAIN, "second": options}, told)
    assert len(found.reasons) == 3


def test_each_of_many_is_folded_into_the_first_of_its_kind() -> None:
    found = find_equivalences(
        {
            "baseline": BASELINE,
            "other": PLAIN,
            "shm": DockerOptions(ipc="host", ulimit_memlock=-1, ulimit_stack=67108864, shm_size="8g"),
            "bridge": DockerOptions(network="bridge"),
            "again": BASELINE,
        }
    )
    assert [(f.treatment, f.like) for f in found] == [("shm", "baseline"), ("bridge", "other"), ("again", "baseline")]
    assert found[-1].reasons == ()
    assert found[-1].sentence == "again is effectively baseline: the flags are the same"


def test_the_sentence_names_both_and_the_reason() -> None:
    assert (
        Equivalence("a", "b", ("x cannot act", "y is usual")).sentence == "a is effectively b: x cannot act; y is usual"
    )


def test_what_else_must_be_equal_keeps_treatments_apart() -> None:
    same = {"first": PLAIN, "second": PLAIN}
    assert len(find_equivalences(same)) == 1
    assert find_equivalences(same, apart=lambda name: name) == ()


def test_what_acts_is_what_is_left() -> None:
    options = DockerOptions(ipc="host", shm_size="8g", network="bridge", ulimit_stack=67108864)
    assert acting(options) == ("ipc", "ulimit_stack")


OPTIONS = st.builds(
    DockerOptions,
    ipc=st.sampled_from([None, "host", "private", "shareable", "none"]),
    shm_size=st.sampled_from([None, "64m", "8g", "32g"]),
    network=st.sampled_from([None, "host", "none", "bridge"]),
    memory=st.sampled_from([None, "64m", "65536k"]),
    memory_swap=st.sampled_from([None, "128m", "-1"]),
    privileged=st.sampled_from([None, True, False]),
    cap_drop=st.sampled_from([None, ("ALL",), ("MKNOD",)]),
    init=st.sampled_from([None, True, False]),
    pid=st.sampled_from([None, "host"]),
)


@given(st.lists(OPTIONS, min_size=1, max_size=8))
def test_one_of_each_kind_is_left_and_it_comes_first(many: list[DockerOptions]) -> None:
    named = {f"t{number}": options for number, options in enumerate(many)}
    found = {equivalence.treatment: equivalence.like for equivalence in find_equivalences(named)}
    left = [name for name in named if name not in found]
    kinds = [repr(sorted(signature(named[name]).items())) for name in left]
    assert len(set(kinds)) == len(kinds)
    for name, like in found.items():
        assert like in left
        assert list(named).index(like) < list(named).index(name)
        assert signature(named[name]) == signature(named[like])


STATE: dict[str, Any] = {
    "nice": 0,
    "rlimits": {"stack": (67108864, 67108864)},
    "namespaces": {"net": "own", "pid": "own", "ipc": "host"},
    "interfaces": ["lo", "eth0"],
    "cgroup_limits": {"memory_bytes": -1, "cpuset": "0-1"},
    "environment": {"SPARKRAY_RUN": "a"},
    "cgroups": ["0::/docker/a"],
    "pid_inside": 1,
    "shm_bytes": 1000,
}


def test_what_belongs_to_one_run_alone_is_no_part_of_a_states_signature() -> None:
    another = STATE | {"environment": {"SPARKRAY_RUN": "b"}, "cgroups": ["0::/docker/b"], "interfaces": ["eth0", "lo"]}
    assert differing_fields(state_signature(PLAIN, STATE), state_signature(PLAIN, another)) == ()


def test_a_state_that_was_stored_has_the_same_signature() -> None:
    stored = STATE | {"rlimits": {"stack": [67108864, 67108864]}}
    assert state_signature(PLAIN, STATE) == state_signature(PLAIN, stored)


def test_the_hosts_interfaces_come_and_go() -> None:
    on_host = STATE | {"namespaces": STATE["namespaces"] | {"net": "host"}}
    busy = on_host | {"interfaces": ["docker0", "eth0", "lo", "veth1"]}
    assert state_signature(PLAIN, on_host) == state_signature(PLAIN, busy)
    assert differing_fields(state_signature(PLAIN, STATE), state_signature(PLAIN, on_host)) == (
        "interfaces",
        "namespaces",
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cgroup_limits": {"memory_bytes": 5, "cpuset": "0-1"}}, "cgroup_limits"),
        ({"shm_bytes": 2000}, "shm_bytes"),
        ({"pid_inside": 7}, "under_init"),
        ({"umask": "0077"}, "umask"),
    ],
)
def test_what_a_flag_changes_is_named(change: dict[str, Any], field: str) -> None:
    assert differing_fields(state_signature(PLAIN, STATE), state_signature(PLAIN, STATE | change)) == (field,)


def test_a_flag_without_a_trace_counts_as_it_was_asked() -> None:
    quiet = DockerOptions(log_driver="none")
    assert differing_fields(state_signature(PLAIN, STATE), state_signature(quiet, STATE)) == ("asked",)
