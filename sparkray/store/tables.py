"""The tables that the store writes: their columns, those of Docker options and of metrics among them."""

from collections.abc import Iterable

from sparkray.schema import FOLDER, Column, Tables


def _docker_columns() -> Iterable[Column]:
    from sparkray.config.docker_columns import DOCKER_COLUMNS  # noqa: PLC0415 - names of tables need no columns

    return DOCKER_COLUMNS


def _metric_columns() -> Iterable[Column]:
    from sparkray.metrics import metric_columns  # noqa: PLC0415 - likewise; NumPy takes long to import

    return metric_columns()


TABLES = Tables(FOLDER / "dataset", {"<docker options>": _docker_columns, "<metrics>": _metric_columns})
