"""`analyze`: statistics of a dataset into Parquet, CSV, JSON and LaTeX, and a short answer on the screen."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from sparkray.analysis import Analysis, analyse, write
from sparkray.errors import ConfigError, DatasetError, UnknownNameError
from sparkray.metrics import BY_NAME
from sparkray.store import Dataset, existing
from sparkray.sweep.show import console
from sparkray.workflows.calibration_file import calibration_for, calibration_sentence

FOLDER = "analysis"


@click.command()
@click.option("--experiment", metavar="NAME", help="Whose newest dataset; that of any experiment when not given.")
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
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def analyze(
    experiment: str | None,
    results_dir: Path,
    *,
    output: Path | None,
    margins: tuple[str, ...],
    seed: int,
    as_json: bool,
) -> int:
    """Compute every estimate and verdict of a dataset, into Parquet, CSV, JSON and LaTeX (phase 2C)."""
    dataset = newest(results_dir, experiment)
    calibration = calibration_for(dataset)
    analysis = analyse(dataset.path, margins=margins_of(margins), seed=seed)
    folder = output or dataset.path / FOLDER
    files = write(analysis, folder)
    if as_json:
        document = {**_document(analysis, files), "calibration": calibration}
        click.echo(json.dumps(document, indent=1, default=str, allow_nan=False))
    else:
        _show(analysis, folder, files)
        if calibration is not None:
            click.echo(calibration_sentence(calibration))
    return 0 if analysis.context["runs_used"] else 1


def newest(results_dir: Path, experiment: str | None) -> Dataset:
    """The newest dataset of an experiment, else the one of all that was written to last.

    Raises:
        DatasetError: There is none.
    """
    if experiment is not None:
        found = existing(results_dir, experiment)
        if found:
            return found[-1]
    names = {path.parent.name.partition("@")[0] for path in results_dir.glob("*/dataset.json")}
    if experiment is None and names:
        known = [dataset for name in names for dataset in existing(results_dir, name)]
        return max(known, key=lambda dataset: ((dataset.path / "runs").stat().st_mtime, dataset.path.name))
    there = f"There are: {', '.join(sorted(names))}" if names else "Measure something first: sparkray quick"
    of = f" of {experiment!r}" if experiment else ""
    raise DatasetError(
        f"no dataset{of} in {results_dir.absolute()}", f"{there}; or name another folder: --results-dir DIR"
    )


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
    out.print(
        f"{context['experiment']}: {context['runs_used']} runs that are ok, of {_attempts(context)}", markup=False
    )
    if not context["runs_used"]:
        out.print("No run is ok: there is nothing to estimate. See the reasons with: sparkray status", markup=False)
    before = None
    for row in analysis.tables["comparisons"].filter(primary=True).to_dicts():
        model = f"{row['model']} {row['level']}".rstrip()
        if model != before:
            out.print(f"\n[bold]{escape(model)}[/bold]")
        before = model
        out.print(f"  {row['sentence'].removeprefix(f'{model}, ')}", markup=False, soft_wrap=True)
    if context["simulated"]:
        out.print("\nSIMULATED: runs of this dataset were made by a double, not by an engine.", style="bold")
    kinds = ", ".join(sorted({path.suffix[1:] for path in files}))
    out.print(f"\n{len(files)} files ({kinds}) in {folder}", markup=False, soft_wrap=True)


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
