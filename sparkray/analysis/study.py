"""An analysis as a whole: a dataset's folder in, tables and context out."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sparkray.analysis.arms import arms_of
from sparkray.analysis.by_model import contrast_rows, power_rows, size_rows
from sparkray.analysis.cache import Listing
from sparkray.analysis.compare import comparison_rows
from sparkray.analysis.context import DEFAULT_SEED, Cards, Protocol, context_of, protocol_of
from sparkray.analysis.decisions import decision_rows, recommendation_rows, study_rows
from sparkray.analysis.describe import description_rows, diagnostic_rows, memory_rows
from sparkray.analysis.frames import Cell, Frames, metrics_with_data, open_frames
from sparkray.analysis.gap import gap_rows
from sparkray.analysis.interim import InterimAnalyses
from sparkray.analysis.knee import knee_rows
from sparkray.analysis.observations import check_rows, request_rows, temperature_rows
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.analysis.questions import question_rows
from sparkray.analysis.schema import TABLES, frame_of, polars_types
from sparkray.analysis.threats import threat_rows
from sparkray.analysis.verdict_by_n import verdict_rows
from sparkray.errors import UnknownNameError
from sparkray.metrics import BY_NAME

Row = dict[str, Any]


@dataclass(frozen=True)
class Analysis:
    """The analysis of a dataset.

    Attributes:
        path: The dataset's folder.
        tables: By name, with the columns of `sparkray.analysis.schema`.
        context: What was done (`sparkray.analysis.context.context_of`).
        frames: The dataset, open, for traces; None opens it again.
    """

    path: Path
    tables: Mapping[str, pl.DataFrame]
    context: Mapping[str, Any]
    frames: Frames | None = field(default=None, repr=False, compare=False)


def analyse(
    dataset_path: Path,
    *,
    margins: Mapping[str, float] | None = None,
    metrics: Sequence[str] | None = None,
    seed: int = DEFAULT_SEED,
    listings: Mapping[str, Listing] | None = None,
) -> Analysis:
    """Every table of a dataset.

    Args:
        dataset_path: The dataset's folder.
        margins: Relative margins by metric, in place of the experiment's own.
        metrics: Which metrics; those that the runs have when None. Primary ones are always among them.
        seed: Of bootstrap and permutation: the same seed gives the same tables.
        listings: The files of the dataset's tables, where they have just been listed.

    Raises:
        DatasetError: The folder is no dataset, or a file in it cannot be read.
        UnknownNameError: There is no metric of that name.
    """
    for name in (*(metrics or ()), *(margins or ())):
        if name not in BY_NAME:
            raise UnknownNameError("metric", name, list(BY_NAME))
    frames = open_frames(dataset_path, listings)
    protocol = protocol_of(frames, margins, seed)
    context = context_of(frames, protocol)
    rows = _rows(frames, protocol, list(dict.fromkeys((*protocol.primary, *(metrics or metrics_with_data(frames))))))
    rows["questions"] = question_rows(rows, protocol, context)
    rows["decisions"] = decision_rows(rows)
    rows["recommendations"] = recommendation_rows(rows, rows["decisions"])
    rows["study"] = study_rows(rows, rows["recommendations"])
    rows["threats"] = threat_rows(rows, protocol.primary)
    tables = {name: frame_of(TABLES[name], made) for name, made in rows.items()}
    tables |= {name: _runs_frame(name, frames) for name in ("order", "runs")}
    return Analysis(dataset_path, {name: tables[name] for name in TABLES}, context, frames)


def _rows(frames: Frames, protocol: Protocol, metrics: list[str]) -> dict[str, list[Row]]:
    """Every table that is made row by row, but for the questions.

    What lies inside of runs is gone through by Polars, whose threads need no interpreter, while statistics are made here.
    """
    with ThreadPoolExecutor(1) as aside:
        observed = aside.submit(_observed, frames)
        compared = arms_of(frames, metrics, protocol.primary)
        interim = InterimAnalyses(frames, protocol)
        comparisons = comparison_rows(frames, compared, protocol, interim)
        cards = Cards(frames.document.get("cards", []))
        rows = {
            "descriptive": description_rows(frames, metrics),
            "comparisons": comparisons,
            "verdict_by_n": verdict_rows(compared, protocol, interim),
            "power_curve": power_rows(comparisons, protocol),
            "size": size_rows(comparisons, cards),
            "contrasts": contrast_rows(comparisons, cards),
            "gap": gap_rows(frames, comparisons, protocol),
            "knee": knee_rows(frames, protocol.seed),
            "memory": memory_rows(frames),
        }
        inside, request_shares = observed.result()
    return {**rows, **inside, "diagnostics": diagnostic_rows(frames, metrics, request_shares)}


def _observed(frames: Frames) -> tuple[dict[str, list[Row]], dict[tuple[Cell, str], float]]:
    """The tables of requests, samples and checks, and what requests leave in a run's mean."""
    requests, shares = request_rows(frames)
    tables = {"requests": requests, "temperatures": temperature_rows(frames), "checks": check_rows(frames)}
    return tables, shares


def _runs_frame(name: str, frames: Frames) -> pl.DataFrame:
    """`order` and `runs`, which are columns of the dataset itself."""
    source = frames.attempts if name == "order" else frames.ok
    traces = (
        [provenance_id(name, run_id, attempt) for run_id, attempt in source.select("run_id", "attempt").iter_rows()]
        if name == "order"
        else [provenance_id(name, run_id) for run_id in source["run_id"]]
    )
    schema = polars_types(TABLES[name])
    return source.with_columns(pl.Series("trace", traces, dtype=pl.String)).select(
        pl.col(column).cast(kind) for column, kind in schema.items()
    )
