"""The clearest sign of each threat to validity in the data; the report lists the threats."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sparkray.analysis.provenance_ids import provenance_id
from sparkray.stats.nested import LEAST_RESAMPLED

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]
_PLACE = ("model", "level", "environment", "metric")


def threat_rows(tables: Tables, primary: Sequence[str]) -> list[dict[str, Any]]:
    """`threats`: at most one row for each threat."""
    compared = [row for row in tables["comparisons"] if row["primary"] and row.get("ratio") is not None]
    diagnosed = [row for row in tables["diagnostics"] if row["metric"] in primary]
    return [*_of_pairs(compared), *_of_runs(diagnosed), *_first_runs(diagnosed, primary), *_clusters(compared)]


def _of_pairs(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Outlying pairs, and the ratios over time."""
    if moved := [row for row in rows if row.get("outliers") and row.get("ratio_without_outliers")]:
        hang = [row for row in moved if row.get("verdict_without_outliers") not in (None, row.get("verdict"))]
        judged = sum(row.get("verdict_without_outliers") is not None for row in moved)
        worst = max(hang or moved, key=lambda row: abs(row["ratio_without_outliers"] / row["ratio"] - 1))
        numbers = {name: worst[name] for name in ("outliers", "ratio", "ratio_without_outliers")}
        yield _row("outliers", worst, numbers | {"hang": len(hang), "judged": judged}, [worst, *hang])
    if drifts := [row for row in rows if row.get("ratio_drift_p") is not None]:
        worst = min(drifts, key=lambda row: row["ratio_drift_p"])
        numbers = {
            "pct_per_pair": worst["ratio_drift_pct_per_pair"],
            "p": worst["ratio_drift_p"],
            "tested": len(drifts),
        }
        yield _row("ratio_drift", worst, numbers, [worst])
    if known := [row for row in rows if row.get("ratio_effective_n") is not None]:
        worst = min(known, key=lambda row: row["ratio_effective_n"] / row["n"])
        numbers = {"n": worst["n"], "effective_n": worst["ratio_effective_n"], "lag1": worst["ratio_lag1"]}
        yield _row("ratio_dependence", worst, numbers, [worst])


def _of_runs(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Runs over time: a trend, and how alike neighbours are."""
    if drifts := [row for row in rows if row.get("drift_p") is not None]:
        worst = min(drifts, key=lambda row: row["drift_p"])
        numbers = {"pct_per_run": worst["drift_pct_per_run"], "p": worst["drift_p"], "tested": len(drifts)}
        yield _row("drift", worst, numbers, [worst])
    if known := [row for row in rows if row.get("effective_n") is not None and row["n"]]:
        worst = min(known, key=lambda row: row["effective_n"] / row["n"])
        numbers = {name: worst[name] for name in ("n", "effective_n", "lag1")}
        yield _row("dependence", worst, numbers, [worst])


def _first_runs(rows: Sequence[Row], primary: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Cells whose first run is slow, by the first primary metric."""
    cells = [row for row in rows if row["metric"] in primary[:1]]
    if slow := [row for row in cells if row.get("first_run_slow")]:
        yield _row("first_runs", slow[0], {"cells": len(cells), "slow": len(slow)}, slow)


def _clusters(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Pairs that nest in machines or days: how many verdicts would be others over these."""
    nested = [row for row in rows if row.get("cluster_low") is not None]
    if not nested:
        return
    most = max(nested, key=lambda row: row["clusters"])
    judged = [
        row for row in nested if row.get("cluster_verdict") is not None and (row["clusters"] or 0) >= LEAST_RESAMPLED
    ]
    changed = [row for row in judged if row["cluster_verdict"] != row.get("verdict")]
    reason = "changed" if changed else "same" if judged else "too_few" if most.get("cluster_verdict") else "no_verdict"
    numbers = {"clusters": most["clusters"], "judged": len(judged), "changed": len(changed), "least": LEAST_RESAMPLED}
    yield _row("clusters", changed[0] if changed else most, numbers, changed or [most], reason)


def _row(threat: str, at: Row, numbers: Mapping[str, Any], supports: Sequence[Row], reason: str = "") -> dict[str, Any]:
    place = {name: at[name] for name in _PLACE}
    return {
        "threat": threat,
        **place,
        "reason": reason,
        "numbers": json.dumps(numbers, allow_nan=False),
        "supports": json.dumps([row["trace"] for row in supports]),
        "trace": provenance_id("threats", threat, *place.values()),
    }
