"""`engines`: what can be measured and what each was run on; `engines check NAME` starts one and prints what it reports."""

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from sparkray.catalog import Catalog, data_root
from sparkray.engines import Server, engine_names, load_engine
from sparkray.errors import RunUnreadyError
from sparkray.sweep.common_options import json_option, setting_option
from sparkray.sweep.listings import print_list
from sparkray.sweep.options import insecure_option
from sparkray.sweep.show import console, print_json, print_line
from sparkray.workflows.consent import require_consent
from sparkray.workflows.options import Options, build_study

_EXPERIMENT = "local-serve"
# A GPU server that compiles at its first start was seen to take 104 s; large weights take longer.
_PATIENCE = ("experiment.timeout_s=2400", "experiment.workload.serve.ready_timeout_s=1800")
_SHOWN = (
    *("engine_version", "model_path", "model_sha256", "model_architecture", "kv_cache_gib", "kv_cache_tokens"),
    "context_length",
    *("engine_load_s", "start_to_container_s", "container_to_ready_s", "first_request_s", "output_throughput_tok_s"),
    *("network_mode", "network_published", "network_route", "engine_command"),
)


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def engines(context: click.Context, *, as_json: bool) -> int | None:
    """List the engines, with what each was run on and its file."""
    if context.invoked_subcommand is not None:
        return None
    files = Catalog(data_root()).recipe_files()
    rows = []
    for name in engine_names():
        engine = load_engine(name)
        recipe = engine.recipe({}) if isinstance(engine, Server) else None
        runs = [f"{run.version} on {run.where}: {run.what}" for run in recipe.verified] if recipe else []
        rows.append(
            {
                "name": name,
                "workload": "serve" if recipe else "offline",
                "image": recipe.image if recipe else "the site's",
                "verified": "; ".join(runs) or ("never run by sparkray" if recipe else None),
                "file": str(files.get(name, "")) or None,
            }
        )
    return print_list("engines", rows, ("name", "workload", "image", "verified", "file"), as_json=as_json)


@engines.command()
@click.argument("name", metavar="NAME|FILE")
@click.option("--models", metavar="MODEL", help="The model; the experiment's own when not given.")
@click.option("--environment", default="native", show_default=True, help="Where: native, host, container_baseline.")
@setting_option("Override one value: engine.arguments=[...], site.models_root=DIR.")
@insecure_option
@json_option
def check(
    *, name: str, models: str | None, environment: str, settings: tuple[str, ...], allow_insecure: bool, as_json: bool
) -> int:
    """Start a server, send it three requests, stop it, and print what it reported."""
    from sparkray.execute.prepared_host import prepare_host  # noqa: PLC0415
    from sparkray.execute.run import run_once  # noqa: PLC0415 - it imports Docker and the load generator
    from sparkray.machine.fingerprint import fingerprint  # noqa: PLC0415
    from sparkray.machine.lock import MachineLock  # noqa: PLC0415
    from sparkray.plan import definition_sha256, make_plan  # noqa: PLC0415
    from sparkray.runtimes import Stop  # noqa: PLC0415
    from sparkray.store import open_dataset  # noqa: PLC0415

    out = console(to_stderr=as_json)
    with TemporaryDirectory(prefix="sparkray-check-") as folder:
        asked = Options(
            experiment=_EXPERIMENT,
            engine=name,
            models=models,
            environments=environment,
            runs=1,
            requests=2,
            settings=(*_PATIENCE, *settings),
        )
        study = build_study(asked)
        require_consent(study, given=allow_insecure)
        dataset = open_dataset(Path(folder), study.experiment.name, definition_sha256(study))
        machine, tell = fingerprint(), lambda text: print_line(out, text)
        with MachineLock(machine.lock_keys).held("wait", on_wait=tell, should_stop=lambda: False):
            prepared = prepare_host(study, machine, dataset, tell)
            outcome = run_once(prepared, make_plan(study)[0], Stop(), lambda _: None)
    found = {key: outcome.row.get(key) for key in _SHOWN}
    if as_json:
        print_json({"engine": name, "status": outcome.status, "reason": outcome.row["reason"], **found})
    else:
        for key, value in found.items():
            print_line(out, f"{key:<26}{'not reported' if value is None else value}")
    if outcome.row["start_to_container_s"] is None or outcome.status not in ("ok", "invalid"):
        raise RunUnreadyError(f"{name}: {outcome.status}: {outcome.row['reason']}")
    return 0
