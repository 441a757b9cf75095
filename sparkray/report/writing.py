"""A report on disk: page, figures, tables, and the manuscript when asked."""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparkray.analysis import Analysis, write
from sparkray.analysis.against import differences, studies
from sparkray.analysis.derived import derived
from sparkray.analysis.derived.optimisation import optimisation
from sparkray.analysis.latex import latex as floats
from sparkray.errors import StorageError, refusal
from sparkray.files import check_plain
from sparkray.report.audited import audited
from sparkray.report.data import ReportData
from sparkray.report.figures import Saved, save_all
from sparkray.report.page import answer_lines, commands, page, texts
from sparkray.report.paper import write_paper

_FULL = (errno.ENOSPC, errno.EDQUOT)
TABLE_FORMATS = ("parquet", "csv", "json", "tex")


@dataclass(frozen=True)
class Written:
    """What a report left on disk. `answer` is the answer in sentences."""

    page: Path
    figures: tuple[Saved, ...]
    tables: Path
    paper: Path | None
    answer: tuple[str, ...]


def report_data(analysis: Analysis, *against: Analysis, optimised: Mapping[str, Any] | None = None) -> ReportData:
    """Everything that a report of this analysis may quote.

    Args:
        analysis: What the report is about.
        against: Other studies to hold it against: what changed is asked of the first, and the pairs of all are pooled.
        optimised: The document of its optimisation (`analysis.optimized.read`).
    """
    own = {**derived(analysis), "audit": audited(analysis), **optimisation(optimised)}
    if against:
        own |= {"between": differences(analysis, *against), "studies": studies(analysis, against[0])}
    return ReportData(analysis, own, others=against)


def write_report(
    analysis: Analysis,
    folder: Path,
    *,
    against: Sequence[Analysis] = (),
    optimised: Mapping[str, Any] | None = None,
    paper: bool = False,
    png: bool = False,
) -> Written:
    """Make a report in a folder, over whatever report is there.

    Args:
        analysis: What it is about.
        folder: Where it goes; made if need be.
        against: Other studies to hold it against, as in `report_data`.
        optimised: The document of its optimisation, which gets a section of its own.
        paper: Whether to write the manuscript too, with its figures as PDF.
        png: Whether to write the figures as PNG too.

    Raises:
        StorageError: It cannot be written.
    """
    data = report_data(analysis, *against, optimised=optimised)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, *(folder / name for name in ("figures", "tables", "paper"))):
            check_plain(place)
        formats = ("svg", *(("pdf",) if paper else ()), *(("png",) if png else ()))
        drawn = list(save_all(data, folder / "figures", texts(data), formats))
        index = folder / "index.html"
        index.write_text(page(data, drawn), encoding="utf-8")
        (folder / "commands.sh").write_text(commands(data), encoding="utf-8")
        _write_tables(data, folder / "tables")
        manuscript = write_paper(data, drawn, folder / "paper") if paper else None
    except OSError as error:
        where = error.filename if error.errno == errno.EINVAL else folder  # what `check_plain` refuses
        remedy = "Free some space, or name another" if error.errno in _FULL else "Name another"
        raise StorageError(f"{where} cannot be written: {refusal(error)}", f"{remedy}: --output DIR") from None
    return Written(index, tuple(drawn), folder / "tables", manuscript, tuple(answer_lines(data)))


def _write_tables(data: ReportData, folder: Path, formats: Sequence[str] = TABLE_FORMATS) -> None:
    """The analysis's tables, and beside them what the report derived."""
    write(data.analysis, folder, formats)
    for name, frame in data.own.items():
        frame.write_parquet(folder / f"report-{name}.parquet")
        frame.write_csv(folder / f"report-{name}.csv")
        frame.write_json(folder / f"report-{name}.json")
        metrics = frame["metric"].unique(maintain_order=True).to_list() if "metric" in frame.columns else []
        if text := floats(name, frame, metrics):
            (folder / f"report-{name}.tex").write_text(text, encoding="utf-8")
