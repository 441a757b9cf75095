"""GPUs are given to an engine by index, whoever named them and wherever: a UUID ends a run of trtllm-bench at its end."""

import os
import subprocess
import sys

import pytest
from trtllm_samples import PATHS, job

from sparkray.config.boundary import parse
from sparkray.config.docker import DockerOptions
from sparkray.config.gpu_choice import by_index, names_a_uuid
from sparkray.engines import load_engine
from sparkray.errors import ConfigError

CUDA, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
UUIDS = ("GPU-1111-aaaa", "GPU-1111-bbbb", "GPU-2222-cccc")


@pytest.mark.parametrize("value", ["", "0", "1", "0,1", " 0 , 2 ", "-1", "0,"])
def test_indices_stay_as_they_are(value):
    assert by_index({CUDA: value, "A": "b"}, UUIDS, "test") == {CUDA: value, "A": "b"}
    assert by_index({"A": "b"}, UUIDS, "test") == {"A": "b"}


@pytest.mark.parametrize(
    ("value", "indices"),
    [
        ("GPU-1111-bbbb", "1"),
        ("GPU-2222", "2"),
        ("GPU-2222-cccc,GPU-1111-aaaa", "2,0"),
        ("0, GPU-1111-bbbb", "0,1"),
    ],
)
def test_a_uuid_of_this_machine_becomes_its_index(value, indices):
    assert by_index({CUDA: value}, UUIDS, "test") == {CUDA: indices, ORDER: "PCI_BUS_ID"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("GPU-9999", "neither an index nor the UUID"),
        ("GPU-1111", "neither an index nor the UUID"),
        ("0,GPU-9999", "GPU-9999"),
        ("all", "neither an index"),
        ("NoDevFiles", "neither an index"),
        ("MIG-1111-aaaa", "MIG slice"),
        ("MIG-GPU-1111-aaaa/1/0", "MIG slice"),
        ("GPU-1111-aaaa,MIG-1111", "MIG slice"),
    ],
)
def test_what_has_no_index_is_refused(value, said):
    with pytest.raises(ConfigError, match=said) as caught:
        by_index({CUDA: value}, UUIDS, "test")
    assert "index" in caught.value.remedy


def test_an_order_that_contradicts_the_index_is_refused():
    with pytest.raises(ConfigError, match="PCI_BUS_ID"):
        by_index({CUDA: "GPU-2222", ORDER: "FASTEST_FIRST"}, UUIDS, "test")


@pytest.mark.parametrize("value", ["GPU-1111-aaaa", "1", "none", "MIG-1111"])
def test_a_variable_that_acts_in_containers_alone_is_refused(value):
    with pytest.raises(ConfigError, match="containers alone"):
        by_index({"NVIDIA_VISIBLE_DEVICES": value}, UUIDS, "test")
    assert by_index({"NVIDIA_VISIBLE_DEVICES": "all"}, UUIDS, "test")


@pytest.mark.parametrize("value", ["GPU-1111-aaaa", "MIG-1111-aaaa", "0,GPU-1111-aaaa"])
def test_no_command_holds_a_uuid(value):
    with pytest.raises(ConfigError, match=CUDA):
        job(environment={CUDA: value})
    assert load_engine("trtllm").command(job(environment={CUDA: 1}), PATHS).environment[CUDA] == "1"


def test_docker_options_hold_no_uuid_either():
    assert parse(DockerOptions, {"env": [f"{CUDA}=0"]}, "test").env == (f"{CUDA}=0",)
    with pytest.raises(ConfigError, match="by UUID"):
        parse(DockerOptions, {"env": [f"{CUDA}=GPU-1111-aaaa"]}, "test")


@pytest.mark.parametrize(
    "setting",
    ["engine.environment={CUDA_VISIBLE_DEVICES: GPU-9999}", "engine.environment.CUDA_VISIBLE_DEVICES=GPU-9999"],
)
def test_a_setting_with_an_unknown_uuid_is_refused(command_line, setting):
    words = ("plan", "--site", "dgx-spark", "--models", "Llama-3-8B", "--runs", "1", "--set", setting)
    done = command_line(*words)
    assert done.status == 2
    assert "CUDA_VISIBLE_DEVICES=0" in done.err


def test_a_setting_with_an_index_reaches_the_container(command_line):
    words = ("plan", "--site", "dgx-spark", "--models", "Llama-3-8B", "--runs", "1", "--set")
    done = command_line(*words, "engine.environment.CUDA_VISIBLE_DEVICES=1")
    assert done.status == 0, done.err
    assert "--env=CUDA_VISIBLE_DEVICES=1" in done.out


def test_the_hosts_own_choice_reaches_no_arm():
    code = (
        "from sparkray.execute.arms import host_arm; from sparkray.plan import Treatment; "
        "from sparkray.runtimes import StartState; print(sorted(host_arm(Treatment('host'), StartState()).environment))"
    )
    environment = {**os.environ, CUDA: UUIDS[0], "NVIDIA_VISIBLE_DEVICES": UUIDS[0]}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "VISIBLE_DEVICES" not in done.stdout
    assert "PATH" in done.stdout


def test_a_uuid_is_seen():
    assert names_a_uuid({CUDA: "GPU-1"})
    assert not names_a_uuid({CUDA: "0,1"})
    assert not names_a_uuid({})
