"""`models`, `sites`, `experiments`, `flags`: what there is to choose from, each with the file that defines it."""

from collections.abc import Sequence
from typing import Any

import click

from sparkray.catalog import Catalog, data_root
from sparkray.config import docker
from sparkray.sweep.common_options import json_option
from sparkray.sweep.show import console, print_json, print_line
from sparkray.sweep.templates import table
from sparkray.units import gib

# A row is one line there.
_PIPE_WIDTH = 10_000


@click.command()
@json_option
def models(*, as_json: bool) -> int:
    """List the models, with their size and file."""
    catalog = Catalog(data_root())
    files = catalog.model_files()
    rows = [
        {
            "name": card.name,
            "tier": card.tier or None,
            "size_gib": round(gib(card.shape.weight_bytes), 1) if card.shape else None,
            "architecture": card.architecture,
            "aliases": list(card.aliases),
            "file": str(files[card.name]),
        }
        for card in catalog.cards()
    ]
    return print_list("models", rows, ("name", "tier", "size_gib", "architecture", "file"), as_json=as_json)


@click.command()
@json_option
def sites(*, as_json: bool) -> int:
    """List the sites (kinds of machine), with their engine and file."""
    catalog = Catalog(data_root())
    rows = [
        {
            "name": site.name,
            "engine": site.engine,
            "experiment": site.experiment,
            "simulated": site.simulated,
            "description": site.description,
            "file": str(path),
        }
        for name, path in catalog.site_files().items()
        for site in [catalog.site(name)]
    ]
    return print_list("sites", rows, ("name", "engine", "experiment", "file"), as_json=as_json)


@click.command()
@json_option
def experiments(*, as_json: bool) -> int:
    """List the experiments, with their question and file."""
    catalog = Catalog(data_root())
    rows = [
        {
            "name": one.name,
            "runs": one.runs,
            "models": list(one.models),
            "environments": list(one.environments),
            "question": " ".join(one.question.split()),
            "file": str(path),
        }
        for name, path in catalog.experiment_files().items()
        for one in [catalog.experiment(name)]
    ]
    return print_list("experiments", rows, ("name", "runs", "file", "question"), as_json=as_json)


@click.command()
@json_option
def flags(*, as_json: bool) -> int:
    """List the Docker flags that can be set, with their price in security, purpose and file."""
    rows = [
        {
            "name": name,
            "flag": flag.text,
            "security": flag.security if flag.grade_by is None else "depends on value",
            "purpose": flag.why,
            "file": str(docker.FLAGS_FILE),
        }
        for name in docker.option_names()
        for flag in [docker.flag_of(name)]
    ]
    return print_list(
        "flags", rows, ("flag", "name", "security", "purpose"), as_json=as_json, file=str(docker.FLAGS_FILE)
    )


def print_list(
    what: str, rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool, file: str = ""
) -> int:
    """Print a table, or one JSON document."""
    if as_json:
        print_json({what: rows})
        return 0
    out = console(to_stderr=False)
    cells = [["" if row[column] is None else row[column] for column in columns] for row in rows]
    head = [column.replace("_gib", " GiB") for column in columns]
    for line in table(head, cells, out.width if out.is_terminal else _PIPE_WIDTH):
        print_line(out, line)
    if file:
        print_line(out, f"Defined in {file}")
    return 0
