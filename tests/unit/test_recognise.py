"""What a line serves: the server by its command or image, its port, its model. Recipes are made up where none ships."""

import re
import shlex
from dataclasses import replace

import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.config.docker_line import DockerLine, Shell, parse_text
from sparkray.config.recipe import Recipe
from sparkray.config.recognise import (
    ImageConfig,
    command_of,
    model_of,
    path_on_host,
    port_of,
    recognise,
    served_name_of,
)
from sparkray.errors import InputError


def recipe(name: str, image: str, command: str) -> Recipe:
    return Recipe(name, "a server", tuple(command.split()), image=image)


RECIPES = (
    recipe("vllm", "vllm/vllm-openai:v0.26.0", "vllm serve {model} --served-model-name {served_name} --port {port}"),
    recipe("sglang", "lmsysorg/sglang:latest", "python3 -m sglang.launch_server --model-path {model} --port {port}"),
    recipe("llama-server", "ghcr.io/ggml-org/llama.cpp:server", "llama-server -m {model} --alias {served_name}"),
    recipe("trtllm-serve", "nvcr.io/nvidia/tensorrt-llm/release:1.2", "trtllm-serve serve {model} --port {port}"),
    recipe("ollama", "ollama/ollama", "ollama serve"),
    replace(recipe("nim", "nvcr.io/nim/a/b:1", "/opt/nim/start_server.sh"), images=("nvcr.io/nim/*",)),
    recipe(
        "embedded", "venv", "{python} {workers}/llamacpp_server.py --model {model} --alias {served_name} --port {port}"
    ),
)
VLLM = ImageConfig(("vllm", "serve"))
NVIDIA = ImageConfig(("/opt/nvidia/nvidia_entrypoint.sh",), ("bash",))


def port(line: DockerLine, image: ImageConfig) -> int:
    command = command_of(line, image)
    return port_of(line, command, image, recognise(command, line.image, RECIPES))


def parsed(text: str) -> DockerLine:
    return parse_text(f"docker run {text}", Shell({}, "/w", str))


@pytest.mark.parametrize(
    ("line", "image", "expected"),
    [
        ("-p 8000:8000 vllm/vllm-openai:v1 /m/L --port=9000", VLLM, ("vllm", "/m/L", "", 9000)),
        (
            "-p 80:8000 reg.me:5000/x/vllm/vllm-openai@sha256:0 --model a/L",
            ImageConfig(("/run.sh",)),
            ("vllm", "a/L", "", 8000),
        ),
        ("-p 1:8000 nvcr.io/nvidia/vllm:25.11 vllm serve Q --served-model-name q", NVIDIA, ("vllm", "Q", "q", 8000)),
        ("-p 8000:8000 x python3 -m vllm.entrypoints.openai.api_server --model Q", NVIDIA, ("vllm", "Q", "", 8000)),
        (
            "--network host lmsysorg/sglang python3 -m sglang.launch_server --model-path Q --port 30000",
            NVIDIA,
            ("sglang", "Q", "", 30000),
        ),
        (
            "ghcr.io/ggml-org/llama.cpp:server-cuda -m /m/x.gguf",
            ImageConfig(("/app/llama-server",), ports=(8080,)),
            ("llama-server", "/m/x.gguf", "", 8080),
        ),
        (
            "-p 8000:8000 nvcr.io/nvidia/tensorrt-llm/release:1.2 trtllm-serve serve /m/L --port 8000",
            NVIDIA,
            ("trtllm-serve", "/m/L", "", 8000),
        ),
        ("-p 11434:11434 ollama/ollama", ImageConfig(("/bin/ollama",), ("serve",)), ("ollama", None, "", 11434)),
        ("-p 8000:8000 nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8", NVIDIA, ("nim", None, "", 8000)),
        (
            "-p 8080:8080 mine sh -c 'exec numactl -l /opt/bin/vllm serve /m/L --port 7'",
            ImageConfig(),
            ("vllm", "/m/L", "", 7),
        ),
        (
            "-p 8080:8080 mine",
            ImageConfig((), ("/p/python3", "/w/llamacpp_server.py", "--alias", "smol", "--model", "/x.gguf")),
            ("embedded", "/x.gguf", "smol", 8080),
        ),
        (
            "--entrypoint vllm -p 8000:8000 ollama/ollama serve L",
            ImageConfig(("/bin/ollama",), ("serve",)),
            ("vllm", "L", "", 8000),
        ),
    ],
)
def test_a_line_serves(line: str, image: ImageConfig, expected: tuple[str, str | None, str, int]) -> None:
    found = parsed(line)
    command = command_of(found, image)
    known = recognise(command, found.image, RECIPES)
    name, model = served_name_of(command, known), model_of(command, known)
    assert (known.name, model, name, port(found, image)) == expected


def test_every_recipe_that_ships_is_recognised_by_its_command() -> None:
    catalog = Catalog(data_root())
    recipes = [catalog.recipe(name) for name in catalog.recipe_files()]
    assert recipes
    assert [recognise(each.command, "an/image", recipes).name for each in recipes] == [each.name for each in recipes]


@pytest.mark.parametrize(
    ("line", "image", "said"),
    [
        ("-p 1:1 mine/own:1 serve", ImageConfig(), "of no server that sparkray knows. Name it: --engine"),
        (
            "-p 1:1 mine sh -c 'vllm serve L & ollama serve'",
            ImageConfig(),
            "of several servers. Name it: --engine NAME or FILE (vllm, ollama)",
        ),
        ("vllm/vllm-openai", VLLM, "nothing says where the server of vllm/vllm-openai listens. Publish it"),
        ("mine", ImageConfig(), "mine has no command"),
        ("--entrypoint '' mine", ImageConfig(("a",), ("b",)), "mine has no command"),
    ],
)
def test_what_is_not_known_is_asked_for(line: str, image: ImageConfig, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        port(parsed(line), image)


def test_a_path_of_the_container_is_followed_through_the_nearest_mount() -> None:
    line = parsed("-v /data:/models -v /fast/l:/models/llama:ro -w /models img")
    image = ImageConfig(workdir="/elsewhere")
    for inside, on_host in (
        ("/models/x/y.gguf", "/data/x/y.gguf"),
        ("/models/llama/8b", "/fast/l/8b"),
        ("llama", "/fast/l"),
        ("/models", "/data"),
        ("/modelsx/a", None),
    ):
        assert path_on_host(inside, line, image) == on_host


def test_a_mounted_model_is_found_where_it_lies() -> None:
    words = shlex.split("vllm serve --model /m/L")
    assert model_of(words, RECIPES[0]) == "/m/L"
    assert model_of(["vllm", "serve", "--dtype", "half"], RECIPES[0]) is None
