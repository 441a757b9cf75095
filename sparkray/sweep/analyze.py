"""`analyze`: statistics of a dataset into Parquet, CSV, JSON and LaTeX, and a short answer on the screen."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sparkray.analysis import Analysis, analyse, write
from sparkray.errors import ConfigError, UnknownNameError
from sparkray.metrics import BY_NAME
from sparkray.sweep.completion import complete_experiment
from sparkray.sweep.datasets import dataset_argument, dataset_at, newest
from sparkray.sweep.markdown import export_markdown, markdown_option
from sparkray.sweep.show import console, print_line
from sparkray.sweep.summary import findings_of, summary_lines
from sparkray.workflows.calibration_file import calibration_for, calibration_line

FOLDER = "analysis"


@click.command()
@dataset_argument
@click.option(
    "--experiment",
    shell_complete=complete_experiment,
    metavar="NAME",
    help="Whose newest dataset; that of any experiment when not given.",
)
@click.option(
    "--results-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Where datasets lie.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the tables go; `analysis` in the dataset's folder when not given.",
)
@click.option(
    "--margin",
    "margins",
    multiple=True,
    metavar="METRIC=M",
    help="Another relative margin than the experiment's. One that is chosen after the data proves nothing.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of bootstrap and permutation.")
@markdown_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def analyze(
    dataset: Path | None,
    experiment: str | None,
    results_dir: Path,
    *,
    output: Path | None,
    margins: tuple[str, ...],
    seed: int,
    markdown_file: Path | None,
    as_json: bool,
) -> int:
    """Compute every estimate and verdict of a dataset, into Parquet, CSV, JSON and LaTeX (phase 2C).

    DATASET is a folder such as results/local or results/local@2; the newest dataset if it is left out.
    """
    subject = newest(results_dir, experiment) if dataset is None else dataset_at(dataset)
    calibration = calibration_for(subject)
    analysis = analyse(subject.path, margins=margins_of(margins), seed=seed)
    folder = output or subject.path / FOLDER
    files = write(analysis, folder)
    if markdown_file is not None:
        export_markdown(markdown_file, analysis)
    if as_json:
        document = {**_document(analysis, files), "calibration": calibration}
        click.echo(json.dumps(document, indent=1, default=str, allow_nan=False))
    else:
        _show(analysis, folder, files)
        if calibration is not None:
            print_line(console(to_stderr=False), calibration_line(calibration))
    return 0 if analysis.context["runs_used"] else 1


def margins_of(given: tuple[str, ...]) -> Mapping[str, float]:
    """`METRIC=0.01`, several of them, as a mapping.

    Raises:
        ConfigError: One is not of that form, or its margin is not above 0.
        UnknownNameError: There is no metric of that name.
    """
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            margin = float(number)
        except ValueError:
            margin = 0.0
        if not 0 < margin < 1:
            raise ConfigError(
                f"--margin {text!r} is not METRIC=M with M above 0 and below 1", "Write --margin latency_mean_ms=0.01"
            )
        if name not in BY_NAME:
            raise UnknownNameError("metric", name, list(BY_NAME))
        found[name] = margin
    return found


def _show(analysis: Analysis, folder: Path, files: list[Path]) -> None:
    out, context = console(to_stderr=False), analysis.context
    if context["runs_used"]:
        for line in summary_lines(findings_of(analysis)):
            print_line(out, line)
    else:
        print_line(out, "No run is ok: there is nothing to estimate. See the reasons with: sparkray status")
    if context["simulated"]:
        print_line(out, "SIMULATED: runs of this dataset are from a simulated engine.", style="bold")
    kinds = ", ".join(sorted({path.suffix[1:] for path in files}))
    print_line(out, f"{context['experiment']}: {_attempts(context)}; {len(files)} files ({kinds}) in {folder}")


def _attempts(context: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in context["status_counts"].items())
    return f"{sum(context['status_counts'].values())} attempts ({counts or 'none'})"


def _document(analysis: Analysis, files: list[Path]) -> dict[str, Any]:
    """The answer for programs; everything there is stands in `analysis.json`."""
    context = analysis.context
    return {
        "experiment": context["experiment"],
        "dataset": str(analysis.path),
        "runs_used": context["runs_used"],
        "status_counts": context["status_counts"],
        "simulated": context["simulated"],
        "margins": context["margins"],
        "comparisons": analysis.tables["comparisons"].filter(primary=True).to_dicts(),
        "questions": analysis.tables["questions"].to_dicts(),
        "files": [str(path) for path in files],
    }
