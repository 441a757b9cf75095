"""`compare --engine RECIPE` without a line: the line of each recipe, held by a file, and what a dry run cannot know.

When a change is meant, write the files anew and read the difference: `python tests/unit/test_recipe_line.py`. Beside a line
stands, in YAML, the one that the project documents, with each difference and its reason.
"""

import json
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparkray.catalog import Catalog, data_root
from sparkray.config.docker_line import Shell, parse_words
from sparkray.config.docker_run import known_options
from sparkray.config.experiment import Workload
from sparkray.config.recognise import ImageConfig
from sparkray.errors import InputError
from sparkray.sweep import main
from sparkray.workflows.compare import understand
from sparkray.workflows.recipe_line import RecipeLine, recipe_line

GOLDEN = Path(__file__).resolve().parents[1] / "golden/recipe_lines"
CATALOG = Catalog(data_root())
NAMES = sorted(CATALOG.recipe_files())
LOAD = Workload(kind="serve", requests=32, input_tokens=128, output_tokens=64, concurrency=4)
DOCUMENTED = sorted(path.stem for path in GOLDEN.glob("*.yaml"))
OF_LLAMA = ("llama-server", "llamacpp-server")


def made(name: str, folder: str = "/results", model: str | None = None) -> RecipeLine:
    model = model or ("/models/llama.gguf" if name in OF_LLAMA else "/models/Llama-3.1-8B")
    asked = None if name == "nim" else model
    return recipe_line(name, asked, CATALOG.site("dgx-spark"), LOAD, catalog=CATALOG, folder=Path(folder))


def shown(name: str) -> str:
    line = made(name)
    words = shlex.join(line.words).replace(f"{Path.home()}/", "~/")
    return words + "\n" + "".join(f"{path}:\n{text.decode()}" for path, text in line.files.items())


def parts(text: str) -> Counter[str]:
    """Each option with its value, the image, and the words of the command, however they are spelt and ordered."""
    rest, found = shlex.split(text)[2:], []
    while rest[0].startswith("-"):
        name, _, value = rest.pop(0).partition("=")
        option = known_options().get(name)
        if option is None or option.switch:  # `-it` is two
            found.append(option.name if option else name)
        else:
            found.append(f"{option.name}={value or rest.pop(0)}")
    return Counter([*found, rest[0], *arguments(rest[1:])])


def arguments(words: list[str]) -> list[str]:
    found: list[str] = []
    for word in words:
        if found and found[-1].startswith("-") and " " not in found[-1] and not word.startswith("-"):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def documented(name: str) -> tuple[Counter[str], list[dict[str, Any]]]:
    page = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())
    line = page["line"]
    for variable, value in page.get("variables", {}).items():
        line = line.replace(f"${variable}", value)
    return parts(line) + Counter(arguments(shlex.split(page.get("inside", "")))), page["differences"]


@pytest.mark.parametrize("name", NAMES)
def test_the_line_of_a_recipe(name: str) -> None:
    assert (GOLDEN / f"{name}.txt").read_text() == shown(name)


def test_every_server_of_a_project_has_its_documented_line() -> None:
    assert [name for name in NAMES if CATALOG.recipe(name).image != "venv"] == DOCUMENTED


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_line_departs_from_the_documented_one_where_a_reason_is_given(name: str) -> None:
    theirs, differences = documented(name)
    ours = parts(shown(name).partition("\n")[0])
    assert theirs - ours == Counter(part for each in differences for part in each.get("documented", []))
    assert ours - theirs == Counter(part for each in differences for part in each.get("sparkray", []))
    assert all(each["why"] for each in differences)


@pytest.mark.parametrize("name", NAMES)
def test_the_line_is_understood_as_if_it_had_been_pasted(name: str, tmp_path: Path) -> None:
    model = tmp_path / ("m.gguf" if name in OF_LLAMA else "m")
    model.mkdir()
    line = made(name, str(tmp_path / "r"), str(model))
    line = replace(  # at another home
        line,
        words=tuple(word.replace(f"{Path.home()}/", f"{tmp_path}/") for word in line.words),
        folders=tuple(tmp_path / folder.relative_to(Path.home()) for folder in line.folders),
    )
    line.write()
    recipe = CATALOG.recipe(name)
    own = (
        recipe.command[: recipe.from_image] if recipe.from_image is not None else ("/an/entrypoint", "its", "arguments")
    )
    compared = understand(parse_words(line.words, Shell({}, "/", str)), ImageConfig(own), CATALOG)
    assert (compared.recipe.name, compared.port) == (name, recipe.port)
    assert len(compared.command) == len(recipe.command)
    assert compared.command[0] == recipe.command[0].replace("{python}", "/opt/sparkray/bin/python3")


def test_a_server_that_finds_its_model_itself_is_given_none(tmp_path: Path) -> None:
    assert not [word for word in made("nim").words if "/models" in word]
    site = CATALOG.site("dgx-spark")
    with pytest.raises(InputError, match=r"--model /m: nim takes no model.*Leave --model out"):
        recipe_line("nim", "/m", site, LOAD, catalog=CATALOG, folder=tmp_path)


def test_a_strangers_recipe_needs_its_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "acme.yaml"
    path.write_text("name: acme\ndescription: x\ncommand: [acme, '--port={port}', '{model}']\nimage: acme/acme:1\n")
    words = made(str(path)).words
    assert words[-4:] == ("--entrypoint=acme", "acme/acme:1", "--port=8000", "/models/Llama-3.1-8B")
    path.write_text("name: acme\ndescription: x\ncommand: [acme]\n")
    with pytest.raises(InputError, match="names no image"):
        made(str(path))


def test_the_sites_flags_are_given_up_where_the_site_gives_them_up(tmp_path: Path) -> None:
    line = recipe_line("vllm", str(tmp_path), CATALOG.site("cpu"), LOAD, catalog=CATALOG, folder=tmp_path)
    assert line.adapt == ("ulimit_memlock", "ulimit_stack")


def test_an_offline_engine_has_no_line() -> None:
    with pytest.raises(InputError, match="engine llamacpp is no server"):
        made("llamacpp")


def test_a_dry_run_says_what_it_cannot_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "acme.json.yaml"
    recipe.write_text(json.dumps({"name": "acme", "description": "x", "command": ["acme"], "image": "acme/none:1"}))
    asked = ["--engine", str(recipe), "--model", "/not/there.gguf", "--site", "cpu", "--dry-run"]
    assert main(["compare", "--results-dir", str(tmp_path / "r"), *asked]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("docker run --ipc=host")
    assert "/not/there.gguf is not on this machine." in out
    assert "its variables, folder and user are not known." in out
    assert out.endswith("Nothing was started.")
    assert not (tmp_path / "r").exists()


if __name__ == "__main__":
    for recipe_name in NAMES:
        (GOLDEN / f"{recipe_name}.txt").write_text(shown(recipe_name))
