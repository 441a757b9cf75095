"""`optimize`: screen the flags, search, confirm on fresh runs, attribute. One session, four datasets, one document.

The same command goes on where it stopped, whatever stopped it: each stage skips the runs that are there. The document is
written after every stage, so that what is known survives what comes next.
"""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console

from sparkray.analysis.optimized import Optimized, document_of, file_of
from sparkray.config.site import Environment
from sparkray.errors import InputError
from sparkray.machine.fingerprint import fingerprint
from sparkray.optimize.attribute import climb
from sparkray.optimize.context import Asked, Scene, set_scene, words_of
from sparkray.optimize.hypotheses import hypotheses
from sparkray.optimize.phases import optimisation_document, optimisation_lines, phases
from sparkray.optimize.screen import Screened, screen
from sparkray.runtimes.linux.privilege import through_sudo
from sparkray.store import storage_errors, write_atomically
from sparkray.sweep.optimize_text import show
from sparkray.sweep.options import F, Options, options_of, sweep_options
from sparkray.sweep.show import console
from sparkray.workflows.calibration_file import calibration_beside_all, calibration_sentence
from sparkray.workflows.measurement import InterruptedSweepError, Measuring
from sparkray.workflows.optimized_file import NAME, write_environment

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


def asked_options(function: F) -> F:
    """What an optimisation is asked for beside the options of every sweep, and its plan likewise."""
    for option in reversed(_ASKED):
        function = option(function)
    return function


def asked_of(arguments: Mapping[str, Any]) -> Asked:
    """The dataclass from click's keyword arguments. Raises InputError."""
    asked = Asked(**{one.name: arguments[one.name] for one in fields(Asked) if one.name in arguments})
    if asked.allow_insecure and asked.security == "none":
        raise InputError("--security none and --allow-insecure contradict each other", "Leave one of them out")
    return asked


@click.command("optimize")
@sweep_options
@asked_options
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help=f"The result; RESULTS-DIR/{NAME}.")
@click.option("--storage", metavar="URL|FILE", help="Where Optuna keeps the study; a file of the dataset if not given.")
def optimize(**arguments: Any) -> int:  # noqa: ANN401
    """Phase 2B: which Docker flags give the speed back, at what security price? Ends with a confirmed environment."""
    options, asked = options_of(arguments), asked_of(arguments)
    _as_root()
    out = console(to_stderr=options.json)
    scene = set_scene(options, asked, measuring=True)
    for line in optimisation_lines(scene, phases(scene, options), levels=False):
        out.print(line, markup=False, soft_wrap=True)
    if not options.yes and not options.json and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm("Go on?", default=True, abort=True)
    try:
        with ExitStack() as stack:
            found = carry_out(scene, Measuring(options, out, stack))
    except InterruptedSweepError:
        click.echo("interrupted; the same command goes on where it stopped", err=True)
        return INTERRUPTED
    tell(found, options, out)
    return 0


def tell(found: Optimized, options: Options, out: Console, *, cache: Path | None = None) -> None:
    """What came out, with the machine's calibration (from the user's cache, unless another is given) in every dataset."""
    calibration = calibration_beside_all(map(Path, found.datasets.values()), found.host, found.site, cache=cache)
    if options.json:
        click.echo(json.dumps({**document_of(found), "calibration": calibration}, indent=1, allow_nan=False))
        return
    show(found, out)
    if calibration:
        out.print(calibration_sentence(calibration), markup=False, soft_wrap=True)
    out.print(
        f"Document: {file_of(options.results_dir, found.experiment)}. Environment: {found.output}; measure the suite with "
        f"it: validate --optimized {found.output}",
        markup=False,
        soft_wrap=True,
    )


def _as_root() -> None:
    """Goes on through sudo where we are not root, since chroots need it."""
    if os.geteuid() != 0:
        command = through_sudo([sys.executable, "-m", "sparkray.sweep", *sys.argv[1:]], os.environ)
        click.echo("sparkray: the native arm needs root; going on through sudo. Results will belong to root.", err=True)
        os.execv(command[0], command)  # noqa: S606 - this very program again, as root


def carry_out(scene: Scene, measuring: Measuring) -> Optimized:
    """Every stage, each from where it is.

    Raises:
        SparkrayError: No further run is possible.
        InterruptedSweepError: Somebody asked for the end.
    """
    from sparkray.optimize.confirm import confirm, evidence_of  # noqa: PLC0415 - Optuna takes long to import
    from sparkray.optimize.search.stage import dataset_of, present, searched  # noqa: PLC0415 - likewise

    dataset = dataset_of(scene, measuring)
    with present(scene, dataset):
        screened = screen(scene, measuring)
        found = _kept(scene, measuring, _begun(scene, screened))
        looked = searched(scene, screened, measuring, dataset)
    found = replace(found, search=looked.told, datasets={**found.datasets, **looked.folders})
    found = _kept(scene, measuring, found)
    decided = confirm(scene, screened, looked, measuring)
    options = decided.winner.options if decided.winner else scene.baseline.options
    output = scene.asked.output or measuring.options.results_dir / NAME
    chosen = scene.treatment("container_optimized", options)
    write_environment(output, Environment(chosen.options, chosen.adapt), evidence_of(scene, decided))
    found = replace(
        found,
        confirmation=decided.told,
        datasets={**found.datasets, "confirm": str(decided.dataset.path)},
        hypotheses=hypotheses(
            screened.levels,
            screened.rows,
            metric=scene.metric,
            confirmation=decided.told,
            confirmed=decided.rows,
        ),
        output=str(output),
    )
    found = _kept(scene, measuring, found)
    climbed = climb(scene, measuring)
    found = replace(
        found,
        ladder=climbed.told,
        datasets={**found.datasets, "attribute": str(climbed.dataset.path)},
        complete=True,
    )
    return _kept(scene, measuring, found)


def _begun(scene: Scene, screened: Screened) -> Optimized:
    """The document after the screen."""
    return Optimized(
        experiment=scene.name,
        site=scene.study.site.name,
        host=fingerprint().host,
        simulated=screened.simulated,
        made_at="",
        complete=False,
        metric=scene.metric,
        better=scene.better,
        margin=scene.margin,
        models=tuple(card.name for card in scene.study.cards),
        settings=settings_of(scene),
        baseline_flags=words_of(scene.baseline.options),
        datasets={"screen": str(screened.dataset.path)},
        overhead=screened.overhead,
        levels=screened.levels,
    )


def settings_of(scene: Scene) -> Mapping[str, Any]:
    """What was asked, as the document has it."""
    return {
        "runs": scene.runs,
        "trials": scene.asked.trials,
        "confirm_runs": scene.confirm_runs,
        "security": scene.asked.security,
        "allow_insecure": scene.asked.allow_insecure,
        "seed": scene.study.experiment.seed,
    }


def _kept(scene: Scene, measuring: Measuring, found: Optimized) -> Optimized:
    """The document as far as it is, stored. Raises StorageError."""
    path = file_of(measuring.options.results_dir.absolute(), scene.name)
    stamped = replace(found, made_at=datetime.now(UTC).isoformat(timespec="seconds"))
    content = json.dumps(document_of(stamped), indent=1, allow_nan=False).encode()
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return stamped


def not_asked(experiment: str) -> None:
    """Refuses what only an optimisation is asked for. Raises InputError."""
    context = click.get_current_context()
    for name in (one.name for one in fields(Asked)):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise InputError(
                f"--{name.replace('_', '-')} is of an optimisation, and experiment {experiment} is none",
                "Name one: --experiment phase2b",
            )


def plan_optimisation(options: Options, asked: Asked) -> int:
    """The whole of an optimisation before it starts: levels with what is done about each, runs and hours. For `plan`."""
    scene = set_scene(options, asked, measuring=False)
    planned = phases(scene, options)
    if options.json:
        click.echo(json.dumps(optimisation_document(scene, planned), indent=1))
        return 0
    out = console(to_stderr=False)
    for line in optimisation_lines(scene, planned):
        out.print(line, markup=False, soft_wrap=True)
    out.print("Nothing was started.", markup=False)
    return 0
