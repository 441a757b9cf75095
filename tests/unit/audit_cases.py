"""Cases for the tests of the audit: what is known beside the results is what ships."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sparkray.audit import audit
from sparkray.audit.case import Case
from sparkray.audit.finding import Finding, Report
from sparkray.audit.knowledge import case_of
from sparkray.audit.readers.dataset import dataset_results
from sparkray.audit.readers.study import study_results
from sparkray.audit.results import Results
from sparkray.audit.table import results_of
from sparkray.catalog import Catalog, data_root
from sparkray.config.model import ModelCard
from sparkray.config.site import Site
from sparkray.records import Outcome
from sparkray.store import Dataset, open_dataset


@cache
def shipped() -> tuple[tuple[ModelCard, ...], Site]:
    catalog = Catalog(data_root())
    return tuple(catalog.cards()), catalog.site("dgx-spark")


def case(results: Results, **changes: Any) -> Case:
    cards, site = shipped()
    return case_of(results, cards, changes.pop("site", site), **changes)


def judged(document: Mapping[str, Any], **changes: Any) -> Report:
    return audit(case(study_results(document), **changes))


def of_kind(report: Report, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


def kinds(report: Report) -> set[str]:
    return {finding.kind for finding in report.findings}


def rows_of(
    order: str, metric: str = "output_throughput_tok_s", values: Sequence[float] = (), **same: Any
) -> list[Any]:
    """Runs of one model in the order of a text such as `ABBA`: A is native, B container; a minute apart."""
    arms = {"A": "native", "B": "container"}
    return [
        {
            "model": "m",
            "environment": arms[letter],
            "started_s": 1.7e9 + 60 * index,
            "iteration": index,
            metric: values[index] if len(values) else 100.0 + index % 3,
            **same,
        }
        for index, letter in enumerate(order)
    ]


def judged_rows(rows: Sequence[Mapping[str, Any]], **known: Any) -> Report:
    return audit(case(results_of("rows", rows, **known), site=None))


def judged_dataset(rows: Sequence[Mapping[str, Any]]) -> Report:
    """The same rows as those of `runs` of a dataset."""
    ended = [row | {"run_id": f"r{index}", "status": "ok"} for index, row in enumerate(rows)]
    return audit(case(dataset_results(ended), site=None))


def dataset_in(folder: Path, prefix: str = "r", **changes: Any) -> Dataset:
    """A dataset of twelve runs in pairs, a minute apart; another `prefix` adds twelve."""
    dataset = open_dataset(folder, "phase2a", "0" * 64)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for index, arm in enumerate(["native", "container_baseline", "container_baseline", "native"] * 3):
        row = {
            "run_id": f"{prefix}{index:02d}",
            "attempt": 1,
            "model": "Qwen2.5-72B",
            "environment": arm,
            "site": "dgx-spark",
            "status": "ok",
            "simulated": False,
            "block": index // 2,
            "position": index,
            "started_at": start + timedelta(minutes=index),
            "output_throughput_tok_s": 119.0 + index % 5,
            **changes,
        }
        dataset.write(Outcome(row))
    return dataset
