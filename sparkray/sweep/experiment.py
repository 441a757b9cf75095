"""One experiment from the command line: plan it, carry out what is left, show the answer."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from sparkray.analysis import as_document, cells, comparisons, frame_of, shown_metrics
from sparkray.analysis.sequential import Standing, standings
from sparkray.config.site import HOST, NATIVE
from sparkray.engines import load_engine
from sparkray.errors import SparkrayError
from sparkray.execute.layout import engine_warnings
from sparkray.plan import PlannedRun, Study, definition_sha256, make_plan
from sparkray.runtimes.linux.privilege import through_sudo
from sparkray.stats.sequential import Look
from sparkray.store import Dataset, open_dataset
from sparkray.sweep.equivalence_text import equivalence_document, equivalence_lines, equivalence_results
from sparkray.sweep.show import Display, console, counts_of, error_text, print_line
from sparkray.sweep.summary import Findings, summary_lines, warnings_of
from sparkray.timing import Timing
from sparkray.units import format_duration
from sparkray.workflows.calibration_file import calibration_beside, calibration_line
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
    _announce(study, dataset, runs, todo, out)
    for line in why:
        print_line(out, line)
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
    out: Any,  # noqa: ANN401
) -> None:
    experiment = study.experiment
    names = ", ".join(treatment.environment for treatment in study.treatments)
    timing = Timing(study, dataset)
    seconds = sum(timing.total_s(run) for run in todo)
    print_line(
        out,
        f"experiment {experiment.name} on site {study.site.name}: {len(study.cards)} model(s) x {experiment.runs} runs "
        f"x {{{names}}}",
    )
    print_line(
        out,
        f"{len(runs)} runs planned, {len(runs) - len(todo)} done, {len(todo)} to go, about {format_duration(seconds)}; "
        f"data in {dataset.path}",
    )
    for line in equivalence_lines(study):
        print_line(out, line)
    for warning in engine_warnings(study, runs, load_engine(study.engine)):
        print_line(out, f"warning: {warning}")


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
    wanted = {run.run_id for run in runs}
    warnings = warnings_of(
        row for row in dataset.read("checks", ["run_id", "check", "verdict"]) if row["run_id"] in wanted
    )
    if options.json:
        document = {
            "experiment": study.experiment.name,
            "results_dir": str(dataset.path),
            "runs": counts,
            "simulated": simulated,
            "folded": equivalence_document(study),
            "calibration": calibration,
            "warnings": warnings,
            **({"looks": [standing_document(standing) for standing in looks]} if looks else {}),
            **as_document(found, compared),
        }
        click.echo(json.dumps(document, indent=1))
        return counts
    rows_shown = _rows_shown(compared, looks, study.experiment.primary_metrics)
    means = {(cell.model, cell.environment, cell.metric): cell.values.mean for cell in found}
    interim = [f"Interim analysis, which counts: {standing}" for standing in looks]
    for line in summary_lines(Findings(rows_shown, means, warnings, equivalence_results(study), interim)):
        print_line(out, line)
    if calibration:
        print_line(out, calibration_line(calibration))
    if simulated:
        print_line(out, f"SIMULATED: {simulated} of these runs are from a simulated engine.", style="bold")
    print_line(
        out,
        f"{counts['ok']} of {counts['planned']} runs ok, {counts['failed']} failed, {counts['invalid']} invalid"
        f"{', ' + str(counts['decided']) + ' not needed' if 'decided' in counts else ''}. "
        f"Data: {dataset.path}",
    )
    return counts


def _rows_shown(
    compared: Sequence[Mapping[str, Any]], looks: Sequence[Standing], primary: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of comparisons; of a sequential experiment, those of the interim analyses, which hold at all of them at once."""
    by_place = {(f"{s.model} {s.level}".rstrip(), s.environment, s.metric): s.look for s in looks}
    rows = [{**row, "primary": row["metric"] in primary} for row in compared]
    for row in rows:
        interim = by_place.get((row["model"], row["environment"], row["metric"]))
        if interim is not None:
            row |= {"n": interim.n, "ratio": None, "not_estimable": interim.reason, **_estimate(interim)}
            row |= {"verdict": interim.verdict, "pairs_needed": interim.pairs_needed}
    return rows


def _estimate(interim: Look) -> dict[str, Any]:
    """The ratio of an interim analysis as columns; nothing where there is none."""
    if interim.ratio is None or interim.ci95 is None:
        return {}
    return {"ratio": interim.ratio, "low": interim.ci95[0], "high": interim.ci95[1], "not_estimable": None}


def simulated_count(rows: Sequence[Any], run_ids: set[str]) -> int:
    """How many ok runs of a plan are of a simulated engine."""
    return sum(1 for row in rows if row["status"] == "ok" and row["simulated"] and row["run_id"] in run_ids)
