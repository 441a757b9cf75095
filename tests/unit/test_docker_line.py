"""A pasted `docker run` line: what each option becomes, and what is refused by name."""

import re
import shlex
import subprocess
from typing import Any

import pytest
from flag_cases import CASES
from hypothesis import given as sampled
from hypothesis import strategies as st

from sparkray.config.container import ContainerSpec, run_line, run_words, variables_of
from sparkray.config.docker import DockerOptions, flag_of, flag_words, option_names, without
from sparkray.config.docker_line import DockerLine, Shell, parse_text, parse_words
from sparkray.config.docker_run import known_options
from sparkray.config.docker_values import Published
from sparkray.config.equivalence import signature
from sparkray.config.shell_words import split_words
from sparkray.errors import InputError

FILES = {"/w/vars": "# a comment\nA=1 2\n\n  B=x#y\nTOKEN\nUNSET\n"}
SHELL = Shell({"TOKEN": "secret"}, "/w", lambda path: FILES[f"/w/{path}"])
OPTIONS = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from([case.value for case in [CASES[name]]]) for name in option_names()}
).map(lambda values: DockerOptions(**values))


def line(text: str) -> DockerLine:
    return parse_words(shlex.split(text), SHELL)


def message(text: str) -> str:
    with pytest.raises(InputError) as raised:
        parse_text(text, SHELL)
    assert raised.value.exit_status == 2
    return str(raised.value)


@sampled(OPTIONS)
def test_what_is_printed_is_read_back(options: DockerOptions) -> None:
    spec = ContainerSpec(
        "n", "img:1", ("serve", "--port", "8000", "-p", "x y"), options, {"A": "b c"}, (("/a", "/b", True),)
    )
    read = parse_text(run_line(spec), SHELL)
    typed = without(options, {"env", "other"})
    assert (flag_words(read.options), signature(read.options)) == (flag_words(typed), signature(typed))
    assert read.environment == {**variables_of(options), "A": "b c"}
    assert (read.image, read.command, read.binds, read.entrypoint) == (spec.image, spec.argv, spec.binds, "")
    assert (read.passed, [words for words, _ in read.dropped]) == (options.other or (), ["--rm", "--name=n"])
    assert parse_words(run_words(spec), SHELL) == read


def test_the_table_holds_every_option_that_dockers_command_line_knows() -> None:
    printed = subprocess.run(["docker", "run", "--help"], capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^\s+(?:-(\w), )?(--[\w-]+)(?: (\w[\w-]*))?", printed, re.MULTILINE)
    known = known_options()
    assert len(listed) > 90
    for short, name, value in listed:
        assert known[name].switch is (not value), name
        assert not short or known[f"-{short}"] is known[name]


def test_every_flag_has_its_row_and_every_other_row_its_reason() -> None:
    rows = {option.name: option for option in known_options().values()}
    assert {flag_of(name).text for name in option_names()} - set(rows) <= {"-e", ""}  # --env, and what has no type
    for name, option in rows.items():
        typed = any(flag_of(field).text == name for field in option_names())
        assert typed == (option.treatment == "typed"), name
        assert bool(option.why) == (option.treatment in ("dropped", "refused")), name


def test_a_line_as_projects_print_it() -> None:
    found = parse_text(
        """$ sudo docker run --runtime nvidia --gpus all \\
          -v /root/.cache:/nowhere \\ \t
          --env "HUGGING_FACE_HUB_TOKEN=a b" -p 8000:8000 \\
          --ipc=host --ulimit memlock=-1 --ulimit stack=67108864 --rm -it \\
          vllm/vllm-openai:latest \\
          --model mistralai/Mistral-7B-v0.1  # it's the model
        """,
        SHELL,
    )
    assert found.options == DockerOptions(
        runtime="nvidia", gpus="all", ipc="host", ulimit_memlock=-1, ulimit_stack=67108864
    )
    assert found.environment == {"HUGGING_FACE_HUB_TOKEN": "a b"}
    assert (found.image, found.command) == ("vllm/vllm-openai:latest", ("--model", "mistralai/Mistral-7B-v0.1"))
    assert found.binds == (("/root/.cache", "/nowhere", False),)
    assert found.ports == (Published(8000, 8000),)
    assert [words for words, _ in found.dropped] == ["--rm", "--interactive", "--tty"]


@pytest.mark.parametrize(
    ("words", "attribute", "expected"),
    [
        ("-itd", "dropped", ["--interactive", "--tty", "--detach"]),
        ("-dp8000:80 --restart unless-stopped --name=x", "ports", (Published(80, 8000),)),
        (
            "-p=127.0.0.1:8000-8001:80-81/udp",
            "ports",
            (Published(80, 8000, "127.0.0.1", "udp"), Published(81, 8001, "127.0.0.1", "udp")),
        ),
        ("-p 80", "ports", (Published(80),)),
        (
            "-v ./m:/m:ro,z --mount type=bind,src=/a,dst=/b,readonly",
            "binds",
            (("/w/m", "/m", True), ("/a", "/b", True)),
        ),
        ("-e A=1 -e A=2 --env-file vars -e TOKEN", "environment", {"A": "1 2", "B": "x#y", "TOKEN": "secret"}),
        (
            "--net my-net --group-add video --no-healthcheck",
            "passed",
            ("--network=my-net", "--group-add=video", "--no-healthcheck"),
        ),
        (
            "--ulimit nofile=1:2 --ulimit core=0 --ulimit stack=5:5",
            "passed",
            ("--ulimit=nofile=1:2", "--ulimit=core=0"),
        ),
        (
            "--ulimit stack=5:5 -m 1.5g -c 512 --cpus=.5",
            "options",
            DockerOptions(ulimit_stack=5, memory="1.5g", cpu_shares=512, cpus=0.5),
        ),
        (
            "--gpus '\"device=0,1\"' --privileged=false --init=1",
            "options",
            DockerOptions(gpus="device=0,1", init=True, privileged=False),
        ),
        (
            "--gpus 'all,\"capabilities=compute,utility\"' --mount type=tmpfs,target=/t",
            "passed",
            ('--gpus=all,"capabilities=compute,utility"', "--mount=type=tmpfs,target=/t"),
        ),
        (
            "--device /dev/a --device /dev/b:/dev/b --device /dev/c:/dev/d",
            "options",
            DockerOptions(device=("/dev/a", "/dev/b")),
        ),
        (
            "--cap-add SYS_NICE --cap-add=IPC_LOCK --security-opt seccomp=p.json --security-opt label=disable",
            "options",
            DockerOptions(cap_add=("SYS_NICE", "IPC_LOCK"), security_opt=("label=disable",)),
        ),
        ("--ipc private --ipc host", "options", DockerOptions(ipc="host")),
        ("--entrypoint '' -w /srv --", "workdir", "/srv"),
    ],
)
def test_an_option_becomes(words: str, attribute: str, expected: Any) -> None:
    found = line(f"docker container run {words} img --gpus none -p 1")
    value = getattr(found, attribute)
    assert ([each for each, _ in value] if attribute == "dropped" else value) == expected
    assert (found.image, found.command) == ("img", ("--gpus", "none", "-p", "1"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("docker run -v $(pwd)/m:/m img", "$(pwd) in"),
        ('docker run -e "T=$HF_TOKEN" img', "$HF_TOKEN in"),
        ("docker run -e T=${T} img", "${T} in"),
        ("docker run -v `pwd`:/m img", "`pwd` in"),
        ("docker run -v ~/m:/m img", "~ in '~/m:/m'"),
        ("docker run --volume=~/m:/m img", "~ was not filled in"),
        ("docker run img | tee log", "'|' is an operator"),
        ("docker run img && curl x", "'&&' is an operator"),
        ("docker run 'img", "a quote ' is not closed"),
        ("docker run \\\n--gpus all\nimg", "'img' stands on a line of its own"),
        ("docker run \u2013gpus all img", "typeset"),
        ("docker run \u201cimg\u201d", "typeset"),
        ("docker run --gpu all img", "Did you mean '--gpus'"),
        ("docker run -gpus all img", "Did you mean '--gpus'"),
        ("docker run --shm_size 1g img", "Did you mean '--shm-size'"),
        ("docker run --gpus", "--gpus needs a value"),
        ("docker run --rm -it", "names no image"),
        ("docker run --privileged=maybe img", "true or false"),
        ("docker run --shm-size 1q img", "--shm-size=1q"),
        ("docker run --ipc hsot img", "'hsot' is not one of host"),
        ("docker run --cpus two img", "--cpus=two"),
        ("docker run -p 99999:1 img", "outside 1..65535"),
        ("docker run -p http img", "is not a port"),
        ("docker run -v cache:/root/.cache img", "a volume of Docker's"),
        ("docker run -v /data img", "anonymous volume"),
        ("docker run -v /a:/b:rshared img", "option 'rshared'"),
        ("docker run -v /a:/m -v /b:/m img", "two mounts have the target /m"),
        ("docker run --mount type=volume,src=a,dst=/b img", "of type volume"),
        ("docker run --volumes-from other img", "--volumes-from cannot be compared"),
        ("docker run -P img", "--publish-all cannot be compared"),
        ("docker run --network a --network b img", "given twice"),
        ("docker run -e =x img", "not a variable"),
        ("podman run img", "'podman' is not `docker run`"),
        ("docker exec img ls", "'docker exec img' is not"),
        ("docker -H tcp://x run img", "'-H' stands before `run`"),
        ("DOCKER_HOST=tcp://x docker run img", "DOCKER_HOST stands before"),
        ("docker", "is not `docker run`"),
        ("", "is not `docker run`"),
    ],
)
def test_what_cannot_be_is_refused_by_name(text: str, said: str) -> None:
    assert said in message(text)


def test_words_that_a_shell_left_unexpanded_are_refused_but_a_script_for_a_shell_inside_is_not() -> None:
    for words in (["docker", "run", "-v", "$PWD:/m", "img"], ["docker", "run", "img", "--model", "$MODEL"]):
        with pytest.raises(InputError, match="not filled in"):
            parse_words(words, SHELL)
    script = ("sh", "-c", "exec serve --port $PORT")
    assert parse_words(["docker", "run", "img", *script], SHELL).command == script


@sampled(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_any_words_that_are_quoted_for_a_shell_are_split_again(words: list[str]) -> None:
    assert split_words(shlex.join(["docker", *words])) == ["docker", *words]


def test_variables_before_the_line_are_those_of_the_shell() -> None:
    found = line("HF_HOME=/h sudo -E docker run -e HF_HOME -e NOT_THERE img")
    assert found.environment == {"HF_HOME": "/h"}
    assert found.notes == ("NOT_THERE is not set in this shell, so that Docker passes none on",)
