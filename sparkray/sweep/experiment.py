"""One experiment from the command line: plan it, carry out what is left, show the answer."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from sparkray.analysis import as_document, cells, comparisons, frame_of, shown_metrics
from sparkray.analysis.sequential import standings
from sparkray.config.site import HOST, NATIVE
from sparkray.engines import load_engine
from sparkray.errors import SparkrayError
from sparkray.execute.layout import engine_warnings
from sparkray.plan import PlannedRun, Study, definition_sha256, make_plan
from sparkray.runtimes.linux.privilege import through_sudo
from sparkray.store import Dataset, open_dataset
from sparkray.sweep.equivalence_text import equivalence_document, equivalence_lines, equivalence_results
from sparkray.sweep.show import Display, comparison_lines, console, counts_of, environment_table, error_text
from sparkray.timing import Timing
from sparkray.units import format_duration
from sparkray.workflows.calibration_file import calibration_beside, calibration_sentence
from sparkray.workflows.interim import count_decided, left_out, standing_document
from sparkray.workflows.options import Options, build_study

INTERRUPTED = 130
Conclude = Callable[[Study, Dataset, Sequence[PlannedRun], Options, Any], dict[str, int]]
"""Shows what a dataset holds of a plan, and returns its counts."""


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
    for line in equivalence_lines(study):
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
            "folded": equivalence_document(study),
            "calibration": calibration,
            **({"looks": [standing_document(standing) for standing in looks]} if looks else {}),
            **as_document(found, compared),
        }
        click.echo(json.dumps(document, indent=1))
        return counts
    if found:
        out.print(environment_table(found))
    for line in (*comparison_lines(compared), *equivalence_results(study)):
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
