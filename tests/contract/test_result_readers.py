"""What every reader of published results keeps."""

import gzip
import json
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from support.published import SAMPLES, Sample

from sparkray.audit import readers as room
from sparkray.audit.content import load
from sparkray.audit.readers import Source, read, read_all, readers
from sparkray.audit.reading import Asked
from sparkray.audit.results import COLUMNS, REQUESTS
from sparkray.errors import DatasetError

CASES = [pytest.param(name, sample, id=f"{name}-{sample.name}") for name, all_ in SAMPLES.items() for sample in all_]
ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path, sample: Sample) -> Path:
    path = folder / sample.name
    path.write_text(sample.text)
    return path


def test_every_reader_has_a_sample_and_stands_in_the_documentation() -> None:
    assert {reader.name for reader in readers()} == set(SAMPLES)
    page = (ROOT / "docs" / "reference" / "readers.md").read_text()
    for reader in readers():
        assert f"| {reader.label} |" in page
        assert reader.tried in page


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_a_file_is_read_by_its_own_reader_and_no_other(tmp_path: Path, name: str, sample: Sample) -> None:
    content = load(written(tmp_path, sample))
    accepting = [reader.name for reader in readers() if reader.name != "table" and reader.read(content, Asked())]
    assert accepting == ([] if name == "table" else [name])


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_what_is_read(tmp_path: Path, name: str, sample: Sample) -> None:
    results = read(written(tmp_path, sample))
    frame = results.frame
    assert frame["model_name"].unique().to_list() == [sample.model or room.NO_MODEL]
    values = frame[sample.metric].to_list()
    assert values == pytest.approx(sample.values) if sample.values else None not in values or name == "llama_bench"
    assert sample.batch is None or set(frame["batch"]) == {sample.batch}
    assert not {metric for metric in results.metrics if results.roles.get(metric, "metric") != "metric"}
    assert all(name in frame.columns for name in (*COLUMNS, *REQUESTS, *results.roles))
    # Parameters of the test are never metrics, whatever the tool.
    parameters = [name for name, role in results.roles.items() if role == "parameter"]
    assert not set(parameters) & set(results.metrics)


FIRST = [pytest.param(name, samples[0], id=name) for name, samples in SAMPLES.items()]


@pytest.mark.parametrize(("name", "sample"), FIRST)
def test_packed_and_in_utf_16_it_is_the_same_and_two_files_are_two_arms(
    tmp_path: Path, name: str, sample: Sample
) -> None:
    path, packed = written(tmp_path, sample), tmp_path / f"{sample.name}.gz"
    packed.write_bytes(gzip.compress(sample.text.encode("utf-16")))
    frame = read_all([Source(path, "native"), Source(packed, "docker")]).frame
    native, docker = (frame.filter(environment=arm) for arm in ("native", "docker"))
    assert len(native) > 0, name
    assert native.drop("environment").equals(docker.drop("environment")), name


@pytest.mark.parametrize(("name", "sample"), FIRST)
def test_a_file_cut_short_is_refused_or_said(tmp_path: Path, name: str, sample: Sample) -> None:
    path = tmp_path / sample.name
    whole = len(read(written(tmp_path, sample)).frame)
    for share in (0.3, 0.97):
        path.write_text(sample.text[: int(len(sample.text) * share)])
        with suppress(DatasetError):
            results = read(path)
            told = {remark.kind for remark in results.remarks}
            assert len(results.frame) <= whole
            assert path.suffix != ".jsonl" or len(results.frame) == whole or "broken_lines" in told, name


LISTED = [case for case in CASES if case.values[1].name.endswith(".json") and case.values[0] not in ("study", "table")]


@pytest.mark.parametrize(("name", "sample"), LISTED)
def test_a_list_of_objects_and_one_inside_another_is_read_alike(tmp_path: Path, name: str, sample: Sample) -> None:
    one = read(written(tmp_path, sample)).frame
    document = json.loads(sample.text)
    path = tmp_path / "several.json"
    for several in ([document, document], {"title": "t", "results": [{"result": document}, {"result": document}]}):
        path.write_text(json.dumps(several))
        both = read(path).frame
        assert len(both) == 2 * len(one), name
        assert both[sample.metric].to_list() == pl.concat([one, one])[sample.metric].to_list()
