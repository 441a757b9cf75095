"""`--export-markdown FILE`: the table of comparisons, to be pasted into an issue."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sparkray.errors import StorageError, refusal
from sparkray.sweep.outputs import not_data

if TYPE_CHECKING:  # it takes long to import
    from sparkray.analysis import Analysis

F = TypeVar("F", bound=Callable[..., Any])


def _in_a_folder(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """A folder that is not there is noticed before hours of measuring, not after."""
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"the folder {value.absolute().parent} does not exist")
    return not_data(context, parameter, value)


def markdown_option(function: F) -> F:
    """The option, as `markdown_file`."""
    return click.option(
        "--export-markdown",
        "markdown_file",
        type=click.Path(path_type=Path, dir_okay=False, writable=True),
        metavar="FILE",
        callback=_in_a_folder,
        help="Write a Markdown table too.",
    )(function)


def export_markdown(path: Path, analysis: "Analysis") -> None:
    """Write the table.

    Raises:
        StorageError: The file cannot be written.
    """
    from sparkray.report import markdown  # noqa: PLC0415 - Matplotlib takes long to import

    try:
        path.write_text(markdown(analysis), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {refusal(error)}", "Name another file") from None
