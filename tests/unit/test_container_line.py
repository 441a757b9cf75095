"""One container, two ways into Docker: the printed line and the SDK's arguments."""

import shlex
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sparkray.config.container import ContainerSpec, create_arguments, run_line, run_words
from sparkray.config.docker import DockerOptions, flag_words

WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SPECS = st.builds(
    ContainerSpec,
    name=WORD,
    image=WORD,
    argv=st.lists(WORD, max_size=4).map(tuple),
    options=st.builds(
        DockerOptions,
        gpus=st.none() | WORD,
        security_opt=st.none() | st.lists(WORD.map("apparmor={}".format), max_size=2).map(tuple),
        ulimit_stack=st.none() | st.integers(-1, 2**40),
    ),
    environment=st.dictionaries(WORD, WORD, max_size=3),
    binds=st.lists(st.tuples(WORD, WORD, st.booleans()), max_size=3).map(tuple),
    labels=st.dictionaries(WORD, WORD, max_size=3),
    workdir=st.none() | WORD,
)


def spec(**changes: Any) -> ContainerSpec:
    values: dict[str, Any] = {
        "name": "n",
        "image": "img",
        "argv": ("run", "a b"),
        "options": DockerOptions(ipc="host", privileged=True),
        "environment": {"B": "2", "A": "it's"},
        "binds": (("/in", "/sparkray/in", True), ("/out", "/sparkray/out", False)),
        "labels": {"l": "1"},
        "workdir": "/w",
    }
    return ContainerSpec(**values | changes)


@given(SPECS)
def test_the_line_a_shell_reads_is_the_words(container: ContainerSpec) -> None:
    assert shlex.split(run_line(container)) == run_words(container)


@given(SPECS)
def test_the_words_end_with_the_image_and_the_command(container: ContainerSpec) -> None:
    words = run_words(container)
    assert words[-len(container.argv) - 2 :] == ["--entrypoint=", container.image, *container.argv]
    assert words[:4] == ["docker", "run", "--rm", f"--name={container.name}"]
    assert len(words) == 6 + len(flag_words(container.options)) + len(container.environment) + len(
        container.binds
    ) + len(container.labels) + bool(container.workdir) + len(container.argv)


def test_the_line_is_what_a_person_would_type() -> None:
    assert run_line(spec()) == (
        "docker run --rm --name=n --ipc=host --privileged '--env=A=it'\"'\"'s' --env=B=2 --volume=/in:/sparkray/in:ro "
        "--volume=/out:/sparkray/out --label=l=1 --workdir=/w --entrypoint= img run 'a b'"
    )


def test_another_verb_makes_the_same_container() -> None:
    assert run_words(spec(), ("create",))[:2] == ["docker", "create"]
    assert run_words(spec(), ("create",))[2:] == run_words(spec())[3:]


def test_the_arguments_say_the_same_as_the_line() -> None:
    assert create_arguments(spec()) == {
        "image": "img",
        "command": ["run", "a b"],
        "name": "n",
        "entrypoint": "",
        "environment": {"A": "it's", "B": "2"},
        "labels": {"l": "1"},
        "volumes": ["/in:/sparkray/in:ro", "/out:/sparkray/out"],
        "use_config_proxy": False,
        "working_dir": "/w",
        "ipc_mode": "host",
        "privileged": True,
    }
    assert "working_dir" not in create_arguments(spec(workdir=None))
    assert not any(word.startswith("--workdir") for word in run_words(spec(workdir=None)))
