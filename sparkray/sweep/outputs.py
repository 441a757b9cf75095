"""`--output` and `--export-markdown`: what a verb writes never takes the place of data, or of somebody's file."""

import os
from collections.abc import Callable
from pathlib import Path

import click

from sparkray.files import read_regular

Callback = Callable[[click.Context, click.Parameter, Path | None], Path | None]
_OWN = frozenset(
    {"runs", "requests", "samples", "checks", "logs", "spool", "inputs", "cache", "set-aside"}
    | {"dataset.json", "experiment.json", "progress.json"}
)
"""What a dataset consists of; its other files can be made again."""


def not_data(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    """Refuses a file or folder among those that hold a dataset."""
    path = None if value is None else Path(os.path.realpath(value))
    for folder in () if path is None else path.parents:
        if path is not None and (folder / "dataset.json").is_file() and path.relative_to(folder).parts[0] in _OWN:
            raise click.BadParameter(f"{value} is part of the dataset {folder}; name another place")
    return value


def only_over(mark: bytes, kind: str) -> Callback:
    """Refuses to replace an existing file too, unless it is of the same kind: `mark` is in it."""

    def check(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
        value = not_data(context, parameter, value)
        if value is not None and value.exists():
            try:
                same = mark in read_regular(value)
            except OSError as error:
                raise click.BadParameter(f"{value} cannot be replaced: {error.strerror or error}") from None
            if not same:
                raise click.BadParameter(f"{value} exists and is not {kind}; name another file")
        return value

    return check
