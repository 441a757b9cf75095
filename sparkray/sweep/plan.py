"""`plan`: every run of a study, its command line and its time, before anything starts."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from sparkray.catalog import Catalog, data_root
from sparkray.config.container import run_line
from sparkray.config.docker import cannot_act
from sparkray.config.secrets import masked_words
from sparkray.engines import EngineCommand, load_engine
from sparkray.execute.layout import engine_warnings, planned_command, planned_container
from sparkray.machine.fingerprint import fingerprint
from sparkray.optimize.context import is_optimisation
from sparkray.plan import PlannedRun, Study, make_plan, refused
from sparkray.sweep.common_options import FILE
from sparkray.sweep.equivalence import equivalence_document
from sparkray.sweep.optimization_options import optimization_options, refuse_optimization_options, request_of
from sparkray.sweep.options import insecure_option, options_of, study_options
from sparkray.sweep.show import console, print_json, show
from sparkray.timing import Timing, known_dataset
from sparkray.workflows.consent import dangers_in
from sparkray.workflows.expected_hours import protocol_hours
from sparkray.workflows.options import build_study, site_of


@click.command()
@study_options
@optimization_options
@insecure_option
@click.option("--optimized", type=FILE, help="Flags of container_optimized from a file, as `validate` takes them.")
def plan(**arguments: Any) -> int:  # noqa: ANN401
    """List every run, its command line and its time; of an optimisation, every level. Starts nothing."""
    options = options_of(arguments)
    if options.optimized is not None and options.experiment is None:
        options = replace(options, experiment=site_of(options).validation)
    study = build_study(options)
    catalog = Catalog(data_root())
    if is_optimisation(study.experiment.name, map(catalog.site, catalog.site_names())):
        from sparkray.sweep.optimize import plan_optimisation  # noqa: PLC0415 - Ray takes long to import

        return plan_optimisation(options, request_of(arguments))
    refuse_optimization_options(study.experiment.name)
    runs = make_plan(study)
    timing = Timing(study, known_dataset(study, options.results_dir))
    host, equivalent, engine = fingerprint().host, equivalence_document(study), load_engine(study.engine)
    # a block repeats them
    commands = {_repeated(run): planned_command(study, run, engine) for run in {_repeated(r): r for r in runs}.values()}
    masked = {key: masked_words(command.argv) for key, command in commands.items()}
    hours = {kind: sum(timing.total_s(run, kind) for run in runs) / 3600 for kind in ("fixed", "adaptive")}
    document = {
        "hours": {kind: round(whole, 2) for kind, whole in hours.items()},
        "protocols": protocol_hours(study, hours),
        "folded": equivalent,
        "consent": [asdict(danger) for danger in dangers_in(study)],
        "warnings": engine_warnings(study, runs, engine),
        "runs": [
            _planned_document(study, run, options.results_dir, timing, command=commands[_repeated(run)])
            | {"engine_command": masked[_repeated(run)], "host": host}
            for run in runs
        ],
    }
    if options.json:
        print_json(document)
        return 0
    like_others = {one["environment"] for one in equivalent}
    acting = [one for one in study.treatments if one.environment not in like_others]
    show(
        console(to_stderr=False),
        "plan.txt.j2",
        **document,
        experiment=study.experiment,
        equivalent=equivalent,
        idle=[(one.environment, reason) for one in acting for reason in cannot_act(one.options).values()],
        seconds=sum(map(timing.run_s, runs)),
        measured=timing.measured,
    )
    return 0


def _repeated(run: PlannedRun) -> tuple[str, str, str]:
    """What a run's command depends on."""
    return run.model, run.level, run.environment


def _planned_document(
    study: Study, run: PlannedRun, results_dir: Path, timing: Timing, *, command: EngineCommand
) -> dict[str, Any]:
    dataset = results_dir.absolute() / study.experiment.name
    container = planned_container(study, run, load_engine(study.engine), dataset, command=command)
    return {
        "run_id": run.run_id,
        "block": run.block,
        "position": run.position,
        "model": run.model,
        "environment": run.environment,
        "replicate": run.replicate,
        "docker_command": run_line(container) if container else None,
        "estimated_s": round(timing.run_s(run), 1),
        "level": run.level,
        "refused": refused(study, run),
    }
