"""`baseline`, `quick` and `validate`: the verbs that measure one experiment."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sparkray.plan import PlannedRun, Study, make_plan, refused
from sparkray.runtimes.linux.root_part import has_root
from sparkray.sweep.common_options import FILE
from sparkray.sweep.markdown import export_markdown, markdown_option
from sparkray.sweep.options import options_of, seconds_option, sweep_options
from sparkray.sweep.start import handed_back
from sparkray.timing import known_dataset
from sparkray.workflows.consent import require_consent
from sparkray.workflows.options import Options, build_study, site_of
from sparkray.workflows.prerequisites import must_fit_here

_QUICK_RUNS = 3


@click.command()
@sweep_options
@seconds_option
@markdown_option
def baseline(markdown_file: Path | None, **arguments: Any) -> int:  # noqa: ANN401
    """Compare native and container in paired blocks of random order.

    The same command continues where it stopped.
    """
    return _measure(options_of(arguments), markdown_file)


@click.command()
@sweep_options
@seconds_option
@markdown_option
def quick(markdown_file: Path | None, **arguments: Any) -> int:  # noqa: ANN401
    """Check that everything works: one model, three runs an environment."""
    options = options_of(arguments)
    if options.models is None:
        options = replace(options, models=smallest(build_study(options)))
    return _measure(replace(options, runs=options.runs or _QUICK_RUNS), markdown_file)


def _measure(options: Options, markdown_file: Path | None) -> int:
    """Carry the experiment out, then export its table where that was asked for. Returns the exit status."""
    if has_root():  # others go on through sudo, and may do there what they may not here
        first = build_study(options)
        require_consent(first, given=options.allow_insecure, but=options.trusted)
        if options.fresh or known_dataset(first, options.results_dir) is None:
            must_fit_here(first, options)
    from sparkray.sweep.experiment import sweep  # noqa: PLC0415 - what it imports takes longer than a refusal

    status = sweep(options)
    if markdown_file is not None:
        study = build_study(options)
        dataset = known_dataset(study, options.results_dir)
        if dataset is not None and dataset.ok_run_ids():
            from sparkray.analysis import analyse  # noqa: PLC0415 - as above

            with handed_back(options.results_dir, file=markdown_file):
                export_markdown(markdown_file, analyse(dataset.path))
    return status


def smallest(study: Study) -> str:
    """The smallest model of a study that is not refused there."""

    def size(run: PlannedRun) -> tuple[bool, int]:
        shape = study.card(run.model).shape
        return refused(study, run) is not None, shape.weight_bytes if shape else 0

    return min(make_plan(replace(study, experiment=replace(study.experiment, runs=1))), key=size).model


@click.command()
@sweep_options
@seconds_option
@markdown_option
@click.option(
    "--optimized", type=FILE, help="Flags of container_optimized, as `optimize` wrote them; default: the site's."
)
def validate(markdown_file: Path | None, **arguments: Any) -> int:  # noqa: ANN401
    """Measure native, container_baseline and container_optimized in fresh blocks."""
    options = options_of(arguments)
    if options.experiment is None:
        options = replace(options, experiment=site_of(options).validation)
    return _measure(options, markdown_file)
