"""`doctor` of a DGX Spark, over its files, a double of NVML and values: what is well, and each thing that is not."""

import json
from dataclasses import replace
from pathlib import Path

import builders
import pynvml
import pytest
from doctor_cases import DOCKER, GIB, NO_NVML, SPARK, by_name, checkpoint, found, site_of
from gb10_tree import spark_tree
from support import fake_nvml as fake
from support.fake_nvml import FakeNvml, gb10, h100

from sparkray.config.docker import DockerOptions
from sparkray.config.model import Weights
from sparkray.errors import HostError
from sparkray.machine._nvml import read_gpus
from sparkray.machine.doctor import Finding, examine, look
from sparkray.machine.finding import FlagTrial, Programs, Seen
from sparkray.machine.fingerprint import Machine, fingerprint, recognised_site

PROGRAMS = Programs("CUDA Version        : 13.0\n", "NVIDIA Container Toolkit CLI version 1.19.0\ncommit: abc\n")


@pytest.fixture
def spark(tmp_path: Path) -> Seen:
    """A Spark on which everything is well, with one model."""
    checkpoint(tmp_path / "models" / "Alpha")
    return Seen(
        site_of("dgx-spark", models_root=str(tmp_path / "models")),
        (builders.card(weights=Weights("checkpoint", "Alpha"), shape=builders.shape()),),
        SPARK,
        read_gpus(FakeNvml([gb10()])),
        DOCKER,
        PROGRAMS,
        root=spark_tree(tmp_path / "root"),
    )


def with_gpu(seen: Seen, *devices: fake.FakeDevice) -> Seen:
    return replace(seen, gpus=read_gpus(FakeNvml(devices)))


def with_file(seen: Seen, name: str, text: str | None) -> Seen:
    if text is None:
        (seen.root / name).unlink()
    else:
        (seen.root / name).write_text(text)
    return seen


def test_a_spark_where_all_is_well_is_reported_so(spark: Seen) -> None:
    told = by_name(spark)
    not_well = {f.name: f.value for f in told.values() if f.state in ("warn", "stop")}
    assert set(not_well) <= {"root", "disk", "lock"}, not_well  # of the machine under the test
    values = {name: told[name].value for name in ("driver", "cuda", "gpu", "dgx os", "governor", "swap", "page cache")}
    assert values == {
        "driver": "580.95.05",
        "cuda": "13.0",
        "gpu": "NVIDIA GB10",
        "dgx os": "NVIDIA DGX Spark 7.3.1",
        "governor": "performance",
        "swap": "none in use",
        "page cache": "16.0 GiB",
    }
    assert told["performance cores"] == Finding(
        "performance cores", "good", "5-9,15-19 of 20 (Cortex-X925)", told["performance cores"].why
    )
    assert told["gpu access"].value == "runtime (--gpus): container toolkit 1.19.0; a runtime of Docker"
    assert told["image"].value == f"{spark.site.image}, sha256:ab, 30.0 GiB"
    assert told["kernel"].value == "6.17.0-1008-nvidia, Ubuntu 24.04.4 LTS"
    assert told["memory"].value.startswith("116.0 of 121.7 GiB available")
    assert told["models"].value == "1 of 1 can run"
    assert told["gpu temperature"].value == "40 degrees C"
    assert {told[name].state for name in ("gpu processes", "throttling", "model Alpha", "site")} == {"good"}
    assert told["nvidia-persistenced"].state == "info"
    assert told["clock lock"].state == "info"


def test_the_serial_number_is_nobodys_business(spark: Seen) -> None:
    assert not [finding for finding in examine(spark) if "1990000000000" in str(finding)]


@pytest.mark.parametrize(
    ("sm_mhz", "busy_pct", "state", "said"),
    [
        (208, 0, "info", "cannot be judged"),
        (513, 97, "warn", "513 MHz at 97 % load"),
        (2418, 97, "good", "2418 MHz at 97 % load"),
    ],
)
def test_the_low_power_latch_is_judged_under_load_alone(
    spark: Seen, sm_mhz: int, busy_pct: int, state: str, said: str
) -> None:
    seen = with_gpu(spark, gb10(sm_mhz=sm_mhz, gpu_pct=busy_pct))
    assert found(seen, "sm clock")[0] == state
    assert said in found(seen, "sm clock")[1]


@pytest.mark.parametrize(("mhz", "state"), [(513.0, "warn"), (2418.0, "good")])
def test_the_low_power_latch_is_judged_by_work_of_doctors_own(spark: Seen, mhz: float, state: str) -> None:
    idle = with_gpu(spark, gb10(sm_mhz=208, gpu_pct=0))
    seen = replace(idle, loaded_mhz={idle.gpus.devices[0].uuid: mhz})
    finding = by_name(seen)["sm clock"]
    assert (finding.state, finding.value) == (state, f"{mhz:g} MHz at 100 % load")
    assert ("power cord" in finding.remedy) == (state == "warn")


@pytest.mark.parametrize(
    ("device", "asked"),
    [
        (gb10(gpu_pct=0, processes={}), True),
        (gb10(gpu_pct=97, processes={}), False),
        (gb10(gpu_pct=0, processes={41: GIB}), False),
    ],
)
def test_a_gpu_that_somebody_uses_is_given_no_work(tmp_path: Path, device: fake.FakeDevice, asked: bool) -> None:
    calls: list[int] = []

    def load() -> dict[str, float]:
        calls.append(1)
        return {}

    look(site_of("dgx-spark"), machine=SPARK, nvml=FakeNvml([device]), docker=lambda _: DOCKER, load=load)
    assert bool(calls) == asked


def test_neighbours_heat_and_brakes_are_seen(spark: Seen) -> None:
    held = pynvml.nvmlClocksThrottleReasonSwThermalSlowdown | pynvml.nvmlClocksThrottleReasonGpuIdle
    told = by_name(with_gpu(spark, gb10(temp_c=62, processes={41: 3 * GIB, 42: None}, reasons=held)))
    assert (told["gpu processes"].state, told["gpu processes"].value) == ("warn", "41 (3.0 GiB), 42")
    assert (told["gpu temperature"].state, told["gpu temperature"].value) == ("warn", "62 degrees C")
    assert (told["throttling"].state, told["throttling"].value) == ("warn", "thermal slowdown (driver)")


def test_idleness_is_no_throttling(spark: Seen) -> None:
    idle = with_gpu(spark, gb10(reasons=pynvml.nvmlClocksThrottleReasonGpuIdle))
    assert found(idle, "throttling") == ("good", "none")


def test_a_gpu_that_fell_off_the_bus_stops_with_the_drivers_words(spark: Seen) -> None:
    seen = with_gpu(spark, gb10(lost=True))
    assert found(seen, "driver") == ("good", "580.95.05")
    assert found(seen, "gpu")[0] == "stop"
    assert "lost" in found(seen, "gpu")[1].lower()


@pytest.mark.parametrize(
    ("said", "finding"),
    [
        ("| NVIDIA-SMI 610.57.04  KMD Version: 610.57.04  CUDA UMD Version: 13.3 |", ("good", "13.3")),
        ("| NVIDIA-SMI 560.35   Driver Version: 560.35   CUDA Version: 12.6 |", ("stop", "12.6")),
        ("rubbish", ("warn", "not reported by nvidia-smi")),
        (None, ("warn", "unknown (no nvidia-smi)")),
    ],
)
def test_cuda_is_read_however_nvidia_smi_spells_it(spark: Seen, said: str | None, finding: tuple[str, str]) -> None:
    assert found(replace(spark, programs=replace(PROGRAMS, nvidia_smi=said)), "cuda") == finding


def test_a_driver_that_is_too_old_stops(spark: Seen) -> None:
    assert found(replace(spark, gpus=replace(spark.gpus, driver="570.86.10")), "driver") == ("stop", "570.86.10")


def test_the_gpu_is_reached_by_the_first_route_that_there_is(spark: Seen) -> None:
    plain = replace(DOCKER, runtimes=("runc",))
    assert found(replace(spark, docker=plain), "gpu access")[0] == "good"
    gone = replace(spark, docker=plain, programs=replace(PROGRAMS, container_toolkit=None))
    state, value = found(gone, "gpu access")
    assert (state, value.split(";")[0]) == ("stop", "none: no container toolkit")
    assert "cdi: the Docker engine has CDI off" in value
    assert "devices: no /dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm" in value
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (spark.root / "dev").mkdir(exist_ok=True)
        (spark.root / "dev" / name).touch()
    assert found(gone, "gpu access")[1].startswith("devices (--device /dev/nvidia...)")
    described = {"kind": "nvidia.com/gpu", "devices": [{"name": "all"}]}
    (spark.root / "etc/cdi").mkdir(parents=True)
    (spark.root / "etc/cdi/nvidia.json").write_text(json.dumps(described))
    with_cdi = replace(gone, docker=replace(plain, cdi_dirs=("/etc/cdi",)))
    assert found(with_cdi, "gpu access")[1].startswith("cdi (--device nvidia.com/gpu=...)")
    tried = replace(with_cdi, trials={"container_baseline": FlagTrial("devices", ("--gpus=all given as ...",))})
    assert found(tried, "gpu access") == ("good", "devices (--device /dev/nvidia...), as tried")
    assert found(tried, "flags") == ("info", "container_baseline: --gpus=all given as ...")


def test_flags_that_docker_refuses_stop_with_its_words(spark: Seen) -> None:
    assert found(spark, "flags") == ("info", "not tried")
    sound = {"container_baseline": FlagTrial(), "container_optimized": FlagTrial()}
    assert found(replace(spark, trials=sound), "flags")[0] == "good"
    refused = {**sound, "container_optimized": FlagTrial(problem="--privileged: no", remedy="Leave --privileged out")}
    finding = by_name(replace(spark, trials=refused))["flags"]
    assert (finding.state, finding.value, finding.remedy) == ("stop", "--privileged: no", "Leave --privileged out")


def test_an_image_that_is_not_there_stops_with_the_pull(spark: Seen) -> None:
    finding = by_name(replace(spark, docker=replace(DOCKER, image=None)))["image"]
    assert (finding.state, finding.remedy) == ("stop", f"docker pull {spark.site.image}")


def test_an_ota_update_is_optional_and_another_system_is_named(spark: Seen) -> None:
    release = 'DGX_PRETTY_NAME="NVIDIA DGX Spark"\nDGX_SWBUILD_VERSION="7.2.3"\n'
    assert found(with_file(spark, "etc/dgx-release", release), "dgx os") == ("good", "NVIDIA DGX Spark 7.2.3")
    assert found(with_file(spark, "etc/dgx-release", None), "dgx os")[0] == "warn"


def test_a_governor_that_follows_the_load_is_named(spark: Seen) -> None:
    seen = with_file(spark, "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "schedutil\n")
    assert found(seen, "governor") == ("warn", "performance, schedutil")


def test_swap_in_use_is_named(spark: Seen) -> None:
    text = (spark.text("proc/meminfo") or "").replace("SwapFree:        16777212", "SwapFree:        15728636")
    assert found(with_file(spark, "proc/meminfo", text), "swap") == ("warn", "1.00 GiB in use")


@pytest.mark.parametrize(
    ("cpus", "state", "text"),
    [
        ("13-14", "good", "13-14"),
        ("14,20-21", "stop", "no CPU 20-21"),
        ("9-10", "warn", "9-10; 9 is in engine_cpus; mode cpu-pinning pins the engine to CPU 9 "),
    ],
)
def test_cpus_of_the_load_generator_exist_and_are_not_the_engines(
    spark: Seen, cpus: str, state: str, text: str
) -> None:
    finding = by_name(replace(spark, site=replace(spark.site, client_cpus=cpus)))["client CPUs"]
    assert (finding.state, text in finding.value) == (state, True)
    assert state == "good" or "--set site.client_cpus=" in finding.remedy
    assert "client CPUs" not in by_name(replace(spark, site=replace(spark.site, client_cpus="")))


def test_of_a_site_that_pins_to_slow_cores_the_fast_ones_are_reported(spark: Seen) -> None:
    site = replace(spark.site, modes={"old": DockerOptions(gpus="all", cpuset_cpus="0-9")})
    finding = by_name(replace(spark, site=site))["performance cores"]
    assert finding.state == "warn"
    assert "mode old pins to 0-9" in finding.value
    assert finding.remedy == "Pin to 5-9,15-19"


def test_models_are_judged_one_by_one(spark: Seen) -> None:
    large = builders.card("Large", weights=Weights("checkpoint", "Large"), shape=builders.shape(params_total=10**11))
    awq = builders.card("Awq", weights=Weights("checkpoint", "Awq"), unsupported="AutoAWQ", instead="nvidia/X-FP4")
    lost = builders.card("Lost", weights=Weights("checkpoint", "Lost"), hf_id="some/lost")
    told = by_name(replace(spark, cards=(*spark.cards, large, awq, lost)))
    assert (told["models"].state, told["models"].value) == ("warn", "1 of 4 can run")
    assert "needs 186.3 GiB" in told["model Large"].value
    assert "of 121.7 GiB" in told["model Large"].value
    assert told["model Awq"].remedy == "Use nvidia/X-FP4"
    assert told["model Lost"].value.endswith("Lost does not exist")
    assert "some/lost" in told["model Lost"].remedy
    assert by_name(replace(spark, cards=(lost,)))["models"].state == "stop"
    assert by_name(replace(spark, cards=(large,)))["memory"].state == "stop"


def test_a_discrete_gpu_has_its_own_memory(spark: Seen) -> None:
    machine = Machine("box", ("NVIDIA H100 80GB HBM3",), ("GPU-100",), {"memory_gib": 1000.0})
    large = builders.card("Large", weights=Weights("checkpoint", "Large"), shape=builders.shape(params_total=10**11))
    seen = replace(spark, site=site_of("discrete-gpu"), machine=machine, cards=(large,))
    told = by_name(with_gpu(seen, h100()))
    assert "of 80.0 GiB" in told["model Large"].value
    fits = builders.card("Small", weights=Weights("checkpoint", "S"), shape=builders.shape(params_total=10**9))
    memory = by_name(with_gpu(replace(seen, cards=(fits,)), h100()))["memory"].value
    assert memory.startswith("host: 116.0 of 1000.0 GiB available; GPU: 80.0 GiB; the largest that fits, Small, has")
    assert told["site"].state == "good"
    assert "dgx os" not in told


def test_what_a_gpu_does_not_report_is_unknown_and_never_zero_or_none(spark: Seen) -> None:
    silent = dict.fromkeys(
        (fake.UTILIZATION, fake.PROCESSES, fake.TEMPERATURE, fake.EVENT_REASONS, fake.THROTTLE_REASONS),
        pynvml.NVML_ERROR_NOT_SUPPORTED,
    )
    told = by_name(with_gpu(spark, gb10(errors=silent)))
    assert (told["gpu processes"].state, told["gpu processes"].value) == (
        "warn",
        "unknown: the driver does not list them",
    )
    assert told["sm clock"].value.startswith("2418 MHz at unknown load: where the load is unknown")
    assert {(told[name].state, told[name].value) for name in ("gpu temperature", "throttling")} == {("warn", "unknown")}


def test_what_one_of_two_gpus_does_not_report_is_said(spark: Seen) -> None:
    silent = dict.fromkeys((fake.PROCESSES, fake.TEMPERATURE, fake.SM_CLOCK), pynvml.NVML_ERROR_NOT_SUPPORTED)
    told = by_name(with_gpu(spark, gb10(processes={41: GIB}), gb10(errors=silent)))
    assert told["gpu processes"].value == "41 (1.0 GiB); unknown of 1 of 2 GPUs"
    assert told["gpu temperature"].value == "40 degrees C, unknown of 1 of 2 GPUs"
    assert told["sm clock"].value.startswith("2418 MHz at 0 % load, unknown of 1 of 2 GPUs")
    told = by_name(with_gpu(spark, gb10(), gb10(errors=silent)))
    assert told["gpu processes"].state == "warn"


def test_a_load_that_no_listed_process_makes_is_said(spark: Seen) -> None:
    finding = by_name(with_gpu(spark, gb10(gpu_pct=97)))["gpu processes"]
    assert (finding.state, finding.value) == ("warn", "none listed, but a GPU is at 97 % load")


def test_a_fault_of_one_answer_leaves_the_others(spark: Seen) -> None:
    told = by_name(with_gpu(spark, gb10(errors={fake.TEMPERATURE: pynvml.NVML_ERROR_UNKNOWN})))
    assert (told["gpu"].state, told["gpu"].value) == (
        "warn",
        "NVIDIA GB10: temperature: NVML: Unknown Error (error 999)",
    )
    assert told["sm clock"].value.startswith("2418 MHz")


def test_one_lost_gpu_of_two_stops_and_the_other_is_known(spark: Seen) -> None:
    gpus = read_gpus(FakeNvml([gb10(), h100(lost=True)]))
    machine = fingerprint(gpus)
    assert (machine.gpus, machine.site) == (("NVIDIA GB10",), "dgx-spark")
    assert "GPU 1" in str(machine.gpu_problem)
    assert "machine" in machine.lock_keys
    assert found(replace(spark, gpus=gpus), "gpu") == ("stop", "NVIDIA GB10; GPU 1: NVML: GPU is lost (error 15)")


def test_gpus_of_other_users_are_not_missed() -> None:
    other = h100(errors={fake.HANDLE: pynvml.NVML_ERROR_NO_PERMISSION})
    assert [device.name for device in read_gpus(FakeNvml([other, gb10()])).devices] == ["NVIDIA GB10"]
    assert read_gpus(FakeNvml([other, gb10()])).problem is None
    assert read_gpus(FakeNvml([other])).problem == "this user may use none of 1 GPUs"


def test_a_driver_without_its_library_is_not_a_machine_without_a_gpu(tmp_path: Path) -> None:
    assert read_gpus(NO_NVML, root=tmp_path).problem is None
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    information = tmp_path / "proc/driver/nvidia/gpus/000f:01:00.0/information"
    information.parent.mkdir(parents=True)
    information.write_text("Model: \t NVIDIA GB10\nGPU UUID: \t GPU-77\n")
    gpus = read_gpus(NO_NVML, root=tmp_path)
    assert "libnvidia-ml.so.1" in str(gpus.problem)
    machine = fingerprint(gpus, root=tmp_path)
    assert machine.site is None
    assert machine.lock_keys == ("machine", "GPU-77")  # of a sweep that began while NVML answered
    with pytest.raises(HostError, match="libnvidia-ml"):
        recognised_site(machine)


@pytest.mark.parametrize("version", ["", "unknown", "r580"])
def test_a_driver_version_of_another_form_is_no_crash(spark: Seen, version: str) -> None:
    assert by_name(replace(spark, gpus=replace(spark.gpus, driver=version or None)))["driver"].state in ("good", "warn")


def test_heat_is_judged_against_the_limit_of_the_site(spark: Seen) -> None:
    warm = replace(with_gpu(spark, gb10(temp_c=52)), site=replace(spark.site, protocol={"start_below_c": 60}))
    assert found(warm, "gpu temperature") == ("good", "52 degrees C")
    assert found(with_gpu(spark, gb10(temp_c=52)), "gpu temperature")[0] == "warn"
    asked = replace(with_gpu(spark, gb10(temp_c=52)), start_below_c=55.0)  # by the experiment, whatever the site says
    assert found(asked, "gpu temperature")[0] == "good"
