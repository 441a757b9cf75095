"""Optimises Docker flags: prepares the context, runs the four stages, and stores the document after each.

The same command resumes where it stopped: each stage skips the runs that are stored.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sparkray.analysis.optimized import Optimized, document_of, file_of
from sparkray.catalog import Catalog, data_root
from sparkray.config.feasible_levels import judge
from sparkray.config.isolation import KernelFacts
from sparkray.config.site import CONTAINER_BASELINE, NATIVE, Environment
from sparkray.errors import InputError
from sparkray.machine.capabilities import engine_info, host_facts
from sparkray.machine.fingerprint import Machine, fingerprint
from sparkray.optimize.attribute import attribute_layers
from sparkray.optimize.context import OptimizationContext, OptimizationRequest, words_of
from sparkray.optimize.hypotheses import Evidence, judge_hypotheses
from sparkray.optimize.screen import Screened, screen
from sparkray.plan import Study
from sparkray.runtimes.linux.isolation import kernel_facts
from sparkray.store.writing import storage_errors, write_atomically
from sparkray.workflows.optimized_file import NAME, write_environment
from sparkray.workflows.options import Options, build_study, site_of
from sparkray.workflows.study_runner import SessionRunner


def optimization_context(options: Options, request: OptimizationRequest, *, measuring: bool) -> OptimizationContext:
    """The optimisation context on this machine, or on the machine that the site describes.

    Args:
        options: Of the command.
        request: What `optimize` adds to them.
        measuring: Whether runs will follow: then the kernel's side is tried, which needs root.

    Raises:
        InputError: The site has no space, or the experiment has no objective, or more than one level of the load.
    """
    site = site_of(options)
    if not site.space or not (options.experiment or site.optimization):
        raise InputError(
            f"site {site.name} names no space to optimise in",
            "Name one: --set site.space=local --set site.optimization=local-optimize",
        )
    wanted = options.experiment or site.optimization
    changed = replace(options, experiment=wanted, environments=f"{NATIVE},{CONTAINER_BASELINE}", phase=None, mode=None)
    study = build_study(changed)
    _check(study)
    machine = fingerprint()
    here = measuring or site.simulated or machine.site == site.name
    space = Catalog(data_root()).space(site.space)
    info = engine_info() if here else None
    facts = host_facts(space, machine, info) if here else space.assumed
    verdicts = judge(
        space,
        study.treatment(CONTAINER_BASELINE).options,
        workload=study.experiment.workload.kind,
        host=facts,
        allowed=request.allowed,
    )
    if "screen" in request.skip:
        reason = "the screen was left out (--skip screen)"
        verdicts = tuple(replace(one, alone=False, reason=reason) if one.alone else one for one in verdicts)
    return OptimizationContext(
        study, space, facts, _kernel(machine, info, here=here, trying=measuring), verdicts, request, here
    )


def _kernel(machine: Machine, info: Mapping[str, object] | None, *, here: bool, trying: bool) -> KernelFacts:
    """Tried where runs will follow; else as far as Docker reports it."""
    if trying:
        return kernel_facts(info)
    facts = info or {}
    version = int(str(machine.facts["cgroup_version"])) if here else None
    driver = facts.get("Driver")
    return KernelFacts(cgroup_version=version, storage_driver=str(driver) if driver else None)


def _check(study: Study) -> None:
    experiment = study.experiment
    if not experiment.primary_metrics or experiment.primary_metrics[0] not in experiment.margins:
        raise InputError(
            f"experiment {experiment.name} has no primary metric with a margin: there is nothing to optimise",
            "Name one first in primary_metrics, with its margin",
        )
    baseline = study.treatment(CONTAINER_BASELINE)
    if baseline.image or baseline.engine_options:
        raise InputError(
            f"{CONTAINER_BASELINE} of experiment {experiment.name} has an image or engine options of its own "
            f"({baseline.image or 'engine'}): the flags of a container are chosen beside a chroot of the same files",
            "Give the image to the whole study: --set site.image=IMAGE, and leave it out of `containers`",
        )
    if len(experiment.levels) > 1:
        raise InputError(
            f"experiment {experiment.name} has {len(experiment.levels)} levels of the load: flags are chosen for one",
            "Leave one in `levels`",
        )


def carry_out(context: OptimizationContext, runner: SessionRunner) -> Optimized:
    """Every stage, each from where it is.

    Raises:
        SparkrayError: No further run is possible.
        InterruptedSweepError: Somebody asked for the end.
    """
    from sparkray.optimize.confirm import confirm, evidence_of  # noqa: PLC0415 - Optuna takes long to import
    from sparkray.optimize.search.stage import dataset_of, present, searched  # noqa: PLC0415 - likewise

    dataset = dataset_of(context, runner)
    with present(context, dataset):
        screened = screen(context, runner)
        made = _stored(context, runner, _begun(context, screened))
        search = searched(context, screened, runner, dataset)
    made = _stored(context, runner, made, search.folders, search=search.document)
    decided = confirm(context, screened, search, runner)
    options = decided.winner.options if decided.winner else context.baseline.options
    output = context.request.output or runner.options.results_dir / NAME
    chosen = context.treatment("container_optimized", options)
    write_environment(output, Environment(chosen.options, chosen.adapt), evidence_of(context, decided))
    evidence = Evidence(screened.levels, screened.rows, decided.confirmation, decided.rows)
    made = _stored(
        context,
        runner,
        made,
        {"confirm": str(decided.dataset.path)},
        confirmation=decided.confirmation,
        hypotheses=judge_hypotheses(context.study.experiment, evidence),
        output=str(output),
    )
    if "attribution" in context.request.skip:
        return _stored(context, runner, made, complete=True)
    dataset, steps = attribute_layers(context, runner)
    return _stored(context, runner, made, {"attribute": str(dataset.path)}, attribution=steps, complete=True)


def _begun(context: OptimizationContext, screened: Screened) -> Optimized:
    """The document after the screen."""
    return Optimized(
        experiment=context.name,
        site=context.study.site.name,
        host=fingerprint().host,
        simulated=screened.simulated,
        made_at="",
        complete=False,
        metric=context.metric,
        better=context.better,
        margin=context.margin,
        models=tuple(card.name for card in context.study.cards),
        settings={
            "runs": context.runs,
            "trials": context.request.trials,
            "confirm_runs": context.confirm_runs,
            "security": context.request.security,
            "allow_insecure": context.request.allow_insecure,
            "seed": context.study.experiment.seed,
        },
        baseline_flags=words_of(context.baseline.options),
        datasets={"screen": str(screened.dataset.path)},
        overhead=screened.overhead,
        levels=screened.levels,
    )


def _stored(
    context: OptimizationContext,
    runner: SessionRunner,
    made: Optimized,
    folders: Mapping[str, str] | None = None,
    **more: Any,  # noqa: ANN401 - fields of the document
) -> Optimized:
    """The document with what a stage adds to it, stored. Raises StorageError."""
    path = file_of(runner.options.results_dir.absolute(), context.name)
    datasets, now = {**made.datasets, **(folders or {})}, datetime.now(UTC).isoformat(timespec="seconds")
    made = replace(made, **more, datasets=datasets, made_at=now)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(document_of(made), indent=1, allow_nan=False).encode())
    return made
