"""`status`: what a sweep is doing, read from its dataset alone, so that any terminal can ask at any time."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sparkray.errors import DatasetError
from sparkray.execute.layout import container_name
from sparkray.execute.leftovers import container_log
from sparkray.store import Dataset, description, existing
from sparkray.sweep.completion import complete_experiment
from sparkray.sweep.datasets import dataset_argument, dataset_at, newest
from sparkray.units import format_duration
from sparkray.workflows.interim import decided_in

_REFRESH_S = 2.0
_FOLLOW_S = 1.0
_LAST = 5


@click.command()
@dataset_argument
@click.option(
    "--experiment",
    shell_complete=complete_experiment,
    metavar="NAME",
    help="One experiment; all that are there when not given.",
)
@click.option("--results-dir", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--watch", is_flag=True, help="Keep it open.")
@click.option("--follow", is_flag=True, help="Show the engine's output as it comes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def status(
    dataset: Path | None, experiment: str | None, results_dir: Path, *, watch: bool, follow: bool, as_json: bool
) -> int:
    """Show progress, ETA and last results of a sweep, from another terminal.

    DATASET is a folder such as results/local or results/local@2; every dataset if it is left out.
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
            click.echo(json.dumps({"datasets": states}, indent=1, default=str))
        else:
            if watch:
                click.clear()
            for state in states:
                click.echo(_text(state))
        if not watch:
            return 0
        time.sleep(_REFRESH_S)


def datasets_of(results_dir: Path, experiment: str | None) -> list[Dataset]:
    """Those of an experiment, else all, the one written to last at the end.

    Raises:
        DatasetError: There is none.
    """
    names = (
        [experiment]
        if experiment
        else sorted({path.parent.name.partition("@")[0] for path in results_dir.glob("*/dataset.json")})
    )
    if experiment is not None and "@" in experiment:
        return [newest(results_dir, experiment)]
    found = [dataset for name in names for dataset in existing(results_dir, name)]
    if not found:
        raise DatasetError(
            f"no dataset{f' of {experiment}' if experiment else ''} in {results_dir.absolute()}",
            "Start one with `python -m sparkray.sweep baseline`, or name another folder: --results-dir DIR",
        )
    return sorted(found, key=lambda dataset: (dataset.path / "runs").stat().st_mtime)


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
        "decided": decided_in(dataset),
        "now": dict(dataset.progress() or {}) if live else None,
        "last": rows[-_LAST:],
    }


def _text(state: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{number} {status}" for status, number in sorted(state["counts"].items())) or "no run has ended"
    lines = [f"{state['experiment']}  {state['dataset']}", f"  {counts}"]
    now = state["now"]
    if now:
        since = format_duration(time.time() - now["since"])
        lines.append(
            f"  now: run {now['run']}/{now['of']}  {now['environment']}  {now['model']}  for {since}, "
            f"ETA {format_duration(now['eta_s'])}"
        )
    lines += [f"  decided: {line}" for line in state["decided"]]
    for row in state["last"]:
        throughput = row["output_throughput_tok_s"]
        shown = f"{throughput:.1f} tok/s" if throughput is not None else (row["reason"] or "")
        lines.append(f"  {row['status']:<12} {row['environment']:<20} {row['model']:<24} {shown}")
    return "\n".join(lines)


def _said(log: Path) -> bytes | None:
    """What an engine has said so far: from its file, else from Docker, which keeps it until the container's end."""
    try:
        if data := log.read_bytes():
            return data
    except OSError:
        pass
    return container_log(container_name(log.parent.parent.name.rpartition("-")[0]))


def _follow(dataset: Dataset) -> int:
    """The engine's output of the run that goes on, and of the next ones, until Ctrl-C."""
    shown: dict[Path, int] = {}
    while True:
        for log in [folder / "out" / "engine.log" for folder in sorted(dataset.spool.glob("*"))]:
            data = _said(log)
            if data is None:
                continue
            if log not in shown:
                click.echo(f"==> {log.parent.parent.name} <==")
            new = data[shown.get(log, 0) :]
            if new:
                click.echo(new.decode(errors="replace"), nl=False)
            shown[log] = len(data)
        time.sleep(_FOLLOW_S)
