"""`optimize`: screen the flags, search, confirm on fresh runs, attribute. One session, four datasets, one document.

The same command goes on where it stopped, whatever stopped it: each stage skips the runs that are there. The document is
written after every stage, so that what is known survives what comes next.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from sparkray.analysis.optimized import Optimized, document_of, file_of
from sparkray.optimize.context import OptimizationContext, OptimizationRequest
from sparkray.optimize.phases import optimisation_document, phases, wider_intervals
from sparkray.optimize.runner import InterruptedSweepError
from sparkray.sweep.common_options import FILE
from sparkray.sweep.optimization_options import optimization_options, request_of
from sparkray.sweep.options import options_of, sweep_options
from sparkray.sweep.outputs import only_over
from sparkray.sweep.progress import Terminal
from sparkray.sweep.show import console, print_json, show
from sparkray.sweep.start import as_root, ask, handed_back, interrupted
from sparkray.workflows.calibration_file import calibration_beside_all
from sparkray.workflows.consent import require_consent
from sparkray.workflows.optimization import carry_out, optimization_context
from sparkray.workflows.optimized_file import FORMAT, NAME
from sparkray.workflows.options import Options
from sparkray.workflows.study_runner import SessionRunner


@click.command("optimize")
@sweep_options
@optimization_options
@click.option(
    "--output",
    type=FILE,
    callback=only_over(FORMAT.encode(), "a result of `optimize`"),
    help=f"The result; default: RESULTS-DIR/{NAME}.",
)
@click.option("--storage", metavar="URL|FILE", help="Optuna's study; default: in the dataset.")
def optimize(**arguments: Any) -> int:  # noqa: ANN401
    """Find the Docker flags that win speed back, and their price in security.

    Ends with an environment that was confirmed on fresh runs.
    """
    return run_optimisation(options_of(arguments), request_of(arguments))


def run_optimisation(options: Options, request: OptimizationRequest) -> int:
    """Every stage of an optimisation from where it is. Returns the exit status.

    Raises:
        SparkrayError: No further run is possible, or something that was asked for does not exist.
    """
    as_root()
    out = console(to_stderr=options.json)
    context = optimization_context(options, request, measuring=True)
    require_consent(context.study, given=request.allow_insecure)
    show_plan(context, options, out, levels=False)
    ask(options)
    with handed_back(options.results_dir, context.study.experiment.name, file=request.output):
        try:
            with ExitStack() as stack:
                found = carry_out(context, SessionRunner(options, Terminal(out), stack))
        except InterruptedSweepError:
            return interrupted()
        show_result(found, options, out)
    return 0


def show_result(found: Optimized, options: Options, out: Console, *, cache: Path | None = None) -> None:
    """Show an optimisation, and copy the machine's calibration from the cache (default: the user's) into each dataset."""
    calibration = calibration_beside_all(map(Path, found.datasets.values()), found.host, found.site, cache=cache)
    if options.json:
        print_json({**document_of(found), "calibration": calibration})
    else:
        document = file_of(options.results_dir, found.experiment)
        show(out, "optimize.txt.j2", found=found, calibration=calibration, document=document)


def plan_optimisation(options: Options, request: OptimizationRequest) -> int:
    """The whole of an optimisation before it starts: levels with what is done about each, runs and hours. For `plan`."""
    context = optimization_context(options, request, measuring=False)
    if options.json:
        print_json(optimisation_document(context, phases(context, options.results_dir)))
        return 0
    show_plan(context, options, console(to_stderr=False), levels=True)
    return 0


def show_plan(context: OptimizationContext, options: Options, out: Console, *, levels: bool) -> None:
    """What an optimisation costs; `levels`: every level and every attribution step too."""
    planned = phases(context, options.results_dir)
    show(
        out,
        "optimize_plan.txt.j2",
        context=context,
        planned=planned,
        plan=optimisation_document(context, planned),
        levels=levels,
        wider=wider_intervals(context),
    )
