"""The context of a study: what was done, as far as its tables do not hold it."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import polars as pl

from sparkray import __version__
from sparkray.analysis.frames import Frames, rank
from sparkray.analysis.launches import launches_of
from sparkray.analysis.protocol_adherence import adherence_of
from sparkray.config.docker_columns import DOCKER_COLUMNS
from sparkray.config.experiment import Sequential
from sparkray.store.documents import CALIBRATION, read_document

# Margins where neither the dataset nor the caller gives them: 1 % for throughput and latency, 2 % for memory.
DEFAULT_MARGINS: Mapping[str, float] = {
    "output_throughput_tok_s": 0.01,
    "latency_mean_ms": 0.01,
    "host_available_drop_peak_gib": 0.02,
}
# What models are grouped by.
GROUPINGS = ("architecture", "precision")
# The family of an experiment that declares none: all of its primary metrics.
PRIMARY = "primary"
# Of bootstrap and permutation, where a caller names none: the terminal and the page show the same numbers.
DEFAULT_SEED = 0


class Margin(NamedTuple):
    """The margins of a metric: of its ratio, relative, and of its difference, in its own unit. None: it has none."""

    relative: float | None = None
    difference: float | None = None

    def __bool__(self) -> bool:
        """Whether it has any."""
        return self != (None, None)


@dataclass(frozen=True)
class Protocol:
    """What was fixed before the data.

    `planned` is None where the dataset does not hold how many pairs were planned, `sequential` where the number was fixed.
    `families` are the metrics that p-values are adjusted over, by the family's name. `planned_effect` is the relative
    difference that the number of pairs was planned for; None takes the margin. `calibrated_sd_log` is by metric what a
    calibration of the machine found a pair of runs of one arm to vary by, `calibrated_sd_run` all of its runs.
    `margins` are relative, `difference_margins` in the metric's unit. `models` are those planned.
    """

    margins: Mapping[str, float]
    primary: tuple[str, ...]
    planned: int | None
    seed: int
    sequential: Sequential | None = None
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    planned_effect: float | None = None
    calibrated_sd_log: Mapping[str, float] = field(default_factory=dict)
    calibrated_sd_run: Mapping[str, float] = field(default_factory=dict)
    difference_margins: Mapping[str, float] = field(default_factory=dict)
    models: tuple[str, ...] = ()

    def margins_of(self, metric: str) -> Margin:
        """The margins of a metric; one of its difference goes before one of its ratio."""
        return Margin(self.margins.get(metric), self.difference_margins.get(metric))

    def margin(self, metric: str) -> float | None:
        """The relative margin of a metric, if it has one."""
        return self.margins.get(metric)

    def effect(self, metric: str) -> float | None:
        """The relative difference that was planned for, of a metric that has a margin."""
        margin = self.margin(metric)
        return margin if margin is None or self.planned_effect is None else self.planned_effect

    def family(self, metric: str) -> str | None:
        """The family that a metric's p-values belong to, if it is in one."""
        return next((name for name, metrics in self.families.items() if metric in metrics), None)


def protocol_of(frames: Frames, margins: Mapping[str, float] | None, seed: int) -> Protocol:
    """Margins and primary metrics of the experiment; margins that the caller gives win."""
    experiment = frames.document.get("experiment", {})
    absolute = experiment.get("difference_margins") or {}
    own = experiment.get("margins") or ({} if absolute else DEFAULT_MARGINS)
    # one that repeats the experiment's own is no other one: the context hands them all back
    other = {name for name, margin in (margins or {}).items() if own.get(name) != margin}
    primary = tuple(experiment.get("primary_metrics") or dict.fromkeys((*own, *absolute)))
    declared = experiment.get("sequential")
    calibration = None if _of_own_runs(calibrated := _calibration(frames), experiment) else calibrated
    sequential = Sequential(tuple(declared["looks"]), declared["spending"]) if declared else None
    return Protocol(
        {**own, **(margins or {})},
        primary,
        experiment.get("runs"),
        seed,
        sequential,
        families={name: tuple(metrics) for name, metrics in (experiment.get("families") or {PRIMARY: primary}).items()},
        planned_effect=experiment.get("planned_effect"),
        calibrated_sd_log=_calibrated(calibration, "sd_log"),
        calibrated_sd_run={name: cv / 100 for name, cv in _calibrated(calibration, "cv_pct").items()},
        difference_margins={name: margin for name, margin in absolute.items() if name not in other},
        models=tuple(str(card["name"]) for card in frames.document.get("cards", [])),
    )


def _of_own_runs(document: Any, experiment: Mapping[str, Any]) -> bool:  # noqa: ANN401 - as below
    """Whether `calibrate --quick` took the runs of this experiment: noise of these data is not known before them."""
    own = isinstance(document, dict) and document.get("source") == "dataset"
    return own and document.get("experiment") == experiment.get("name")


def _calibrated(document: Any, column: str) -> dict[str, float]:  # noqa: ANN401 - a JSON document of another verb
    """A column of the noise by metric, as a calibration measured it."""
    metrics = document.get("metrics") if isinstance(document, dict) else None
    noise = {name: (one.get("noise") or {}).get(column) for name, one in (metrics or {}).items()}
    return {name: float(value) for name, value in noise.items() if value}


@dataclass(frozen=True)
class Card:
    """Parameters (10^9), architecture and precision of a model; None where no card has them."""

    name: str
    params_b: float | None
    architecture: str | None
    precision: str | None


@dataclass(frozen=True)
class Cards:
    """The cards of a study: those stored with it, else those that ship."""

    stored: Sequence[Mapping[str, Any]]

    @cached_property
    def _by_name(self) -> Mapping[str, Mapping[str, Any]]:
        return {str(card.get("name")): card for card in self.stored}

    @cached_property
    def _shipped(self) -> Mapping[str, Card]:
        from sparkray.catalog import Catalog, data_root  # noqa: PLC0415 - for datasets without cards alone

        found = {}
        for card in Catalog(data_root()).cards():
            params = card.shape.params_total / 1e9 if card.shape else None
            found[card.name] = Card(card.name, params, card.architecture, card.quantisation or card.dtype)
        return found

    def of(self, model: str) -> Card:
        """The card of a model; one that knows nothing where there is none."""
        stored = self._by_name.get(model)
        if stored is None:
            return self._shipped.get(model, Card(model, None, None, None))
        params = (stored.get("shape") or {}).get("params_total")
        return Card(
            model,
            params / 1e9 if params else None,
            stored.get("architecture"),
            stored.get("quantisation") or stored.get("dtype"),
        )


def context_of(frames: Frames, protocol: Protocol) -> dict[str, Any]:
    """What was done, as plain values: see the keys below. What the dataset does not hold is None or empty."""
    attempts, document = frames.attempts, frames.document
    experiment = document.get("experiment", {})
    return {
        "experiment": _only(attempts, "experiment") or frames.path.name,
        "question": experiment.get("question"),
        "site": document.get("site", {}).get("name") or _only(attempts, "site"),
        "hosts": _distinct(attempts, "host"),
        "engines": attempts.select("engine", "engine_version").drop_nulls("engine").unique().sort(pl.all()).to_dicts(),
        "image_digests": _distinct(attempts, "image_digest"),
        "rootfs_digests": _distinct(attempts, "rootfs_digest"),
        "model_digests": _digests(attempts),
        "margins": dict(protocol.margins),
        "margins_declared": experiment.get("margins"),
        "difference_margins": dict(protocol.difference_margins),
        "difference_margins_declared": experiment.get("difference_margins"),
        "primary_metrics": list(protocol.primary),
        "order": experiment.get("order"),
        "pairs_planned": protocol.planned,
        "sequential": experiment.get("sequential"),
        "families": {name: list(metrics) for name, metrics in protocol.families.items()},
        "planned_effect": protocol.planned_effect,
        "workload": experiment.get("workload"),
        "cooldown": (experiment.get("protocol") or {}).get("cooldown"),
        "protocol": experiment.get("protocol"),
        "seed": experiment.get("seed", _only(attempts, "seed")),
        "analysis_seed": protocol.seed,
        "started_at": _moment(attempts, "started_at", "min"),
        "ended_at": _moment(attempts, "ended_at", "max"),
        "machines": [json.loads(text) for text in _distinct(attempts, "machine")],
        "environments": sorted(_distinct(attempts, "environment"), key=rank),
        "models": _distinct(attempts, "model"),
        "levels": _distinct(attempts, "level"),
        "docker_commands": _examples(attempts, "docker_command"),
        "docker_options": _docker_options(attempts),
        "engine_commands": _examples(attempts, "engine_command"),
        "launches": launches_of(frames),
        "deviations": deviation_counts(attempts),
        "simulated": bool(attempts["simulated"].fill_null(value=False).any()) if attempts.height else False,
        "status_counts": dict(sorted(Counter(attempts["status"].drop_nulls().to_list()).items())),
        "adherence": adherence_of(frames),
        "attempts": attempts.height,
        "runs_used": frames.ok.height,
        "sparkray_versions": _distinct(attempts, "sparkray_version"),
        "analysed_with": __version__,
        "calibration": _calibration(frames),
        "cards": list(document.get("cards", [])),
        "definition": dict(experiment),
        "site_definition": {key: value for key, value in document.get("site", {}).items() if key != "environments"},
    }


def _distinct(frame: pl.DataFrame, column: str) -> list[Any]:
    return list(frame[column].drop_nulls().unique().sort().to_list())


def _only(frame: pl.DataFrame, column: str) -> Any:  # noqa: ANN401 - a value of whatever column
    """The value of a column that should have but one; the first where it has more."""
    found = _distinct(frame, column)
    return found[0] if found else None


def _digests(attempts: pl.DataFrame) -> dict[str, list[str]]:
    """Identities of the weights by model."""
    named = attempts.with_columns(
        digest=pl.coalesce("model_sha256", pl.col("weights_digest").str.strip_prefix("sha256:"))
    ).drop_nulls("digest")
    found = named.group_by("model").agg(pl.col("digest").unique().sort())
    return {row["model"]: row["digest"] for row in found.sort("model").to_dicts()}


def _moment(attempts: pl.DataFrame, column: str, which: str) -> str | None:
    found = getattr(attempts[column], which)()
    return found.isoformat() if found is not None else None


def _examples(attempts: pl.DataFrame, column: str) -> dict[str, str]:
    """One line an environment: that of its first run."""
    rows = attempts.drop_nulls(column).sort("position").unique("environment", keep="first", maintain_order=True)
    return {row["environment"]: row[column] for row in rows.select("environment", column).to_dicts()}


def _docker_options(attempts: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """The `docker_<option>` columns of the first run of each container environment, those that were given."""
    names = [column.name for column in DOCKER_COLUMNS]
    made = attempts.filter(pl.any_horizontal(pl.col(names).is_not_null()))
    rows = made.sort("position").unique("environment", keep="first", maintain_order=True)
    return {
        row.pop("environment"): {name: value for name, value in row.items() if value is not None}
        for row in rows.select("environment", *names).to_dicts()
    }


def deviation_counts(attempts: pl.DataFrame) -> dict[str, int]:
    """How many attempts departed in what way; texts that begin with different counts are one, with the range of these."""
    found: dict[str, list[int]] = defaultdict(list)
    attempts_of: Counter[str] = Counter()
    listed = attempts.drop_nulls("deviations").group_by("deviations").len()
    for text, times in listed.iter_rows():
        for deviation in json.loads(text):
            count, what = _counted(deviation)
            found[what] += [int(count)] if count else []
            attempts_of[what] += times
    return {f"{_range(found[what])}{what}": times for what, times in sorted(attempts_of.items())}


def _counted(deviation: str) -> tuple[str, str]:
    count = re.match(r"\d+(?= )", deviation)
    return (count[0] if count else ""), deviation[count.end() if count else 0 :]


def _range(counts: Sequence[int]) -> str:
    ends = sorted({min(counts), max(counts)} if counts else ())
    return " to ".join(map(str, ends))


def _calibration(frames: Frames) -> Any:  # noqa: ANN401 - a JSON document of another verb
    """What `calibrate` left beside the dataset, if it was run on this machine."""
    file = frames.path / "calibration.json"
    return read_document(file, CALIBRATION, remedy="Make it anew: calibrate --quick") if file.is_file() else None
