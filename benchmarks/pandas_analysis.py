# ruff: noqa: PD010, PD101, PLR2004 - pivot is the faster of its kind, and statistics are full of numbers
"""The same statistics as `analyze`, by pandas and SciPy without sparkray: what `benchmarks/analysis.py` compares with.

Written as a careful person would: every table read once with the columns that are needed, groupby, SciPy's functions over
whole matrices wherever they take an axis (bootstrap and permutation test too), ufuncs inside root finders. Text (sentences,
questions, LaTeX) is not made. With `--plain` as one writes it first: SciPy is called once a comparison, its bootstrap
and permutation test with a statistic of two samples that has no axis.

With `--every N` only every Nth comparison is made so, the others as by the optimised script; `plain.json` says how long the
comparisons of either kind took, so that the whole can be extrapolated.

    python benchmarks/pandas_analysis.py DATASET OUT [--plain [--every N]]
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
from pandas_assumptions import checked
from pandas_statistics import (
    ALPHA,
    BATCH,
    PAIRS,
    bootstrap,
    effective_n,
    noncentral_interval,
    outlying,
    permutation,
    tost_power,
    two_sided_power,
)
from scipy import optimize, special, stats

CELL = ["model", "environment"]
REFERENCE = "native"
MARGINS = {"output_throughput_tok_s": 0.01, "latency_mean_ms": 0.01, "host_available_drop_peak_gib": 0.02}
KEYS = ["run_id", "attempt"]
SAMPLED = ["gpu_temp_c", "gpu_power_w", "gpu_util_pct", "gpu_sm_clock_mhz", "cpu_busy_pct"]


def read_runs(path: Path, metrics: list[str]) -> pd.DataFrame:
    columns = [*KEYS, *CELL, "block", "started_at", "ended_at", "status", *metrics]
    runs = pd.read_parquet(path / "runs", columns=columns)
    runs["order"] = runs["started_at"].rank(method="first") - 1
    ok = runs[runs["status"] == "ok"].sort_values("attempt").drop_duplicates("run_id")
    return ok.sort_values([*CELL, "block"])


def descriptive(runs: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """One row a cell and metric."""
    long = runs.melt([*CELL], metrics, var_name="metric").dropna(subset="value")
    long["log"] = np.log(long["value"].where(long["value"] > 0))
    groups = long.groupby([*CELL, "metric"])
    found = groups["value"].agg(["count", "mean", "median", "std", "min", "max"])
    quantiles = groups["value"].quantile([0.05, 0.25, 0.75, 0.95, 0.99]).unstack()
    found[["p5", "q1", "q3", "p95", "p99"]], n = quantiles, found["count"]
    half = special.stdtrit(n - 1, 0.975) * found["std"] / np.sqrt(n)
    found["mean_low"], found["mean_high"] = found["mean"] - half, found["mean"] + half
    found["cv_pct"] = found["std"] / found["mean"].abs() * 100
    logs = groups["log"].agg(["mean", "std"])
    positive = groups["value"].min() > 0
    half = special.stdtrit(n - 1, 0.975) * logs["std"] / np.sqrt(n)
    for name, values in (("geometric_mean", logs["mean"]), ("low", logs["mean"] - half), ("high", logs["mean"] + half)):
        found[f"geometric_{name}".replace("geometric_geometric", "geometric")] = np.exp(values).where(positive)
    lower = stats.binom.ppf(0.025, n, 0.5).astype(int)
    ordered = groups["value"].apply(lambda values: np.sort(values.to_numpy()))
    ends = [(v[k - 1], v[len(v) - k]) for v, k in zip(ordered, lower, strict=True)]
    found[["median_low", "median_high"]] = ends
    return found.reset_index()


def protocol(a: np.ndarray, b: np.ndarray, batch: int | None) -> pd.DataFrame:
    """Both arms as independent samples: matrices (n, metrics) in, a row a metric out."""
    shapiro_a, shapiro_b = (stats.shapiro(arm, axis=0).pvalue for arm in (a, b))
    levene = stats.levene(a, b, center="median", axis=0).pvalue
    student, welch = (stats.ttest_ind(b, a, axis=0, equal_var=equal) for equal in (True, False))
    mann = stats.mannwhitneyu(b, a, axis=0)
    normal = (shapiro_a >= ALPHA) & (shapiro_b >= ALPHA)
    choice = np.where(~normal, "mann_whitney", np.where(levene < ALPHA, "welch", "student"))
    pick = [choice == "mann_whitney", choice == "welch"]
    n_a, n_b = len(a), len(b)
    pooled = np.sqrt(((n_a - 1) * a.var(0, ddof=1) + (n_b - 1) * b.var(0, ddof=1)) / (n_a + n_b - 2))
    d = (b.mean(0) - a.mean(0)) / pooled
    root, df = math.sqrt(n_a * n_b / (n_a + n_b)), n_a + n_b - 2
    bounds = np.array([noncentral_interval(value * root, df) for value in d]) / root
    factor = math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
    interval = bootstrap(a, b, batch)
    return pd.DataFrame(
        {
            "test": choice,
            "statistic": np.select(pick, [mann.statistic, welch.statistic], student.statistic),
            "p": np.select(pick, [mann.pvalue, welch.pvalue], student.pvalue),
            "shapiro_p_a": shapiro_a,
            "shapiro_p_b": shapiro_b,
            "levene_p": levene,
            "bootstrap_low": interval[0],
            "bootstrap_high": interval[1],
            "cohen_d": d,
            "d_low": bounds[:, 0],
            "d_high": bounds[:, 1],
            "hedges_g": d * factor,
            "g_low": bounds[:, 0] * factor,
            "g_high": bounds[:, 1] * factor,
            "power_post_hoc": [two_sided_power(value * root, df) for value in d],
        }
    )


def paired(
    a: np.ndarray, b: np.ndarray, completed: np.ndarray, margins: list[float | None], batch: int | None
) -> pd.DataFrame:
    """The primary comparison and what is robust about it: matrices (pairs, metrics) in.

    `completed` are the pairs' places in the order in which they were completed.
    """
    n, logs = len(a), np.log(b) - np.log(a)
    mean, sd = logs.mean(0), logs.std(0, ddof=1)
    found: dict[str, object] = {"n": n, "ratio": np.exp(mean), "sd_log": sd}
    for low, high, level in (("low", "high", 0.95), ("low90", "high90", 0.90)):
        half = special.stdtrit(n - 1, 0.5 + level / 2) * sd / math.sqrt(n)
        found[low], found[high] = np.exp(mean - half), np.exp(mean + half)
    found["permutation_p"] = permutation(np.log(a), np.log(b), batch)
    least = optimize.brentq(lambda nc: two_sided_power(nc, n - 1) - 0.8, 0, 8)
    found["minimum_detectable"] = np.expm1(least * sd / math.sqrt(n))
    checks = [checked(logs[completed, at], m, beside=True) if m else {} for at, m in enumerate(margins)]
    found["power_planned"] = [tost_power(n, s, m) if m else None for s, m in zip(sd, margins, strict=True)]
    found["p_paired"] = stats.ttest_1samp(logs, 0, axis=0).pvalue
    table = pd.DataFrame(found | without_outliers(logs) | spread(np.log(a), np.log(b)))
    return pd.DataFrame(checks, index=table.index).combine_first(table)


def over_time(logs: np.ndarray, completed: np.ndarray) -> pd.DataFrame:
    """Drift and lag-1 autocorrelation of the ratios in the order in which pairs were completed: a row a metric."""
    rows = []
    for column in logs[completed].T:
        ratios, places = np.exp(column), np.arange(len(column))
        centred = column - column.mean()
        lag1 = centred[:-1] @ centred[1:] / (centred @ centred)
        rows.append(
            {
                "ratio_drift_pct_per_pair": stats.theilslopes(ratios, places).slope / np.median(ratios) * 100,
                "ratio_drift_p": stats.kendalltau(places, ratios).pvalue,
                "ratio_lag1": lag1,
                "ratio_effective_n": effective_n(len(column), lag1),
            }
        )
    return pd.DataFrame(rows)


def without_outliers(logs: np.ndarray) -> dict[str, np.ndarray]:
    out = outlying(logs)
    kept = np.where(out, np.nan, logs)
    n, mean, sd = (~out).sum(0), np.nanmean(kept, axis=0), np.nanstd(kept, axis=0, ddof=1)
    half = special.stdtrit(n - 1, 0.975) * sd / np.sqrt(n)
    names = ("outliers", "ratio_without_outliers", "low_without_outliers", "high_without_outliers")
    return dict(zip(names, (out.sum(0), np.exp(mean), np.exp(mean - half), np.exp(mean + half)), strict=True))


def spread(a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """Pitman and Morgan."""
    df = len(a) - 2
    ratio = b.std(0, ddof=1) / a.std(0, ddof=1)
    centred = a - a.mean(0), b - b.mean(0)
    r = (centred[0] * centred[1]).sum(0) / np.sqrt((centred[0] ** 2).sum(0) * (centred[1] ** 2).sum(0))
    wide = 1 + 2 * (1 - r * r) * special.stdtrit(df, 0.975) ** 2 / df
    factor = np.sqrt(wide + np.sqrt(wide * wide - 1))
    return {"sd_ratio": ratio, "sd_ratio_low": ratio / factor, "sd_ratio_high": ratio * factor}


def comparisons(runs: pd.DataFrame, metrics: list[str], *, every: int | None) -> tuple[pd.DataFrame, dict[str, float]]:
    """Every comparison, each `every`th by calls of its own; and CPU seconds and comparisons of either kind."""
    parts = []
    spent = dict.fromkeys(("plain_s", "plain", "together_s", "together"), 0.0)
    for model, of_model in runs.groupby("model"):
        arms = {name: frame.set_index("block") for name, frame in of_model.groupby("environment")}
        for environment, arm in arms.items():
            if environment == REFERENCE:
                continue
            native = arms[REFERENCE]
            usable = [
                m for m in metrics if native[m].notna().all() and arm[m].notna().all() and native[m].nunique() > 1
            ]
            blocks = native.index.intersection(arm.index).sort_values()
            ended = np.maximum(native.loc[blocks, "ended_at"], arm.loc[blocks, "ended_at"]).to_numpy()
            alone = [] if every is None else usable[::every]
            for names in [*([name] for name in alone), [name for name in usable if name not in alone]]:
                if not names:
                    continue
                begun, plain = time.process_time(), names[0] in alone
                a, b = native.loc[blocks, names].to_numpy(float), arm.loc[blocks, names].to_numpy(float)
                completed = np.argsort(ended, kind="stable")
                in_time = over_time(np.log(b) - np.log(a), completed)
                batch = None if plain else BATCH
                margins = [MARGINS.get(m) for m in names]
                tables = paired(a, b, completed, margins, batch), protocol(a, b, batch), in_time
                parts.append(pd.concat(tables, axis=1).assign(model=model, environment=environment, metric=names))
                kind = "plain" if plain else "together"
                spent[f"{kind}_s"] += time.process_time() - begun
                spent[kind] += len(names)
    found = pd.concat(parts, ignore_index=True)
    family = found["metric"].isin(list(MARGINS))
    for name in ("p", "p_paired"):
        p = found.loc[family, name].to_numpy()
        order = np.argsort(p)
        holm = np.empty(len(p))
        holm[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
        found.loc[family, f"{name}_bonferroni"] = np.minimum(p * len(p), 1)
        found.loc[family, f"{name}_holm"] = holm
        found.loc[family, f"{name}_bh"] = stats.false_discovery_control(p)
    return found, spent


def diagnostics(runs: pd.DataFrame, metrics: list[str], shares: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for model, of_model in runs.groupby("model"):
        names = sorted(of_model["environment"].unique())
        cells = {name: frame.sort_values("order") for name, frame in of_model.groupby("environment")}
        tables = of_model.pivot(index="block", columns="environment", values=metrics)
        for metric in metrics:
            components = between_and_within(tables[metric].dropna(axis=1, how="all").dropna(), shares, model, metric)
            for name in names:
                frame = cells[name].dropna(subset=metric)
                values, places = frame[metric].to_numpy(), frame["order"].to_numpy()
                row = {"model": model, "environment": name, "metric": metric, "n": len(values), **components}
                if len(values) > 3 and np.ptp(values) > 4e-16 * np.abs(values).max():
                    slope = stats.theilslopes(values, places)
                    centred = values - values.mean()
                    lag1 = centred[:-1] @ centred[1:] / (centred @ centred)
                    row |= {
                        "drift_pct_per_run": slope.slope / np.median(values) * 100,
                        "drift_p": stats.kendalltau(places, values).pvalue,
                        "lag1": lag1,
                        "effective_n": effective_n(len(values), lag1) if len(values) > 4 else np.nan,
                    }
                if len(values) > 4:
                    row["outliers"] = int(outlying(values[:, None]).sum())
                rows.append(row)
    return pd.DataFrame(rows)


def between_and_within(table: pd.DataFrame, shares: pd.DataFrame, model: str, metric: str) -> dict[str, float]:
    blocks, arms = table.shape
    if blocks < 2 or arms < 2:
        return {}
    cells = table.to_numpy()
    by_block = cells.mean(1, keepdims=True)
    residual = cells - by_block - cells.mean(0) + cells.mean()
    within = (residual**2).sum() / ((blocks - 1) * (arms - 1))
    between = max(0.0, by_block.var(ddof=1) - within / arms)
    known = metric in shares.columns
    requests = shares.loc[model, metric].mean() if known else 0.0
    rest = max(0.0, within - requests)
    if (total := between + rest + requests) <= 0:
        return {}
    found = {"share_between_blocks_pct": between / total * 100, "share_within_pct": rest / total * 100}
    return found | ({"share_run_request_pct": requests / total * 100} if known else {})


def verdict_by_n(runs: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for model, of_model in runs.groupby("model"):
        ended = of_model.pivot(index="block", columns="environment", values="ended_at").sort_index()
        for metric, margin in MARGINS.items():
            table = np.log(of_model.pivot(index="block", columns="environment", values=metric)).sort_index()
            for environment in table.columns.drop(REFERENCE):
                logs = (table[environment] - table[REFERENCE]).dropna()
                last = ended.loc[logs.index, [environment, REFERENCE]].max(axis=1).to_numpy()
                for n in sorted({*range(5, len(logs), 5), len(logs)}):
                    in_time = logs.to_numpy()[np.argsort(last[:n], kind="stable")]
                    found = checked(in_time, margin, beside=False)
                    head = {"model": model, "environment": environment, "metric": metric, "n": n}
                    shown = {name: found[name] for name in ("low", "high", "verdict", "resampled")}
                    rows.append(head | {"ratio": math.exp(in_time.mean())} | shown)
    return pd.DataFrame(rows)


def power_curve(compared: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (environment, metric), group in compared[compared["metric"].isin(list(MARGINS))].groupby(
        ["environment", "metric"]
    ):
        for spread_name, sd in group["sd_log"].agg(["min", "median", "max"]).items():
            head = {"environment": environment, "metric": metric, "spread": spread_name}
            rows += [head | {"n": n, "power": tost_power(n, sd, MARGINS[str(metric)])} for n in PAIRS]
    return pd.DataFrame(rows)


def slopes(compared: pd.DataFrame, params: dict[str, float]) -> pd.DataFrame:
    rows = []
    for (environment, metric), group in compared[compared["metric"].isin(list(MARGINS))].groupby(
        ["environment", "metric"]
    ):
        found = stats.linregress(np.log10(group["model"].map(params)), np.log(group["ratio"]))
        half = special.stdtrit(len(group) - 2, 0.975) * found.stderr
        row = {"environment": environment, "metric": metric, "slope": found.slope, "p": found.pvalue}
        rows.append(row | {"slope_low": found.slope - half, "slope_high": found.slope + half})
    return pd.DataFrame(rows)


def requests(path: Path, runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Quantiles by cell; what single requests leave in a run's mean (residual of run x request), by cell."""
    columns = [*KEYS, "request", "warmup", "submit_ns", "first_token_ns", "end_ns", "error"]
    rows = pd.read_parquet(path / "requests", columns=columns)
    rows = rows[~rows["warmup"] & rows["error"].isna()].merge(runs[[*KEYS, *CELL]], on=KEYS)
    rows["latency_ms"] = (rows["end_ns"] - rows["submit_ns"]) / 1e6
    rows["ttft_ms"] = (rows["first_token_ns"] - rows["submit_ns"]) / 1e6
    times = ["latency_ms", "ttft_ms"]
    quantiles = rows.groupby(CELL)[times].quantile(np.arange(101) / 100)
    shares = {
        cell: {f"{t[:-3]}_mean_ms": residual_share(group, t) for t in times} for cell, group in rows.groupby(CELL)
    }
    index = pd.MultiIndex.from_tuples(shares, names=CELL)
    return quantiles.reset_index(names=[*CELL, "quantile"]), pd.DataFrame(list(shares.values()), index=index)


def residual_share(rows: pd.DataFrame, times: str) -> float:
    """Mean square of the residual of a two-way table, of the requests that every run has, over their number."""
    table = rows.pivot(index="run_id", columns="request", values=times).dropna(axis=1).to_numpy()
    runs, each = table.shape
    residual = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    return (residual**2).sum() / ((runs - 1) * (each - 1)) / each


def temperatures(path: Path, runs: pd.DataFrame) -> pd.DataFrame:
    rows = pd.read_parquet(path / "samples", columns=[*KEYS, "t_ns", *SAMPLED, "mem_available_gib"])
    span = rows.groupby(KEYS)["t_ns"].agg(["min", "max"]).reset_index()
    rows = rows.merge(runs[[*KEYS, *CELL]].merge(span, on=KEYS), on=KEYS)
    share = (rows["t_ns"] - rows["min"]) / (rows["max"] - rows["min"] + 1)
    rows["progress_pct"] = np.floor(share * 20) * 5
    groups = rows.groupby([*CELL, "progress_pct"])
    found = groups[SAMPLED].mean()
    found["mem_available_gib"] = groups["mem_available_gib"].min()
    found["n"] = groups.size()
    return found.reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--plain", action="store_true", help="one call of SciPy a comparison")
    parser.add_argument("--every", type=int, default=1, help="with --plain: so for every Nth comparison alone")
    given = parser.parse_args()
    document = json.loads((given.dataset / "experiment.json").read_text())
    columns = pd.read_parquet(next((given.dataset / "runs").glob("*.parquet"))).columns
    metrics = list(columns[list(columns).index("output_throughput_tok_s") :])
    runs = read_runs(given.dataset, metrics)
    metrics = [metric for metric in metrics if runs[metric].notna().any()]
    curves, shares = requests(given.dataset, runs)
    compared, spent = comparisons(runs, metrics, every=given.every if given.plain else None)
    params = {card["name"]: card["shape"]["params_total"] / 1e9 for card in document["cards"]}
    checks = pd.read_parquet(given.dataset / "checks", columns=["check", "verdict"])
    tables = {
        "descriptive": descriptive(runs, metrics),
        "comparisons": compared,
        "diagnostics": diagnostics(runs, metrics, shares),
        "verdict_by_n": verdict_by_n(runs),
        "power_curve": power_curve(compared),
        "slope": slopes(compared, params),
        "requests": curves,
        "temperatures": temperatures(given.dataset, runs),
        "checks": checks.groupby(["check", "verdict"]).size().reset_index(name="count"),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "plain.json").write_text(json.dumps(spent))
    for name, table in tables.items():
        table.to_parquet(given.out / f"{name}.parquet", index=False)
        table.to_csv(given.out / f"{name}.csv", index=False)


if __name__ == "__main__":
    main()
