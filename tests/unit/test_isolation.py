"""The attribution steps: which there are, what each has, and why others are excluded. Pure, but one filter is run."""

import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import builders
import pytest

from sparkray.config.docker import DockerOptions, cannot_act, flag_words
from sparkray.config.isolation import (
    BY_NAME,
    LAYER_TITLES,
    LAYERS,
    AttributionArm,
    AttributionSteps,
    KernelFacts,
    attribution_steps,
    without_layer,
)
from sparkray.config.layer_effect import missing, own_namespaces
from sparkray.config.site import Environment, is_container, is_native
from sparkray.config.space import HostFacts
from sparkray.errors import RunUnreadyError
from sparkray.plan import Study, Treatment, equivalences, make_plan, run_id_of, treatments_of
from sparkray.runtimes.linux import _filter, _isolate
from sparkray.runtimes.linux.cgroup import parse_mounts
from sparkray.runtimes.linux.isolation import hierarchies, make_groups

MODERN = KernelFacts(2, "overlay2")
PLAIN = DockerOptions()
FULL = HostFacts(security=("seccomp", "apparmor", "cgroupns"))


def climbed(options: DockerOptions = PLAIN, host: HostFacts = FULL, kernel: KernelFacts = MODERN) -> AttributionSteps:
    return attribution_steps(Environment(options), host, kernel)


def layers_of(found: AttributionSteps, direction: str) -> set[str]:
    return {step.layer for step in found.steps if step.direction == direction}


def reason(found: AttributionSteps, layer: str, direction: str) -> str:
    return next(s.reason for s in found.excluded if (s.layer, s.direction) == (layer, direction))


def option(arm: AttributionArm, name: str) -> Any:
    return getattr(arm.options, name)


def rung_of(found: AttributionSteps, environment: str) -> AttributionArm:
    return next(arm for arm in found.arms if arm.environment == environment)


def test_every_layer_is_measured_or_excluded_in_either_direction() -> None:
    for options in (DockerOptions(), DockerOptions(ipc="host", cpus=0.5), DockerOptions(privileged=True, pid="host")):
        for kernel in (MODERN, KernelFacts(1, "overlay2"), KernelFacts()):
            found = climbed(options, kernel=kernel)
            for direction in ("add", "leave"):
                excluded = {s.layer for s in found.excluded if s.direction == direction}
                assert layers_of(found, direction) | excluded == {*LAYER_TITLES} == {*BY_NAME, "limits"}
                assert not layers_of(found, direction) & excluded


def test_all_attribution_steps_of_a_modern_host() -> None:
    found = climbed()
    assert layers_of(found, "add") == {*BY_NAME}
    assert layers_of(found, "leave") == {*BY_NAME} - {"overlay", "cgroup", "masked-paths"}
    assert (found.first, found.last) == ("host", "container_baseline")
    names = [arm.environment for arm in found.arms]
    assert len(set(names)) == len(names) == 2 + 11 + 1 + 8 + 1
    assert rung_of(found, "native:plus-all").isolation == tuple(layer.name for layer in LAYERS)
    assert all(step.before in names and step.after in names for step in found.steps)


def test_names_tell_what_runs_them() -> None:
    for treatment in treatments_of(climbed()):
        name = treatment.environment
        assert treatment.in_container == is_container(name) == name.startswith("container")
        assert treatment.in_chroot == is_native(name) == name.startswith("native")
        assert bool(treatment.isolation) == ("plus" in name)


@pytest.mark.parametrize(("layer", "flag"), [(layer.name, layer.flag) for layer in LAYERS if layer.flag is not None])
def test_the_flag_that_is_reported_is_the_one_that_is_given(layer: str, flag: str) -> None:
    options = without_layer(layer, DockerOptions(), HostFacts())
    assert flag_words(options) == [flag]


def test_what_a_container_has_not_is_not_added_either() -> None:
    found = climbed(DockerOptions(ipc="host", network="host", uts="host", cgroupns="host", pid="host"))
    for layer in ("ipc", "network", "uts", "cgroupns", "pid"):
        for direction in ("add", "leave"):
            assert reason(found, layer, direction).startswith(f"{BY_NAME[layer].flag} is in the baseline")


def test_a_privileged_container_has_no_filter_and_no_masks() -> None:
    found = climbed(DockerOptions(privileged=True))
    for layer in ("seccomp", "apparmor", "masked-paths"):
        assert reason(found, layer, "add").startswith("--privileged is in the baseline")
    assert reason(found, "capabilities", "add").startswith("the baseline has every capability")
    assert "pid" in layers_of(found, "leave")


def test_an_unconfined_baseline_has_no_filter() -> None:
    found = climbed(DockerOptions(security_opt=("seccomp=unconfined",)))
    assert "seccomp=unconfined is in the baseline" in reason(found, "seccomp", "leave")
    assert "apparmor" in layers_of(found, "leave")
    less = rung_of(found, "container:less-apparmor")
    assert option(less, "security_opt") == ("seccomp=unconfined", "apparmor=unconfined")


def test_what_the_engine_or_the_kernel_lacks_is_excluded() -> None:
    found = climbed(host=HostFacts(security=("seccomp",)), kernel=KernelFacts(1, "vfs", {"network": "it says no"}))
    assert "uses no apparmor" in reason(found, "apparmor", "add")
    assert "storage driver is vfs" in reason(found, "overlay", "add")
    assert "cgroup version 1" in reason(found, "cgroupns", "leave")
    assert reason(found, "network", "add") == "it says no"
    assert "network" in layers_of(found, "leave")
    assert "network" not in rung_of(found, "native:plus-all").isolation


def test_limits_are_taken_away_where_the_baseline_sets_some() -> None:
    baseline = Environment(DockerOptions(memory="4g", cpus=2.0, cpuset_cpus="0-1", init=True), ("memory", "init"))
    found = attribution_steps(baseline, FULL, MODERN)
    less = rung_of(found, "container:less-limits")
    assert (less.options, less.adapt) == (DockerOptions(init=True), ("init",))
    assert "limits" in layers_of(found, "leave")
    assert "what the added layers leave" in reason(found, "limits", "add")
    assert "limits" not in rung_of(found, "native:plus-all").isolation
    for direction in ("add", "leave"):
        assert reason(climbed(), "limits", direction).startswith("none of --cpuset-cpus, ")


def test_private_cgroups_are_taken_away_under_version_1_where_they_were_asked_for() -> None:
    found = climbed(DockerOptions(cgroupns="private"), kernel=KernelFacts(1))
    assert option(rung_of(found, "container:less-cgroupns"), "cgroupns") == "host"


def test_capabilities_that_the_engine_lacks_are_not_asked_for() -> None:
    whole = without_layer("capabilities", DockerOptions(cap_drop=("KILL",)), HostFacts())
    assert (whole.cap_add, whole.cap_drop) == (("ALL",), None)
    part = without_layer("capabilities", DockerOptions(), HostFacts(lacks=("SYS_RESOURCE",)))
    assert part.cap_add is not None
    assert {"SYS_ADMIN", "SYS_NICE"} <= set(part.cap_add)
    assert not {"SYS_RESOURCE", "ALL", "BPF"} & set(part.cap_add)


def test_taking_ipc_away_leaves_no_flag_that_cannot_act() -> None:
    found = climbed(DockerOptions(shm_size="8g", ulimit_stack=1 << 26))
    less = rung_of(found, "container:less-ipc")
    assert cannot_act(less.options) == {}
    assert (option(less, "ipc"), option(less, "shm_size"), option(less, "ulimit_stack")) == ("host", None, 1 << 26)
    assert rung_of(found, "native:plus-ipc").options == DockerOptions(shm_size="8g")
    assert rung_of(found, "native:plus-pid").options == DockerOptions()


def test_what_may_be_given_up_may_be_given_up_in_every_attribution_arm() -> None:
    baseline = Environment(DockerOptions(shm_size="8g", ulimit_memlock=-1), ("shm_size", "ulimit_memlock"))
    found = attribution_steps(baseline, FULL, MODERN)
    assert rung_of(found, "container:less-ipc").adapt == ("ulimit_memlock",)
    assert rung_of(found, "container:less-pid").adapt == rung_of(found, "container_baseline").adapt == baseline.adapt


def test_fewer_attribution_steps() -> None:
    found = attribution_steps(Environment(DockerOptions()), FULL, MODERN, start="native", together=False)
    assert found.first == "native"
    assert layers_of(found, "start") == layers_of(found, "all") == set()


def study(*treatments: Treatment) -> Study:
    names = tuple(t.environment for t in treatments)
    experiment = builders.experiment(environments=names, order="alternating")
    return replace(builders.study(), experiment=experiment, treatments=treatments)


def test_attribution_steps_are_planned_in_shared_blocks_and_nothing_of_it_is_folded() -> None:
    treatments = treatments_of(climbed(DockerOptions(ipc="host", shm_size="8g")))
    made = study(*treatments)
    assert equivalences(made) == ()
    runs = make_plan(made)
    for block in range(made.experiment.runs):
        assert {r.environment for r in runs if r.block == block} == {t.environment for t in treatments}
    assert len({run.run_id for run in runs}) == len(runs)


def test_an_attribution_arm_that_equals_the_baseline_folds_into_it_and_not_the_other_way_round() -> None:
    same = study(
        Treatment("container:less-ipc", DockerOptions(ipc="host")),
        Treatment("container_baseline", DockerOptions(ipc="host")),
    )
    assert [(f.treatment, f.like) for f in equivalences(same)] == [("container:less-ipc", "container_baseline")]


def test_layers_are_part_of_what_a_run_is_and_ids_from_before_stay() -> None:
    bare, layered = Treatment("native"), Treatment("native", isolation=("pid",))
    made = study(bare)
    card, level = made.cards[0], made.experiment.levels[0]
    ids = {
        run_id_of(made, card, t, block=0, level=level) for t in (bare, layered, replace(layered, isolation=("uts",)))
    }
    assert len(ids) == 3
    assert run_id_of(made, card, Treatment("native", isolation=()), block=0, level=level) in ids


def test_what_a_state_must_show() -> None:
    kinds = dict.fromkeys(("mnt", "pid", "net", "ipc", "uts", "cgroup"), "host")
    state = {
        "namespaces": kinds,
        "rootfs": "ext4",
        "shm_bytes": 64 << 20,
        "cgroups": ["1:memory:/x"],
        "seccomp": "0",
        "capabilities_bounding": "000001ffffffffff",
        "apparmor": "unconfined",
    }
    for layer in set(BY_NAME) - {"masked-paths"}:
        assert len(list(missing((layer,), DockerOptions(), state))) == 1, layer
    shown = {
        "namespaces": dict.fromkeys(kinds, "own"),
        "rootfs": "overlay",
        "shm_bytes": 8 << 20,
        "seccomp": "2",
        "cgroups": ["1:memory:/sparkray/x"],
        "capabilities_bounding": "00000000a80425fb",
        "apparmor": "docker-default (enforce)",
    }
    assert list(missing(tuple(BY_NAME), DockerOptions(shm_size="8m"), shown)) == []
    assert list(missing(tuple(BY_NAME), DockerOptions(), {})) == []
    assert own_namespaces(("pid", "network", "overlay")) == {"mnt", "pid", "net"}


V1 = """1 0 0:1 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
2 0 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
3 0 0:3 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
4 0 0:4 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
5 0 0:5 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


def test_groups_are_made_where_the_controllers_are() -> None:
    places = [mount.point.rpartition("/")[2] for mount in hierarchies(parse_mounts(V1))]
    assert places == ["cpu,cpuacct", "memory", "pids"]
    assert [m.version for m in hierarchies(parse_mounts(V1.splitlines()[-1]))] == [2]
    assert hierarchies([]) == []


def unified(folder: Path, controllers: str) -> str:
    """A folder as the kernel shows version 2, and the line of mountinfo that leads there."""
    for place in (folder, folder / "sparkray"):
        place.mkdir(exist_ok=True)
        (place / "cgroup.controllers").write_text(controllers)
    return f"5 0 0:5 / {folder} rw - cgroup2 cgroup2 rw"


def test_version_2_accounts_what_is_written_to_it(tmp_path: Path) -> None:
    assert make_groups("run", unified(tmp_path, "cpuset cpu io memory pids\n")) == [tmp_path / "sparkray" / "run"]
    assert (tmp_path / "sparkray" / "run").is_dir()
    for place in (tmp_path, tmp_path / "sparkray"):
        assert (place / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"


def test_a_group_that_accounts_nothing_is_no_layer(tmp_path: Path) -> None:
    with pytest.raises(RunUnreadyError, match="has no memory controller"):
        make_groups("run", unified(tmp_path, "cpuset"))
    with pytest.raises(RunUnreadyError, match="no memory controller is mounted"):
        make_groups("run", "")
    assert not (tmp_path / "sparkray" / "run").exists()


@pytest.mark.parametrize("machine", _filter.MACHINES)
def test_the_filter_is_of_the_kind_and_size_of_dockers(machine: str) -> None:
    code = [struct.unpack("HBBI", part) for part in zip_eights(_filter.seccomp_program(machine))]
    assert 500 < len(code) < 4096  # the kernel's own bound (BPF_MAXINSNS)
    for place, (operation, yes, no, _) in enumerate(code):
        if operation & 7 == 5:
            assert place + 1 + max(yes, no) < len(code)


def zip_eights(program: bytes) -> list[bytes]:
    return [program[place : place + 8] for place in range(0, len(program), 8)]


def judged(machine: str, number: int, *, architecture: int | None = None, argument: int = 0) -> str:
    """What the filter answers, by an interpreter of the few instructions that it is made of."""
    code = [struct.unpack("HBBI", part) for part in zip_eights(_filter.seccomp_program(machine))]
    data = struct.pack(
        "IIQQ", number, _filter.ARCHITECTURE[machine] if architecture is None else architecture, 0, argument
    )
    place, value = 0, 0
    while True:
        operation, yes, no, k = code[place]
        place += 1
        match operation:
            case 0x20:
                (value,) = struct.unpack_from("I", data, k)
            case 0x54:
                value &= k
            case 0x15:
                place += yes if value == k else no
            case 0x35:
                place += yes if value >= k else no
            case _:
                assert operation == 0x06
                return "allow" if k == 0x7FFF0000 else os.strerror(k & 0xFFFF)


@pytest.mark.parametrize("machine", _filter.MACHINES)
def test_the_filter_allows_all_but_what_is_named(machine: str) -> None:
    place = _filter.MACHINES.index(machine)
    blocked = {numbers[place]: name for name, *numbers in _filter.blocked_calls() if numbers[place] is not None}
    for number in _filter.KNOWN[machine]:
        if number != _filter.CLONE3 and number != _filter.CLONE[machine]:
            expected = "Operation not permitted" if number in blocked else "allow"
            assert judged(machine, number) == expected, blocked.get(number, number)


def test_the_filter_looks_at_flags_architecture_and_what_is_new() -> None:
    for machine, clone in _filter.CLONE.items():
        assert judged(machine, clone, argument=0x003D0F00) == "allow"  # the flags of a thread
        assert judged(machine, clone, argument=0x20000000) == "Operation not permitted"  # of a PID namespace
    assert judged("x86_64", 1, architecture=_filter.ARCHITECTURE["aarch64"]) == "Function not implemented"
    assert judged("x86_64", 9999) == judged("x86_64", 435) == "Function not implemented"
    assert judged("x86_64", 0x40000001) == "Function not implemented"  # the x32 way around a filter


def test_no_filter_is_known_for_other_machines() -> None:
    with pytest.raises(KeyError):
        _filter.seccomp_program("riscv64")


def test_paths_are_written_for_overlayfs_as_it_reads_them() -> None:
    assert _isolate._escaped("/a:b,c\\d") == "/a\\:b\\,c\\\\d"


def test_layers_are_tried_by_the_names_that_the_layers_have(tmp_path: Path) -> None:
    assert {*_isolate.TRIALS} == {*BY_NAME} - {"cgroup"}  # which is made by whoever starts the process
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_isolate.__file__), str(tmp_path)], capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert {*said} == {*_isolate.TRIALS}
    assert all(reason is None or reason for reason in said.values())
