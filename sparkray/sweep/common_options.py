"""Command-line options that most verbs share: the dataset, and how the answer is printed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sparkray.sweep.completion import complete_experiment

F = TypeVar("F", bound=Callable[..., Any])
FOLDER, FILE = click.Path(path_type=Path, file_okay=False), click.Path(path_type=Path, dir_okay=False)


def group(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Several options as one decorator, in the order of the help."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def experiment_option(text: str, metavar: str = "NAME") -> Callable[[F], F]:
    """`--experiment`."""
    return click.option("--experiment", shell_complete=complete_experiment, metavar=metavar, help=text)


RESULTS_DIR = click.option(
    "--results-dir", type=FOLDER, default=Path("results"), show_default=True, help="Folder of all datasets."
)
JSON = "Print one JSON document."
json_option = click.option("--json", "as_json", is_flag=True, help=JSON)
# DATASET, a folder, else the newest of an experiment, else the newest of all: `datasets.subject`.
dataset_options = group(
    click.argument("dataset", required=False, type=FOLDER), experiment_option("Take its newest dataset."), RESULTS_DIR
)


def setting_option(text: str) -> Callable[[F], F]:
    """`--set`."""
    return click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help=text)
