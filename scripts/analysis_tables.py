"""The tables of an analysis in `docs/reference/analysis.md`, from their schema: `analysis_tables.py [--write | --check]`.

The page is written by hand; what stands between its two marks is made here from `sparkray/columns/`. Without an
option it is printed; `--write` puts it into the page, `--check` ends with 1 when the page holds another.
"""

import re
import sys
from dataclasses import replace
from pathlib import Path

from sparkray.analysis.schema import DERIVED, TABLES
from sparkray.schema import OF_METRIC, Column

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "analysis.md"
COMMAND = ".venv/bin/python scripts/analysis_tables.py --write"
BLOCK = re.compile(r"(<!-- generated: tables -->\n).*?(<!-- end -->)", re.DOTALL)
METRIC_COLUMNS = "one column a metric, as in the dataset"


def _unit(column: Column) -> str:
    return "of the metric" if column.unit == OF_METRIC else column.unit or ""


def tables() -> str:
    """Every table with its columns, as Markdown; the derived ones by the names of their files."""
    parts = []
    for table in (*TABLES.values(), *(replace(table, name=f"report-{name}") for name, table in DERIVED.items())):
        rows = [
            (f"`{column.name}`", column.kind, column.label, _unit(column), column.meaning) for column in table.columns
        ]
        if table.name == "runs":
            rows = [*rows[:7], ("…", "float", "", "", METRIC_COLUMNS), rows[-1]]
        lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
        parts.append(
            "\n".join(
                [
                    f"### `{table.name}`",
                    "",
                    f"{table.meaning}.",
                    "",
                    "| column | type | label | unit | meaning |",
                    "|---|---|---|---|---|",
                    *lines,
                ]
            )
        )
    return "\n\n".join(parts) + "\n\n"


def filled(page: str) -> str:
    """The page with the tables in their place."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{tables()}{found[2]}", page)


def main(arguments: list[str]) -> int:
    """Print, write or compare. Returns the exit status."""
    if arguments not in ([], ["--write"], ["--check"]):
        print(f"analysis_tables.py: unknown option {' '.join(arguments)}", file=sys.stderr)
        return 2
    old = PAGE.read_text(encoding="utf-8")
    if not arguments:
        print(tables(), end="")
    elif arguments == ["--write"]:
        PAGE.write_text(filled(old), encoding="utf-8")
    elif filled(old) != old:
        print(f"{PAGE} is stale; run: {COMMAND}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
