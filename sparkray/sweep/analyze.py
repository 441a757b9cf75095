"""`analyze`: statistics of a dataset into Parquet, CSV, JSON and LaTeX, and a short answer on the screen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sparkray.analysis import Analysis, write
from sparkray.analysis.reuse import fresh_analysis
from sparkray.errors import ConfigError, UnknownNameError
from sparkray.metrics import BY_NAME
from sparkray.sweep.common_options import FOLDER as DIR
from sparkray.sweep.common_options import dataset_options, json_option
from sparkray.sweep.datasets import subject
from sparkray.sweep.markdown import export_markdown, markdown_option
from sparkray.sweep.outputs import not_data
from sparkray.sweep.show import console, print_json, show
from sparkray.sweep.summary import findings_of, summary_lines
from sparkray.workflows.calibration_file import calibration_for

FOLDER = "analysis"


@click.command()
@dataset_options
@click.option(
    "--output",
    type=DIR,
    metavar="DIR",
    callback=not_data,
    help="Folder of the tables; default: `analysis` in the dataset.",
)
@click.option(
    "--margin",
    "margins",
    multiple=True,
    metavar="METRIC=M",
    help="Another margin. One chosen after the data proves nothing.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of bootstrap and permutation.")
@markdown_option
@json_option
def analyze(dataset: Path | None, experiment: str | None, results_dir: Path, **asked: Any) -> int:  # noqa: ANN401
    """Compute every estimate and verdict of a dataset, into Parquet, CSV, JSON and LaTeX.

    DATASET is a folder such as results/local@2; default: the newest.
    """
    chosen = subject(dataset, results_dir, experiment)
    calibration = calibration_for(chosen)
    analysis = fresh_analysis(chosen.path, margins=margins_of(asked["margins"]), seed=asked["seed"])
    folder = asked["output"] or chosen.path / FOLDER
    files = write(analysis, folder)
    if asked["markdown_file"] is not None:
        export_markdown(asked["markdown_file"], analysis)
    if asked["as_json"]:
        print_json({**_document(analysis, files), "calibration": calibration}, default=str)
    else:
        context = analysis.context
        more = {"context": context, "files": len(files), "kinds": sorted({path.suffix[1:] for path in files})}
        lines = summary_lines(findings_of(analysis), calibration=calibration) if context["runs_used"] else []
        show(console(to_stderr=False), "analyze.txt.j2", lines=lines, folder=folder, **more)
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
        "knee": analysis.tables["knee"].to_dicts(),
        "questions": analysis.tables["questions"].to_dicts(),
        "files": [str(path) for path in files],
    }
