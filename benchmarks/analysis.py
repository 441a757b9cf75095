"""How long `analyze` takes on a full study and how much memory, beside the same statistics by pandas and SciPy.

Each side is a process of its own, from its start to its tables on disk (sparkray writes LaTeX and sentences too). Memory is
the peak RSS that the kernel reports. There are two others: `pandas_analysis.py` optimised, and with `--plain`, where it
calls SciPy's bootstrap and permutation test once a comparison, as most analysts would. Sides alternate, the middle round
by CPU seconds counts; the first analysis of a dataset, which fills its cache, is printed apart, and so is one of a dataset
that has not changed. sparkray is compiled to bytecode first, as `pip` does. In the rounds every statistic is computed: only
tables of files are read from the cache. Then the tables are compared number by number: what is deterministic must agree to
1e-9, what SciPy approximates (its noncentral t, its p of Shapiro and Wilk) to 1e-6, resampling loosely. A number that one
side alone has is a difference, but where SciPy's noncentral t gives out. With `--ten` the same again on ten times the rows.

The plain script takes minutes. With `--every N` it makes every Nth comparison by calls of its own, and what all of them
would take is extrapolated from these.

    python benchmarks/analysis.py [--repeat 3] [--every N] [--ten] [--keep DIR]

Goals: full study in at most 2.5 s of CPU and under 0.5 GiB; at least 10 times as fast as the optimised script and 50 times
as fast as the plain one, by CPU seconds, results equal; ten times the rows in at most 12 times the time and under 1 GiB.
Exit status 1 when results differ or a goal is missed.
"""

import argparse
import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from synthetic_study import full_study

from sparkray.analysis.cache import FOLDER as CACHE
from sparkray.analysis.cache import PACKAGE

HERE = Path(__file__).resolve().parent
EXACT, BY_NONCENTRAL_T, RESAMPLED = 1e-9, 1e-6, 5e-4
WHERE = ["model", "environment", "metric"]
COMPARED = {
    "descriptive": WHERE,
    "comparisons": WHERE,
    "diagnostics": WHERE,
    "verdict_by_n": [*WHERE, "n"],
    "power_curve": ["environment", "metric", "spread", "n"],
    "size": ["environment", "metric"],
    "requests": [*WHERE, "quantile"],
    "temperatures": ["model", "environment", "progress_pct"],
    "checks": ["check", "verdict"],
}
MOST_CPU_S, MOST_GIB, MOST_GIB_OF_TEN, MOST_TIMES = 2.5, 0.5, 1.0, 12.0
LEAST_RATIOS = {"optimised": 10.0, "plain": 50.0}
NAMES = {"count": "n", "std": "sd"}
NONCENTRAL = {"d_low", "d_high", "g_low", "g_high", "power_post_hoc", "minimum_detectable", "power_planned", "power"}
LOOSE = {
    "shapiro_p_a": 1e-6,
    "shapiro_p_b": 1e-6,
    "ratio_shapiro_p": 1e-6,
    "bootstrap_low": RESAMPLED,
    "bootstrap_high": RESAMPLED,
    "paired_bca_low": RESAMPLED,
    "paired_bca_high": RESAMPLED,
    "permutation_p": 0.02,
}
# Where normality is rejected these are ends of the widest of several intervals, and that may be the bootstrap's: the scripts
# mark such rows in `resampled`.
WIDEST = {"low", "high", "low90", "high90"}


@dataclass(frozen=True)
class Cost:
    """What a process cost: wall clock and CPU in s, peak RSS in GiB. A busy machine stretches the wall clock most."""

    wall: float
    cpu: float
    peak: float

    def __str__(self) -> str:
        return f"{self.wall:6.2f} s ({self.cpu:.2f} s of CPU), {self.peak:.2f} GiB"


def timed(command: list[str]) -> Cost:
    """The cost of a process. Ends the benchmark when it fails."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    complaint = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(complaint.decode())
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024**2)


def ours(path: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "sparkray.sweep", "analyze", "--results-dir", str(path.parent), "--output", str(out)]


def theirs(path: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-W", "ignore", str(HERE / "pandas_analysis.py"), str(path), str(out), *more]


def extrapolated(cost: Cost, out: Path) -> Cost:
    """The cost with every comparison made as those were of which each was a call of its own."""
    spent = json.loads((out / "plain.json").read_text())
    more = spent["plain_s"] / spent["plain"] * spent["together"] - spent["together_s"]
    return replace(cost, cpu=cost.cpu + more, wall=cost.wall * (cost.cpu + more) / cost.cpu)


def tolerance(column: str) -> tuple[float, float]:
    """Relative and absolute tolerance of a column."""
    if column in LOOSE:
        return LOOSE[column], LOOSE[column]
    return (BY_NONCENTRAL_T, BY_NONCENTRAL_T) if column in NONCENTRAL else (EXACT, EXACT)


def differences(mine: Path, other: Path) -> tuple[int, list[str]]:
    """How many numbers were compared, and what differs."""
    held, found = 0, []
    for table, keys in COMPARED.items():
        left, right = shaped(table, pl.read_parquet(mine / f"{table}.parquet"), other)
        right = right.rename(
            {name: new for name, new in NAMES.items() if name in right.columns and new not in left.columns}
        )
        if table == "descriptive":
            right = right.rename({"count": "n", "std": "sd"}, strict=False)
        right = right.with_columns(pl.selectors.integer().cast(pl.Float64))
        both = left.join(right, on=keys, how="inner", suffix="_right")
        if both.height < right.height:
            found.append(f"{table}: {right.height - both.height} rows of theirs have no counterpart")
        for column in [name for name in right.columns if name not in keys and name in left.columns]:
            a, b = both[column], both[f"{column}_right"]
            if a.dtype == pl.String:
                held += both.height
                wrong = int(a.ne_missing(b).sum())
            else:
                x, y = a.cast(pl.Float64).to_numpy(), b.cast(pl.Float64).to_numpy()
                there = np.isfinite(x) & np.isfinite(y)
                held += int(there.sum())
                relative, absolute = tolerance(column)
                near = np.isclose(x[there], y[there], rtol=relative, atol=absolute)
                if column in WIDEST and "resampled" in both.columns:
                    resampled = both["resampled"].fill_null(value=False).to_numpy()[there]
                    near |= resampled & np.isclose(x[there], y[there], rtol=RESAMPLED, atol=RESAMPLED)
                wrong = int((~near).sum())
                wrong += int((~np.isfinite(x) & np.isfinite(y)).sum())
                if column not in NONCENTRAL:
                    wrong += int((np.isfinite(x) & ~np.isfinite(y)).sum())
            if wrong:
                found.append(f"{table}.{column}: {wrong} of {both.height} differ")
    return held, found


def shaped(table: str, mine: pl.DataFrame, other: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both sides of a table in the same form: one row a key."""
    mine = mine.with_columns(pl.col(pl.Int64).cast(pl.Float64))
    if table == "size":
        return mine.filter(pl.col("group_by") == "slope"), pl.read_parquet(other / "slope.parquet")
    right = pl.read_parquet(other / f"{table}.parquet")
    if table == "requests":
        times = ["latency_ms", "ttft_ms"]
        right = right.unpivot(times, index=["model", "environment", "quantile"], variable_name="metric")
        mine, right = (side.with_columns(pl.col("quantile").round(2)) for side in (mine, right))
    return mine, right


def missed(mine: Cost, others: dict[str, Cost], ten: Cost | None) -> list[str]:
    """The goals that were not reached."""
    lines = []
    if mine.cpu > MOST_CPU_S or mine.peak >= MOST_GIB:
        lines.append(f"full study in {mine}: not {MOST_CPU_S} s of CPU and under {MOST_GIB} GiB")
    for name, least in LEAST_RATIOS.items():
        if others[name].cpu < least * mine.cpu:
            lines.append(f"{others[name].cpu / mine.cpu:.1f} times as fast as the {name} script, not {least:.0f}")
    if ten is not None and ten.cpu > MOST_TIMES * mine.cpu:
        lines.append(f"ten times the rows take {ten.cpu / mine.cpu:.1f} times as long, more than {MOST_TIMES:.0f}")
    if ten is not None and ten.peak >= MOST_GIB_OF_TEN:
        lines.append(f"ten times the rows take {ten.peak:.2f} GiB")
    return lines


def side_by_side(path: Path, folder: Path, repeat: int, every: int) -> dict[str, Cost]:
    """The middle round of each side by CPU seconds."""
    commands = {
        "ours": ours(path, folder / "ours"),
        "optimised": theirs(path, folder / "optimised"),
        "plain": theirs(path, folder / "plain", "--plain", "--every", str(every)),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for number in range(repeat):
        for name, command in commands.items():
            for kept in (path / CACHE).glob("analysis-*"):
                kept.unlink()
            cost = timed(command)
            costs[name].append(extrapolated(cost, folder / name) if name == "plain" else cost)
        print(f"  round {number + 1}: " + "; ".join(f"{name} {found[-1]}" for name, found in costs.items()))
    return {name: sorted(found, key=lambda cost: cost.cpu)[len(found) // 2] for name, found in costs.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--every", type=int, default=1, help="of the plain script: make every Nth comparison, extrapolate"
    )
    parser.add_argument("--ten", action="store_true", help="ten times the rows too: 2.5 GB of disk, some minutes")
    parser.add_argument("--keep", type=Path, help="where the studies go and stay; a temporary folder by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        path = folder / "one" / "full"
        if not path.exists():
            full_study(folder / "one")
        print("full study: 900 runs, 900,000 requests, 4,300,200 samples")
        compileall.compile_dir(PACKAGE, quiet=1)
        if given.every > 1:
            print(
                f"of the plain script every {given.every}th comparison is made; the others are extrapolated from these"
            )
        shutil.rmtree(path / CACHE, ignore_errors=True)
        print(f"sparkray analyze, the first time {timed(ours(path, folder / 'out' / 'ours'))}")
        found = side_by_side(path, folder / "out", given.repeat, given.every)
        mine = found.pop("ours")
        timed(ours(path, folder / "out" / "ours"))
        print(f"sparkray analyze, unchanged {timed(ours(path, folder / 'out' / 'ours'))}")
        print(f"sparkray analyze    {mine}   (goal {MOST_CPU_S} s of CPU, under {MOST_GIB} GiB)")
        wrong: list[str] = []
        for name, cost in found.items():
            ratio = f"RATIO {cost.cpu / mine.cpu:.1f} (goal {LEAST_RATIOS[name]:.0f})"
            print(f"pandas + SciPy, {name:<9} {cost}   {ratio}, of wall clock {cost.wall / mine.wall:.1f}")
            compared, differ = differences(folder / "out" / "ours", folder / "out" / name)
            print(f"  {compared} numbers compared, {len(differ)} columns differ")
            print("".join(f"    {line}\n" for line in differ), end="")
            wrong += differ
        more = ten_times(folder, mine) if given.ten else None
        left = missed(mine, found, more)
        print("".join(f"GOAL MISSED: {line}\n" for line in left) or "every goal is reached\n", end="")
    return 1 if wrong or left else 0


def ten_times(folder: Path, one: Cost) -> Cost:
    """The cost of ten times the rows, with a cache as in the other rounds."""
    path = folder / "ten" / "full"
    if not path.exists():
        full_study(folder / "ten", times_rows=10)
    first, cost = (timed(ours(path, folder / "out" / "ten")) for _ in range(2))
    print(f"ten times the rows: {cost} (the first time {first}); {cost.cpu / one.cpu:.1f} times as long (goal <= 12)")
    beside = timed(theirs(path, folder / "out" / "ten-theirs"))
    print(f"  pandas + SciPy, optimised: {beside}; RATIO {beside.cpu / cost.cpu:.1f}")
    return replace(cost, peak=max(first.peak, cost.peak))


if __name__ == "__main__":
    sys.exit(main())
