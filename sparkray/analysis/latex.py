r"""Tables for a paper: booktabs, numbers in siunitx's S columns, one IEEE column wide.

A file of a table holds one float for each metric that matters, each with caption and label. The preamble needs
``\usepackage{booktabs,siunitx}``. What is not estimable is a dash, and the note below the table says so. Tables that are raw
points of figures (`requests`, `temperatures`, `order`, `runs`) have no LaTeX form: they have thousands of rows.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from sparkray.analysis.schema import TABLES
from sparkray.schema import Column, Format

_SPECIAL = re.compile(r"[&%$#_{}~^\\<>|\"]")
_ESCAPED = {
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}
_SHORT = {
    "container_baseline": "baseline",
    "container_optimized": "optimised",
    "mann_whitney": "Mann-Whitney",
    "student": "Student",
    "welch": "Welch",
}
_DASH = "{--}"
_TALL = 1e5
Row = Mapping[str, Any]


_DECIMALS: Mapping[Format, int | None] = {
    "words": None,
    "count": 0,
    "plain": 0,
    "size": 1,
    "significant": 2,
    "ratio": 4,
    "share": 3,
    "per_cent": 2,
    "fine_per_cent": 4,
    "effect": 2,
    "slope": 5,
    "p": 4,
}
_MOST_DECIMALS = 6


@dataclass(frozen=True)
class Col:
    """One column: heading, value's key, decimals (None: text), factor; of a column of sentences its width.

    `fit` gives small values as many decimals as two significant digits need.
    """

    head: str
    name: str
    decimals: int | None = None
    factor: float = 1.0
    width: str = ""
    fit: bool = False


def col(column: Column, *, width: str = "") -> Col:
    """A column as it is printed: heading and decimals are those of the schema."""
    return Col(
        column.head, column.name, _DECIMALS[column.format or "words"], width=width, fit=column.format == "significant"
    )


@dataclass(frozen=True)
class View:
    """How a table is printed: one float for each value of `split`, columns, rows that are shown, caption, what a dash is."""

    caption: str
    columns: tuple[Col, ...]
    split: tuple[str, ...] = ()
    shown: Callable[[Row], bool] = lambda _: True
    missing: str = "--: not estimable"


def cols(table: str, *names: str) -> tuple[Col, ...]:
    """Columns of a table of an analysis, by name."""
    return tuple(col(TABLES[table].column(name)) for name in names)


_WHO = ("model", "environment")
_CI = ("ratio", "low", "high")


def _primary(row: Row) -> bool:
    return bool(row["primary"])


VIEWS: Mapping[str, tuple[View, ...]] = {
    "descriptive": (
        View(
            "{metric} by model and environment: mean with 95 % interval, spread",
            cols("descriptive", *_WHO, "n", "mean", "mean_low", "mean_high", "cv_pct"),
            ("metric",),
        ),
    ),
    "comparisons": (
        View(
            "{metric}: ratio to the reference inside blocks with 95 % interval, and the verdict",
            cols("comparisons", *_WHO, "n", *_CI, "verdict"),
            ("metric",),
            _primary,
        ),
        View(
            "{metric}: the study's own protocol (independent samples; $p$ after Holm) and the effect (Hedges' $g$)",
            cols("comparisons", *_WHO, "test", "p_holm", "hedges_g", "g_low", "g_high"),
            ("metric",),
            _primary,
        ),
        View(
            "{metric}: the paired test on log ratios, $p$ adjusted within its family",
            cols("comparisons", *_WHO, "family", "p_paired", "p_paired_bonferroni", "p_paired_holm", "p_paired_bh"),
            ("metric",),
            _primary,
        ),
        View(
            "{metric}: the ratio over machines or days (t of their means; bootstrap of whole clusters; random intercept)",
            cols(
                "comparisons",
                *_WHO,
                "clusters",
                "cluster_low",
                "cluster_high",
                "cluster_bootstrap_low",
                "cluster_bootstrap_high",
                "intercept_ratio",
                "cluster_verdict",
            ),
            ("metric",),
            lambda row: _primary(row) and row["cluster_low"] is not None,
        ),
    ),
    "diagnostics": (
        View(
            "{metric}: drift over the runs, lag-1 autocorrelation, and where the variance comes from",
            cols(
                "diagnostics", *_WHO, "drift_pct_per_run", "lag1", "effective_n", "share_between_blocks_pct", "outliers"
            ),
            ("metric",),
        ),
    ),
    "verdict_by_n": (
        View(
            "{metric}: the verdict after so many pairs",
            cols("verdict_by_n", *_WHO, "n", "ratio", "verdict"),
            ("metric",),
        ),
    ),
    "power_curve": (
        View(
            "{metric}, {environment}: power of the equivalence test at true ratio 1",
            cols("power_curve", "spread", "cv_pct", "n", "power"),
            ("metric", "environment"),
        ),
    ),
    "size": (
        View(
            "{metric}, {environment}: ratio by size, architecture and precision",
            cols("size", "group_by", "group", "params_b", "n_models", *_CI),
            ("metric", "environment"),
            lambda row: row["group_by"] != "slope",
        ),
        View(
            "{metric}, {environment}: how models scatter beyond their own noise (Cochran's $Q$, $I^2$, $\\tau$)",
            cols("size", "group_by", "group", "n_models", "q", "q_p", "i2_pct", "tau"),
            ("metric", "environment"),
            lambda row: row["group_by"] in ("architecture", "precision", "all"),
        ),
        View(
            "{metric}: slope of the log ratio over $\\log_{10}$ of the parameters",
            cols("size", "environment", "n_models", "slope", "slope_low", "slope_high", "p"),
            ("metric",),
            lambda row: row["group_by"] == "slope",
        ),
    ),
    "contrasts": (
        View(
            "{metric}, {environment}: groups of models against each other (random effects; $p$ after Holm)",
            cols("contrasts", "first", "second", "n_models", *_CI, "df", "p_holm"),
            ("metric", "environment"),
        ),
    ),
    "gap": (
        View(
            "{metric}: the optimised container over the baseline container, and the ratio of their spreads",
            cols("gap", "model", *_CI, "sd_ratio", "sd_ratio_low", "sd_ratio_high"),
            ("metric",),
        ),
    ),
    "memory": (
        View(
            "Memory by what is measured ({part}), GiB",
            cols("memory", *_WHO, "n", "mean", "low", "high"),
            ("part",),
        ),
    ),
    "checks": (View("Validity checks", cols("checks", "check", "verdict", "count")),),
}


def escape(text: str) -> str:
    """Text as LaTeX prints it."""
    return _SPECIAL.sub(lambda found: _ESCAPED[found[0]], text)


def latex(
    name: str, frame: pl.DataFrame, metrics: Sequence[str], *, views: Mapping[str, tuple[View, ...]] = VIEWS
) -> str | None:
    """A table's floats; None for a table that has no LaTeX form.

    Args:
        name: The table.
        frame: Its rows.
        metrics: The metrics that are printed, where a table has many.
        views: How tables are printed, by name.
    """
    if name not in views:
        return None
    rows = [row for row in frame.to_dicts() if "metric" not in row or row["metric"] in metrics]
    floats = []
    for number, view in enumerate(views[name]):
        shown = [row for row in rows if view.shown(row)]
        for where in dict.fromkeys(tuple(row[key] for key in view.split) for row in shown):
            part = [row for row in shown if tuple(row[key] for key in view.split) == where]
            label = "-".join([name, *([str(number)] if number else []), *map(str, where)])
            floats.append(_float(view, part, dict(zip(view.split, where, strict=True)), label))
    head = "% needs \\usepackage{booktabs,siunitx}; one IEEE column wide\n"
    return head + ("\n".join(floats) if floats else "% nothing to print\n")


def _float(view: View, rows: Sequence[Row], where: Mapping[str, str], label: str) -> str:
    caption = re.sub(r"(?<!\\)%", r"\\%", view.caption)
    caption = re.sub(r"\{(metric|environment|part|model)\}", lambda found: escape(str(where[found[1]])), caption)
    columns = tuple(_fitted(column, rows) for column in _with_level(view.columns, rows))
    cells = [[_cell(column, row.get(column.name)) for column in columns] for row in rows]
    formats = "".join(_format(column, [line[place] for line in cells]) for place, column in enumerate(columns))
    heads = " & ".join(f"{{{column.head.replace('%', chr(92) + '%')}}}" for column in columns)
    body = "\n".join(f"    {' & '.join(line)} \\\\" for line in cells)
    missing = any(_DASH in line for line in cells)
    note = f"\n  \\par\\vspace{{2pt}}\\scriptsize {view.missing}" if missing else ""
    return (
        "\\begin{table}[t]\n  \\centering\\scriptsize\\setlength{\\tabcolsep}{2.5pt}\n"
        f"  \\caption{{{caption}}}\n  \\label{{tab:{re.sub('[^A-Za-z0-9:-]', '-', label)}}}\n"
        f"  \\begin{{tabular}}{{@{{}}{formats}@{{}}}}\n    \\toprule\n    {heads} \\\\\n    \\midrule\n"
        f"{body}\n    \\bottomrule\n  \\end{{tabular}}{note}\n\\end{{table}}\n"
    )


def _with_level(columns: tuple[Col, ...], rows: Sequence[Row]) -> tuple[Col, ...]:
    """The columns, with the level of the load after the first where there is more than one."""
    if len({row.get("level") or "" for row in rows}) < 2 or "level" in {column.name for column in columns}:  # noqa: PLR2004
        return columns
    return (columns[0], Col("Level", "level"), *columns[1:])


def _fitted(column: Col, rows: Sequence[Row]) -> Col:
    """The column with enough decimals for its smallest value, where it asks for that."""
    sizes = [abs(float(row[column.name])) for row in rows if column.fit and row.get(column.name)]
    if not sizes or column.decimals is None:
        return column
    needed = 1 - math.floor(math.log10(min(sizes)))
    return replace(column, decimals=max(column.decimals, min(needed, _MOST_DECIMALS)))


def _cell(column: Col, value: Any) -> str:  # noqa: ANN401 - a value of whatever column
    if value is None:
        return _DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column.decimals is None:
        return escape(_SHORT.get(str(value), str(value)))
    scaled = float(value) * column.factor
    if abs(scaled) >= _TALL:
        return f"{{{scaled:.3g}}}"
    return f"{scaled:.{column.decimals}f}"


def _format(column: Col, cells: Sequence[str]) -> str:
    """`l`, a paragraph for sentences, or an S column wide enough for what stands in it."""
    if column.decimals is None:
        return f"p{{{column.width}}}" if column.width else "l"
    numbers = [cell for cell in cells if not cell.startswith("{")]
    digits = max((len(cell.lstrip("-").partition(".")[0]) for cell in numbers), default=1)
    sign = "-" if any(cell.startswith("-") for cell in numbers) else ""
    return f"S[table-format={sign}{digits}.{column.decimals}]"
