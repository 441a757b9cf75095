"""`audit`: would these results survive a review? Also on other people's data."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sparkray import __version__
from sparkray.audit import audit as judge_all
from sparkray.audit.finding import GRAVITIES
from sparkray.audit.knowledge import case_of, machine_words
from sparkray.audit.readers import read
from sparkray.audit.results import Results
from sparkray.catalog import Catalog, data_root
from sparkray.config.site import Site
from sparkray.errors import ConfigError, UnknownNameError
from sparkray.store import write_atomically
from sparkray.sweep.named_gpu import site_settings, site_with_gpu
from sparkray.sweep.options import FILE, json_option, setting_option
from sparkray.sweep.show import console, print_json, show


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--map", "columns", metavar="OURS=THEIRS,...", default="", help="Columns of a table by our names.")
@click.option("--ignore", "ignored", metavar="COLUMN,...", default="", help="Columns to leave out.")
@click.option("--models-as", metavar="NAME=CARD,...", default="", help="Model cards of names in the results.")
@click.option("--site", metavar="NAME", help="The machine of the results.")
@click.option("--gpu", metavar="NAME", help="Its GPU, as NVML names it.")
@setting_option("Override one value of the site: site.bandwidth_gb_s=3350.")
@click.option("--batch", type=click.IntRange(min=1), metavar="B", help="Sequences in flight, if no column has them.")
@click.option("--output", type=FILE, metavar="FILE", help="Write the findings as an HTML page too.")
@json_option
def audit(path: Path, **asked: Any) -> int:  # noqa: ANN401 - click's own keyword arguments
    """Judge results, anybody's: would they survive a review? PATH is a dataset's folder, a JSON, CSV or Parquet file."""
    catalog = Catalog(data_root())
    named = {name: catalog.card(card) for name, card in pairs(asked["models_as"], "--models-as").items()}
    results = read(path, pairs(asked["columns"], "--map"), _words(asked["ignored"]))
    site, results = _machine(catalog, results, asked)
    report = judge_all(case_of(results, catalog.cards(), site, named=named, batch=asked["batch"]))
    machine = machine_words(site, results.gpus)
    values = {"report": report, "results": results, "machine": machine, "gravities": GRAVITIES}
    output: Path | None = asked["output"]
    if output is not None:
        from sparkray.report.page import html  # noqa: PLC0415 - the room takes long to import

        page = html("audit.html.j2", **values, name=path.name, version=__version__)
        write_atomically(output.absolute(), page.encode())
    if asked["as_json"]:
        print_json(report.document())
    else:
        show(console(to_stderr=False), "audit.txt.j2", **values)
    return 1 if report.findings else 0


def pairs(text: str, option: str) -> Mapping[str, str]:
    """`a=b,c=d` as a mapping.

    Raises:
        ConfigError: A part has no `=`, or nothing on one side.
    """
    found: dict[str, str] = {}
    for part in _words(text):
        left, equals, right = (word.strip() for word in part.partition("="))
        if not (left and equals and right):
            raise ConfigError(f"{option} {part!r} is not of the form a=b", f"Write {option} a=b,c=d")
        found[left] = right
    return found


def _words(text: str) -> list[str]:
    return [word for part in text.split(",") if (word := part.strip())]


def _machine(catalog: Catalog, results: Results, asked: Mapping[str, Any]) -> tuple[Site | None, Results]:
    """The site to judge by, and the results with the GPU that was named. Raises InputError."""
    settings = site_settings(asked["settings"])
    site, gpu = _site(catalog, results, asked["site"], settings), asked["gpu"]
    if gpu is None:
        return site, results
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
