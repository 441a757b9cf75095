"""`report`: figures, tables and the page of a dataset; the evidence of one number; the manuscript."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import polars as pl

from sparkray.analysis import Analysis
from sparkray.analysis.optimized import STAGES, file_of, read
from sparkray.analysis.reuse import fresh_analysis
from sparkray.errors import DatasetError
from sparkray.store import Dataset, dataset_at, existing
from sparkray.sweep.common_options import FOLDER as DIR
from sparkray.sweep.common_options import dataset_options, json_option
from sparkray.sweep.compare_results import between, show_between
from sparkray.sweep.datasets import newest
from sparkray.sweep.outputs import not_data
from sparkray.sweep.show import console, print_json, show
from sparkray.sweep.summary import findings_of, summary_lines
from sparkray.workflows.calibration_file import calibration_for

if TYPE_CHECKING:
    from sparkray.report import Written
    from sparkray.report.data import Evidence

FOLDER = "report"


@click.command()
@dataset_options
@click.option(
    "--output",
    type=DIR,
    metavar="DIR",
    callback=not_data,
    help="Folder of the report; default: `report` in the dataset.",
)
@click.option("--paper", is_flag=True, help="Write a LaTeX manuscript too.")
@click.option("--png", is_flag=True, help="Write the figures as PNG too.")
@click.option(
    "--against",
    type=DIR,
    metavar="DIR",
    multiple=True,
    help="Compare with another dataset: before an update, another machine. Given again: more occasions, pooled.",
)
@click.option("--trace", "trace_id", metavar="ID", help="Print the rows behind one number; write nothing.")
@json_option
def report(dataset: Path | None, experiment: str | None, results_dir: Path, **asked: Any) -> int:  # noqa: ANN401
    """Write figures, tables and one self-contained HTML page of a dataset.

    DATASET is a folder such as results/local@2; default: the newest.
    """
    subject, optimised = _named(dataset) if dataset is not None else _subject(results_dir, experiment)
    trace_id: str | None = asked["trace_id"]
    if trace_id is None:
        calibration_for(subject)  # the page shows what lies beside the runs: the machine may have been calibrated since
    analysis = fresh_analysis(subject.path)
    others = [fresh_analysis(dataset_at(folder).path) for folder in asked["against"]]
    if trace_id is not None:
        return _show_evidence(analysis, others, optimised, trace_id, as_json=asked["as_json"])
    from sparkray.report import write_report  # noqa: PLC0415 - Matplotlib takes long to import; other verbs do not need it

    folder = asked["output"] or subject.path / FOLDER
    formats = {name: asked[name] for name in ("paper", "png")}
    written = write_report(analysis, folder, against=others, optimised=optimised, **formats)
    if asked["as_json"]:
        print_json(_document(subject.path, written))
    else:
        out, count = console(to_stderr=False), analysis.context["runs_used"]
        verdict = summary_lines(findings_of(analysis))[0] if count else None
        show(out, "report.txt.j2", verdict=verdict, written=written)
        for number, folder in enumerate(asked["against"]):
            # pooled once, with the last
            rows = between(analysis, others[number], *(others[:number] if number == len(others) - 1 else ()))
            show_between(*rows, before=folder, after=subject.path, pooled=number == len(others) - 1)
    return 0


def _named(folder: Path) -> tuple[Dataset, Mapping[str, Any] | None]:
    """A dataset by its path, and the document of its optimisation where there is one beside it. Raises DatasetError."""
    found = dataset_at(folder)
    return found, _document_of(found.path.parent, found.path.name.partition("@")[0])


def _subject(results_dir: Path, experiment: str | None) -> tuple[Dataset, Mapping[str, Any] | None]:
    """The dataset, and the document of its experiment's optimisation where there is one.

    An experiment that was only optimised has a dataset for each stage and none of its own name: then it is the
    confirmation's, or that of the last stage that was reached.

    Raises:
        DatasetError: There is no dataset, or the document cannot be read.
    """
    if experiment is None:
        dataset = newest(results_dir, None)
        return dataset, _document_of(results_dir, dataset.path.name.partition("@")[0])
    optimised = _document_of(results_dir, experiment)
    if optimised is not None and not existing(results_dir, experiment):
        for stage in ("confirm", *reversed(STAGES)):
            with suppress(DatasetError):
                return newest(results_dir, f"{optimised['experiment']}-{stage}"), optimised
    return newest(results_dir, experiment), optimised


def _document_of(results_dir: Path, name: str) -> Mapping[str, Any] | None:
    """The document of an optimisation by the name of its experiment, or of one of its stages."""
    for end in ("", "-optimize", *(f"-{stage}" for stage in STAGES)):
        path = file_of(results_dir, name.removesuffix(end))
        if name.endswith(end) and path.is_file():
            return read(path)
    return None


def _document(dataset: Path, written: "Written") -> dict[str, Any]:
    return {
        "dataset": str(dataset),
        "answer": list(written.answer),
        "page": str(written.page),
        "figures": {one.name: {form: str(path) for form, path in one.files.items()} for one in written.figures},
        "tables": str(written.tables),
        "paper": str(written.paper) if written.paper else None,
    }


def _show_evidence(
    analysis: Analysis,
    others: Sequence[Analysis],
    optimised: Mapping[str, Any] | None,
    trace_id: str,
    *,
    as_json: bool,
) -> int:
    """The rows of one number. Nothing is written."""
    from sparkray.report import report_data  # noqa: PLC0415 - as above

    data = report_data(analysis, *others, optimised=optimised)
    found, behind = data.open(trace_id), list(data.behind(trace_id))
    if as_json:
        document = {**_evidence_document(*found), "behind": [_evidence_document(*one) for one in behind]}
        print_json(document)
        return 0
    for evidence, rows in (found, *behind):
        click.echo(f"{evidence.trace}\n{evidence.line}\n")
        with pl.Config(
            tbl_rows=-1, tbl_cols=-1, tbl_width_chars=-1, fmt_str_lengths=200, tbl_hide_dataframe_shape=True
        ):
            click.echo(f"{rows}\n")
        if evidence.count is not None and len(rows) < evidence.count:
            click.echo(f"The first {len(rows)} of {evidence.count} rows.\n")
    return 0


def _evidence_document(evidence: "Evidence", rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "trace": evidence.trace,
        "table": evidence.table,
        "filter": evidence.where,
        "count": evidence.count,
        "shown": len(rows),
        "how": evidence.how,
        "rows": json.loads(rows.write_json()),
    }
