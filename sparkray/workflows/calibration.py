"""Calibration of a machine: the runs of one environment against each other, judged and stored.

The document stands beside the runs as `calibration.json` and, for the machine, in the cache, where later sweeps read it: a
calibration belongs to a machine and a site.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from sparkray import __version__
from sparkray.analysis.frames import rank
from sparkray.catalog import Catalog, data_root
from sparkray.config.site import NATIVE, Site
from sparkray.engines import load_engine
from sparkray.errors import InputError, UnknownNameError
from sparkray.plan import Study
from sparkray.stats import NotEstimable
from sparkray.stats.calibration import HEADLINE_PAIRS, Calibration, calibrate, course_of
from sparkray.store import Dataset
from sparkray.store.documents import NUMBER, read_document
from sparkray.store.writing import storage_errors, write_atomically
from sparkray.workflows.calibration_file import FILE, FORMAT, machine_file, machine_of
from sparkray.workflows.options import Options, build_study, site_of

EXPERIMENT = "aa"
# So that 20 experiments of the headline's 3 pairs share no run.
RUNS = 120
_STUDY = {"experiment?": {"name": str, "runs": int, "seed": int, "primary_metrics": [str], "margins": {str: NUMBER}}}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """What is asked of the runs: a margin (or None) for each metric, the pairs that are planned, the seed of labels."""

    margins: Mapping[str, float | None]
    planned_pairs: int
    seed: int


@dataclass(frozen=True)
class Series:
    """Ok runs of one model in one environment, in the order of measurement.

    `every` is how many runs of the dataset came for each of them: above 1 others lie between them.
    """

    rows: tuple[Row, ...]
    every: float

    @property
    def first(self) -> Row:
        """For what is the same in all of them."""
        return self.rows[0]


def against_itself(options: Options, smallest: Callable[[Study], str]) -> Options:
    """The options of the sweep: one environment, one model, 120 runs, in a dataset of its own.

    A site whose engine needs an image of its own is calibrated with its own experiment, so with the load that its
    verdicts are about.

    Raises:
        InputError: More than one environment, model or level is asked for.
    """
    site = site_of(options)
    own = EXPERIMENT if load_engine(site.engine).image_contents == "venv" else site.experiment
    asked = replace(options, experiment=options.experiment or own, environments=options.environments or NATIVE)
    study = build_study(asked)
    name = study.experiment.name
    if name.partition("-")[0] != EXPERIMENT:
        asked = replace(asked, settings=(f"experiment.name={EXPERIMENT}-{name}", *asked.settings))
    for what, count in (("environments", len(study.treatments)), ("levels of the load", len(study.experiment.levels))):
        if count > 1:
            raise InputError(f"{count} {what}: an arm is calibrated against itself alone", "Name one")
    if options.models is None:
        asked = replace(asked, models=smallest(study))
    elif len(study.cards) > 1:
        raise InputError(f"{len(study.cards)} models: a calibration is of one", "Name one: --models A")
    return replace(asked, runs=options.runs or RUNS)


def experiment_of(dataset: Dataset) -> Mapping[str, Any]:
    """The experiment that a dataset says it is of; where it does not say, the one that ships for calibration.

    Raises:
        DatasetError: What it says cannot be read.
    """
    path = dataset.path / "experiment.json"
    document = read_document(path, _STUDY, remedy="Remove it") if path.exists() else {}
    return cast("Mapping[str, Any]", document.get("experiment") or asdict(Catalog(data_root()).experiment(EXPERIMENT)))


def usual_pairs(site: Site) -> int:
    """Runs of the experiment that the site's sweeps are of."""
    return Catalog(data_root()).experiment(site.experiment).runs


def planned_pairs_of(experiment: Mapping[str, Any], site: str) -> int:
    """Pairs that an experiment is planned with; one against itself plans none, so those of the site's own."""
    if str(experiment["name"]).partition("-")[0] != EXPERIMENT:
        return int(experiment["runs"])
    try:
        return usual_pairs(Catalog(data_root()).site(site))
    except UnknownNameError:
        return usual_pairs(Catalog(data_root()).site("cpu"))


def asked_of(metrics: Sequence[str], margins: Mapping[str, float], planned_pairs: int, seed: int) -> Asked:
    """What to judge: these metrics, with the margins that they have."""
    return Asked({name: margins.get(name) for name in metrics}, planned_pairs, seed)


def series_of(rows: Sequence[Row], environment: str | None = None, model: str | None = None) -> Series | None:
    """The ok runs of the arm that has most of them (of these, where they are named), in order; None if there are none.

    Args:
        rows: Of `runs`, in any order.
        environment: The environment; None takes the one with most runs, the reference arm first among equals.
        model: The model's name.
    """
    ok = {row["run_id"]: row for row in sorted(rows, key=lambda r: r["attempt"]) if row["status"] == "ok"}
    arms = Counter(_arm(row) for row in ok.values())
    able = [
        arm
        for arm in arms
        if environment in (None, arm[0]) and (model is None or arm[1].casefold() == model.casefold())
    ]
    if not able:
        return None
    chosen = min(able, key=lambda arm: (-arms[arm], rank(arm[0]), arm))
    own = [row for row in ok.values() if _arm(row) == chosen]
    return Series(tuple(sorted(own, key=lambda row: (str(row["started_at"]), row["position"]))), len(ok) / len(own))


def _arm(row: Row) -> tuple[str, str, str, str]:
    return str(row["environment"]), str(row["model"]), row["level"] or "", str(row["host"])


def calibration_of(series: Series, asked: Asked, *, source: str) -> dict[str, Any]:
    """The document of a calibration: plain values, nothing NaN."""
    metrics: dict[str, Any] = {}
    for name, margin in asked.margins.items():
        values = [float(row[name]) for row in series.rows if row.get(name) is not None]
        found: Calibration | NotEstimable = NotEstimable("no_value_somewhere" if values else "no_value")
        if len(values) == len(series.rows):
            found = calibrate(
                values, course_of(values), planned_pairs=asked.planned_pairs, margin=margin, seed=asked.seed
            )
        reason = found.reason if isinstance(found, NotEstimable) else None
        metrics[name] = {"not_estimable": reason, **({} if isinstance(found, NotEstimable) else asdict(found))}
    first = series.first
    return {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "sparkray_version": __version__,
        "source": source,
        **{key: first[key] for key in ("host", "site", "experiment", "model", "environment")},
        "machine": machine_of(first),
        "simulated": any(row["simulated"] for row in series.rows),
        "runs": len(series.rows),
        "every": round(series.every, 2),
        "seed": asked.seed,
        "planned_pairs": asked.planned_pairs,
        "headline_pairs": HEADLINE_PAIRS,
        "sound": sound_of(metrics),
        "metrics": metrics,
    }


def sound_of(metrics: Mapping[str, Any]) -> bool | None:
    """Whether the paired design keeps its 5 % in every metric that can be judged; None when none can."""
    judged = [metric["cause"] is None for metric in metrics.values() if metric["not_estimable"] is None]
    return all(judged) if judged else None


def noisiest(documents: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Of calibrations of several machines, that with the greatest spread in its first metric that any can judge."""

    def spread(document: Mapping[str, Any]) -> list[float]:
        metrics = document["metrics"].values()
        return [metric["noise"]["sd_log"] if metric["not_estimable"] is None else -1.0 for metric in metrics]

    return max(documents, key=spread, default=None)


def store_calibration(document: Mapping[str, Any], dataset: Dataset | None, *, for_machine: bool) -> None:
    """Beside the runs of a dataset, if one is given, and for later sweeps of the machine. Raises StorageError."""
    content = json.dumps(document, indent=1, allow_nan=False).encode()
    if dataset is not None:
        write_atomically(dataset.path / FILE, content)
    if for_machine and document["sound"] is not None:
        path = machine_file(document["host"], document["site"], machine=document["machine"])
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
