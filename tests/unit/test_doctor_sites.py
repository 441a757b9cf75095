"""What `doctor` asks of a site: whole weights, a GPU or none, and whether this machine is one of its kind."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import builders
import pytest
from builders import Ended
from doctor_cases import DOCKER, LAPTOP, NO_DOCKER, NO_NVML, SPARK, by_name, checkpoint, site_of
from support.fake_nvml import FakeNvml, gb10, h100

from sparkray.catalog import Catalog, data_root
from sparkray.config.docker import DockerOptions
from sparkray.config.site import Environment
from sparkray.errors import HostError
from sparkray.machine._models import missing
from sparkray.machine.doctor import Finding, look, must_fit, refusals
from sparkray.machine.fingerprint import Machine, fingerprint, recognised_site, site_for


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "lacking"),
    [
        (lambda _: None, []),
        (lambda f: (f / "config.json").unlink(), ["config.json"]),
        (lambda f: (f / "tokenizer.json").unlink(), ["tokenizer"]),
        (lambda f: (f / "model-2-of-2.safetensors").unlink(), ["model-2-of-2.safetensors"]),
        (lambda f: (f / "model-2-of-2.safetensors").write_bytes(b""), ["model-2-of-2.safetensors (empty)"]),
        (lambda f: cut(f / "model-1-of-2.safetensors"), ["model-1-of-2.safetensors (0.00 of 0.00 GiB)"]),
        (
            lambda f: (f / "model-1-of-2.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
            ["model-1-of-2.safetensors (a Git LFS pointer)"],
        ),
        (
            lambda f: (f / "model-1-of-2.safetensors").write_text("<html>not found</html>"),
            ["model-1-of-2.safetensors (no safetensors header)"],
        ),
        (
            lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": '),
            ["model.safetensors.index.json (unreadable)"],
        ),
        (lambda f: [p.unlink() for p in f.glob("model*")], ["weights"]),
    ],
)
def test_what_a_checkpoint_lacks_is_named(tmp_path: Path, damage: Callable[[Path], object], lacking: list[str]) -> None:
    folder = checkpoint(tmp_path / "m")
    damage(folder)
    assert missing(folder) == lacking


def test_one_whole_set_of_weights_is_enough(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "pytorch_model-1.bin"}}')
    assert missing(folder) == []
    for path in folder.glob("model*"):
        path.unlink()
    assert missing(folder) == ["pytorch_model-1.bin"]
    (folder / "pytorch_model-1.bin").write_bytes(b"x")
    assert missing(folder) == []


def test_a_double_needs_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert missing(tmp_path, weights=False) == []


def test_a_simulated_site_asks_for_no_gpu() -> None:
    site = site_of("dgx-spark", simulated=True, image="double", models_root="double")
    seen = look(site, Catalog(data_root()).select(("all",)), machine=LAPTOP, nvml=NO_NVML, docker=lambda _: DOCKER)
    found = by_name(seen)
    assert not {"driver", "cuda", "gpu", "gpu access", "dgx os", "sm clock"} & set(found)
    assert found["site"] == Finding("site", "good", "dgx-spark, simulated", found["site"].why)
    assert found["model Mixtral-8x7B"].state == "info"  # it fits the memory of the site, not this machine's
    assert found["model Qwen2.5-72B"].state == "warn"
    must_fit(site, LAPTOP, nvml=NO_NVML, docker=lambda _: DOCKER)


def test_a_site_without_a_gpu_needs_docker_alone() -> None:
    must_fit(site_of("cpu"), LAPTOP, nvml=NO_NVML, docker=lambda _: DOCKER)
    with pytest.raises(HostError, match=r"docker: no Docker engine answers \(Start the engine\)"):
        must_fit(site_of("cpu"), LAPTOP, nvml=NO_NVML, docker=lambda _: NO_DOCKER)


def test_a_machine_that_is_no_spark_is_refused_with_every_reason(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        must_fit(site_of("dgx-spark"), LAPTOP, nvml=NO_NVML, docker=lambda _: NO_DOCKER, root=tmp_path)
    assert caught.value.exit_status == 3
    for said in (
        "site: dgx-spark asked for, this machine is cpu",
        "driver: none",
        "gpu: none",
        "docker: no Docker engine answers (Start the engine)",
        "docker pull",
    ):
        assert said in caught.value.message
    assert "doctor --site dgx-spark" in caught.value.remedy


def test_a_machine_that_is_one_is_let_through() -> None:
    must_fit(site_of("dgx-spark"), SPARK, nvml=FakeNvml([gb10()]), docker=lambda _: DOCKER)


def test_a_site_that_inherits_the_spark_is_one() -> None:
    options = {"container_baseline": Environment(DockerOptions(gpus="all"))}
    site = replace(builders.site(environments=options), name="mine", inherits="dgx-spark")
    box = Machine("box", ("NVIDIA H100 80GB HBM3",), ("GPU-100",), {})
    with pytest.raises(HostError, match="mine asked for, this machine is discrete-gpu"):
        must_fit(site, box, nvml=FakeNvml([h100()]), docker=lambda _: DOCKER)


def test_only_what_stops_is_a_refusal() -> None:
    findings = [
        Finding("a", "stop", "v", "w", "r"),
        Finding("b", "warn", "v", "w", "r"),
        Finding("c", "stop", "v", "w"),
    ]
    assert refusals(findings) == ["a: v (r)", "c: v"]


def test_the_command_names_each_thing_that_this_machine_lacks(command_line: Callable[..., Ended]) -> None:
    if fingerprint().gpus:
        pytest.skip("this machine lacks less")
    done = command_line("doctor", "--site", "dgx-spark", "--json")
    assert done.status == 1
    states = {finding["name"]: finding["state"] for finding in json.loads(done.out)["findings"]}
    stops = {name for name, state in states.items() if state == "stop"}
    assert stops >= {"site", "driver", "cuda", "gpu", "gpu access", "image", "models"}
    seen_not = {"dgx os", "gpu processes", "gpu temperature", "sm clock", "throttling"}
    assert {states[name] for name in seen_not} == {"warn"}
    assert len([name for name in states if name.startswith("model ")]) == 10


def test_a_site_that_inherits_changes_single_keys_of_the_protocol(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ninherits: discrete-gpu\ndescription: d\nprotocol: {page_cache: leave}\n")
    assert Catalog(data_root()).site(str(file)).protocol == {"start_below_c": 60, "page_cache": "leave"}


@pytest.mark.parametrize("name", ["NVIDIA GB100", "NVIDIA GB102"])
def test_a_gpu_whose_name_begins_like_the_sparks_is_another(name: str) -> None:
    assert site_for((name,)) == "discrete-gpu"


def test_a_discrete_gpu_with_vllm_beside_it_is_measured_with_vllm():
    def named(gpus, program):
        machine = Machine("h", gpus, (), {})
        return recognised_site(machine, lambda name: f"/usr/bin/{name}" if name == program else None)

    assert named(("NVIDIA H200",), "vllm") == "discrete-gpu-vllm"
    assert named(("NVIDIA H200",), "other") == "discrete-gpu"
    assert [named(("NVIDIA GB10",), "vllm"), named((), "vllm")] == ["dgx-spark", "cpu"]
