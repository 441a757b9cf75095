"""Command-line options that verbs share."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from sparkray.sweep.completion import complete_experiment, complete_models, complete_site
from sparkray.workflows.options import PHASES, Options

F = TypeVar("F", bound=Callable[..., Any])


_STUDY = (
    click.option(
        "--experiment",
        shell_complete=complete_experiment,
        metavar="NAME|FILE",
        help="The question; the site's own when not given.",
    ),
    click.option(
        "--site",
        shell_complete=complete_site,
        metavar="NAME|FILE",
        help="The kind of machine; recognised when not given.",
    ),
    click.option(
        "--models",
        shell_complete=complete_models,
        metavar="A,B",
        envvar="MODELS_TO_TEST",
        show_envvar=True,
        help="Model cards by name, alias or GGUF file; `all`, `tier1` ... `tier3`.",
    ),
    click.option("--environments", metavar="A,B", help="native, host, container_baseline, container_optimized."),
    click.option(
        "--runs",
        type=click.IntRange(min=1),
        envvar="RUNS_PER_MODEL",
        show_envvar=True,
        help="Runs per model and environment.",
    ),
    click.option("--requests", type=click.IntRange(min=1), help="Requests per run."),
    click.option("--seed", type=int, help="Seed of order and prompts."),
    click.option(
        "--results-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("results"),
        show_default=True,
        help="Where datasets lie.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override one thing: site.image=..., experiment.timeout_s=..., engine.threads=..., "
        "docker.container_baseline.shm_size=1g.",
    ),
    click.option("--phase", envvar="TEST_PHASE", show_envvar=True, type=click.Choice(list(PHASES)), hidden=True),
    click.option("--mode", envvar="OPTIMIZATION_MODE", hidden=True),
    click.option("--json", is_flag=True, help="One JSON document on stdout."),
)
_SWEEP = (
    click.option("--address", metavar="RAY", help="A Ray cluster to use; one of our own when not given."),
    click.option(
        "--lock",
        type=click.Choice(["wait", "fail"]),
        default="wait",
        show_default=True,
        help="What to do when somebody else is measuring on this machine.",
    ),
    click.option(
        "--dashboard/--no-dashboard",
        default=True,
        show_default=True,
        help="Whether a Ray of our own has its dashboard, which costs CPU time.",
    ),
    click.option("--fresh", is_flag=True, help="Start a new results folder and keep the old one."),
    click.option("--yes", "-y", is_flag=True, help="Do not ask."),
)


def study_options(function: F) -> F:
    """The options that describe a study."""
    for option in reversed(_STUDY):
        function = option(function)
    return function


def sweep_options(function: F) -> F:
    """Those, and how it is carried out."""
    for option in reversed((*_STUDY, *_SWEEP)):
        function = option(function)
    return function


def options_of(arguments: Mapping[str, Any]) -> Options:
    """The dataclass from click's keyword arguments."""
    known = {f.name for f in fields(Options)}
    return Options(**{key: value for key, value in arguments.items() if key in known})
