"""One experiment from the command line: plan it, carry out what is left, show the answer."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from sparkray.analysis import as_document, cell_name, cells, comparisons, frames_of_rows, shown_metrics
from sparkray.analysis.arm_files import files_of
from sparkray.analysis.context import DEFAULT_SEED
from sparkray.analysis.interim import standings
from sparkray.analysis.knee import about_knees, knee_rows
from sparkray.analysis.schema import TABLES, frame_of
from sparkray.config.site import HOST, NATIVE
from sparkray.engines import load_engine
from sparkray.errors import SparkrayError
from sparkray.execute.layout import engine_warnings
from sparkray.machine.load import LoadMeter
from sparkray.plan import PlannedRun, Study, definition_sha256, make_plan
from sparkray.records import SATURATED
from sparkray.store import Dataset, open_dataset
from sparkray.sweep.equivalence import equivalence_document
from sparkray.sweep.progress import Display, counts_of
from sparkray.sweep.show import console, error_text, print_json, print_line, show
from sparkray.sweep.start import as_root, ask, handed_back, interrupted
from sparkray.sweep.summary import Findings, show_summary, warnings_of
from sparkray.timing import Timing
from sparkray.workflows.calibration_file import calibration_beside
from sparkray.workflows.consent import require_consent
from sparkray.workflows.interim import count_decided, left_out, standing_document, text_of
from sparkray.workflows.options import Options, build_study
from sparkray.workflows.prerequisites import is_elsewhere, must_fit_here

# Shows what a dataset holds of a plan, and returns its counts.
Conclude = Callable[[Study, Dataset, Sequence[PlannedRun], Options, Any], dict[str, int]]


def sweep(options: Options, conclude: Conclude | None = None) -> int:
    """Plan, carry out what is not done, show what was found (`conclude` in its own way). Returns the exit status."""
    out = console(to_stderr=options.json)
    study = build_study(options)
    require_consent(study, given=options.allow_insecure, but=options.trusted)
    here = not is_elsewhere(options)
    if here and any(treatment.environment in (HOST, NATIVE) for treatment in study.treatments):
        as_root()
    with handed_back(options.results_dir, study.experiment.name):
        return _carry_out(study, options, out, conclude)


def _carry_out(study: Study, options: Options, out: Any, conclude: Conclude | None) -> int:  # noqa: ANN401 - a console
    """The sweep of a study that may be measured here. Returns the exit status."""
    meter = LoadMeter()
    runs = make_plan(study)
    dataset = open_dataset(
        options.results_dir.absolute(), study.experiment.name, definition_sha256(study), fresh=options.fresh
    )
    done = dataset.done_run_ids()
    unneeded, why = left_out(study, dataset, [run for run in runs if run.run_id not in done])
    todo = [run for run in runs if run.run_id not in done | unneeded]
    if todo:
        dataset.check_space()
        must_fit_here(study, options)
    seconds = sum(map(Timing(study, dataset).total_s, todo))
    warnings = engine_warnings(study, runs, load_engine(study.engine))
    counted = {"total": len(runs), "todo": len(todo), "seconds": seconds}
    what = {"study": study, "dataset": dataset.path, "equivalent": equivalence_document(study), "decided": why}
    show(out, "sweep_start.txt.j2", warnings=warnings, **what, **counted)
    ended_error: SparkrayError | None = None
    stopped = False
    if todo:
        _tell_load(meter, options, out)
        ask(options)
        from sparkray.workflows.study import carry_out  # noqa: PLC0415 - Ray takes long to import; plan and status do not need it

        with Display(out, len(runs), len(runs) - len(todo)) as display:
            ended = carry_out(study, dataset, todo, options, display)
        ended_error, stopped = ended.error, ended.interrupted
    counts = (conclude or _conclude)(study, dataset, runs, options, out)
    if stopped:
        return interrupted()
    if ended_error is not None:
        click.echo(error_text(ended_error), err=True)
        return ended_error.exit_status
    return 0 if counts["ok"] + sum(counts.get(name, 0) for name in ("decided", SATURATED)) == counts["planned"] else 1


def _tell_load(meter: LoadMeter, options: Options, out: Any) -> None:  # noqa: ANN401 - a console
    """Say so where other programs use this machine, if it is the one that measures."""
    if is_elsewhere(options):
        return
    load = meter.read()
    if load.is_noisy:
        text = "Runs take longer, may end by their time-out, or are refused. End them first, or expect to measure again"
        print_line(out, f"This machine is not quiet: {load.text}. {text}.")


def _conclude(study: Study, dataset: Dataset, runs: Sequence[PlannedRun], options: Options, out: Any) -> dict[str, int]:  # noqa: ANN401
    rows = dataset.read("runs")
    frames = frames_of_rows(rows, {run.run_id for run in runs})
    metrics = shown_metrics(study.experiment.primary_metrics)
    interim = standings(study.experiment, runs, rows)
    described = cells(frames, metrics)
    differences = study.experiment.difference_margins
    compared = comparisons(frames, metrics, study.experiment.margins, interim, differences=differences)
    counts = counts_of(runs, rows)
    wanted = {run.run_id for run in runs}
    count_decided(counts, interim, runs, {row["run_id"] for row in rows})
    simulated = simulated_count(rows, wanted)
    host = next((str(row["host"]) for row in rows), None)
    calibration = calibration_beside(dataset, host, study.site.name) if host else None
    checks = dataset.read("checks", ["run_id", "check", "verdict"])
    warnings = warnings_of(row for row in checks if row["run_id"] in wanted)
    knees = frame_of(TABLES["knee"], knee_rows(frames, DEFAULT_SEED)).to_dicts()
    if options.json:
        document = {
            "experiment": study.experiment.name,
            "results_dir": str(dataset.path),
            "runs": counts,
            "simulated": simulated,
            "folded": equivalence_document(study),
            "calibration": calibration,
            "warnings": warnings,
            **({"knee": knees} if knees else {}),
            **({"looks": [standing_document(standing) for standing in interim]} if interim else {}),
            **as_document(described, compared),
        }
        print_json(document)
        return counts
    means = {(cell_name(row), row["environment"], row["metric"]): row["mean"] for row in described}
    lines = [f"Interim analysis: {text_of(one)}" for one in interim if one.interim.ratio is not None]
    primary = study.experiment.primary_metrics
    shown = [{**row, "model": cell_name(row), "primary": row["metric"] in primary} for row in compared]
    files = files_of(frames, study.own_images)
    findings = Findings(shown, means, warnings, equivalence_document(study), lines, about_knees(knees), files)
    show_summary(findings, out, calibration=calibration, counts=counts, simulated=simulated, dataset=dataset.path)
    return counts


def simulated_count(rows: Sequence[Any], run_ids: set[str]) -> int:
    """How many ok runs of a plan are of a simulated engine."""
    return sum(1 for row in rows if row["status"] == "ok" and row["simulated"] and row["run_id"] in run_ids)
