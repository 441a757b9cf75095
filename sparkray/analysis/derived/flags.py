"""The Docker flags that the containers were made with, from their columns, each with its security price."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from sparkray.analysis import Analysis
from sparkray.analysis.schema import DERIVED, frame_of
from sparkray.config.docker import DockerOptions, cannot_act, given, grade_of
from sparkray.config.docker_columns import options_of_row
from sparkray.errors import DatasetError


def flags(analysis: Analysis) -> pl.DataFrame:
    """One row a flag of a container environment; none for a dataset older than schema 1.3, which has no such columns."""
    every = {name: recorded_options(analysis.context, name) for name in sorted(_recorded(analysis.context))}
    return frame_of(DERIVED["flags"], (row for name, options in every.items() for row in _rows(name, options)))


def _recorded(context: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return context.get("docker_options") or {}


def recorded_options(context: Any, environment: str) -> DockerOptions:  # noqa: ANN401 - JSON
    """The options that the containers of an environment were made with, as its first run recorded them.

    Raises:
        DatasetError: A value that its option refuses.
    """
    try:
        return options_of_row(_recorded(context).get(environment) or {})
    except ValueError as error:
        raise DatasetError(
            f"a docker_ column of {environment} has a value that cannot be: {error}",
            "Analyse the dataset with the version of sparkray that wrote it",
        ) from None


def _rows(environment: str, options: DockerOptions) -> Iterator[dict[str, Any]]:
    idle = cannot_act(options)
    for name, flag, value in given(options):
        yield {
            "trace": f"flags/{environment}/{name}",
            "environment": environment,
            "option": name,
            "flag": " ".join(flag.words(value)) or f"{name}={value}",
            "security": grade_of(name, options),
            "cannot_act": idle.get(name),
        }
