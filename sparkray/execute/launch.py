"""What a planned run starts: its command, its inputs on disk, and how its server is reached."""

import sys

from sparkray.config.container import LOOPBACK, publishes
from sparkray.config.gpu_choice import CUDA, names_a_uuid
from sparkray.config.site import HOST
from sparkray.engines import Engine, EngineCommand, Job, Paths, Server
from sparkray.errors import RunUnreadyError
from sparkray.execute.arms import Arm
from sparkray.execute.layout import (
    CACHES,
    at_port,
    binds_of,
    cache_environment,
    container_name,
    hf_environment,
    host_paths,
    inside_paths,
    job_of,
    labels_of,
    run_folders,
    with_engine_variables,
)
from sparkray.execute.prepared_host import PreparedHost
from sparkray.execute.row import ENGINE_LOG
from sparkray.execute.serving import ServingRun, free_port
from sparkray.execute.warm_start import cache_binds
from sparkray.plan import PlannedRun
from sparkray.runtimes import Launch
from sparkray.store.writing import storage_errors


def make_launch(
    prepared: PreparedHost, planned: PlannedRun, arm: Arm, attempt: int
) -> tuple[Job, EngineCommand, Launch]:
    """The command, its inputs on disk, and the launch of it."""
    study = prepared.study
    card = study.card(planned.model)
    weights = prepared.weights[planned.model].path
    job = job_of(study, planned, arm.tool)
    on_host = planned.environment == HOST
    own_inputs = bool(arm.treatment.engine_options)
    folders = run_folders(prepared.dataset.path, planned, attempt, own_inputs=own_inputs)
    paths: Paths = (
        host_paths(weights, folders, sys.executable)
        if on_host
        else inside_paths(card, prepared.engine, study.image_of(planned.environment))
    )
    port = _port(prepared.engine, job, arm)
    if port is not None:
        paths = at_port(paths, port, arm.treatment)
    command = prepared.engine.command(job, paths)
    with storage_errors(folders["in"]):
        folders["in"].mkdir(parents=True, exist_ok=True)  # also where there is nothing to put there: it is mounted
    for name, content in command.inputs.items():
        prepared.dataset.put_input(folders["in"] / name, content)
    inherited = arm.image.environment if arm.image else {}
    caches = cache_binds(prepared, planned, folders["out"].with_name("cache"))
    caches_at = caches[0][0] if caches and on_host else CACHES
    variables = with_engine_variables(
        {**arm.environment, **hf_environment(study.site.hf_cache), **cache_environment(prepared.engine, caches_at)},
        command.environment,
        inherited,
    )
    if names_a_uuid({**inherited, **variables}):
        raise RunUnreadyError(
            f"the image sets {CUDA} to a UUID, which the engine may not read", f"--set engine.environment.{CUDA}=0"
        )
    launch = Launch(
        name=container_name(planned.run_id),
        argv=command.argv,
        environment=variables,
        log=folders["out"] / ENGINE_LOG,
        scratch=folders["out"].with_name("tmp"),
        python=sys.executable,
        start=arm.start,
        binds=()
        if on_host
        else (*binds_of(weights, paths, folders, study.site.hf_cache), *caches, *command.binds, *arm.binds),
        made=arm.made,
        workdir=command.workdir,
        rootfs=arm.rootfs,
        image=arm.image.digest if arm.image else None,
        options=arm.treatment.options,
        labels=labels_of(planned.run_id, study.experiment.name),
        isolation=arm.treatment.isolation,
        port=port,
    )
    return job, command, launch


def _port(engine: Engine, job: Job, arm: Arm) -> int | None:
    """Where a server is to listen; None for an engine that is none. Raises RunUnreadyError where nobody could reach it."""
    if not isinstance(engine, Server) or job.workload.kind != "serve":
        return None
    options = arm.treatment.options
    cut_off = arm.treatment.in_container and not publishes(options) and options.network != "host"
    if cut_off or "network" in arm.treatment.isolation:
        why = f"--network={options.network}" if cut_off else "a network namespace of its own"
        raise RunUnreadyError(f"{arm.treatment.environment} has {why}: its server cannot be reached from outside")
    try:
        return free_port(job.options["port"])
    except OSError as error:
        taken = f"port {job.options['port']} of {LOOPBACK} is taken ({error.strerror})"
        raise RunUnreadyError(taken, "Set another, or 0 for any: --set engine.port=0") from None


def serving_run(prepared: PreparedHost, planned: PlannedRun, job: Job, launch: Launch) -> ServingRun | None:
    """What is served and how; None under an offline workload."""
    engine, weights = prepared.engine, prepared.weights[planned.model]
    if not isinstance(engine, Server) or launch.port is None:
        return None
    model = str(weights.path) if planned.environment == HOST else inside_paths(job.card, engine).model
    return ServingRun(
        engine.recipe(job.options),
        job,
        engine.served_name(job, model),
        engine.prompts(job),
        launch.port,
        model,
        weights.path,
        hashed=weights.sha256 is not None,
        folder=launch.log.parent,
        client_cpus=prepared.study.site.client_cpus,
    )
