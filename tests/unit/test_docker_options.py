"""Docker options: every field has its words, its SDK argument, its bounds and its reasons here, or a test fails."""

import re
from dataclasses import replace
from typing import Any

import pytest
from docker.models.containers import _create_container_args
from flag_cases import CASES as EXAMPLES
from hypothesis import given as sampled
from hypothesis import strategies as st

from sparkray.config.boundary import parse, read_yaml
from sparkray.config.container import ContainerSpec, create_arguments
from sparkray.config.docker import (
    FLAGS_FILE,
    DockerOptions,
    cannot_act,
    flag_of,
    flag_words,
    given,
    grade_of,
    option_names,
    sdk_arguments,
    without,
)
from sparkray.config.flag import Flag, written
from sparkray.config.site import Environment
from sparkray.errors import ConfigError
from sparkray.units import parse_size

each_option = pytest.mark.parametrize("name", option_names())


def only(name: str) -> DockerOptions:
    return DockerOptions(**{name: EXAMPLES[name].value})


def test_every_option_has_an_example_here() -> None:
    assert list(EXAMPLES) == option_names()


@pytest.mark.parametrize("name", option_names())
def test_every_entry_has_known_keys_of_the_right_type(name: str) -> None:
    flag = parse(Flag, written(name, read_yaml(FLAGS_FILE)[name]), name)
    assert set(flag.beside) | {other for one in flag.cannot_act for other in one.beside} <= {*option_names()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tpye": "int"}, "unknown key 'tpye', did you mean 'type'"),
        ({"type": "itn"}, "unknown type 'itn': known are text,"),
        ({"readback": {"filed": {}}}, "unknown readback 'filed'"),
        ({"grade_by": "value"}, "unknown grade_by 'value'"),
        ({"security": "bad"}, "security = 'bad'"),
    ],
)
def test_an_entry_with_a_mistake_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(Flag, written("cpu_quota", {"why": "a test", **change}), "flags.yaml")


@each_option
def test_the_flag_has_its_words(name: str) -> None:
    assert tuple(flag_words(only(name))) == EXAMPLES[name].words
    assert all(re.fullmatch(r"--?[a-z-]+(=.+)?", word) for word in EXAMPLES[name].words)


@each_option
def test_the_sdk_takes_the_argument_and_it_reaches_the_host_config(name: str) -> None:
    expected = EXAMPLES[name].sdk
    arguments = sdk_arguments(only(name))
    assert arguments == {flag_of(name).argument: expected}
    spec = ContainerSpec("c", "image", ("true",), only(name))
    created = _create_container_args({**create_arguments(spec), "version": "1.41"})
    if name == "other":
        assert create_arguments(spec) == create_arguments(replace(spec, options=DockerOptions()))
        return
    found = {**created["host_config"], "Env": created["environment"]}[EXAMPLES[name].host_config]
    if name == "device":
        found = [
            ":".join(device[key] for key in ("PathOnHost", "PathInContainer", "CgroupPermissions")) for device in found
        ]
    if name == "gpus":
        found = [{key: value for key, value in request.items() if key != "DeviceIDs"} for request in found]
    assert found == expected


@each_option
def test_an_option_says_what_it_is_for_and_what_it_trades(name: str) -> None:
    flag = flag_of(name)
    assert len(flag.why) > 8
    assert grade_of(name, only(name)) in ("none", "weakens", "dangerous")


@pytest.mark.parametrize(("name", "bad"), [(name, bad) for name, e in EXAMPLES.items() for bad in e.bad])
def test_a_value_out_of_bounds_is_refused_with_the_option_and_the_value(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: ") as error:
        DockerOptions(**{name: bad})
    assert repr(bad[0] if isinstance(bad, tuple) else bad) in str(error.value)


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if not example.bad])
def test_options_without_a_bound_have_none_to_be_tested(name: str) -> None:
    assert flag_of(name).kind.check(EXAMPLES[name].value) is None
    assert flag_of(name).kind.check("anything at all") is None


@pytest.mark.parametrize(("name", "least"), [("shm_size", "1"), ("memory", "6m"), ("memory_swap", "-1")])
def test_the_least_that_acts_is_accepted(name: str, least: str) -> None:
    assert getattr(DockerOptions(**{name: least}), name) == least
    with pytest.raises(ValueError, match="below the least that acts"):
        DockerOptions(**{name: str(parse_size(least) - 1)})


@pytest.mark.parametrize("name", ["privileged", "init", "read_only"])
def test_a_bare_flag_that_is_false_has_no_word(name: str) -> None:
    assert flag_words(DockerOptions(**{name: False})) == []
    assert sdk_arguments(DockerOptions(**{name: False})) == {flag_of(name).argument: False}


@pytest.mark.parametrize(
    ("value", "word", "request_"),
    [
        ("2", "--gpus=2", {"Count": 2}),
        ("device=0,2", '--gpus="device=0,2"', {"Count": 0, "DeviceIDs": ["0", "2"]}),
        ("GPU-1a", '--gpus="device=GPU-1a"', {"Count": 0, "DeviceIDs": ["GPU-1a"]}),
    ],
)
def test_gpus_are_all_a_number_or_devices(value: str, word: str, request_: dict[str, Any]) -> None:
    options = DockerOptions(gpus=value)
    assert flag_words(options) == [word]
    assert sdk_arguments(options)["device_requests"] == [
        {"Driver": "", "Capabilities": [["gpu"]], "Options": {}, **request_}
    ]


def test_limits_are_joined_under_one_argument() -> None:
    options = DockerOptions(ulimit_memlock=-1, ulimit_stack=5, ulimit_nofile=7)
    assert [limit["Name"] for limit in sdk_arguments(options)["ulimits"]] == ["memlock", "stack", "nofile"]


@sampled(st.sets(st.sampled_from(option_names())))
def test_options_apart_say_what_they_say_together(names: set[str]) -> None:
    together = DockerOptions(**{name: EXAMPLES[name].value for name in names})
    assert [name for name, _, _ in given(together)] == [name for name in option_names() if name in names]
    assert flag_words(together) == [word for name in option_names() if name in names for word in EXAMPLES[name].words]
    assert set(sdk_arguments(together)) == {flag_of(name).argument for name in names}


@sampled(st.sets(st.sampled_from(option_names())), st.sets(st.sampled_from(option_names())))
def test_options_can_be_given_up(names: set[str], lost: set[str]) -> None:
    left = without(DockerOptions(**{name: EXAMPLES[name].value for name in names}), lost)
    assert {name for name, _, _ in given(left)} == names - lost


@sampled(st.sets(st.sampled_from(option_names())))
def test_options_survive_the_file_boundary(names: set[str]) -> None:
    written = {
        name: list(value) if isinstance(value := EXAMPLES[name].value, tuple) else value for name in sorted(names)
    }
    read = parse(Environment, {"options": written}, "f").options
    assert read == DockerOptions(**{name: EXAMPLES[name].value for name in names})


@sampled(st.integers(1, 2**50))
def test_a_size_is_the_same_by_either_way_into_docker(size: int) -> None:
    options = DockerOptions(shm_size=str(size))
    [word] = flag_words(options)
    assert parse_size(word.removeprefix("--shm-size=")) == sdk_arguments(options)["shm_size"] == size


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        (DockerOptions(), {}),
        (DockerOptions(shm_size="1g"), {}),
        (DockerOptions(shm_size="1g", ipc="private"), {}),
        (DockerOptions(ipc="host"), {}),
        (DockerOptions(shm_size="1g", ipc="host"), {"shm_size": "--ipc=host"}),
        (DockerOptions(shm_size="1g", ipc="none"), {"shm_size": "--ipc=none"}),
        (DockerOptions(memory_swap="-1"), {"memory_swap": "without --memory"}),
        (DockerOptions(memory_swap="-1", memory="1g"), {}),
    ],
)
def test_what_cannot_act_says_why(options: DockerOptions, reasons: dict[str, str]) -> None:
    found = cannot_act(options)
    assert set(found) == set(reasons)
    assert all(reason in found[name] for name, reason in reasons.items())


def test_an_option_that_is_none_is_unknown() -> None:
    with pytest.raises(KeyError):
        flag_of("rm")
    with pytest.raises(ConfigError, match=r"unknown key 'options\.rm'"):
        parse(Environment, {"options": {"rm": True}}, "f")
