"""Where things lie, and the container of a planned run: the same inside a chroot and a container."""

from dataclasses import replace
from pathlib import Path

import pytest
from builders import card, experiment, site, study, treatments

from sparkray.config.experiment import Protocol, WarmStart
from sparkray.config.model import Weights
from sparkray.engines import Engine, load_engine
from sparkray.execute.layout import (
    CACHES,
    WORKERS_ON_HOST,
    binds_of,
    container_name,
    host_paths,
    inside_paths,
    labels_of,
    model_name,
    planned_command,
    planned_container,
    with_engine_variables,
)
from sparkray.plan import Study, make_plan

WHEEL = Weights("wheel", package="p", version="1", member="inner/folder/model.gguf")
CHECKPOINT = Weights("checkpoint", path="Org/Model")


@pytest.fixture
def engine() -> Engine:
    return load_engine("double")


def planned(weights: Weights, **changes: object) -> Study:
    engine_options = load_engine("double").options({}, "test")
    return study(cards=(card(weights=weights),), engine_options=engine_options, **changes)


@pytest.mark.parametrize(
    ("weights", "name"), [(WHEEL, "model.gguf"), (CHECKPOINT, "Model"), (Weights("file", path="/a/b.gguf"), "b.gguf")]
)
def test_weights_keep_their_name_inside(engine: Engine, weights: Weights, name: str) -> None:
    assert model_name(card(weights=weights)) == name
    assert inside_paths(card(weights=weights), engine).model == f"/sparkray/model/{name}"


def test_an_image_of_somebody_else_brings_its_own_python() -> None:
    built, foreign = (inside_paths(card(), load_engine(name)) for name in ("llamacpp", "trtllm"))
    assert Path(built.python).is_absolute()
    assert (foreign.python, foreign.workers) == ("python3", "/sparkray/workers")
    assert (built.input, built.output) == (foreign.input, foreign.output) == ("/sparkray/in", "/sparkray/out")


def test_on_the_host_things_lie_where_they_are() -> None:
    paths = host_paths(Path("/m/x.gguf"), {"in": Path("/i"), "out": Path("/o")}, "/bin/python")
    assert (paths.model, paths.input, paths.output, paths.python) == ("/m/x.gguf", "/i", "/o", "/bin/python")
    assert Path(paths.workers) == WORKERS_ON_HOST
    assert (WORKERS_ON_HOST / "double_worker.py").is_file()


def test_only_the_output_may_be_written(engine: Engine) -> None:
    binds = binds_of(Path("/m"), inside_paths(card(), engine), {"in": Path("/i"), "out": Path("/o")})
    assert [(source, read_only) for source, _, read_only in binds] == [("/m", True), ("/i", True), ("/o", False)]


def test_outside_docker_there_is_no_container(engine: Engine, tmp_path: Path) -> None:
    one = planned(
        WHEEL, experiment=experiment(environments=("native", "host")), treatments=treatments("native", "host")
    )
    assert {planned_container(one, run, engine, tmp_path) for run in make_plan(one)} == {None}


def test_the_container_of_a_run_is_found_by_name_and_label(engine: Engine, tmp_path: Path) -> None:
    one = planned(CHECKPOINT, site=site(models_root="/models", image="registry/image:1"))
    run = next(run for run in make_plan(one) if run.environment == "container_baseline")
    container = planned_container(one, run, engine, tmp_path)
    assert container is not None
    assert (container.name, container.image) == (f"sparkray-{run.run_id}", "registry/image:1")
    assert container.name == container_name(run.run_id)
    assert container.labels == labels_of(run.run_id, "question")
    assert container.labels == {"io.sparkray.run": run.run_id, "io.sparkray.experiment": "question"}
    assert container.environment["SPARKRAY_RUN"] == container.name
    assert container.binds[0] == ("/models/Org/Model", "/sparkray/model/Model", True)
    assert container.argv == planned_command(one, run, engine).argv
    assert container.options == treatments("container_baseline")[0].options


def test_the_command_is_the_same_in_every_environment(engine: Engine) -> None:
    one = planned(WHEEL)
    assert len({planned_command(one, run, engine).argv for run in make_plan(one)}) == 1
    other = replace(one, cards=(card(weights=CHECKPOINT),))
    assert (
        planned_command(other, make_plan(other)[0], engine).inputs
        != planned_command(one, make_plan(one)[0], engine).inputs
    )


def test_the_engines_python_path_stands_before_the_images():
    engine, image = {"PYTHONPATH": "/in", "A": "engine"}, {"PYTHONPATH": "/image", "A": "image"}
    assert with_engine_variables({"A": "arm"}, engine, image) == {"PYTHONPATH": "/in:/image", "A": "engine"}
    assert with_engine_variables({"PYTHONPATH": "/image"}, engine, image)["PYTHONPATH"] == "/in:/image"
    assert with_engine_variables({}, engine, {})["PYTHONPATH"] == "/in"
    assert with_engine_variables({"PYTHONPATH": "/image"}, {}, image) == {"PYTHONPATH": "/image"}


@pytest.mark.parametrize(("warm_start", "folder"), [("arm", "container_baseline"), ("shared", "shared")])
def test_a_plan_shows_the_compile_cache_that_a_run_loads(warm_start: WarmStart, folder: str, tmp_path: Path) -> None:
    vllm = load_engine("vllm")
    asked = experiment(protocol=Protocol(warm_start=warm_start))
    one = study(cards=(card(weights=CHECKPOINT),), engine_options=vllm.options({}, "test"), experiment=asked)
    container = next(filter(None, (planned_container(one, run, vllm, tmp_path) for run in make_plan(one))))
    (cache,) = (Path(outside) for outside, inside, _ in container.binds if inside == CACHES)
    assert (cache.parent.name, cache.name) == ("compiled", folder)
