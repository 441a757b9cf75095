"""`optimize`: screen the flags, search, confirm on fresh runs, attribute. One session, four datasets, one document.

The same command goes on where it stopped, whatever stopped it: each stage skips the runs that are there. The document is
written after every stage, so that what is known survives what comes next.
"""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console

from sparkray.analysis.optimized import Optimized, document_of, file_of
from sparkray.errors import InputError
from sparkray.optimize.context import OptimizationRequest
from sparkray.optimize.phases import optimisation_document, optimisation_lines, phases
from sparkray.optimize.runner import InterruptedSweepError
from sparkray.runtimes.linux.privilege import through_sudo
from sparkray.sweep.optimize_text import show
from sparkray.sweep.options import F, options_of, sweep_options
from sparkray.sweep.show import Terminal, console, print_line
from sparkray.workflows.calibration_file import calibration_beside_all, calibration_sentence
from sparkray.workflows.optimization import carry_out, optimization_context
from sparkray.workflows.optimized_file import NAME
from sparkray.workflows.options import Options
from sparkray.workflows.study_runner import SessionRunner

INTERRUPTED = 130


_ASKED = (
    click.option(
        "--trials", type=click.IntRange(min=1), default=20, show_default=True, help="Configurations to search."
    ),
    click.option(
        "--confirm-runs",
        type=click.IntRange(min=2),
        help="Fresh blocks that decide; 3 x --runs, at most 30: --runs 4 has 12, which show only larger gains.",
    ),
    click.option(
        "--security",
        type=click.Choice(["none", "weakens"]),
        default="weakens",
        show_default=True,
        help="How much isolation the flags that are offered may give up.",
    ),
    click.option("--allow-insecure", is_flag=True, help="Offer dangerous flags too, such as --privileged."),
)


def optimization_options(function: F) -> F:
    """What an optimisation is asked for beside the options of every sweep, and its plan likewise."""
    for option in reversed(_ASKED):
        function = option(function)
    return function


def request_of(arguments: Mapping[str, Any]) -> OptimizationRequest:
    """The dataclass from click's keyword arguments. Raises InputError."""
    request = OptimizationRequest(
        **{one.name: arguments[one.name] for one in fields(OptimizationRequest) if one.name in arguments}
    )
    if request.allow_insecure and request.security == "none":
        raise InputError("--security none and --allow-insecure contradict each other", "Leave one of them out")
    return request


@click.command("optimize")
@sweep_options
@optimization_options
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help=f"The result; RESULTS-DIR/{NAME}.")
@click.option("--storage", metavar="URL|FILE", help="Where Optuna keeps the study; a file of the dataset if not given.")
def optimize(**arguments: Any) -> int:  # noqa: ANN401
    """Find the Docker flags that win speed back, and their price in security (phase 2B).

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
    for line in optimisation_lines(context, phases(context, options.results_dir), levels=False):
        print_line(out, line)
    if not options.yes and not options.json and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm("Go on?", default=True, abort=True)
    try:
        with ExitStack() as stack:
            found = carry_out(context, SessionRunner(options, Terminal(out), stack))
    except InterruptedSweepError:
        click.echo("interrupted; the same command goes on where it stopped", err=True)
        return INTERRUPTED
    show_result(found, options, out)
    return 0


def show_result(found: Optimized, options: Options, out: Console, *, cache: Path | None = None) -> None:
    """What came out, with the machine's calibration (from the user's cache, unless another is given) in every dataset."""
    calibration = calibration_beside_all(map(Path, found.datasets.values()), found.host, found.site, cache=cache)
    if options.json:
        click.echo(json.dumps({**document_of(found), "calibration": calibration}, indent=1, allow_nan=False))
        return
    show(found, out)
    if calibration:
        print_line(out, calibration_sentence(calibration))
    out.print(
        f"Document: {file_of(options.results_dir, found.experiment)}. Environment: {found.output}; measure the suite with "
        f"it: validate --optimized {found.output}",
        markup=False,
        soft_wrap=True,
    )


def as_root() -> None:
    """Goes on through sudo where we are not root, since chroots need it."""
    if os.geteuid() != 0:
        command = through_sudo([sys.executable, "-m", "sparkray.sweep", *sys.argv[1:]], os.environ)
        click.echo("sparkray: the native arm needs root; going on through sudo. Results will belong to root.", err=True)
        os.execv(command[0], command)  # noqa: S606 - this very program again, as root


def refuse_optimization_options(experiment: str) -> None:
    """Refuses what only an optimisation is asked for. Raises InputError."""
    command = click.get_current_context()
    for name in (one.name for one in fields(OptimizationRequest)):
        if command.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise InputError(
                f"--{name.replace('_', '-')} is of an optimisation, and experiment {experiment} is none",
                "Name one: --experiment phase2b",
            )


def plan_optimisation(options: Options, request: OptimizationRequest) -> int:
    """The whole of an optimisation before it starts: levels with what is done about each, runs and hours. For `plan`."""
    context = optimization_context(options, request, measuring=False)
    planned = phases(context, options.results_dir)
    if options.json:
        click.echo(json.dumps(optimisation_document(context, planned), indent=1))
        return 0
    out = console(to_stderr=False)
    for line in optimisation_lines(context, planned):
        print_line(out, line)
    out.print("Nothing was started.", markup=False)
    return 0
