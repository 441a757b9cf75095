"""`compare-results`: two datasets side by side on the terminal, as `report --against` computes it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sparkray.analysis.against import LOAD, POOLED, differences, studies
from sparkray.analysis.reuse import fresh_analysis
from sparkray.store import dataset_at
from sparkray.sweep.common_options import FOLDER, json_option
from sparkray.sweep.show import console, print_json, show

if TYPE_CHECKING:
    from sparkray.analysis import Analysis

Row = dict[str, Any]


@click.command("compare-results")
@click.argument("before", type=FOLDER)
@click.argument("after", type=FOLDER)
@json_option
def compare_results(before: Path, after: Path, *, as_json: bool) -> int:
    """Compare two datasets: what changed from BEFORE to AFTER, such as a driver update or another machine.

    Two ratios of each model and metric: of the overhead (did the container's cost change?) and of each environment (did
    the machine get faster?). Both are after / before. Where both measured one load, the overhead of both together follows.
    """
    there, here = (fresh_analysis(dataset_at(folder).path) for folder in (before, after))
    rows, facts = between(here, there)
    if as_json:
        document = {"before": str(there.path), "after": str(here.path), "differences": rows, "studies": facts}
        print_json(document, default=str)
    else:
        show_between(rows, facts, before=before, after=after)
    return 0


def between(here: "Analysis", there: "Analysis", *more: "Analysis") -> tuple[list[Row], list[Row]]:
    """What changed from one dataset to another, and what else differs between them; `more` is pooled with them."""
    rows = [
        {name: value for name, value in row.items() if name not in ("trace", "supports")}
        for row in differences(here, there, *more).iter_rows(named=True)
    ]
    return rows, [row for row in studies(here, there).iter_rows(named=True) if not row["same"]]


def show_between(rows: list[Row], facts: list[Row], *, before: Path, after: Path, pooled: bool = True) -> None:
    """Print what `between` gives, with the pooled overhead or without."""
    rows = [row for row in rows if pooled or row["kind"] != POOLED]
    load = [row["what"] for row in facts if row["what"] in LOAD]
    values = {"rows": rows, "facts": facts, "load": load, "before": before, "after": after}
    show(console(to_stderr=False), "compare_results.txt.j2", **values)
