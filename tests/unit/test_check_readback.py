"""What was asked against what was got: flags, limits that nobody asked for, and what may not follow outside Docker."""

import json
from dataclasses import replace
from typing import Any

import pytest
from builders import measurement, study
from check_cases import CONTAINER, LIMITS, STATES

from sparkray.checks import Asked, Evidence
from sparkray.checks.readback import Check
from sparkray.config.docker import DockerOptions
from sparkray.config.model import Weights
from sparkray.plan import make_plan
from sparkray.records import Verdict

ENVIRONMENTS = ("host", "native", "container_baseline")
STUDY = study()


def judged(environment: str, options: DockerOptions | None = None, **changes: Any) -> Verdict | None:
    """The verdict on a run whose state is in order but for `changes`; `row`, `earlier` and `start` go where they belong."""
    planned = replace(make_plan(STUDY)[0], environment=environment)
    row = {"mem_total_gib": 23.5} | changes.pop("row", {})
    earlier = changes.pop("earlier", ())
    asked = Asked(options=options or DockerOptions(), start=changes.pop("start", {"affinity": None}))
    of = changes.pop("study", STUDY)
    state = changes.pop("state", STATES[environment]) | changes
    return Check().judge(Evidence(of, planned, measurement(), row=row, state=state, asked=asked, earlier=earlier))


def verdict(environment: str, options: DockerOptions | None = None, **changes: Any) -> Verdict:
    found = judged(environment, options, **changes)
    assert found is not None
    assert found.check == "readback"
    return found


def limited(**changes: Any) -> dict[str, Any]:
    return {"cgroup_limits": LIMITS | changes}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_run_in_order_passes_and_says_what_was_seen(environment: str) -> None:
    found = verdict(environment)
    assert found.verdict == "pass"
    assert ("no flags were given" in found.evidence) is (environment == "container_baseline")
    assert ("model on ext4 of /dev/vda1" in found.evidence) is (environment != "host")


def test_without_a_state_there_is_nothing_to_judge() -> None:
    assert judged("native", state={}) is None


def test_flags_that_act_are_reported_in_a_pass() -> None:
    found = verdict("container_baseline", DockerOptions(ipc="private", ulimit_stack=67108864, log_driver="none"))
    assert found.verdict == "pass"
    assert "--ulimit=stack=67108864: stack 67108864" in found.evidence
    assert "invisible in /proc: --log-driver=none" in found.evidence


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (DockerOptions(cpuset_cpus="0"), "asked --cpuset-cpus=0, got CPUs 0-1"),
        (DockerOptions(memory="8g"), "asked --memory=8g, got memory up to no limit"),
        (DockerOptions(shm_size="8g"), "asked --shm-size=8g, got a /dev/shm of 64m"),
        (DockerOptions(ipc="host"), "asked --ipc=host, got its own ipc namespace"),
        (DockerOptions(ulimit_memlock=-1), "asked --ulimit=memlock=-1, got memlock 8388608"),
        (DockerOptions(cpus=0.5), "asked --cpus=0.5, got no CPU quota"),
        (DockerOptions(security_opt=("seccomp=unconfined",)), "got seccomp mode 2"),
    ],
)
def test_a_flag_that_came_to_something_else_refuses_the_run(options: DockerOptions, said: str) -> None:
    found = verdict("container_baseline", options)
    assert found.verdict == "invalid"
    assert said in found.evidence


def test_every_flag_that_is_wrong_is_named() -> None:
    found = verdict("container_baseline", DockerOptions(ipc="host", memory="8g", ulimit_stack=67108864))
    assert found.verdict == "invalid"
    assert found.evidence.count("asked --") == 2


def test_what_others_did_to_the_container_counts() -> None:
    changed = verdict(
        "container_baseline", touched={"changed": ["paused for 2.5 s"], "entered": ["docker exec, 1 times"]}
    )
    assert changed.verdict == "invalid"
    assert "changed the container during the run: paused for 2.5 s" in changed.evidence
    entered = verdict("container_baseline", touched={"entered": ["docker exec, 1 times"]})
    assert (entered.verdict, "entered the container" in entered.evidence) == ("warn", True)


def test_a_flag_that_another_keeps_from_acting_is_warned_of() -> None:
    host_ipc = {"namespaces": CONTAINER["namespaces"] | {"ipc": "host"}, "shm_bytes": 12 << 30}
    found = verdict("container_baseline", DockerOptions(ipc="host", shm_size="32g"), **host_ipc)
    assert found.verdict == "warn"
    assert found.evidence.startswith("did not act: --shm-size cannot act under --ipc=host")


def test_what_could_not_be_read_is_warned_of_where_a_flag_depends_on_it() -> None:
    blind = {key: value for key, value in CONTAINER.items() if key != "cgroup_limits"}
    found = verdict("container_baseline", DockerOptions(memory="8g"), state=blind)
    assert (found.verdict, found.evidence.partition(";")[0]) == ("warn", "could not be read back: --memory=8g")
    assert verdict("container_baseline", state=blind).verdict == "pass"


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        (
            DockerOptions(memory="64g"),
            limited(memory_bytes=64 << 30),
            "--memory=64g cannot act: this machine has 23.5 GiB",
        ),
        (DockerOptions(cpuset_cpus="0-1"), {}, "--cpuset-cpus=0-1 cannot act: it is every CPU"),
    ],
)
def test_a_limit_that_this_machine_cannot_reach_does_not_act(
    options: DockerOptions, changes: dict[str, Any], said: str
) -> None:
    found = verdict("container_baseline", options, **changes)
    assert found.verdict == "warn"
    assert f"did not act: {said}" in found.evidence


LEFTOVERS = [
    (limited(memory_bytes=8 << 30), "its cgroup limits memory to 8g"),
    (limited(cpus=1.5), "its cgroup has a quota of 1.5 CPUs"),
    (limited(cpuset="0") | {"cpus_allowed": "0"}, "its cgroup excludes CPUs 1"),
]


@pytest.mark.parametrize(("changes", "said"), LEFTOVERS)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_limit_that_nobody_asked_for_refuses_the_run(environment: str, changes: dict[str, Any], said: str) -> None:
    found = verdict(environment, **changes)
    assert found.verdict == "invalid"
    assert said in found.evidence
    assert ("without a flag for" if environment == "container_baseline" else "inherited") in found.evidence


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (DockerOptions(memory="8g"), limited(memory_bytes=8 << 30)),
        (DockerOptions(cpus=1.5), limited(cpus=1.5)),
        (DockerOptions(cpuset_cpus="0"), limited(cpuset="0") | {"cpus_allowed": "0"}),
    ],
)
def test_one_that_was_asked_for_does_not(options: DockerOptions, changes: dict[str, Any]) -> None:
    assert verdict("container_baseline", options, **changes).verdict == "pass"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_limit_above_the_machines_memory_is_none(environment: str) -> None:
    assert verdict(environment, **limited(memory_bytes=32 << 30)).verdict == "pass"
    assert verdict(environment, row={"mem_total_gib": None}, **limited(memory_bytes=32 << 30)).verdict == "invalid"


def test_an_affinity_that_nobody_asked_for() -> None:
    assert verdict("native", cpus_allowed="0").evidence.startswith("its affinity excludes CPUs 1")
    assert verdict("native", cpus_allowed="0").verdict == "invalid"
    assert verdict("native", cpus_allowed="0", start={"affinity": (0,)}).verdict == "pass"
    assert verdict("native", cpus_allowed="0-127").verdict == "pass"  # as a kernel shows CPUs that might be added
    found = verdict("container_baseline", cpus_allowed="0")
    assert (found.verdict, found.evidence.partition(";")[0]) == (
        "warn",
        "no flag sets an affinity, but the process cannot use CPUs 1",
    )


@pytest.mark.parametrize(
    ("environment", "kind", "whose", "said"),
    [
        ("native", "mnt", "host", "its mnt namespace is the host's"),
        ("native", "net", "own", "its net namespace is its own"),
        ("host", "mnt", "own", "its mnt namespace is its own"),
        ("host", "cgroup", "own", "its cgroup namespace is its own"),
    ],
)
def test_outside_docker_the_namespaces_are_the_hosts_but_for_a_chroots_mounts(
    environment: str, kind: str, whose: str, said: str
) -> None:
    found = verdict(environment, namespaces=STATES[environment]["namespaces"] | {kind: whose})
    assert (found.verdict, found.evidence.partition(";")[0]) == ("invalid", said)


def test_a_root_that_a_run_can_alter_refuses_a_native_run_alone() -> None:
    assert verdict("native", root_read_only=False).verdict == "invalid"
    assert verdict("host", root_read_only=False).verdict == "pass"
    assert verdict("container_baseline", root_read_only=False).verdict == "pass"


@pytest.mark.parametrize("changes", [{"seccomp": "2"}, {"no_new_privs": "1"}])
def test_a_sandbox_around_sparkray_itself_is_warned_of(changes: dict[str, str]) -> None:
    found = verdict("native", **changes)
    assert found.verdict == "warn"
    assert "sparkray's parent process" in found.evidence
    assert "did not act" not in found.evidence, "it is no flag"


@pytest.mark.parametrize("environment", ["native", "container_baseline"])
def test_the_model_is_a_mount_that_nobody_writes_on(environment: str) -> None:
    assert verdict(environment, model_filesystem=None).evidence.startswith("the model is not mounted")
    assert verdict(environment, model_filesystem=None).verdict == "invalid"
    assert verdict(environment, model_read_only=False).verdict == "invalid"
    assert verdict("host", model_filesystem=None, model_read_only=False).verdict == "pass"
    own = replace(STUDY.cards[0], weights=Weights("server", "/m.gguf"))
    found = verdict(environment, study=replace(STUDY, cards=(own,)), model_filesystem=None)
    assert found.verdict == "pass"
    assert "the server finds its model itself" in found.evidence


def before(environment: str, **changes: Any) -> dict[str, Any]:
    return {"environment": environment, "effective_state": json.dumps(STATES[environment] | changes)}


def test_a_model_that_another_arm_read_from_elsewhere_is_warned_of() -> None:
    moved = before("native", model_filesystem="tmpfs", model_source="none")
    found = verdict("container_baseline", earlier=[before("native"), moved])
    assert found.verdict == "warn"
    assert found.evidence.startswith("the model is read from ext4 of /dev/vda1, in the previous run from tmpfs of none")
    assert verdict("container_baseline", earlier=[moved, before("native")]).verdict == "pass"
    told_nothing = [{"environment": "native"}, {"environment": "native", "effective_state": None}, before("host")]
    assert verdict("container_baseline", earlier=told_nothing).verdict == "pass"
