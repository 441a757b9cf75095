"""`--output` and `--export-markdown` never take the place of a dataset's data, or of a file of another kind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from builders import Ended
from support.studies import small_study

from sparkray.store import TABLES
from sparkray.sweep.outputs import _OWN

Call = Callable[..., Ended]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    small_study(folder, models=1)
    return folder / "small"


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        ("analyze", "{}", "--output", "{}/runs"),
        ("analyze", "{}", "--output", "{}/checks/tables"),
        ("analyze", "{}", "--output", "{}/analysis/../runs"),
        ("analyze", "{}", "--export-markdown", "{}/experiment.json"),
        ("report", "{}", "--output", "{}/samples"),
        ("audit", "{}", "--output", "{}/dataset.json"),
        ("optimize", "--output", "{}/logs/x.yaml"),
    ],
)
def test_a_dataset_is_not_written_into(command_line: Call, dataset: Path, words: tuple[str, ...]) -> None:
    before = _files(dataset)
    ended = command_line(*(word.format(dataset) for word in words))
    assert ended.status == 2
    assert "part of the dataset" in ended.err
    assert _files(dataset) == before


def test_every_table_of_a_dataset_is_its_own() -> None:
    assert set(TABLES) < _OWN


@pytest.mark.parametrize(("verb", "kind"), [("audit", "an HTML page"), ("optimize", "a result of `optimize`")])
def test_a_file_of_another_kind_stays(command_line: Call, tmp_path: Path, verb: str, kind: str) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("model,environment,output_throughput_tok_s\nm,native,1\n")
    ended = command_line(verb, *([str(path)] if verb == "audit" else []), "--output", str(path))
    assert ended.status == 2
    assert f"exists and is not {kind}" in ended.err
    assert path.read_text().startswith("model,")


def test_a_page_is_written_again(command_line: Call, tmp_path: Path) -> None:
    data, page = tmp_path / "theirs.csv", tmp_path / "audit.html"
    data.write_text("model,environment,output_throughput_tok_s\nm,native,1\n")
    for _ in range(2):
        assert command_line("audit", str(data), "--output", str(page)).status == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
