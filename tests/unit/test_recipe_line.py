"""`compare --engine RECIPE` without a line: the line of each recipe, held by a file, and what a dry run cannot know.

When a change is meant, write the files anew and read the difference: `python tests/unit/test_recipe_line.py`
"""

import json
import shlex
from pathlib import Path

import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.config.docker_line import Shell, parse_words
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
OF_LLAMA = ("llama-server", "llamacpp-server")


def made(name: str, folder: str = "/results", model: str | None = None) -> RecipeLine:
    model = model or ("/models/llama.gguf" if name in OF_LLAMA else "/models/Llama-3.1-8B")
    return recipe_line(name, model, CATALOG.site("dgx-spark"), LOAD, catalog=CATALOG, folder=Path(folder))


def shown(name: str) -> str:
    line = made(name)
    return shlex.join(line.words) + "\n" + "".join(f"{path}:\n{text.decode()}" for path, text in line.files.items())


@pytest.mark.parametrize("name", NAMES)
def test_the_line_of_a_recipe(name: str) -> None:
    assert (GOLDEN / f"{name}.txt").read_text() == shown(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_line_is_understood_as_if_it_had_been_pasted(name: str, tmp_path: Path) -> None:
    model = tmp_path / ("m.gguf" if name in OF_LLAMA else "m")
    model.mkdir()
    line = made(name, str(tmp_path / "r"), str(model))
    line.write()
    parsed = parse_words(line.words, Shell({}, "/", str))
    compared = understand(parsed, ImageConfig(("/an/entrypoint",), ("its", "arguments"), {}, ""), CATALOG)
    assert (compared.recipe.name, compared.port) == (name, 8000)
    assert compared.command[0] == CATALOG.recipe(name).command[0].replace("{python}", "/opt/sparkray/bin/python3")


def test_a_strangers_recipe_needs_its_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "acme.yaml"
    path.write_text("name: acme\ndescription: x\ncommand: [acme, '--port={port}', '{model}']\nimage: acme/acme:1\n")
    words = made(str(path)).words
    assert words[-4:] == ("--entrypoint=acme", "acme/acme:1", "--port=8000", "/models/Llama-3.1-8B")
    path.write_text("name: acme\ndescription: x\ncommand: [acme]\n")
    with pytest.raises(InputError, match="names no image"):
        made(str(path))


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
