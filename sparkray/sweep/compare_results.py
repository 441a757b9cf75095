"""`compare-results`: two datasets side by side on the terminal, as `report --against` computes it."""

from pathlib import Path
from typing import Any

import click

from sparkray.analysis.against import differences, studies
from sparkray.analysis.reuse import fresh_analysis
from sparkray.store import dataset_at
from sparkray.sweep.options import FOLDER, json_option
from sparkray.sweep.show import console, print_json, show

# What makes two datasets ones of another load: then a change is not the machine's alone.
_LOAD = ("workload", "levels", "weights")


@click.command("compare-results")
@click.argument("before", type=FOLDER)
@click.argument("after", type=FOLDER)
@json_option
def compare_results(before: Path, after: Path, *, as_json: bool) -> int:
    """Compare two datasets: what changed from BEFORE to AFTER, such as a driver update or another machine.

    Two ratios of each model and metric: of the overhead (did the container's cost change?) and of each environment (did
    the machine get faster?). Both are after / before.
    """
    there, here = (fresh_analysis(dataset_at(folder).path) for folder in (before, after))
    rows: list[dict[str, Any]] = [
        {name: value for name, value in row.items() if name not in ("trace", "supports")}
        for row in differences(here, there).iter_rows(named=True)
    ]
    facts = [row for row in studies(here, there).iter_rows(named=True) if not row["same"]]
    if as_json:
        document = {"before": str(there.path), "after": str(here.path), "differences": rows, "studies": facts}
        print_json(document, default=str)
        return 0
    load = [row["what"] for row in facts if row["what"] in _LOAD]
    values = {"rows": rows, "facts": facts, "load": load, "before": before, "after": after}
    show(console(to_stderr=False), "compare_results.txt.j2", **values)
    return 0
