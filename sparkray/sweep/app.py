"""The verbs, each a few lines: options in, the rooms joined, something shown, a status out."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sparkray import __version__
from sparkray.analysis import as_document, cells, comparisons, frame_of, shown_metrics
from sparkray.analysis.sequential import standings
from sparkray.catalog.weights import cache_folder
from sparkray.config.container import run_line
from sparkray.config.effect import cannot_act
from sparkray.config.site import HOST, NATIVE
from sparkray.engines import load_engine
from sparkray.errors import SparkrayError
from sparkray.execute.layout import engine_warnings, planned_command, planned_container
from sparkray.images.rootfs import export_folder
from sparkray.machine.doctor import examine, look
from sparkray.machine.finding import Finding
from sparkray.machine.fingerprint import fingerprint
from sparkray.machine.probe import clocks_under_load
from sparkray.optimize.context import is_optimisation
from sparkray.plan import PlannedRun, Study, definition_sha256, folds, make_plan, refused
from sparkray.runtimes.linux.privilege import through_sudo
from sparkray.store import Dataset, open_dataset
from sparkray.sweep.analyze import analyze
from sparkray.sweep.audit import audit
from sparkray.sweep.calibrate import Conclude, calibrate_command
from sparkray.sweep.folded import folded_document, folded_lines, folded_results
from sparkray.sweep.optimize import (
    optimization_options,
    optimize,
    plan_optimisation,
    refuse_optimization_options,
    request_of,
)
from sparkray.sweep.options import options_of, study_options, sweep_options
from sparkray.sweep.report import report
from sparkray.sweep.roofline import roofline
from sparkray.sweep.show import Display, comparison_lines, console, counts_of, environment_table, error_text
from sparkray.sweep.study import study_command
from sparkray.sweep.verbs import CONTEXT
from sparkray.sweep.watch import show_status
from sparkray.timing import Timing, known_dataset
from sparkray.units import format_duration
from sparkray.workflows.calibration_file import calibration_beside, calibration_sentence
from sparkray.workflows.interim import count_decided, left_out, protocol_hours, protocol_lines, standing_document
from sparkray.workflows.options import Options, build_study, site_of

INTERRUPTED = 130
_QUICK_RUNS = 3
_STAND_IN = "cpu"
"""The site whose other requirements `doctor` checks where the machine's own cannot be recognised."""


@click.group(context_settings=dict(CONTEXT))
@click.version_option(__version__, prog_name="sparkray")
def app() -> None:
    """What does running LLM inference in a Docker container cost? A randomised, paired experiment that answers."""


app.add_command(roofline)


@app.command()
@sweep_options
def baseline(**arguments: Any) -> int:  # noqa: ANN401
    """Phase 2A: native against container_baseline, in paired blocks. The same command again goes on where it stopped."""
    return sweep(options_of(arguments))


@app.command()
@sweep_options
def quick(**arguments: Any) -> int:  # noqa: ANN401
    """Does everything work? One model, three runs an environment."""
    options = options_of(arguments)
    if options.models is None:
        options = replace(options, models=_smallest(build_study(options)))
    return sweep(replace(options, runs=options.runs or _QUICK_RUNS))


def _smallest(study: Study) -> str:
    """The smallest model of a study that is not refused there."""

    def size(run: PlannedRun) -> tuple[bool, int]:
        shape = study.card(run.model).shape
        return refused(study, run) is not None, shape.weight_bytes if shape else 0

    return min(make_plan(replace(study, experiment=replace(study.experiment, runs=1))), key=size).model


@app.command()
@sweep_options
@click.option(
    "--optimized",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The flags of container_optimized, as `optimize` wrote them; the site's own if not given.",
)
def validate(**arguments: Any) -> int:  # noqa: ANN401
    """Phase 2D: fresh blocks of native, container_baseline and container_optimized. Never paired with earlier runs."""
    options = options_of(arguments)
    if options.experiment is None:
        options = replace(options, experiment=site_of(options).validation)
    return sweep(options)


@app.command()
@study_options
@optimization_options
def plan(**arguments: Any) -> int:  # noqa: ANN401
    """Every run in order, its command line, and how long it will take; of an optimisation, every level. Starts nothing."""
    options = options_of(arguments)
    study = build_study(options)
    if is_optimisation(study.experiment.name):
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
            "folded": folded_document(study),
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
    folded = {found.treatment for found in folds(study)}
    for treatment in study.treatments:
        for reason in () if treatment.environment in folded else cannot_act(treatment.options).values():
            out.print(f"{treatment.environment}: {reason}", markup=False, soft_wrap=True)
    for line in folded_lines(study):
        out.print(line, markup=False, soft_wrap=True)
    for warning in warnings:
        out.print(f"warning: {warning}", markup=False, soft_wrap=True)
    _show_cost(study, runs, timing, out)
    return 0


def _show_cost(study: Study, runs: Sequence[PlannedRun], timing: Timing, out: Any) -> None:  # noqa: ANN401
    """What the plan costs, with either kind of cooldown where the protocol has one."""
    basis = "measured runs" if timing.measured else "estimates from the cards' sizes"
    if study.experiment.protocol.cooldown != "none" or study.experiment.sequential is not None:
        for line in protocol_lines(protocol_hours(study, runs, timing)):
            out.print(line, markup=False, soft_wrap=True)
    if study.experiment.protocol.cooldown == "none":
        total = sum(timing.run_s(run) for run in runs)
        out.print(f"{len(runs)} runs, about {format_duration(total)}, by {basis}; nothing was started.", markup=False)
        return
    hours = _hours(runs, timing)
    text = ", ".join(f"{value:.1f} h with {kind} cooldown" for kind, value in hours.items())
    out.print(
        f"{len(runs)} runs, about {text}, by {basis}; the study hoped for 80 h for 600 runs. Nothing was started.",
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


@app.command()
@study_options
def doctor(**arguments: Any) -> int:  # noqa: ANN401
    """What this machine is, what would stop a sweep, and what to do about it."""
    options = options_of(arguments)
    machine = fingerprint()
    named = options.site is not None or machine.site is not None
    study = build_study(options if named else replace(options, site=_STAND_IN))
    cache = cache_folder()
    seen = look(
        study.site,
        study.cards,
        machine=machine,
        cache=cache,
        site_named=named,
        export=lambda digest: export_folder(cache, digest),
        load=clocks_under_load,
    )
    findings = examine(seen)
    why = "what the engine will be asked to do"
    warnings = engine_warnings(study, make_plan(study), load_engine(study.engine))
    findings += [Finding("engine", "warn", warning, why) for warning in warnings]
    if options.json:
        click.echo(json.dumps({"findings": [finding.document() for finding in findings]}, indent=1))
    else:
        out = console(to_stderr=False)
        for finding in findings:
            out.print(finding.text(), markup=False, soft_wrap=True)
    return 1 if any(finding.state == "stop" for finding in findings) else 0


@app.command()
@click.option("--experiment", metavar="NAME", help="One experiment; all that are there when not given.")
@click.option("--results-dir", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--watch", is_flag=True, help="Keep it open.")
@click.option("--follow", is_flag=True, help="Show the engine's output as it comes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def status(experiment: str | None, results_dir: Path, *, watch: bool, follow: bool, as_json: bool) -> int:
    """Progress, ETA and last results of a sweep, from another terminal."""
    return show_status(results_dir, experiment, watch=watch, follow=follow, as_json=as_json)


def sweep(options: Options, conclude: Conclude | None = None) -> int:
    """Plan, carry out what is not done, show what was found (`conclude` in its own way). Returns the exit status."""
    out = console(to_stderr=options.json)
    study = build_study(options)
    if os.geteuid() != 0 and any(treatment.environment in (HOST, NATIVE) for treatment in study.treatments):
        command = through_sudo([sys.executable, "-m", "sparkray.sweep", *sys.argv[1:]], os.environ)
        click.echo("sparkray: the native arm needs root; going on through sudo. Results will belong to root.", err=True)
        os.execv(command[0], command)  # noqa: S606 - this very program again, as root
    runs = make_plan(study)
    dataset = open_dataset(
        options.results_dir.absolute(), study.experiment.name, definition_sha256(study), fresh=options.fresh
    )
    done = dataset.ok_run_ids()
    unneeded, why = left_out(study, dataset, [run for run in runs if run.run_id not in done])
    todo = [run for run in runs if run.run_id not in done | unneeded]
    _announce(study, dataset, runs, todo, out.print)
    for line in why:
        out.print(line, markup=False, soft_wrap=True)
    ended_error: SparkrayError | None = None
    interrupted = False
    if todo:
        _confirm(options)
        from sparkray.workflows.study import carry_out  # noqa: PLC0415 - Ray takes long to import; plan and status do not need it

        with Display(out, len(runs), len(runs) - len(todo)) as display:
            ended = carry_out(study, dataset, todo, options, display)
        ended_error, interrupted = ended.error, ended.interrupted
    counts = (conclude or _conclude)(study, dataset, runs, options, out)
    if interrupted:
        click.echo("interrupted; the same command goes on where it stopped", err=True)
        return INTERRUPTED
    if ended_error is not None:
        click.echo(error_text(ended_error), err=True)
        return ended_error.exit_status
    return 0 if counts["ok"] + counts.get("decided", 0) == counts["planned"] else 1


def _announce(
    study: Study,
    dataset: Dataset,
    runs: Sequence[PlannedRun],
    todo: Sequence[PlannedRun],
    show: Callable[..., None],
) -> None:
    experiment = study.experiment
    names = ", ".join(treatment.environment for treatment in study.treatments)
    timing = Timing(study, dataset)
    seconds = sum(timing.total_s(run) for run in todo)
    show(
        f"experiment {experiment.name} on site {study.site.name}: {len(study.cards)} model(s) x {experiment.runs} runs "
        f"x {{{names}}}",
        markup=False,
        soft_wrap=True,
    )
    show(
        f"{len(runs)} runs planned, {len(runs) - len(todo)} done, {len(todo)} to go, about {format_duration(seconds)}; "
        f"data in {dataset.path}",
        markup=False,
        soft_wrap=True,
    )
    for line in folded_lines(study):
        show(line, markup=False, soft_wrap=True)
    for warning in engine_warnings(study, runs, load_engine(study.engine)):
        show(f"warning: {warning}", markup=False, soft_wrap=True)


def _confirm(options: Options) -> None:
    """Ask before hours of work, where there is somebody to ask."""
    if not options.yes and not options.json and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm("Go on?", default=True, abort=True)


def _conclude(study: Study, dataset: Dataset, runs: Sequence[PlannedRun], options: Options, out: Any) -> dict[str, int]:  # noqa: ANN401
    rows = dataset.read("runs")
    frame = frame_of(rows, {run.run_id for run in runs})
    metrics = shown_metrics(study.experiment.primary_metrics)
    found = cells(frame, metrics)
    compared = comparisons(frame, metrics, study.experiment.margins)
    counts = counts_of(runs, rows)
    looks = standings(study.experiment, runs, rows)
    count_decided(counts, looks, runs, {row["run_id"] for row in rows})
    simulated = simulated_count(rows, {run.run_id for run in runs})
    host = next((str(row["host"]) for row in rows), None)
    calibration = calibration_beside(dataset, host, study.site.name) if host else None
    if options.json:
        document = {
            "experiment": study.experiment.name,
            "results_dir": str(dataset.path),
            "runs": counts,
            "simulated": simulated,
            "folded": folded_document(study),
            "calibration": calibration,
            **({"looks": [standing_document(standing) for standing in looks]} if looks else {}),
            **as_document(found, compared),
        }
        click.echo(json.dumps(document, indent=1))
        return counts
    if found:
        out.print(environment_table(found))
    for line in (*comparison_lines(compared), *folded_results(study)):
        out.print(line, markup=False, soft_wrap=True)
    for standing in looks:
        out.print(f"by the looks, which count: {standing}", markup=False, soft_wrap=True)
    if calibration:
        out.print(calibration_sentence(calibration), markup=False, soft_wrap=True)
    if simulated:
        out.print(f"SIMULATED: {simulated} of these runs were made by a double, not by an engine.", style="bold")
    out.print(
        f"{counts['ok']} of {counts['planned']} runs ok, {counts['failed']} failed, {counts['invalid']} invalid"
        f"{', ' + str(counts['decided']) + ' not needed' if 'decided' in counts else ''}. "
        f"Data: {dataset.path}",
        markup=False,
        soft_wrap=True,
    )
    return counts


def simulated_count(rows: Sequence[Any], run_ids: set[str]) -> int:
    """How many ok runs of a plan a double made."""
    return sum(1 for row in rows if row["status"] == "ok" and row["simulated"] and row["run_id"] in run_ids)


app.add_command(analyze)
app.add_command(optimize)
app.add_command(audit)
app.add_command(report)
app.add_command(calibrate_command(sweep, _smallest))
app.add_command(study_command(sweep, _smallest))
