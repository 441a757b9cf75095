"""`audit`: would these results survive a review? Also on other people's data."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from sparkray.audit import audit as judge_all
from sparkray.audit.finding import GRAVITIES
from sparkray.audit.knowledge import case_of, machine_words
from sparkray.audit.readers import Source, read_all
from sparkray.audit.results import Results, Role
from sparkray.audit.roles import ROLES, columns_of
from sparkray.catalog import Catalog, data_root
from sparkray.config.experiment import MOST_REQUESTS
from sparkray.config.site import Site
from sparkray.errors import ConfigError, UnknownNameError
from sparkray.sweep.common_options import FILE, json_option, setting_option
from sparkray.sweep.named_gpu import site_of_gpus, site_settings, site_with_gpu
from sparkray.sweep.outputs import only_over
from sparkray.sweep.show import console, print_json, print_line, show
from sparkray.sweep.slow import SlowSteps
from sparkray.units import some

_MOST_NAMED = 3
_BATCH = click.IntRange(1, MOST_REQUESTS)


@click.command()
@click.argument("paths", metavar="[NAME=]PATH...", nargs=-1)
@click.option("--arm", "arms", metavar="NAME=PATH", multiple=True, help="Results of one arm; repeat it for each.")
@click.option("--map", "columns", metavar="OURS=THEIRS,...", multiple=True, help="Columns of a table by our names.")
@click.option("--ignore", "ignored", metavar="COLUMN,...", multiple=True, help="Columns to leave out.")
@click.option("--models-as", metavar="NAME=CARD,...", default="", help="Model cards of names in the results.")
@click.option("--site", metavar="NAME", help="The machine of the results.")
@click.option("--gpu", metavar="NAME", help="Its GPU, as NVML names it.")
@setting_option("Override one value of the site: site.bandwidth_gb_s=3350.")
@click.option(
    "--batch", type=click.IntRange(1, MOST_REQUESTS), metavar="B", help="Sequences in flight, if no column has them."
)
@click.option(
    "--by", "factors", metavar="COLUMN,...", multiple=True, help="Further factors of the study: each level is a cell."
)
@click.option(
    "--role", "roles", metavar="COLUMN=ROLE,...", multiple=True, help=f"What a column is: {', '.join(ROLES)}."
)
@click.option("--explain", is_flag=True, help="Show what each column is taken for, and why.")
@click.option(
    "--output",
    type=FILE,
    metavar="FILE",
    callback=only_over(b"<!DOCTYPE html>", "an HTML page"),
    help="Write the findings as an HTML page too.",
)
@json_option
def audit(paths: Sequence[str], **asked: Any) -> int:  # noqa: ANN401 - click's own keyword arguments
    """Judge results, anybody's: would they survive a review?

    PATH is a dataset's folder, a file of results of most benchmark tools, a table, or a folder of such files; several are
    one study. NAME=PATH names the arm of its runs.
    """
    catalog = Catalog(data_root())
    named = {name: catalog.card(card) for name, card in pairs(asked["models_as"], "--models-as").items()}
    columns = {ours: theirs for text in asked["columns"] for ours, theirs in pairs(text, "--map").items()}
    sources = _sources(paths, asked["arms"])
    progress = console(to_stderr=True)
    with SlowSteps(lambda line: print_line(progress, line)) as steps:
        steps.at(f"reading {some([str(source.path) for source in sources], _MOST_NAMED)}")
        results = read_all(sources, columns, [word for text in asked["ignored"] for word in _words(text)])
        site, results = _machine(catalog, results, asked)
        roles = _roles(asked["factors"], asked["roles"])
        rows = f"{len(results.frame)} rows"
        steps.at(f"looking for the models of {rows} among the cards")
        case = case_of(results, catalog.cards(), site, named=named, batch=asked["batch"], roles=roles)
        report = judge_all(case, lambda name: steps.at(f"judging {rows}: {name.replace('_', ' ')}"))
        columns_shown = columns_of(results, roles) if asked["explain"] else []
    machine = machine_words(site, results.gpus)
    values = {
        "report": report,
        "results": results,
        "machine": machine,
        "gravities": GRAVITIES,
        "columns": columns_shown,
    }
    output: Path | None = asked["output"]
    if output is not None:
        from sparkray.report.review import review  # noqa: PLC0415 - the room takes long to import
        from sparkray.store.writing import write_atomically  # noqa: PLC0415 - as above

        page = review(case, report, name=", ".join(source.path.name for source in sources), machine=machine)
        write_atomically(output.absolute(), page.encode())
    if asked["as_json"]:
        shown = {"columns": [asdict(column) for column in columns_shown]} if asked["explain"] else {}
        print_json({**report.document(), **shown})
    else:
        show(console(to_stderr=False), "audit.txt.j2", **values)
    return 1 if report.findings else 0


def pairs(text: str, option: str) -> Mapping[str, str]:
    """`a=b,c=d` as a mapping; a comma belongs to a name where no `=` follows: `a=Throughput, tok/s`.

    Raises:
        ConfigError: A part has no `=`, or nothing on one side.
    """
    found: dict[str, str] = {}
    for part in re.split(r",(?=[^,=]*=)", text) if text.strip() else []:
        left, equals, right = (word.strip() for word in part.partition("="))
        if not (left and equals and right):
            raise ConfigError(f"{option} {part.strip()!r} is not of the form a=b", f"Write {option} a=b,c=d")
        found[left] = right.strip('"')
    return found


def _roles(factors: Sequence[str], given: Sequence[str]) -> Mapping[str, Role]:
    """Roles of columns that the user gives; a factor is a parameter. Raises ConfigError."""
    roles: dict[str, Role] = {name: "parameter" for text in factors for name in _words(text)}
    for name, word in ((name, word) for text in given for name, word in pairs(text, "--role").items()):
        role = next((role for role in ROLES if role == word), None)
        if role is None:
            raise ConfigError(f"--role {name}={word}: there is no role {word!r}", f"Roles are: {', '.join(ROLES)}")
        roles[name] = role
    return roles


def _words(text: str) -> list[str]:
    """Names with commas between them; a name that has one is quoted."""
    return [word.strip() for word in next(csv.reader([text], skipinitialspace=True)) if word.strip()]


def _sources(paths: Sequence[str], arms: Sequence[str]) -> list[Source]:
    """Files and folders with the arm that each names.

    Raises:
        ConfigError: There are none, or `--arm` names no path.
    """
    sources = []
    for path in paths:
        name, equals, rest = path.partition("=")
        named = bool(equals and name and rest) and not Path(path).exists()
        sources.append(Source(Path(rest), name) if named else Source(Path(path)))
    sources += [Source(Path(path), name) for arm in arms for name, path in pairs(arm, "--arm").items()]
    if not sources:
        raise ConfigError("no results are named", "Give a file or folder: sparkray audit PATH")
    return sources


def _machine(catalog: Catalog, results: Results, asked: Mapping[str, Any]) -> tuple[Site | None, Results]:
    """The site to judge by, and the results with the GPU that was named. Raises InputError."""
    settings = site_settings(asked["settings"])
    site, gpu = _site(catalog, results, asked["site"], settings), asked["gpu"]
    if gpu is None:
        return site or site_of_gpus(catalog, results.gpus, settings), results
    if asked["site"] is not None or site is None or gpu not in site.devices:
        site, gpu = site_with_gpu(catalog, gpu, asked["site"], settings)
    return site, replace(results, gpus=(gpu,))


def _site(catalog: Catalog, results: Results, name: str | None, settings: Mapping[str, Any]) -> Site | None:
    """The site that is named, else the one that the results name, if it is known here."""
    if name is not None:
        return catalog.site(name, settings)
    if results.default_site is None:
        return None
    try:
        return catalog.site(results.default_site, settings)
    except UnknownNameError:
        return None
