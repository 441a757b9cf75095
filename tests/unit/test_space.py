"""Search spaces: what a file may say, what a choice makes of the baseline, and which levels a host strikes out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparkray.catalog import data_root
from sparkray.config.boundary import parse, read_yaml
from sparkray.config.docker import DockerOptions
from sparkray.config.feasible_levels import LevelVerdict, judge, unresolved
from sparkray.config.space import Factor, HostFacts, Space, apply_level, grade, isolation_rank, unmet, weakenings
from sparkray.errors import ConfigError

SPARK = HostFacts(
    cpus="0-19",
    performance_cpus="5-9,15-19",
    has_gpu=True,
    memory_gib=119.6,
    runtimes=("nvidia", "runc"),
    security=("apparmor", "seccomp"),
    devices=(),
)
BASELINE = DockerOptions(gpus="all", ipc="host", ulimit_memlock=-1, ulimit_stack=67108864)
FILES = sorted((data_root() / "conf" / "spaces").glob("*.yaml"))


def space_of(path: Path) -> Space:
    return parse(Space, read_yaml(path), str(path))


def one(factor: Factor, *, baseline: DockerOptions = BASELINE, host: HostFacts = SPARK, **more: object) -> LevelVerdict:
    """The verdict on a factor's first level."""
    space = Space("test", "test", (factor,))
    return judge(space, baseline, workload=str(more.pop("workload", "offline")), host=host, **more)[0]  # type: ignore[arg-type]


def verdicts(name: str, host: HostFacts, *, baseline: DockerOptions = BASELINE, **more: Any) -> dict[str, LevelVerdict]:
    space = space_of(next(path for path in FILES if path.stem == name))
    return {v.name: v for v in judge(space, baseline, workload="offline", host=host, **more)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_spaces_that_ship_are_well_formed(path: Path) -> None:
    space = space_of(path)
    assert space.name == path.stem
    assert all(factor.why for factor in space.factors)


def test_three_spaces_ship() -> None:
    assert [path.stem for path in FILES] == ["dgx-spark", "discrete-gpu", "local"]


STUDY = {
    "shm_size=8g",
    "shm_size=32g",
    "shm_size=60g",
    "network=host",
    "privileged=yes",
    "cgroup_parent=/",
    "ipc=private",
}
"""What it listed that is a flag of any machine; the rest are of a machine with 20 CPUs, and what Docker does anyway."""


@pytest.mark.parametrize(
    ("name", "more"),
    [("dgx-spark", {"cpuset=0-9", "memory=unlimited", "cpuset=performance"}), ("local", {"cpuset=performance"})],
)
def test_a_space_has_the_strategies_of_the_study(name: str, more: set[str]) -> None:
    space = space_of(next(path for path in FILES if path.stem == name))
    levels = {f"{factor.name}={label}" for factor in space.factors for label in factor.levels}
    assert STUDY | more <= levels


@pytest.mark.parametrize("host", [SPARK, HostFacts()], ids=["a Spark", "nothing is known"])
def test_what_sparkray_does_not_do_is_not_put_down_to_the_host(host: HostFacts) -> None:
    found = verdicts("dgx-spark", host)
    for name in ("model_from=image", "model_from=tmpfs"):
        assert found[name].reason.startswith("sparkray does not do it yet: "), name
    assert found["page_cache=warm"].reason.startswith("sparkray does not vary the protocol")
    assert found["hugepages=always"].reason.startswith("sparkray does not do it: ")
    assert not any(v.feasible for v in found.values() if v.reason.startswith("sparkray does not"))


def test_levels_that_cannot_act_are_excluded_with_the_reason() -> None:
    found = verdicts("dgx-spark", SPARK)
    excluded = {name: verdict.reason for name, verdict in found.items() if not verdict.feasible}
    assert "serve workload" in excluded["network=host"]
    assert "--allow-insecure" in excluded["privileged=yes"]
    assert excluded["memory=unlimited"] == "the baseline has it already"
    assert "no OCI runtime 'crun'" in excluded["gpu_access=crun"]
    assert "effectively ipc=private" in excluded["ipc=shareable"]
    assert {"cpuset=performance", "cpuset=0-9", "seccomp=unconfined", "gpu_access=nvidia-runtime"}.isdisjoint(excluded)


def test_shm_cannot_act_under_the_ipc_of_the_baseline_and_is_kept_for_the_search() -> None:
    verdict = verdicts("dgx-spark", SPARK)["shm_size=32g"]
    assert (verdict.feasible, verdict.alone) == (True, False)
    assert "cannot act under --ipc=host" in verdict.reason
    assert "together with ipc=private" in verdict.reason
    private = replace(BASELINE, ipc="private")
    assert verdicts("dgx-spark", SPARK, baseline=private)["shm_size=32g"].alone


def test_performance_cores_are_those_of_the_machine() -> None:
    assert verdicts("dgx-spark", SPARK)["cpuset=performance"].options == {"cpuset_cpus": "5-9,15-19"}
    swapped = replace(SPARK, performance_cpus="0-4,10-14")
    assert verdicts("dgx-spark", swapped)["cpuset=efficiency"].options == {"cpuset_cpus": "5-9,15-19"}
    alike = replace(SPARK, performance_cpus="0-19")
    found = verdicts("dgx-spark", alike)
    assert found["cpuset=performance"].reason == "--cpuset-cpus=0-19 cannot act: it is every CPU of this machine"
    assert found["cpuset=efficiency"].reason == "every CPU of this machine is of the fastest kind"


def test_an_unknown_machine_strikes_nothing_out_for_what_it_may_lack() -> None:
    found = verdicts("dgx-spark", HostFacts())
    assert found["gpu_access=crun"].feasible
    assert found["seccomp=unconfined"].feasible
    assert found["cpuset=performance"].feasible
    assert unresolved(found["cpuset=performance"].options)


FACTORS = {
    "no GPU": (Factor("g", {"n": {"gpus": "1"}}, "w"), replace(SPARK, has_gpu=False), "has none"),
    "no such CPU": (Factor("c", {"n": {"cpuset_cpus": "0-40"}}, "w"), SPARK, "not all of 0-40"),
    "quota above": (Factor("c", {"n": {"cpus": 20.0}}, "w"), SPARK, "cannot act: this machine has"),
    "memory above": (Factor("m", {"n": {"memory": "120g"}}, "w"), SPARK, "cannot act: this machine has"),
    "no AppArmor": (
        Factor("a", {"n": {"security_opt": ["apparmor=unconfined"]}}, "w"),
        replace(SPARK, security=("seccomp",)),
        "no apparmor",
    ),
    "no device": (Factor("d", {"n": {"device": ["/dev/nvidia7"]}}, "w"), SPARK, "no /dev/nvidia7"),
    "an older key": (Factor("o", {"n": {"cdi": "nvidia.com/gpu=all"}}, "w"), SPARK, "device: [nvidia.com/gpu=all]"),
}


@pytest.mark.parametrize("case", FACTORS)
def test_what_a_host_lacks_strikes_out(case: str) -> None:
    factor, host, said = FACTORS[case]
    verdict = one(factor, host=host)
    assert not verdict.feasible
    assert said in verdict.reason


@pytest.mark.parametrize(
    "case", sorted(set(FACTORS) - {"no such CPU", "quota above", "memory above", "no device", "an older key"})
)
def test_a_host_that_has_it_does_not(case: str) -> None:
    assert one(FACTORS[case][0]).feasible


def test_dangerous_is_offered_only_when_allowed() -> None:
    factor = Factor("privileged", {"yes": {"privileged": True}}, "w")
    assert not one(factor).feasible
    allowed = one(factor, allowed="dangerous")
    assert (allowed.feasible, allowed.security) == (True, "dangerous")
    bounded = replace(SPARK, lacks=("SYS_RESOURCE",))
    assert one(factor, allowed="dangerous", host=bounded).feasible, "runc 1.1.15 starts it; a search tries it"
    limit = Factor("u", {"n": {"ulimit_nofile": -1}}, "w")
    assert one(limit, host=bounded).feasible, "a limit that is unlimited already needs no raising; a search tries it"


def test_what_weakens_isolation_is_offered_unless_that_was_ruled_out() -> None:
    factor = Factor("seccomp", {"off": {"security_opt": ["seccomp=unconfined"]}}, "w")
    assert one(factor).feasible
    refused = one(factor, allowed="none")
    assert not refused.feasible
    assert refused.reason.startswith("weakens isolation")
    assert refused.reason.endswith("requires --security weakens")
    assert one(Factor("init", {"yes": {"init": True}}, "w"), allowed="none").feasible


def test_what_the_engine_does_anyway_is_no_level_of_its_own() -> None:
    factor = Factor("log", {"json-file": {"log_driver": "json-file"}}, "w")
    assert one(factor).feasible, "what the engine does is not known"
    verdict = one(factor, host=replace(SPARK, log_driver="json-file"))
    assert not verdict.feasible
    assert verdict.reason == "--log-driver=json-file asks for what Docker does anyway"
    assert one(factor, host=replace(SPARK, log_driver="journald")).feasible
    runtime = Factor("runtime", {"runc": {"runtime": "runc"}}, "w")
    assert not one(runtime, host=replace(SPARK, runtime="runc")).feasible


def test_network_is_offered_under_the_workload_that_it_acts_on() -> None:
    factor = Factor("network", {"host": {"network": "host"}}, "w", acts_under="serve")
    assert one(factor, workload="serve").feasible
    assert not one(factor, workload="offline").feasible


GRADES = {
    "none": [
        {"ipc": "private"},
        {"network": "none"},
        {"security_opt": ("no-new-privileges",)},
        {"cap_drop": ("ALL",)},
        {},
    ],
    "weakens": [
        {"ipc": "host"},
        {"pid": "host"},
        {"security_opt": ("seccomp=unconfined",)},
        {"cap_add": ("IPC_LOCK",)},
    ],
    "dangerous": [{"privileged": True}, {"cap_add": ("CAP_SYS_ADMIN",)}, {"cap_add": ("all",), "ipc": "private"}],
}


@pytest.mark.parametrize(("expected", "values"), [(g, v) for g, many in GRADES.items() for v in many])
def test_the_grade_is_of_the_value_not_of_the_flag(expected: str, values: dict[str, object]) -> None:
    assert grade(DockerOptions(**values)) == expected  # type: ignore[arg-type]


def test_ranks_ascend_with_danger() -> None:
    assert [isolation_rank(g) for g in ("none", "weakens", "dangerous")] == [0, 1, 2]


def test_weakenings_are_counted_by_value() -> None:
    assert weakenings(DockerOptions()) == 0
    assert weakenings(DockerOptions(ipc="private", security_opt=("no-new-privileges",))) == 0
    assert weakenings(DockerOptions(ipc="host", pid="host", init=True)) == 2


def test_a_level_changes_what_it_names_and_nothing_else() -> None:
    changed = apply_level(BASELINE, {"ipc": "private", "ulimit_stack": None})
    assert changed == DockerOptions(gpus="all", ipc="private", ulimit_memlock=-1)


def test_security_options_of_several_levels_stand_together() -> None:
    first = apply_level(DockerOptions(), {"security_opt": ["seccomp=unconfined"]})
    both = apply_level(first, {"security_opt": ["no-new-privileges"]})
    assert both.security_opt == ("seccomp=unconfined", "no-new-privileges")
    again = apply_level(DockerOptions(security_opt=("apparmor:other",)), {"security_opt": ["apparmor=unconfined"]})
    assert again.security_opt == ("apparmor=unconfined",)


def test_needs_take_dockers_own_default_into_account() -> None:
    needs = {"ipc": ("private", "shareable")}
    assert unmet(needs, DockerOptions()) is None
    assert unmet(needs, DockerOptions(ipc="shareable")) is None
    assert "--ipc=host" in (unmet(needs, DockerOptions(ipc="host")) or "")


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ({}, "at least one level"),
        ({"baseline": {"ipc": "host"}}, "none is called"),
        ({"a": {}}, "changes nothing"),
        ({"a": {"shm_sise": "8g"}}, "did you mean 'shm_size'"),
        ({"a": {"shm_size": "eight"}}, "is not a size"),
        ({"a": {"cpuset_cpus": "fast"}}, "not a list of numbers"),
    ],
)
def test_levels_that_mean_nothing_are_refused(levels: dict[str, dict[str, object]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Factor("f", levels, "w")


def test_two_factors_may_not_change_one_option() -> None:
    first, second = Factor("a", {"x": {"cpus": 1.0}}, "w"), Factor("b", {"y": {"cpus": 2.0}}, "w")
    with pytest.raises(ValueError, match="both change cpus"):
        Space("s", "s", (first, second))
    with pytest.raises(ValueError, match="stands twice"):
        Space("s", "s", (first, first))


def test_a_file_with_a_wrong_key_says_where() -> None:
    with pytest.raises(ConfigError, match="did you mean 'needs'"):
        parse(Space, {"name": "s", "description": "d", "factors": [{"name": "a", "levels": {}, "need": {}}]}, "s.yaml")
