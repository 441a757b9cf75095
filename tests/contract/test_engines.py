"""One suite over every engine: whatever an engine is, these hold. Those with a worker run it, as a plain process."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from trtllm_bench_case import Bench as InstalledDouble

from sparkray.catalog import Catalog, data_root
from sparkray.catalog.weights import cache_folder, locate
from sparkray.config.experiment import Workload
from sparkray.engines import SERVER, SERVING_FILE, Engine, EngineCommand, Job, Paths, Server, engine_names, load_engine
from sparkray.errors import ConfigError, EngineOutputError, RunError, UnknownNameError
from sparkray.execute.layout import WORKERS_ON_HOST
from sparkray.records import Measurement, Request

SMALLEST, DECODER = "SmolLM2-135M", "Qwen2-1.5B"
WORKLOAD = Workload(requests=3, input_tokens=8, output_tokens=5, warmup_requests=1)
PATHS = Paths(model="/m/model", input="/i", output="/o", python="/p/python3", workers="/w")
GOLDEN = Path(__file__).parents[1] / "golden" / "servers"
Left = tuple[Path, Job, Measurement]


@pytest.fixture(params=engine_names())
def engine(request: pytest.FixtureRequest) -> Engine:
    return load_engine(request.param)


def job_of(engine: Engine, **changes: Any) -> Job:
    name = SMALLEST if engine.image_contents == "venv" else DECODER
    card = Catalog(data_root()).select((name,))[0]
    made = Job(card, WORKLOAD, seed=7, options=engine.options({}, "test"))
    made = replace(made, **changes)
    return replace(made, workload=replace(made.workload, kind="serve")) if isinstance(engine, Server) else made


def test_there_are_these() -> None:
    servers = {"llamacpp-server", "llama-server", "nim", "ollama", "sglang", "trtllm-serve", "vllm"}
    assert servers <= {name for name in engine_names() if isinstance(load_engine(name), Server)}
    assert {"double", "llamacpp", "trtllm"} <= {*engine_names()} - servers


def test_an_engine_is_named_as_its_file(engine: Engine) -> None:
    assert engine.name in engine_names()
    module = SERVER if isinstance(engine, Server) and engine.name != "vllm" else engine.name
    assert type(engine).__module__ == f"sparkray.engines.{module}"
    assert engine.image_contents in ("venv", "reference")


@pytest.mark.parametrize("name", ["llamacp", "_worker", "_trtllm", "server", "server:", "other:acme", ""])
def test_an_unknown_engine_is_said(name: str) -> None:
    with pytest.raises(UnknownNameError, match="engine"):
        load_engine(name)


def test_options_are_whole_and_stay_as_they_are(engine: Engine) -> None:
    options = engine.options({}, "test")
    assert options
    assert engine.options(options, "test") == options
    assert json.loads(json.dumps(options)) == options, "options stand in hashes and rows"


def test_an_unknown_option_is_refused_with_its_source(engine: Engine) -> None:
    name = next(iter(engine.options({}, "test")))
    with pytest.raises(ConfigError, match=rf"sites/x\.yaml: .*'{name}x'.*{name}"):
        engine.options({f"{name}x": 1}, "sites/x.yaml")


@pytest.mark.parametrize("value", [[], {}, object()])
def test_a_value_of_another_kind_is_refused(engine: Engine, value: object) -> None:
    for name, default in engine.options({}, "test").items():
        if not isinstance(default, list | tuple | dict):
            with pytest.raises(ConfigError, match=name):
                engine.options({name: value}, "test")


def test_the_command_is_pure(engine: Engine) -> None:
    """Nothing at those paths is there: it is made without looking."""
    job = job_of(engine)
    command = engine.command(job, PATHS)
    assert command == engine.command(job, PATHS)
    assert all(isinstance(word, str) and word for word in command.argv)
    assert all(isinstance(content, bytes) and "/" not in name for name, content in command.inputs.items())
    assert re.fullmatch("[0-9a-f]{64}", command.dataset_sha256 or "")


def said_by(command: EngineCommand) -> str:
    files = (content.decode() for content in command.inputs.values())
    return " ".join([*command.argv, *command.environment.values(), *files])


def test_the_command_names_what_is_inside_alone(engine: Engine) -> None:
    command = engine.command(job_of(engine), PATHS)
    assert str(Path.cwd()) not in said_by(command)
    if isinstance(engine, Server) and not engine.recipe(engine.options({}, "test")).takes_model:
        return
    assert PATHS.model in said_by(command)
    if not isinstance(engine, Server):
        assert any(word.startswith(PATHS.output) for word in command.argv)
        assert any(word.startswith(PATHS.input) for word in command.argv)
    elsewhere = replace(PATHS, model="/other/weights")
    assert "/other/weights" in said_by(engine.command(job_of(engine), elsewhere))
    assert PATHS.model not in said_by(engine.command(job_of(engine), elsewhere))


def test_the_seed_and_the_load_fix_the_prompts(engine: Engine) -> None:
    first = engine.command(job_of(engine), PATHS)
    hashes = {
        engine.command(job_of(engine, **changes), PATHS).dataset_sha256
        for changes in (
            {"seed": 8},
            {"workload": replace(WORKLOAD, input_tokens=9)},
            {"workload": replace(WORKLOAD, requests=4)},
        )
    }
    assert first.dataset_sha256 not in hashes
    assert len(hashes) == 3
    assert engine.command(job_of(engine), replace(PATHS, output="/x")).dataset_sha256 == first.dataset_sha256


def test_what_a_probe_says_is_understood_or_refused(engine: Engine) -> None:
    probe = engine.probe()
    assert probe is None or all(isinstance(word, str) and word for word in probe)
    with pytest.raises(EngineOutputError):
        engine.understand("bash: command not found")


def test_an_empty_folder_is_no_measurement(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(EngineOutputError):
        engine.read(tmp_path, job_of(engine))


# ---- what a real run of each leaves ----


def _worker_run(engine: Engine, folder: Path) -> tuple[Path, Job]:
    job = job_of(engine)
    model = locate(job.card, Path("/"), cache_folder()).path
    paths = Paths(str(model), str(folder), str(folder), sys.executable, str(WORKERS_ON_HOST))
    command = engine.command(job, paths)
    for name, content in command.inputs.items():
        (folder / name).write_bytes(content)
    with (folder / "engine.log").open("wb") as log:
        done = subprocess.run(command.argv, stdout=log, stderr=subprocess.STDOUT, timeout=120, check=False)
    assert done.returncode == 0, (folder / "engine.log").read_text()
    for name in command.inputs:
        (folder / name).unlink()
    return folder, job


def _installed_run(engine: Engine, folder: Path) -> tuple[Path, Job]:
    installed = InstalledDouble(folder, "1.2")
    job = replace(installed.job(DECODER), workload=WORKLOAD)
    status, out, _ = installed.run(job)
    assert status == 0, (out / "engine.log").read_text()
    return out, job


def _served_run(engine: Engine, folder: Path) -> tuple[Path, Job]:
    """As `execute` leaves the folder, with a log from a real run where there is one."""
    job = job_of(engine)
    assert isinstance(engine, Server)
    requests = [
        asdict(Request(index, index == 0, 8, 5, 10 * index, 10 * index + 2, 10 * index + 9))
        for index in range(len(engine.prompts(job)))
    ]
    record = {
        "requests": requests,
        "notes": [],
        "ended": "complete",
        "version": "1.0",
        "model_path": "/m/model",
        "model_sha256": None,
    }
    (folder / SERVING_FILE).write_text(json.dumps(record))
    log = GOLDEN / f"{engine.name}.log"
    (folder / "engine.log").write_bytes(log.read_bytes() if log.is_file() else b"")
    return folder, job


@pytest.fixture(scope="module", params=engine_names())
def left(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Left:
    """Output folder, job and measurement of one run of each engine."""
    engine = load_engine(request.param)
    run: Callable[[Engine, Path], tuple[Path, Job]]
    run = _worker_run if engine.image_contents == "venv" else _installed_run
    run = _served_run if isinstance(engine, Server) else run
    folder, job = run(engine, tmp_path_factory.mktemp(request.param))
    return folder, job, engine.read(folder, job)


@pytest.fixture
def reader(request: pytest.FixtureRequest, left: Left) -> Engine:
    return load_engine(request.node.callspec.params["left"])


def test_a_run_is_read_whole(left: Left) -> None:
    _, job, measurement = left
    counted = [request for request in measurement.requests if not request.warmup]
    assert len(counted) == job.workload.requests
    for request in measurement.requests:
        assert request.output_tokens == job.workload.output_tokens
        assert request.input_tokens == job.workload.input_tokens
        assert _in_order(request)
        assert request.error is None
    assert len({request.index for request in measurement.requests}) == len(measurement.requests)
    assert measurement.facts.version
    assert measurement.facts.model_path


def _in_order(request: Request) -> bool:
    first = () if request.first_token_ns is None else (request.first_token_ns,)
    times = [request.submit_ns, *(request.token_ns or first), request.end_ns]
    return times == sorted(times) and request.submit_ns < request.end_ns


def test_reading_changes_nothing_and_is_repeatable(left: Left, reader: Engine) -> None:
    folder, job, measurement = left
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert reader.read(folder, job) == measurement
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_doubles_alone_are_simulated(left: Left, reader: Engine) -> None:
    assert left[2].simulated == (reader.name in ("double", "trtllm"))


@pytest.mark.parametrize("requests", [2, 4])
def test_another_number_of_requests_is_refused(left: Left, reader: Engine, requests: int) -> None:
    folder, job, _ = left
    other = replace(job, workload=replace(job.workload, requests=requests))
    with pytest.raises(EngineOutputError, match=rf"\b{requests}\b|\b{requests + 1}\b"):
        reader.read(folder, other)


@pytest.mark.parametrize("damage", [b"", b"\x00\xff{not json", b"[]", b"{}", b"null", b"1", "half", "gone"])
def test_a_damaged_folder_is_a_run_error_or_still_whole(
    left: Left, reader: Engine, tmp_path: Path, damage: bytes | str
) -> None:
    """Whatever is damaged: an error of the run's, never another; and no request is made up."""
    folder, job, measurement = left
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    refused = []
    for number, name in enumerate(names):
        copy = tmp_path / str(number)
        for other in names:
            (copy / other).parent.mkdir(parents=True, exist_ok=True)
            (copy / other).write_bytes((folder / other).read_bytes())
        whole = (copy / name).read_bytes()
        (copy / name).unlink()
        if damage != "gone":
            (copy / name).write_bytes(whole[: len(whole) // 2] if isinstance(damage, str) else damage)
        try:
            assert {*reader.read(copy, job).requests} <= {*measurement.requests}
        except RunError:
            refused.append(name)
    assert refused, f"nothing of {names} matters"
