"""The data dictionary, from the columns that the store writes: `data_dictionary.py [--write | --check]`.

Without an option it prints the page. `--write` puts it into docs/reference/data.md, `--check` ends with 1 when that page is
stale. The columns come from `sparkray/columns/dataset/` and `sparkray/columns/metrics.csv`; only the prose
around the tables is kept in this file.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from sparkray.metrics import BY_NAME
from sparkray.records import SCHEMA_VERSION, STATUSES
from sparkray.schema import Column, Table
from sparkray.store.tables import TABLES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "data.md"
COMMAND = ".venv/bin/python scripts/data_dictionary.py --write"
NONE = "–"
TYPES = {
    "string": "string",
    "int": "int64",
    "float": "double",
    "bool": "bool",
    "timestamp": "timestamp (µs, UTC)",
    "int_list": "list of int64",
    "string_list": "list of string",
}
MEANINGS = {
    "ok": "the engine ended well, left what it should, and no check refused it: the only status that counts",
    "saturated": "the server could not carry the load, which ended early (`serve.saturation`): not repeated, not counted",
    "failed": "the engine ended with an error or a signal, or left nothing that can be read",
    "timeout": "the engine had not ended after the experiment's `timeout_s`, and was ended",
    "oom": "it was killed for memory, by the kernel, by its cgroup, or because it ran out by its own account",
    "unready": "it could not be started, or was refused beforehand: no checkpoint, a model that cannot run as named",
    "invalid": "it ran, but a check refused it; its numbers are kept and never used",
    "interrupted": "somebody stopped it, or sparkray died under it",
    "warmup": "an uncounted start before the counted ones, which filled the engine's compile cache",
}

INTRO = f"""\
# Data dictionary

<!-- Generated. Do not edit: change the columns or scripts/data_dictionary.py, then run the command below. -->

Schema version {SCHEMA_VERSION}. This page is made from the files in `sparkray/columns/`, the same declarations that the
data files are written from. After a change there, make it anew:

    {COMMAND}

A test compares the two. The first number of the schema version changes when a column changes its meaning or goes away.
Every file carries the version in its metadata (`sparkray.schema`), and every column what it means (`what`).
"""

REST = """
## The folder of a dataset

    <results-dir>/<experiment>/
      dataset.json   what the folder is: experiment, hash of its definition, schema version
      experiment.json  the last sweep's experiment, cards, site, environments, engine options, policies of checks
      runs/          one Parquet file an attempt, <run_id>-<attempt>.parquet; so in the three folders below
      requests/
      samples/
      checks/
      logs/          the engine's output, stdout and stderr together, <run_id>-<attempt>.log
      inputs/        what the engines were given: prompts, option files
      spool/         the attempt that is under way; empty when nothing runs
      progress.json  what is being done right now, for `status`; on a cluster progress-HOST.json for each machine
      cache/         what analyses made of these files, for the next one; may be deleted at any time
      machines/HOST/ of a search: the datasets of further machines that measured for it

A file is written whole, then renamed into place; the row in `runs/` comes last. So an attempt exists when its row is
there, and a crash at any moment loses nothing that was finished. While a run goes on its samples stream to the spool; if
sparkray dies, the next start stores that attempt as `interrupted`, with the samples up to its last second.

Runs that must not be pooled never share a folder. Another workload, engine option, margin or seed opens a new one,
`<experiment>@2` and so on, and so does `--fresh`; more runs, other models or other environments go on in the same one.

## How to read it

A table is a folder of Parquet files; read the folder as one table. With Polars:

```python
import polars as pl
runs = pl.read_parquet("results/local/runs/*.parquet").filter(pl.col("status") == "ok")
print(runs.group_by("environment").agg(pl.len(), pl.col("output_throughput_tok_s").mean()))
```

With DuckDB:

```python
import duckdb
ok = duckdb.sql("select * from 'results/local/runs/*.parquet' where status = 'ok'")
print(ok.aggregate("environment, count(*), avg(output_throughput_tok_s)"))
```

With pandas:

```python
import pandas as pd
runs = pd.read_parquet("results/local/runs").query("status == 'ok'")
print(runs.groupby("environment")["output_throughput_tok_s"].agg(["count", "mean"]))
```

Three rules prevent most mistakes:

- **Average only rows with `status = 'ok'`**; count the others, they are findings too.
- **The run is the unit.** Average over runs, and compare inside a block (`model`, `block`), not over requests.
- **Null means not measured.** It is never written as 0, so a mean over a column is a mean over measured values.
  Rows with `simulated = true` come from a simulated engine and say nothing about a real one.

Every column that holds a quantity ends in its unit. GiB, MiB and KiB are binary; GB/s and everything else is decimal.

## Raw rows are the record

Metrics are columns of `runs` for convenience. They are computed from the raw rows of the same attempt, from `requests`,
from `samples` and from what the engine reported, by the functions in `sparkray/metrics.py`. With those rows anybody
can compute them again; the engine's report is in its kept log. Warm-up requests and failed requests do not count.
Percentiles interpolate linearly between order statistics (Hyndman & Fan 1996, type 7). Numbers over several runs
(means, ratios, intervals, verdicts) are computed when they are read and stored nowhere as a fact.

`better` is the good direction of a metric; a metric with `neither` is descriptive and is not judged.

## Status and attempts

| status | meaning |
|---|---|
"""

ATTEMPTS = """
A run that is `invalid` or `interrupted` is measured again, up to the experiment's `max_attempts` in one sweep; it is tried
again, as is one that ended otherwise, when the same command is given again. Every attempt keeps its row, with `attempt`
counting from 1, and `run_id` stays the same. A run is done when one attempt at it is `ok`; a plan needs one `ok` attempt
for every run.

## Columns
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(columns: Sequence[Column]) -> list[str]:
    rows = [
        f"| `{column.name}` | {TYPES[column.kind]} | {column.unit or NONE} | {_cell(column.meaning)} |"
        for column in columns
    ]
    return ["| column | type | unit | meaning |", "|---|---|---|---|", *rows]


def _metric_table(columns: Sequence[Column]) -> list[str]:
    rows = [
        f"| `{column.name}` | {TYPES[column.kind]} | {column.unit or NONE} | {BY_NAME[column.name].better} "
        f"| {_cell(column.meaning)} |"
        for column in columns
    ]
    return ["| column | type | unit | better | meaning |", "|---|---|---|---|---|", *rows]


def _section(table: Table) -> list[str]:
    facts = [column for column in table if column.name not in BY_NAME]
    metrics = [column for column in table if column.name in BY_NAME]
    lines = ["", f"### `{table.name}`", "", table.meaning, "", *_table(facts)]
    return (
        [*lines, "", f"Metrics, in the same table `{table.name}`:", "", *_metric_table(metrics)] if metrics else lines
    )


def page() -> str:
    """The whole page.

    Raises:
        KeyError: A status or a type of column that this file has no words for yet.
    """
    statuses = [f"| `{status}` | {MEANINGS[status]} |" for status in STATUSES]
    sections = [line for table in TABLES.values() for line in _section(table)]
    return INTRO + REST + "\n".join(statuses) + "\n" + ATTEMPTS + "\n".join(sections) + "\n"


def main(words: Sequence[str], target: Path = PAGE) -> int:
    """Print, write or check the page, which lies at `target`.

    Returns:
        The exit status: 0, 1 when the page is stale, 2 for an unknown option.
    """
    if list(words) == ["--write"]:
        target.write_text(page(), encoding="utf-8")
        return 0
    if list(words) == ["--check"]:
        if target.is_file() and target.read_text(encoding="utf-8") == page():
            return 0
        print(f"{target} is not what the columns say. Run: {COMMAND}", file=sys.stderr)
        return 1
    if words:
        print(f"unknown option {' '.join(words)!r}: give --write, --check or nothing", file=sys.stderr)
        return 2
    print(page(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
