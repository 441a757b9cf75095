"""`audit`: would these results survive a reviewer? Also on other people's data."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sparkray.audit import audit as judge_all
from sparkray.audit.finding import Finding, Report
from sparkray.audit.knowledge import case_of, machine_told
from sparkray.audit.readers import read
from sparkray.audit.results import Results
from sparkray.catalog import Catalog, data_root, parse_settings
from sparkray.config.site import Site
from sparkray.errors import ConfigError, InputError, UnknownNameError
from sparkray.store import write_atomically
from sparkray.sweep.named_gpu import site_with_gpu
from sparkray.sweep.show import console, print_line

_SHOWN_ROWS = 4


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--map", "columns", metavar="OURS=THEIRS,...", default="", help="Which column of a table is which.")
@click.option("--ignore", "ignored", metavar="COLUMN,...", default="", help="Columns of a table to take as not there.")
@click.option("--models-as", metavar="NAME=CARD,...", default="", help="Which model card a name in the results means.")
@click.option("--site", metavar="NAME", help="The machine that the results are from.")
@click.option("--gpu", metavar="NAME", help="The machine's GPU, as NVML names it, where its site may have several.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="site.bandwidth_gb_s=3350 and the like.")
@click.option("--batch", type=click.IntRange(min=1), metavar="B", help="Sequences in flight, where no column tells it.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The findings as one HTML page too.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def audit(path: Path, **asked: Any) -> int:  # noqa: ANN401 - click's own keyword arguments
    """Would these results survive a reviewer? A dataset's folder, the JSON of the study before this, a CSV or Parquet."""
    catalog = Catalog(data_root())
    named = {name: catalog.card(card) for name, card in pairs(asked["models_as"], "--models-as").items()}
    results = read(path, pairs(asked["columns"], "--map"), _words(asked["ignored"]))
    machine, results = _machine(catalog, results, asked)
    report = judge_all(case_of(results, catalog.cards(), machine, named=named, batch=asked["batch"]))
    output: Path | None = asked["output"]
    if output is not None:
        _write_page(output, report, results, name=path.name, site=machine)
    if asked["as_json"]:
        click.echo(json.dumps(report.document(), indent=1))
    else:
        _show(report, results, machine)
    return 1 if report.findings else 0


def _write_page(output: Path, report: Report, results: Results, *, name: str, site: Site | None) -> None:
    """Raises StorageError."""
    from sparkray.sweep.audit_page import audit_page  # noqa: PLC0415 - the report's room takes long to import

    write_atomically(output.absolute(), audit_page(report, results, name=name, site=site).encode())


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
    settings = parse_settings(list(asked["settings"]))
    if others := [room for room, values in settings.items() if values and room != "site"]:
        raise InputError(f"--set {others[0]}: results are judged by models and a site alone", "Set site.KEY=VALUE")
    machine, gpu = _site(catalog, results, asked["site"], settings["site"]), asked["gpu"]
    if gpu is None:
        return machine, results
    if asked["site"] is not None or machine is None or gpu not in machine.devices:
        machine, gpu = site_with_gpu(catalog, gpu, asked["site"], settings["site"])
    return machine, replace(results, gpus=(gpu,))


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


def _show(report: Report, results: Results, site: Site | None) -> None:
    out = console(to_stderr=False)

    def say(text: str) -> None:
        print_line(out, text)

    counted = f"{len(results.frame)} rows, {len(results.ok)} count"
    say(f"{results.source}: {counted}; {machine_told(site, results.gpus)}\n")
    for finding in report.findings:
        say(_text(finding))
    if report.not_judged:
        say("Could not be judged:")
        for left_open in report.not_judged:
            say(f"  - {left_open.kind}: {left_open.reason}")
    counts = [f"{sum(f.gravity == g for f in report.findings)} {g}" for g in ("fatal", "grave", "note")]
    say(f"\n{len(report.findings)} findings: {', '.join(counts)}." if report.findings else "\nNothing found.")


def _text(finding: Finding) -> str:
    named = ", ".join(finding.rows[:_SHOWN_ROWS])
    more = f" and {len(finding.rows) - _SHOWN_ROWS} more" if len(finding.rows) > _SHOWN_ROWS else ""
    lines = [
        f"{finding.gravity.upper():5s}  {finding.kind}",
        f"       {finding.message}.",
        f"       Seen: {finding.evidence}.",
    ]
    if named:
        lines.append(f"       Rows: {named}{more}.")
    return "\n".join(lines) + "\n"
