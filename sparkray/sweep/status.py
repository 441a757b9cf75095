"""`status`: progress of a sweep, read from its dataset alone, so that any terminal can ask at any time."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sparkray.config.boundary import read_json
from sparkray.files import read_regular
from sparkray.runtimes.linux.owner import Owner, boot_id
from sparkray.store import Dataset, dataset_at, description
from sparkray.store.progress import progress_of_machines
from sparkray.sweep.common_options import dataset_options, json_option
from sparkray.sweep.datasets import datasets_of
from sparkray.sweep.show import console, print_json, show

_REFRESH_S = 2.0
_FOLLOW_S = 1.0
_LAST = 5
_ENGINE_LOG = "engine.log"


@click.command()
@dataset_options
@click.option("--watch", is_flag=True, help="Refresh until Ctrl-C.")
@click.option("--follow", is_flag=True, help="Show the engine's output as it comes.")
@json_option
def status(
    dataset: Path | None, experiment: str | None, results_dir: Path, *, watch: bool, follow: bool, as_json: bool
) -> int:
    """Show progress, ETA and last results of a sweep, from another terminal.

    DATASET is a folder such as results/local@2; default: every dataset.
    """
    datasets = datasets_of(results_dir, experiment) if dataset is None else [dataset_at(dataset)]
    return show_status(datasets, watch=watch, follow=follow, as_json=as_json)


def show_status(datasets: Sequence[Dataset], *, watch: bool, follow: bool, as_json: bool) -> int:
    """Print it once, keep it open, or follow the engine's output."""
    if follow:
        return _follow(datasets[-1])
    while True:
        states = [state_of(dataset) for dataset in datasets]
        if as_json:
            print_json({"datasets": states}, default=str)
        else:
            if watch:
                click.clear()
            show(console(to_stderr=False), "status.txt.j2", datasets=states, time=time.time())
        if not watch:
            return 0
        time.sleep(_REFRESH_S)


def state_of(dataset: Dataset) -> dict[str, Any]:
    """Counts by status, what goes on now, the last results."""
    rows = sorted(
        dataset.read(
            "runs", ["run_id", "status", "environment", "model", "ended_at", "output_throughput_tok_s", "reason"]
        ),
        key=lambda row: str(row["ended_at"]),
    )
    live = [path.name for path in dataset.spool.iterdir()] if dataset.spool.is_dir() else []
    return {
        "dataset": str(dataset.path),
        "experiment": description(dataset)["experiment"],
        "counts": dict(Counter(row["status"] for row in rows)),
        "decided": _decided(dataset),
        "now": dict(dataset.progress() or {}) if live else None,
        "machines": _machines(dataset),
        "last": rows[-_LAST:],
    }


def _machines(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """The run that goes on on each machine of a cluster; none of a driver of this boot that is dead."""
    return {
        host: dict(progress)
        for host, progress in progress_of_machines(dataset.path).items()
        if (owner := Owner.parse(str(progress.get("owner")))) is None
        or owner.boot != boot_id()
        or owner.is_alive() is not False
    }


def _decided(dataset: Dataset) -> list[str]:
    """What interim analyses have decided, a line a comparison; nothing where the number of runs is fixed."""
    try:
        document = read_json(dataset.path / "experiment.json")
        sequential = document["experiment"]["sequential"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    if sequential is None:
        return []
    from sparkray.workflows.interim import decided_in  # noqa: PLC0415 - statistics take long to import

    return decided_in(dataset)


def _logs_in(folder: Path) -> list[Path]:
    """The engine's output, and logs that it writes itself: llama.cpp's reaches its output only at the end."""
    return [folder / _ENGINE_LOG, *(log for log in sorted(folder.glob("*.log")) if log.name != _ENGINE_LOG)]


def _read(log: Path) -> bytes | None:
    try:
        return read_regular(log)
    except OSError:
        return None


def _output_of(log: Path) -> bytes | None:
    """An engine's output so far: from its file, else from Docker, which keeps it until the container's end."""
    if data := _read(log):
        return data
    from sparkray.execute.layout import container_name  # noqa: PLC0415 - Docker's SDK takes long to import
    from sparkray.execute.leftovers import container_log  # noqa: PLC0415 - likewise

    return container_log(container_name(log.parent.parent.name.rpartition("-")[0]))


def _follow(dataset: Dataset) -> int:
    """The engine's output of this run and of the next ones, until Ctrl-C."""
    shown: dict[Path, int] = {}
    if not any(dataset.spool.glob("*")):
        click.echo(f"no run is under way in {dataset.path}; its output follows when one starts. Ctrl-C ends", err=True)
    while True:
        for log in [log for folder in sorted(dataset.spool.glob("*")) for log in _logs_in(folder / "out")]:
            data = _output_of(log) if log.name == _ENGINE_LOG else _read(log)
            if data is None:
                continue
            if log not in shown:
                name = log.parent.parent.name
                click.echo(f"==> {name} <==" if log.name == _ENGINE_LOG else f"==> {name} ({log.name}) <==")
            new = data[shown.get(log, 0) :]
            if new:
                click.echo(new.decode(errors="replace"), nl=False)
            shown[log] = len(data)
        time.sleep(_FOLLOW_S)
