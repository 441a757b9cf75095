"""How long `analyze` takes on a full study and how much memory, beside the same statistics by pandas and SciPy.

Each side is a process of its own, from its start to its tables on disk (sparkray writes LaTeX and sentences too); times are
wall clock and CPU, memory is the peak RSS that the kernel tells of it. Sides alternate, the middle round counts. Then the
tables are held against each other, number by number: what is deterministic must agree to 1e-9, what SciPy's noncentral t
takes part in to 1e-6, resampling loosely. A number that one side alone has is a difference, but where SciPy's noncentral t
gives out. With `--ten` the same again on ten times the rows.

    python benchmarks/analysis.py [--repeat 3] [--ten] [--keep DIR]

Goals: full study in under 10 s and 1 GiB; ten times the rows in at most 12 times the time, with memory that does not grow;
ten times as fast as pandas and SciPy as a whole, results equal. Status 1 when results differ or a goal is missed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from synthetic_study import full_study

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
MOST_S, MOST_GIB, LEAST_RATIO, MOST_TIMES = 10.0, 1.0, 10.0, 12.0
NAMES = {"count": "n", "std": "sd"}
NONCENTRAL = {"d_low", "d_high", "g_low", "g_high", "power_post_hoc", "minimum_detectable", "power_planned", "power"}
LOOSE = {"bootstrap_low": RESAMPLED, "bootstrap_high": RESAMPLED, "permutation_p": 0.02}


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


def theirs(path: Path, out: Path) -> list[str]:
    return [sys.executable, "-W", "ignore", str(HERE / "pandas_analysis.py"), str(path), str(out)]


def tolerance(column: str) -> tuple[float, float]:
    """Relative and absolute tolerance of a column."""
    if column in LOOSE:
        return LOOSE[column], LOOSE[column]
    return (BY_NONCENTRAL_T, BY_NONCENTRAL_T) if column in NONCENTRAL else (EXACT, EXACT)


def differences(mine: Path, other: Path) -> tuple[int, list[str]]:
    """How many numbers were held against each other, and what differs."""
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
                wrong = int((~np.isclose(x[there], y[there], rtol=relative, atol=absolute)).sum())
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


def missed(mine: Cost, others: Cost, ten: Cost | None) -> list[str]:
    """The goals that were not reached."""
    said = []
    if mine.wall >= MOST_S or mine.peak >= MOST_GIB:
        said.append(f"full study in {mine}: not under {MOST_S:.0f} s and {MOST_GIB:.0f} GiB")
    if others.wall < LEAST_RATIO * mine.wall:
        said.append(f"{others.wall / mine.wall:.1f} times as fast as pandas and SciPy, not {LEAST_RATIO:.0f}")
    if ten is not None and ten.wall > MOST_TIMES * mine.wall:
        said.append(f"ten times the rows take {ten.wall / mine.wall:.1f} times as long, more than {MOST_TIMES:.0f}")
    if ten is not None and ten.peak >= MOST_GIB:
        said.append(f"ten times the rows take {ten.peak:.2f} GiB: memory grows with them")
    return said


def side_by_side(path: Path, folder: Path, repeat: int) -> tuple[Cost, Cost]:
    """The middle round of either side, by wall clock."""
    costs: dict[str, list[Cost]] = {"ours": [], "theirs": []}
    for number in range(repeat):
        for name, command in (("ours", ours), ("theirs", theirs)):
            costs[name].append(timed(command(path, folder / name)))
        print(f"  round {number + 1}: sparkray {costs['ours'][-1]}; pandas + SciPy {costs['theirs'][-1]}")
    mine, others = (sorted(found, key=lambda cost: cost.wall)[len(found) // 2] for found in costs.values())
    return mine, others


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--ten", action="store_true", help="ten times the rows too: 2.5 GB of disk, some minutes")
    parser.add_argument("--keep", type=Path, help="where the studies go and stay; a temporary folder by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        path = folder / "one" / "full"
        if not path.exists():
            full_study(folder / "one")
        print("full study: 900 runs, 900,000 requests, 4,300,200 samples")
        mine, others = side_by_side(path, folder / "out", given.repeat)
        print(f"sparkray analyze  {mine}   (goal < 10 s, < 1 GiB)")
        print(f"pandas + SciPy    {others}")
        print(f"RATIO {others.wall / mine.wall:.1f} (goal >= 10); of CPU {others.cpu / mine.cpu:.1f}")
        held, wrong = differences(folder / "out" / "ours", folder / "out" / "theirs")
        print(f"{held} numbers held against each other, {len(wrong)} columns differ")
        print("".join(f"  {line}\n" for line in wrong), end="")
        more: Cost | None = None
        if given.ten:
            ten = folder / "ten" / "full"
            if not ten.exists():
                full_study(folder / "ten", times_rows=10)
            more = timed(ours(ten, folder / "out" / "ten"))
            print(f"ten times the rows: {more}; {more.wall / mine.wall:.1f} times as long (goal <= 12)")
            beside = timed(theirs(ten, folder / "out" / "ten-theirs"))
            print(
                f"  pandas + SciPy: {beside}; RATIO {beside.wall / more.wall:.1f}, of CPU {beside.cpu / more.cpu:.1f}"
            )
        left = missed(mine, others, more)
        print("".join(f"GOAL MISSED: {line}\n" for line in left) or "every goal is reached\n", end="")
    return 1 if wrong or left else 0


if __name__ == "__main__":
    sys.exit(main())
