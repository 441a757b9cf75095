"""`calibrate`: an environment against itself through the same pipeline. `workflows.calibration` says where it is stored."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sparkray.config.experiment import MOST_RUNS
from sparkray.errors import DatasetError, InputError
from sparkray.plan import PlannedRun, Study
from sparkray.store import Dataset, dataset_at
from sparkray.sweep.common_options import FOLDER
from sparkray.sweep.datasets import datasets_of
from sparkray.sweep.experiment import Conclude, sweep
from sparkray.sweep.measure import smallest
from sparkray.sweep.options import options_of, sweep_options
from sparkray.sweep.progress import counts_of
from sparkray.sweep.show import console, print_json, print_line, show
from sparkray.workflows.calibration import (
    against_itself,
    asked_of,
    calibration_of,
    experiment_of,
    noisiest,
    planned_pairs_of,
    series_of,
    store_calibration,
    usual_pairs,
)
from sparkray.workflows.calibration_file import FILE, FORMAT, load_calibration
from sparkray.workflows.options import Options

Sweep = Callable[[Options, Conclude], int]


def calibrate_command(carry_out: Sweep, smallest_model: Callable[[Study], str]) -> click.Command:
    """The verb.

    Args:
        carry_out: Carries a sweep out and ends it with what it is given.
        smallest_model: The name of a study's smallest model.
    """

    @click.command("calibrate")
    @click.argument("datasets", metavar="[DATASET]...", nargs=-1, type=FOLDER)
    @sweep_options
    @click.option("--quick", is_flag=True, help="Judge runs of a dataset; measure nothing.")
    @click.option("--pairs", type=click.IntRange(2, MOST_RUNS), help="Pairs that sweeps plan; default: the site's.")
    def command(datasets: Sequence[Path], *, quick: bool, pairs: int | None, **arguments: Any) -> int:  # noqa: ANN401
        """Compare an environment with itself: false positives of this machine, and the smallest effect it can show.

        With DATASET, measure and store nothing: show how far successive runs of one arm differ, in each and over all.
        """
        options = options_of(arguments)
        if datasets:
            return _from_successive_runs(datasets, options)
        if quick:
            return _from_dataset(options, pairs)
        return _from_sweep(against_itself(options, smallest_model), pairs, carry_out)

    return command


def _from_sweep(options: Options, pairs: int | None, carry_out: Sweep) -> int:
    """Measure, then judge whatever is there."""
    sound: list[bool] = []

    def conclude(
        study: Study,
        dataset: Dataset,
        runs: Sequence[PlannedRun],
        options: Options,
        out: Any,  # noqa: ANN401
    ) -> dict[str, int]:
        planned = {run.run_id for run in runs}
        rows = [row for row in dataset.read("runs") if row["run_id"] in planned]
        counts = counts_of(runs, rows)
        hosts = sorted({str(row["host"]) for row in rows})  # each machine of a cluster is calibrated by its own runs
        found = [series for host in hosts if (series := series_of([row for row in rows if row["host"] == host]))]
        print_line(out, f"{counts['ok']} of {counts['planned']} runs ok. Data: {dataset.path}")
        experiment = study.experiment
        asked = asked_of(
            experiment.primary_metrics, experiment.margins, pairs or usual_pairs(study.site), experiment.seed
        )
        documents = [calibration_of(series, asked, source="sweep") for series in found]
        beside = noisiest(documents)
        for document in documents:
            for_machine = counts["ok"] == counts["planned"]
            store_calibration(document, dataset if document is beside else None, for_machine=for_machine)
        if beside is not None and len(documents) > 1:
            print_line(out, f"{dataset.path / FILE} is of {beside['host']}, whose runs spread most")
        sound.extend(document["sound"] is True for document in documents)
        if not options.json:
            for document in documents:
                show(out, "calibration.txt.j2", c=document)
        elif len(documents) > 1:
            print_json({"format": FORMAT, "machines": documents})
        else:
            print_json(documents[0] if documents else {"format": FORMAT, "runs": 0, "sound": None, "metrics": {}})
        return counts

    status = carry_out(options, conclude)
    return status if status or all(sound) else 1


def _from_dataset(options: Options, pairs: int | None) -> int:
    """Judge the runs of a dataset, whatever they were measured for.

    Raises:
        DatasetError: There is no dataset, or no run in it that counts.
    """
    out = console(to_stderr=options.json)
    dataset = datasets_of(options.results_dir, options.experiment, key=_last_measured)[-1]
    found = series_of(dataset.read("runs"), options.environments, options.models)
    if found is None:
        raise DatasetError(
            f"{dataset.path} holds no ok runs of what was asked for", "Measure some: calibrate without --quick"
        )
    experiment = experiment_of(dataset)
    asked = asked_of(
        experiment["primary_metrics"],
        experiment["margins"],
        pairs or planned_pairs_of(experiment, str(found.first["site"])),
        int(experiment["seed"]),
    )
    document = calibration_of(found, asked, source="dataset")
    known = load_calibration(document["host"], document["site"], machine=document["machine"])
    store_calibration(document, dataset, for_machine=known is None or known["source"] == "dataset")
    return 0 if _report(document, options, out) else 1


def _from_successive_runs(folders: Sequence[Path], options: Options) -> int:
    """A/A pairs of what lies in datasets, occasions of one load.

    Raises:
        DatasetError: One is no dataset, or none has a run that counts of what was asked for.
        InputError: One is named twice.
    """
    from sparkray.analysis.successive import successive_runs  # noqa: PLC0415 - other calibrations need no analysis

    paths = [dataset_at(folder).path.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise InputError("a dataset is named twice: its pairs would count twice", "Name each once")
    found = successive_runs(paths, environment=options.environments, model=options.models)
    if options.json:
        print_json(found)
    else:
        show(console(to_stderr=False), "successive_runs.txt.j2", c=found)
    rates = [metric["false_positives"] for metric in found["metrics"].values()]
    return 0 if rates and all(rate and not rate["excludes_level"] for rate in rates) else 1


def _last_measured(dataset: Dataset) -> tuple[bool, float]:
    """Datasets without a run come before all others."""
    runs = dataset.path / "runs"
    return any(runs.glob("*.parquet")), runs.stat().st_mtime if runs.is_dir() else 0.0


def _report(document: Mapping[str, Any], options: Options, out: Any) -> bool:  # noqa: ANN401
    """Show it. Returns whether the machine is sound: one that could not be judged is not."""
    if options.json:
        print_json(document)
    else:
        show(out, "calibration.txt.j2", c=document)
    return document["sound"] is True


calibrate = calibrate_command(sweep, smallest)
