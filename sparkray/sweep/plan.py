"""`plan`: every run of a study, its command line and its time, before anything starts."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sparkray.catalog import Catalog, data_root
from sparkray.config.container import run_line
from sparkray.config.docker import cannot_act
from sparkray.engines import load_engine
from sparkray.execute.layout import engine_warnings, planned_command, planned_container
from sparkray.machine.fingerprint import fingerprint
from sparkray.optimize.context import is_optimisation
from sparkray.optimize.phases import expected_hours_text
from sparkray.plan import PlannedRun, Study, equivalences, make_plan, refused
from sparkray.sweep.equivalence_text import equivalence_document, equivalence_lines
from sparkray.sweep.optimize import (
    optimization_options,
    plan_optimisation,
    refuse_optimization_options,
    request_of,
)
from sparkray.sweep.options import options_of, study_options
from sparkray.sweep.show import console, print_line
from sparkray.timing import Timing, known_dataset
from sparkray.units import format_duration
from sparkray.workflows.interim import protocol_hours, protocol_lines
from sparkray.workflows.options import build_study


@click.command()
@study_options
@optimization_options
def plan(**arguments: Any) -> int:  # noqa: ANN401
    """Every run in order, its command line, and how long it will take; of an optimisation, every level. Starts nothing."""
    options = options_of(arguments)
    study = build_study(options)
    catalog = Catalog(data_root())
    if is_optimisation(study.experiment.name, map(catalog.site, catalog.site_names())):
        return plan_optimisation(options, request_of(arguments))
    refuse_optimization_options(study.experiment.name)
    runs = make_plan(study)
    timing = Timing(study, known_dataset(study, options.results_dir))
    host = fingerprint().host
    documents = [_planned_document(study, run, options.results_dir, timing) | {"host": host} for run in runs]
    warnings = engine_warnings(study, runs, load_engine(study.engine))
    if options.json:
        hours = _hours(runs, timing)
        protocols = protocol_hours(study, runs, timing)
        plan_document = {
            "hours": hours,
            "protocols": protocols,
            "folded": equivalence_document(study),
            "warnings": warnings,
            "runs": documents,
        }
        click.echo(json.dumps(plan_document, indent=1))
        return 0
    out = console(to_stderr=False)
    for document in documents:
        out.print(
            f"{document['position'] + 1:4d}  block {document['block']:<3d} {document['environment']:<20} "
            f"{document['model']}  ~{format_duration(document['estimated_s'])}  {document['run_id']}",
            soft_wrap=True,
            markup=False,
        )
        if document["refused"]:
            out.print(f"      will be unready: {document['refused']}", soft_wrap=True, markup=False)
        command = document["docker_command"] or shlex.join(document["engine_command"])
        out.print(f"      {command}", soft_wrap=True, markup=False)
    equivalent = {found.treatment for found in equivalences(study)}
    for treatment in study.treatments:
        for reason in () if treatment.environment in equivalent else cannot_act(treatment.options).values():
            print_line(out, f"{treatment.environment}: {reason}")
    for line in equivalence_lines(study):
        print_line(out, line)
    for warning in warnings:
        print_line(out, f"warning: {warning}")
    _show_cost(study, runs, timing, out)
    return 0


def _show_cost(study: Study, runs: Sequence[PlannedRun], timing: Timing, out: Any) -> None:  # noqa: ANN401
    """What the plan costs, with either kind of cooldown where the protocol has one."""
    basis = "measured runs" if timing.measured else "estimates from the cards' sizes"
    if study.experiment.protocol.cooldown != "none" or study.experiment.sequential is not None:
        for line in protocol_lines(protocol_hours(study, runs, timing)):
            print_line(out, line)
    if study.experiment.protocol.cooldown == "none":
        total = sum(timing.run_s(run) for run in runs)
        out.print(f"{len(runs)} runs, about {format_duration(total)}, by {basis}; nothing was started.", markup=False)
        return
    hours = _hours(runs, timing)
    text = ", ".join(f"{value:.1f} h with {kind} cooldown" for kind, value in hours.items())
    out.print(
        f"{len(runs)} runs, about {text}, by {basis}{expected_hours_text(study.experiment)}. Nothing was started.",
        markup=False,
        soft_wrap=True,
    )


def _hours(runs: Sequence[PlannedRun], timing: Timing) -> dict[str, float]:
    """Hours of a plan under either kind of cooldown (the same where the protocol has none)."""
    return {kind: round(sum(timing.total_s(run, kind) for run in runs) / 3600, 2) for kind in ("fixed", "adaptive")}


def _planned_document(study: Study, run: PlannedRun, results_dir: Path, timing: Timing) -> dict[str, Any]:
    engine = load_engine(study.engine)
    container = planned_container(study, run, engine, results_dir.absolute() / study.experiment.name)
    return {
        "run_id": run.run_id,
        "block": run.block,
        "position": run.position,
        "model": run.model,
        "environment": run.environment,
        "replicate": run.replicate,
        "engine_command": list(planned_command(study, run, engine).argv),
        "docker_command": run_line(container) if container else None,
        "estimated_s": round(timing.run_s(run), 1),
        "level": run.level,
        "refused": refused(study, run),
    }
