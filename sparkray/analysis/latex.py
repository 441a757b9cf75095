r"""Tables for a paper: booktabs, numbers in siunitx's S columns, one IEEE column wide.

A file of a table holds one float for each metric that matters, each with caption and label. The preamble needs
``\usepackage{booktabs,siunitx}``. What is not estimable is a dash, and the note below the table says so. Tables that are raw
points of figures (`requests`, `temperatures`, `order`, `runs`) have no LaTeX form: they have thousands of rows.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

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


@dataclass(frozen=True)
class Col:
    """One column: heading, value's key, decimals (None: text), factor; of a column of sentences its width."""

    head: str
    name: str
    decimals: int | None = None
    factor: float = 1.0
    width: str = ""


@dataclass(frozen=True)
class View:
    """How a table is printed: one float for each value of `split`, columns, rows that are shown, caption, what a dash is."""

    caption: str
    columns: tuple[Col, ...]
    split: tuple[str, ...] = ()
    shown: Callable[[Row], bool] = lambda _: True
    missing: str = "--: not estimable"


_WHO = (Col("Model", "model"), Col("Env.", "environment"))
_CI = (Col("Ratio", "ratio", 4), Col("Low", "low", 4), Col("High", "high", 4))


def _primary(row: Row) -> bool:
    return bool(row["primary"])


VIEWS: Mapping[str, tuple[View, ...]] = {
    "descriptive": (
        View(
            "{metric} by model and environment: mean with 95 % interval, spread",
            (
                *_WHO,
                Col("$n$", "n", 0),
                Col("Mean", "mean", 2),
                Col("Low", "mean_low", 2),
                Col("High", "mean_high", 2),
                Col("CV, %", "cv_pct", 2),
            ),
            ("metric",),
        ),
    ),
    "comparisons": (
        View(
            "{metric}: ratio to the reference inside blocks with 95 % interval, and the verdict",
            (*_WHO, Col("$n$", "n", 0), *_CI, Col("Verdict", "verdict")),
            ("metric",),
            _primary,
        ),
        View(
            "{metric}: the study's own protocol (independent samples; $p$ after Holm) and the effect (Hedges' $g$)",
            (
                *_WHO,
                Col("Test", "test"),
                Col("$p$", "p_holm", 4),
                Col("$g$", "hedges_g", 2),
                Col("Low", "g_low", 2),
                Col("High", "g_high", 2),
            ),
            ("metric",),
            _primary,
        ),
        View(
            "{metric}: the paired test on log ratios, $p$ adjusted within its family",
            (
                *_WHO,
                Col("Family", "family"),
                Col("$p$", "p_paired", 4),
                Col("Bonf.", "p_paired_bonferroni", 4),
                Col("Holm", "p_paired_holm", 4),
                Col("BH", "p_paired_bh", 4),
            ),
            ("metric",),
            _primary,
        ),
        View(
            "{metric}: the ratio over machines or days (t of their means; bootstrap of whole clusters; random intercept)",
            (
                *_WHO,
                Col("Clusters", "clusters", 0),
                Col("Low", "cluster_low", 4),
                Col("High", "cluster_high", 4),
                Col("Low", "cluster_bootstrap_low", 4),
                Col("High", "cluster_bootstrap_high", 4),
                Col("Ratio", "intercept_ratio", 4),
                Col("Verdict", "cluster_verdict"),
            ),
            ("metric",),
            lambda row: _primary(row) and row["cluster_low"] is not None,
        ),
    ),
    "diagnostics": (
        View(
            "{metric}: drift over the runs, lag-1 autocorrelation, and where the variance comes from",
            (
                *_WHO,
                Col("Drift, %", "drift_pct_per_run", 4),
                Col("$r_1$", "lag1", 2),
                Col(r"$n_\mathrm{eff}$", "effective_n", 1),
                Col("Blocks, %", "share_between_blocks_pct", 0),
                Col("Out.", "outliers", 0),
            ),
            ("metric",),
        ),
    ),
    "verdict_by_n": (
        View(
            "{metric}: the verdict after so many pairs",
            (*_WHO, Col("$n$", "n", 0), *_CI[:1], Col("Verdict", "verdict")),
            ("metric",),
        ),
    ),
    "power_curve": (
        View(
            "{metric}, {environment}: power of the equivalence test at true ratio 1",
            (Col("Spread", "spread"), Col("CV, %", "cv_pct", 2), Col("$n$", "n", 0), Col("Power", "power", 3)),
            ("metric", "environment"),
        ),
    ),
    "size": (
        View(
            "{metric}, {environment}: ratio by size, architecture and precision",
            (
                Col("By", "group_by"),
                Col("Group", "group"),
                Col("$10^9$", "params_b", 1),
                Col("Models", "n_models", 0),
                *_CI,
            ),
            ("metric", "environment"),
            lambda row: row["group_by"] != "slope",
        ),
        View(
            "{metric}, {environment}: how models scatter beyond their own noise (Cochran's $Q$, $I^2$, $\\tau$)",
            (
                Col("By", "group_by"),
                Col("Group", "group"),
                Col("Models", "n_models", 0),
                Col("$Q$", "q", 2),
                Col("$p$", "q_p", 3),
                Col("$I^2$, %", "i2_pct", 0),
                Col(r"$\tau$", "tau", 5),
            ),
            ("metric", "environment"),
            lambda row: row["group_by"] in ("architecture", "precision", "all"),
        ),
        View(
            "{metric}: slope of the log ratio over $\\log_{10}$ of the parameters",
            (
                Col("Env.", "environment"),
                Col("Models", "n_models", 0),
                Col("Slope", "slope", 5),
                Col("Low", "slope_low", 5),
                Col("High", "slope_high", 5),
                Col("$p$", "p", 3),
            ),
            ("metric",),
            lambda row: row["group_by"] == "slope",
        ),
    ),
    "contrasts": (
        View(
            "{metric}, {environment}: groups of models against each other (random effects; $p$ after Holm)",
            (
                Col("Over", "first"),
                Col("Group", "second"),
                Col("Models", "n_models", 0),
                *_CI,
                Col("df", "df", 0),
                Col("$p$", "p_holm", 3),
            ),
            ("metric", "environment"),
        ),
    ),
    "gap": (
        View(
            "{metric}: the optimised container over the baseline container, and the ratio of their spreads",
            (
                Col("Model", "model"),
                *_CI,
                Col("SD ratio", "sd_ratio", 2),
                Col("Low", "sd_ratio_low", 2),
                Col("High", "sd_ratio_high", 2),
            ),
            ("metric",),
        ),
    ),
    "memory": (
        View(
            "Memory by what is measured ({part}), GiB",
            (*_WHO, Col("$n$", "n", 0), Col("Mean", "mean", 2), Col("Low", "low", 2), Col("High", "high", 2)),
            ("part",),
        ),
    ),
    "checks": (View("Validity checks", (Col("Check", "check"), Col("Verdict", "verdict"), Col("Runs", "count", 0))),),
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
    columns = _with_level(view.columns, rows)
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
