"""`doctor` and ptxas: the image's own, the same in every arm, and new enough for a GB10."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.config.docker import DockerOptions
from sparkray.config.site import Environment
from sparkray.machine._nvml import Gpus
from sparkray.machine._ptxas import VARIABLE, ask_ptxas, ptxas
from sparkray.machine.finding import DockerFacts, Finding, ImageFacts, Programs, Seen
from sparkray.machine.fingerprint import Machine

PATH = "/usr/local/cuda/bin/ptxas"
SITE = Catalog(data_root()).site("dgx-spark")
ARMS = ("native", *SITE.environments)


def image(**variables: str) -> DockerFacts:
    return DockerFacts("29", "1.53", image=ImageFacts("sha256:ab", 1, variables))


def release(version: str) -> str:
    return f"ptxas: NVIDIA (R) Ptx optimizing assembler\nCuda compilation tools, release {version}, V{version}.48\n"


def judged(docker: DockerFacts, printed: Mapping[str, str | None] | None = None) -> Finding:
    machine = Machine("spark", ("NVIDIA GB10",), ("GPU-1",), {})
    return ptxas(Seen(SITE, (), machine, Gpus(), docker, Programs(), ptxas=printed or {}))


def test_one_new_ptxas_in_every_arm_is_well() -> None:
    finding = judged(image(**{VARIABLE: PATH}), dict.fromkeys(ARMS, release("13.0")))
    assert finding.state == "good"
    assert finding.value == f"{PATH}: native 13.0, container_baseline 13.0, container_optimized 13.0"


def test_without_an_image_nothing_is_known() -> None:
    assert judged(DockerFacts()).value.startswith("unknown")


def test_an_image_that_does_not_set_it_leaves_the_version_unknown() -> None:
    finding = judged(image())
    assert (finding.state, "unknown" in finding.value) == ("info", True)


@pytest.mark.parametrize("flag", [(f"{VARIABLE}={PATH}",), (f"{VARIABLE}=/opt/ptxas",)])
def test_a_flag_that_sets_it_in_one_arm_alone_stops(flag: tuple[str, ...]) -> None:
    site = replace(SITE, environments={"container_baseline": Environment(DockerOptions(gpus="all", env=flag))})
    seen = Seen(site, (), Machine("s", (), (), {}), Gpus(), image(), Programs())
    finding = ptxas(seen)
    assert finding.state == "stop"
    assert f"{VARIABLE} is not set in native" in finding.value
    assert "in container_baseline" in finding.value


@pytest.mark.parametrize(
    ("printed", "state", "said"),
    [
        ({"native": ""}, "stop", "does not run in native"),
        ({"container_baseline": "", "native": None}, "stop", "does not run in container_baseline"),
        ({**dict.fromkeys(ARMS, release("13.0")), "native": release("12.8")}, "stop", "native 12.8"),
        (dict.fromkeys(ARMS, release("12.8")), "warn", "native 12.8"),
        ({**dict.fromkeys(ARMS, release("13.0")), "native": None}, "info", "native unknown"),
        (dict.fromkeys(ARMS, None), "warn", "container_baseline unknown"),
        (dict.fromkeys(ARMS, "no version at all"), "warn", "native unknown"),
        ({}, "warn", "native unknown"),
    ],
)
def test_what_the_arms_print_is_compared(printed: Mapping[str, str | None], state: str, said: str) -> None:
    finding = judged(image(**{VARIABLE: PATH}), printed)
    assert (finding.state, said in finding.value) == (state, True), finding
    assert finding.remedy


def test_files_that_are_not_exported_are_not_asked(tmp_path: Path) -> None:
    site = replace(SITE, environments={})
    assert ask_ptxas(site, image(**{VARIABLE: PATH}), lambda _: tmp_path / "none") == {"native": None}
    assert ask_ptxas(site, image(), lambda _: tmp_path) == {}


@pytest.mark.root
def test_the_exported_files_own_ptxas_is_asked(tmp_path: Path) -> None:
    site = replace(SITE, environments={})
    assert ask_ptxas(site, image(**{VARIABLE: PATH}), lambda _: tmp_path) == {"native": ""}  # not there
