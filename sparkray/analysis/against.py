"""Studies side by side: what changed between them, with verdicts, and what else differs.

Two things are asked of each model, level, environment and metric: whether the *overhead* changed (the ratio of the two
paired ratios), and whether the *arm* itself did (the ratio of the two geometric means: a driver that makes both arms faster
leaves the overhead alone). Studies share no blocks, so both are unpaired (`stats.between`). What only one study has, or what
has no estimate in one of them, has a row with the reason. Where studies, two or more, measured one load (occasions of one
plan), the overhead is estimated from all their pairs too (pooled).
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from sparkray.analysis.comparison import judged
from sparkray.analysis.provenance_ids import against, provenance_id
from sparkray.analysis.schema import DERIVED, frame_of
from sparkray.analysis.study import Analysis
from sparkray.stats import NotEstimable
from sparkray.stats.between import LogSample, between, log_sample, pooled
from sparkray.stats.paired import Ratio
from sparkray.stats.reasons import coded

OVERHEAD, ARM, POOLED = "overhead", "arm", "pooled"
# What makes two datasets ones of another load: then a change is not the machine's alone.
LOAD = ("workload", "levels", "weights")
Row = dict[str, Any]
Key = tuple[str, str, str, str]
Side = LogSample | NotEstimable
Estimated = tuple[Ratio, float] | NotEstimable
_ABSENT = NotEstimable("no_cell")
_THIS, _OTHER = "this_study", "other_study"  # as reasons call them


def differences(here: Analysis, there: Analysis, *more: Analysis) -> pl.DataFrame:
    """One row for each overhead and each arm that either study has, this study over the other; and the overhead of all.

    Args:
        here: The study that the report is about.
        there: The one that it is held against (before an update, another machine).
        more: Other occasions, whose pairs count where they are pooled.
    """
    metrics = [name for name in here.context["primary_metrics"] if name in there.tables["runs"].columns]
    rows = [
        _row(kind, key, {_OTHER: sides[0].get(key, _ABSENT), _THIS: sides[1].get(key, _ABSENT)}, here.context)
        for kind, find in ((OVERHEAD, _overheads), (ARM, _arms))
        for sides in ([find(study, metrics) for study in (there, here)],)
        for key in dict.fromkeys((*sides[1], *sides[0]))
    ]
    return frame_of(DERIVED["between"], [*rows, *_pooled(here, (there, *more), metrics)])


def _pooled(here: Analysis, others: Sequence[Analysis], metrics: list[str]) -> Iterator[Row]:
    """The overhead by the pairs of all studies, for each model that all put one load on."""
    found = [_overheads(study, metrics) for study in (here, *others)]
    for key in dict.fromkeys(key for one in found for key in one):
        if all(one_load(here, other, key[0]) for other in others):
            own, *theirs = [one.get(key, _ABSENT) for one in found]
            behind = [("", own), *((against(number), side) for number, side in enumerate(theirs))]
            row = _identity(POOLED, key, here.context, behind)
            usable = [side for side in theirs if isinstance(side, LogSample)]
            if len(usable) == 1:
                row["there"] = math.exp(usable[0].mean)
            row["n_there"] = sum(side.n for side in usable) or None
            if isinstance(own, LogSample):
                row |= {"here": math.exp(own.mean), "n_here": own.n}
            yield row | _judged(pooled, {_THIS: own, **_named(theirs)}, row["margin"])


def _named(sides: Sequence[Side]) -> dict[str, Side]:
    """The other studies by what reasons call them."""
    return {coded("another_study", number=n + 1) if n else _OTHER: side for n, side in enumerate(sides)}


def one_load(here: Analysis, there: Analysis, model: str) -> bool:
    """Whether two studies put the same load on the same weights of a model, as far as both are known."""
    if here.path.resolve() == there.path.resolve():
        return False
    differ = [row["what"] for row in studies(here, there).filter(same=False).iter_rows(named=True)]
    weights = [(study.context.get("model_digests") or {}).get(model) for study in (here, there)]
    return "workload" not in differ and "levels" not in differ and weights[0] == weights[1] is not None


def _overheads(study: Analysis, metrics: list[str]) -> dict[Key, Side]:
    """Log ratios of a study's comparisons, or why there is none. Another reference is another comparison."""
    found: dict[Key, Side] = {}
    for row in study.tables["comparisons"].iter_rows(named=True):
        if row["metric"] in metrics:
            place = (row["model"], row["level"], f"{row['environment']} against {row['against']}", row["metric"])
            found[place] = (
                NotEstimable(row["not_estimable"] or "no_ratio")
                if row["ratio"] is None
                else LogSample(math.log(row["ratio"]), row["sd_log"], row["n"])
            )
    return found


def _arms(study: Analysis, metrics: list[str]) -> dict[Key, Side]:
    """Logarithms of a metric by cell, or why there are none."""
    found: dict[Key, Side] = {}
    runs = study.tables["runs"]
    for metric in metrics:
        for (model, level, environment), group in runs.group_by("model", "level", "environment", maintain_order=True):
            values = group[metric].drop_nulls().to_numpy()
            found[str(model), str(level), str(environment), metric] = log_sample(values)
    return found


def _row(kind: str, key: Key, sides: Mapping[str, Side], context: Mapping[str, Any]) -> Row:
    row = _identity(kind, key, context, [("", sides[_THIS]), (against(0), sides[_OTHER])])
    for name, side in (("there", sides[_OTHER]), ("here", sides[_THIS])):
        if isinstance(side, LogSample):
            row |= {name: math.exp(side.mean), f"n_{name}": side.n}
    return row | _judged(between, sides, row["margin"])


def _identity(kind: str, key: Key, context: Mapping[str, Any], sides: Sequence[tuple[str, Side]]) -> Row:
    """What a row is about; `sides` are the studies by the beginning of their ids."""
    model, level, place, metric = key
    environment = place.partition(" against ")[0]
    behind = provenance_id("descriptive" if kind == ARM else "comparisons", model, level, environment, metric)
    return {
        "trace": f"between/{kind}/{model}/{level}/{place.replace(' ', '-')}/{metric}",
        "kind": kind,
        "model": model,
        "level": level,
        "environment": environment,
        "metric": metric,
        "margin": context["margins"].get(metric),
        "supports": json.dumps([f"{where}{behind}" for where, side in sides if side is not _ABSENT]),
    }


def _judged(estimate: Callable[..., Estimated], sides: Mapping[str, Side], margin: float | None) -> Row:
    lacking = [side.at(name).reason for name, side in sides.items() if isinstance(side, NotEstimable)]
    if lacking:
        return {"not_estimable": "; ".join(lacking)}
    found = estimate(*sides.values())
    if isinstance(found, NotEstimable):
        return judged(found, margin)
    row = judged(found[0], margin)
    return {**row, "df": found[1], "needed": row.get("pairs_needed")}


def studies(here: Analysis, there: Analysis) -> pl.DataFrame:
    """What the two studies are of, line by line: the same, or not."""
    rows = []
    for (what, own), (_, other) in zip(_described(here.context), _described(there.context), strict=True):
        rows.append({"trace": f"studies/{what}", "what": what, "there": other, "here": own, "same": own == other})
    return frame_of(DERIVED["studies"], rows)


def _described(context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    workload: Mapping[str, Any] = context.get("workload") or {}
    weights: Mapping[str, Any] = context.get("model_digests") or {}
    machines = context.get("machines") or []

    def each(key: str) -> str:
        return _line(dict.fromkeys(_line(machine.get(key)) for machine in machines))

    yield "experiment", str(context.get("experiment"))
    yield "site", str(context.get("site"))
    yield "workload", _line(f"{key} {value}" for key, value in workload.items())
    yield "levels", _line(context.get("levels"))
    yield "weights", _line(f"{model} {_line(digests)}" for model, digests in weights.items())
    yield "margins", _line(f"{key} {value:g}" for key, value in (context.get("margins") or {}).items())
    yield "order", str(context.get("order"))
    yield "engines", _line(f"{one.get('engine')} {one.get('engine_version')}" for one in context.get("engines") or [])
    yield "images", _line(context.get("image_digests"))
    yield "files", _line(context.get("rootfs_digests"))
    yield "GPUs", each("gpus")
    yield "driver", each("driver")
    yield "Docker", each("docker")
    yield "kernel", each("kernel")
    yield "CPU", each("cpu")
    yield "sparkray", _line(context.get("sparkray_versions"))
    yield "simulated", "yes" if context.get("simulated") else "no"


def _line(values: Any) -> str:  # noqa: ANN401 - whatever a context holds
    if values is None:
        return "not recorded"
    if isinstance(values, str):
        return values
    return ", ".join(map(str, values)) or "none"
