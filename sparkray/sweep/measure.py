"""`baseline`, `quick` and `validate`: the verbs that measure one experiment."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sparkray.plan import PlannedRun, Study, make_plan, refused
from sparkray.sweep.experiment import sweep
from sparkray.sweep.options import options_of, sweep_options
from sparkray.workflows.options import build_study, site_of

_QUICK_RUNS = 3


@click.command()
@sweep_options
def baseline(**arguments: Any) -> int:  # noqa: ANN401
    """Compare the native arm with the container, in paired blocks of random order (phase 2A).

    The same command again goes on where it stopped.
    """
    return sweep(options_of(arguments))


@click.command()
@sweep_options
def quick(**arguments: Any) -> int:  # noqa: ANN401
    """Check that everything works: one model, three runs an environment."""
    options = options_of(arguments)
    if options.models is None:
        options = replace(options, models=smallest(build_study(options)))
    return sweep(replace(options, runs=options.runs or _QUICK_RUNS))


def smallest(study: Study) -> str:
    """The smallest model of a study that is not refused there."""

    def size(run: PlannedRun) -> tuple[bool, int]:
        shape = study.card(run.model).shape
        return refused(study, run) is not None, shape.weight_bytes if shape else 0

    return min(make_plan(replace(study, experiment=replace(study.experiment, runs=1))), key=size).model


@click.command()
@sweep_options
@click.option(
    "--optimized",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The flags of container_optimized, as `optimize` wrote them; the site's own if not given.",
)
def validate(**arguments: Any) -> int:  # noqa: ANN401
    """Measure native, container_baseline and container_optimized in fresh blocks (phase 2D).

    They are never paired with earlier runs.
    """
    options = options_of(arguments)
    if options.experiment is None:
        options = replace(options, experiment=site_of(options).validation)
    return sweep(options)
