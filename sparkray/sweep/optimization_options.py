"""Command-line options of an optimisation, for `optimize` and for `plan`, which imports nothing that measures."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import click
from click.core import ParameterSource

from sparkray.config.experiment import MOST_RUNS
from sparkray.errors import InputError
from sparkray.optimize.context import OptimizationRequest
from sparkray.sweep.common_options import group

# What an optimisation is asked for beside the options of every sweep, and its plan likewise.
optimization_options = group(
    click.option(
        "--trials", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Configurations to search."
    ),
    click.option(
        "--confirm-runs",
        type=click.IntRange(2, MOST_RUNS),
        help="Fresh blocks that decide; default: 3 x --runs, at most 30.",
    ),
    click.option(
        "--security",
        type=click.Choice(["none", "weakens"]),
        default="weakens",
        show_default=True,
        help="How much isolation flags may give up.",
    ),
    click.option(
        "--skip",
        type=click.Choice(["screen", "attribution"]),
        multiple=True,
        help="Leave a stage out: single flags by themselves, or what each layer of a container costs.",
    ),
)


def request_of(arguments: Mapping[str, Any]) -> OptimizationRequest:
    """The dataclass from click's keyword arguments. Raises InputError."""
    request = OptimizationRequest(
        **{one.name: arguments[one.name] for one in fields(OptimizationRequest) if one.name in arguments}
    )
    if request.allow_insecure and request.security == "none":
        raise InputError("--security none and --allow-insecure contradict each other", "Leave one of them out")
    return request


def refuse_optimization_options(experiment: str) -> None:
    """Refuses what only an optimisation is asked for. Raises InputError."""
    command = click.get_current_context()
    for name in (one.name for one in fields(OptimizationRequest) if one.name != "allow_insecure"):
        if command.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise InputError(
                f"--{name.replace('_', '-')}: experiment {experiment} is no optimisation",
                "Name one: --experiment phase2b",
            )
