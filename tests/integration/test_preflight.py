"""Which flags this host can honour, found out by a real engine. What a host may do differs: both answers are checked."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from real_machine import may_lock_memory, may_raise_limits, require_root
from small_bench import BASELINE, bench_of, model_of, study_of

from sparkray.catalog import Catalog, data_root
from sparkray.config.docker import DockerOptions, given
from sparkray.errors import PreflightError, RunUnreadyError
from sparkray.execute.flag_trials import try_flags
from sparkray.execute.preflight import Probe, honoured
from sparkray.images import venv
from sparkray.images.rootfs import Image
from sparkray.plan import Treatment
from sparkray.runtimes import Launch
from sparkray.runtimes.container import Runtime

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("machine_lock")]

NEEDS_CAPABILITY = pytest.mark.skipif(
    may_raise_limits(), reason="this host has CAP_SYS_RESOURCE: it honours the flag, as another test checks"
)
MEMLOCK = ("ulimit_memlock", -1, "--ulimit=memlock=-1")
PRIVILEGED = ("privileged", True, "--privileged")
HONOURED = [MEMLOCK] * may_lock_memory() + [PRIVILEGED] * may_raise_limits()
BEYOND = [flag for flag in (MEMLOCK, PRIVILEGED) if flag not in HONOURED]


@pytest.fixture
def probe(client: docker.DockerClient, image: Image) -> Iterator[Probe]:
    yield Probe(Runtime(client), image, (venv.PYTHON, "-S", "-c", "import time; time.sleep(60)"))
    assert client.containers.list(all=True, ignore_removed=True, filters={"label": "io.sparkray.probe=1"}) == []


class LookingLate(Runtime):
    """Docker, where a container that ends by itself has always ended before it is looked at."""

    def _pid(self, container: Container, name: str) -> int:
        container.wait()
        return super()._pid(container, name)


class Ended(Runtime):
    """Docker, another client of which ends the first containers: before their start, or once they run."""

    def __init__(self, client: docker.DockerClient, how: str, times: int) -> None:
        super().__init__(client)
        self.how, self.times = how, times

    def _create(self, launch: Launch) -> Container:
        container = super()._create(launch)
        if self.how == "removed early":
            self._end(container)
        return container

    def _pid(self, container: Container, name: str) -> int:
        pid = super()._pid(container, name)
        if self.how != "removed early":
            self._end(container)
        return pid

    def _end(self, container: Container) -> None:
        if self.times:
            self.times -= 1
            container.kill() if self.how == "killed" else container.remove(force=True)


def asked(*adapt: str, **options: Any) -> Treatment:
    return Treatment("container_baseline", DockerOptions(**options), adapt)


def test_what_can_be_honoured_is(probe: Probe) -> None:
    treatment = asked(ipc="host", network="none", shm_size="1m", ulimit_nofile=1000, oom_score_adj=300, memory="64m")
    options, deviations, state = honoured(treatment, probe)
    assert (options, deviations) == (treatment.options, ())
    assert state["rlimits"]["nofile"] == (1000, 1000)
    assert state["oom_score_adj"] == 300
    assert (state["namespaces"]["ipc"], state["namespaces"]["net"]) == ("host", "own")


def test_what_doctor_tries_starts(image: Image) -> None:
    """Its containers are seen from here, though no sweep takes them for a run."""
    trials = try_flags(Catalog(data_root()).site("cpu"))
    assert trials is not None
    assert {name: trial.problem for name, trial in trials.items()} == dict.fromkeys(trials)
    assert {"container_baseline", "container_optimized"} <= set(trials)


def test_a_flag_acts_as_it_says(probe: Probe) -> None:
    state = honoured(asked(shm_size="3m", cap_drop=("ALL",), security_opt=("no-new-privileges",)), probe)[2]
    assert state["shm_bytes"] == 3 << 20
    assert int(state["capabilities"], 16) == 0
    assert state["no_new_privs"] == "1"
    plain = honoured(asked(), probe)[2]
    assert plain["shm_bytes"] == 64 << 20
    assert int(plain["capabilities"], 16) != 0
    assert plain["no_new_privs"] == "0"


@pytest.mark.parametrize(("name", "value", "words"), BEYOND)
def test_a_flag_that_may_be_given_up_is_and_it_is_said(probe: Probe, name: str, value: object, words: str) -> None:
    options, deviations, state = honoured(asked(name, ipc="host", **{name: value}), probe)
    assert [given_name for given_name, _, _ in given(options)] == ["ipc"]
    (deviation,) = deviations
    assert deviation.startswith(f"{words} left out: This host ")
    assert "CAP_SYS_RESOURCE" in deviation
    assert state["namespaces"]["ipc"] == "host"


@pytest.mark.parametrize(("name", "value", "words"), BEYOND)
def test_a_flag_that_was_asked_for_stops(probe: Probe, name: str, value: object, words: str) -> None:
    with pytest.raises(PreflightError) as caught:
        honoured(asked(ipc="host", **{name: value}), probe)
    assert f"cannot honour the flags of container_baseline: {words}: " in caught.value.message
    assert "--ipc" not in caught.value.message
    assert f"Leave {words} out" in caught.value.remedy
    assert "CAP_SYS_RESOURCE" in caught.value.remedy
    assert caught.value.exit_status == 3


@pytest.mark.parametrize(("name", "value", "words"), HONOURED)
@pytest.mark.parametrize("adapt", [True, False])
def test_a_host_that_may_honours_it(probe: Probe, name: str, value: object, words: str, adapt: bool) -> None:
    treatment = asked(*([name] if adapt else []), ipc="host", **{name: value})
    options, deviations, _ = honoured(treatment, probe)
    assert (options, deviations) == (treatment.options, ()), words


@NEEDS_CAPABILITY
def test_only_what_may_not_be_given_up_is_named(probe: Probe) -> None:
    with pytest.raises(PreflightError) as caught:
        honoured(asked("ulimit_memlock", ulimit_memlock=-1, privileged=True), probe)
    assert "--privileged: " in caught.value.message
    assert "memlock" not in caught.value.message.partition("--privileged")[0]


@NEEDS_CAPABILITY
def test_a_flag_that_needs_another_is_not_blamed(probe: Probe) -> None:
    """Docker refuses --memory-swap alone; beside --memory it is in order, and only the privilege is given up."""
    options, deviations, _ = honoured(asked("privileged", memory="64m", memory_swap="64m", privileged=True), probe)
    assert options == DockerOptions(memory="64m", memory_swap="64m")
    assert len(deviations) == 1


@pytest.mark.parametrize(
    ("options", "words", "said", "remedy"),
    [
        ({"runtime": "nonsense"}, "--runtime=nonsense", "nonsense", "Install that OCI runtime"),
        ({"cpus": 4096.0}, "--cpus=4096", "CPUs", "Leave --cpus=4096"),
        ({"cpuset_cpus": "4095"}, "--cpuset-cpus=4095", "CPUs", "Leave --cpuset-cpus=4095 out"),
    ],
)
def test_a_refusal_names_the_flag(probe: Probe, options: dict[str, Any], words: str, said: str, remedy: str) -> None:
    with pytest.raises(PreflightError) as caught:
        honoured(asked(ipc="host", **options), probe)
    assert f"container_baseline: {words}" in caught.value.message
    assert said in caught.value.message
    assert remedy in caught.value.remedy
    assert caught.value.exit_status == 3


@pytest.mark.skipif(
    shutil.which("nvidia-container-runtime-hook") is not None,
    reason="the container toolkit is here: the flag is honoured",
)
def test_a_gpu_that_is_not_there_is_said(probe: Probe) -> None:
    with pytest.raises(PreflightError, match=r"--gpus=all: .*device driver.*NVIDIA Container Toolkit"):
        honoured(asked(gpus="all"), probe)


def test_flags_that_fail_together_alone_are_said_so(probe: Probe) -> None:
    with pytest.raises(PreflightError, match=r"the flags together: .*[Mm]emory"):
        honoured(asked(memory="64m", memory_swap="32m"), probe)


def test_a_probe_whose_command_ends_is_unready(client: docker.DockerClient, image: Image) -> None:
    ending = Probe(LookingLate(client), image, (venv.PYTHON, "-S", "-c", ""))
    with pytest.raises(RunUnreadyError, match="ended at once"):
        ending.state(DockerOptions())


@pytest.mark.parametrize("how", ["killed", "removed", "removed early"])
def test_a_trial_that_somebody_ends_is_made_again(client: docker.DockerClient, image: Image, how: str) -> None:
    idle = (venv.PYTHON, "-S", "-c", "import time; time.sleep(60)")
    whole = honoured(asked(), Probe(Runtime(client), image, idle))[2]
    assert set(honoured(asked(), Probe(Ended(client, how, 1), image, idle))[2]) == set(whole)
    with pytest.raises(PreflightError, match=f"somebody ended two trial containers.*{how.split(maxsplit=1)[0]}"):
        honoured(asked(ipc="host"), Probe(Ended(client, how, 2), image, idle))


def test_a_bench_records_what_was_given_up(image: Image, cache: Path, tmp_path: Path) -> None:
    require_root("native")
    bench = bench_of(study_of(model_of(tmp_path)), tmp_path / "results", cache)
    arm = bench.arms["container_baseline"]
    assert bool(arm.deviations) != may_lock_memory()
    assert (arm.treatment.options == BASELINE.options) == may_lock_memory()
    assert arm.treatment.options.ulimit_stack == BASELINE.options.ulimit_stack
    limits = {name: bench.arms[name].start.rlimits["stack"] for name in bench.arms}
    assert set(limits.values()) == {(67108864, 67108864)}


def test_a_single_flag_is_tried_once(probe: Probe) -> None:
    """Environments share most flags: what one has shown of a flag by itself holds for the next."""
    treatment = asked("runtime", runtime="nobody's", shm_size="64m")
    first = honoured(treatment, probe)
    refused, taken = (
        (probe.image.digest, repr(DockerOptions(**one))) for one in ({"runtime": "nobody's"}, {"shm_size": "64m"})
    )
    assert set(probe.known) == {refused, taken}
    probe.known[refused] = "as it was remembered"
    assert first[1] != honoured(treatment, probe)[1] == ("--runtime=nobody's left out: as it was remembered",)
