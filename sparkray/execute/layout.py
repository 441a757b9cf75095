"""Where things lie as each environment sees them, and the container of a planned run.

Starts and opens nothing: `plan` prints from it too.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from sparkray.catalog.weights import NO_FILE, cache_folder, weights_path
from sparkray.config.container import EVERY_ADDRESS, LOOPBACK, ContainerSpec, publishes
from sparkray.config.model import ModelCard
from sparkray.config.site import HOST, HOST_FILES
from sparkray.engines import PYTHON_PATH, Caching, Engine, EngineCommand, Job, Paths, Server
from sparkray.images import host_files, venv
from sparkray.machine.cpu_isolation import client_overlaps
from sparkray.plan import PlannedRun, Study, Treatment, refused
from sparkray.runtimes import INSIDE, MARKER

LABEL = "io.sparkray"
HF_HOME = f"{INSIDE}/hf"
CACHES = f"{INSIDE}/cache"
WORKERS_ON_HOST = Path(__file__).resolve().parent.parent / "engines" / "_workers"
Bind = tuple[str, str, bool]


def model_name(card: ModelCard) -> str:
    """File or folder name of a card's weights."""
    return Path(card.weights.member or card.weights.path).name


def inside_paths(card: ModelCard, engine: Engine, image: str = "") -> Paths:
    """Paths in a chroot or a container: the same in both. `image` is the site's."""
    python, workers = "python3", f"{INSIDE}/workers"
    if engine.image_contents == "venv":
        of_host = image == HOST_FILES
        python, workers = (sys.executable, str(WORKERS_ON_HOST)) if of_host else (venv.PYTHON, venv.WORKERS)
    return Paths(
        model=card.weights.path if card.weights.kind == "server" else f"{INSIDE}/model/{model_name(card)}",
        input=f"{INSIDE}/in",
        output=f"{INSIDE}/out",
        python=python,
        workers=workers,
    )


def host_paths(model: Path, folders: Mapping[str, Path], python: str) -> Paths:
    """Paths on the host arm: where things really lie. `folders` has `in` and `out`."""
    return Paths(str(model), str(folders["in"]), str(folders["out"]), python, str(WORKERS_ON_HOST))


def container_name(run_id: str) -> str:
    """The name of a run's container, and of its marker in every arm."""
    return f"sparkray-{run_id}"


def binds_of(model: Path, paths: Paths, folders: Mapping[str, Path], hf_cache: str = "") -> tuple[Bind, ...]:
    """What is mounted: weights (where there are any), inputs and a Hugging Face cache read-only, the output writable."""
    return (
        *(((str(Path(hf_cache).expanduser().absolute()), HF_HOME, True),) if hf_cache else ()),
        *(((str(model), paths.model, True),) if model != NO_FILE else ()),
        (str(folders["in"]), paths.input, True),
        (str(folders["out"]), paths.output, False),
    )


def hf_environment(hf_cache: str) -> dict[str, str]:
    """The variable that points an engine at the mounted cache; none without one."""
    return {"HF_HOME": HF_HOME} if hf_cache else {}


def cache_environment(engine: Engine, folder: str) -> dict[str, str]:
    """Variables that point an engine's compile caches below a folder; none for an engine without any."""
    names = engine.caches if isinstance(engine, Caching) else {}
    return {variable: f"{folder}/{name}" for variable, name in names.items()}


def with_engine_variables(
    variables: Mapping[str, str], engine: Mapping[str, str], image: Mapping[str, str]
) -> dict[str, str]:
    """An arm's variables with the engine's own added; its PYTHONPATH stands before the one that the image has.

    Args:
        variables: The arm's, apart from the engine's.
        engine: `EngineCommand.environment`.
        image: The image's own, as far as they are known.
    """
    merged = {**variables, **engine}
    inherited = variables.get(PYTHON_PATH) or image.get(PYTHON_PATH)
    if inherited and PYTHON_PATH in engine:
        merged[PYTHON_PATH] = f"{engine[PYTHON_PATH]}:{inherited}"
    return merged


def labels_of(run_id: str, experiment: str) -> dict[str, str]:
    """Labels of a run's container: how it is recognised as ours."""
    return {f"{LABEL}.run": run_id, f"{LABEL}.experiment": experiment}


def job_of(study: Study, planned: PlannedRun, tool: Mapping[str, str] | None = None) -> Job:
    """The work of a planned run, its level applied. `tool` is what the engine's tool said of itself, when it was asked."""
    return Job(
        study.card(planned.model),
        study.workload_of(planned),
        study.experiment.seed,
        study.options_of(planned),
        tool or {},
        study.image_of(planned.environment),
    )


def engine_warnings(study: Study, runs: Iterable[PlannedRun], engine: Engine) -> list[str]:
    """What the engine warns of in the planned runs that are not refused, each warning once, in the order of the runs."""
    own = {treatment.environment for treatment in study.treatments if treatment.image or treatment.engine_options}
    todo = (run for run in runs if refused(study, run) is None)
    jobs = {(run.model, run.level, run.environment if run.environment in own else ""): run for run in todo}
    floor_gib = study.experiment.protocol.memory_floor_gib
    every = (engine.warnings(job_of(study, run), memory_floor_gib=floor_gib) for run in jobs.values())
    cpusets = {treatment.environment: treatment.options.cpuset_cpus for treatment in study.treatments}
    served = study.experiment.workload.kind == "serve"
    shared = client_overlaps(study.site.client_cpus, cpusets) if served else []
    return [*dict.fromkeys(warning for warnings in every for warning in warnings), *shared]


def planned_command(study: Study, planned: PlannedRun, engine: Engine) -> EngineCommand:
    """The command line of a planned run as its environment will see it (host paths stand as they are inside).

    The port of a server is an example, unless the options set one: each run takes one that is free.
    """
    job, paths = (
        replace(job_of(study, planned), preview=True),
        inside_paths(study.card(planned.model), engine, study.image_of(planned.environment)),
    )
    return engine.command(
        job, at_port(paths, job.options.get("port") or paths.port, study.treatment(planned.environment))
    )


def at_port(paths: Paths, port: int, treatment: Treatment) -> Paths:
    """Paths with where a server listens: on every address where its port must be published, else on the loopback one."""
    inside = treatment.in_container and publishes(treatment.options)
    return replace(paths, port=port, host=EVERY_ADDRESS if inside else LOOPBACK)


def run_folders(dataset: Path, planned: PlannedRun, attempt: int, *, own_inputs: bool = False) -> dict[str, Path]:
    """`in`, kept with the dataset for every run of a model, and `out`, of one attempt alone.

    `own_inputs`: the environment has options of the engine of its own, and so inputs of its own.
    """
    own = own_inputs or planned.environment == HOST
    inputs = f"{planned.model}-{planned.environment}" if own else planned.model
    level = planned.level.replace("=", "-").replace(" ", "-")
    return {
        "in": dataset / "inputs" / (f"{inputs}-{level}" if level else inputs),
        "out": dataset / "spool" / f"{planned.run_id}-{attempt}" / "out",
    }


def models_root(root: str, cache: Path) -> Path:
    """Where checkpoints lie; `double` names the folder of those without weights."""
    return cache / "double-models" if root == "double" else Path(root).expanduser().absolute()


def compile_cache(study: Study, environment: str) -> str:
    """The folder of the compiled code that an environment's runs load: its own or everybody's."""
    return "shared" if study.experiment.protocol.warm_start == "shared" else environment.replace(":", "-")


def planned_container(
    study: Study, planned: PlannedRun, engine: Engine, dataset: Path, *, command: EngineCommand | None = None
) -> ContainerSpec | None:
    """The container of a planned run as it was asked for; None outside Docker. `command` is `planned_command`, if known."""
    treatment = study.treatment(planned.environment)
    if not treatment.in_container:
        return None
    card = study.card(planned.model)
    command = command or planned_command(study, planned, engine)
    folders = run_folders(dataset, planned, 1, own_inputs=bool(treatment.engine_options))
    model = weights_path(card, models_root(study.site.models_root, cache_folder()), cache_folder())
    reference = study.image_of(planned.environment)
    built = {"venv": venv.REPOSITORY, "double": venv.DOUBLE_REPOSITORY, HOST_FILES: host_files.REPOSITORY}
    folders_of_host = study.site.host_files if reference == HOST_FILES else ()
    name = container_name(planned.run_id)
    # An example: the real folder's name has a hash of the files that the engine compiles with.
    cache = (str(cache_folder() / "compiled" / compile_cache(study, planned.environment)), CACHES, False)
    variables = with_engine_variables(
        {**hf_environment(study.site.hf_cache), **cache_environment(engine, CACHES)},
        command.environment,
        venv.ENVIRONMENT if reference in ("venv", "double") else {},
    )
    return ContainerSpec(
        name=name,
        image=f"{built[reference]}:latest" if reference in built else reference,
        argv=command.argv,
        options=treatment.options,
        environment={**variables, MARKER: name},
        binds=(
            *binds_of(model, inside_paths(card, engine), folders, study.site.hf_cache),
            *((cache,) if isinstance(engine, Caching) else ()),
            *command.binds,
            *((folder, folder, True) for folder in folders_of_host),
        ),
        workdir=command.workdir,
        labels=labels_of(planned.run_id, study.experiment.name),
        port=_published(study, planned, engine),
    )


def _published(study: Study, planned: PlannedRun, engine: Engine) -> int | None:
    treatment = study.treatment(planned.environment)
    served = isinstance(engine, Server) and study.experiment.workload.kind == "serve"
    if not served or not publishes(treatment.options):
        return None
    return int(study.options_of(planned)["port"] or Paths.port)
