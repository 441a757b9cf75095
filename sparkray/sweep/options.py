"""Command-line options of the verbs that plan or measure: those of a study, and of how it is carried out."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import click

from sparkray.config.experiment import MOST_REQUESTS, MOST_RUNS
from sparkray.sweep.common_options import JSON, RESULTS_DIR, experiment_option, group, setting_option
from sparkray.sweep.completion import complete_models, complete_site
from sparkray.workflows.options import PHASES, Options


class Amount(click.FloatRange):
    """A finite number above 0, of seconds or hours."""

    def __init__(self) -> None:
        super().__init__(0, 1e9, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Refuses NaN, which no bound refuses."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


# The options that describe a study.
study_options = group(
    experiment_option("The question; default: the site's.", "NAME|FILE"),
    click.option(
        "--site", shell_complete=complete_site, metavar="NAME|FILE", help="Kind of machine; default: recognised."
    ),
    click.option(
        "--engine",
        metavar="NAME|FILE",
        help="The engine, or the recipe of a server; the experiment's or the site's own when not given.",
    ),
    click.option(
        "--models",
        shell_complete=complete_models,
        metavar="A,B",
        envvar="MODELS_TO_TEST",
        show_envvar=True,
        help="Models by name, alias or GGUF file; `all`, `tier1` ... `tier3`.",
    ),
    click.option("--environments", metavar="A,B", help="native, host, container_baseline, container_optimized."),
    click.option(
        "--runs",
        type=click.IntRange(1, MOST_RUNS),
        envvar="RUNS_PER_MODEL",
        show_envvar=True,
        help="Runs per model and environment.",
    ),
    click.option("--requests", type=click.IntRange(1, MOST_REQUESTS), help="Requests per run."),
    click.option("--seed", type=int, help="Seed of order and prompts."),
    RESULTS_DIR,
    setting_option(
        "Override one value: site.image=..., experiment.timeout_s=..., docker.container_baseline.shm_size=1g."
    ),
    click.option("--phase", envvar="TEST_PHASE", show_envvar=True, type=click.Choice(list(PHASES)), hidden=True),
    click.option("--mode", envvar="OPTIMIZATION_MODE", hidden=True),
    click.option("--json", is_flag=True, help=JSON),
)
insecure_option = click.option(
    "--allow-insecure", is_flag=True, help="Consent to flags and mounts with power over this machine, as --privileged."
)
address_option = click.option("--address", metavar="RAY", help="A Ray cluster; default: start one.")
# Those, and how it is carried out.
sweep_options = group(
    study_options,
    address_option,
    click.option(
        "--lock",
        type=click.Choice(["wait", "fail"]),
        default="wait",
        show_default=True,
        help="When the machine is in use.",
    ),
    click.option(
        "--dashboard/--no-dashboard", default=True, show_default=True, help="Ray's dashboard, which costs CPU time."
    ),
    click.option("--fresh", is_flag=True, help="Start a new results folder; keep the old one."),
    insecure_option,
    click.option("--yes", "-y", is_flag=True, help="Do not ask."),
)


# Of the verbs that carry one plan out.
seconds_option = click.option(
    "--seconds",
    type=Amount(),
    metavar="N",
    help="Start no block that would end more than N seconds from now; the same command continues.",
)


def options_of(arguments: Mapping[str, Any]) -> Options:
    """The dataclass from click's keyword arguments."""
    known = {f.name for f in fields(Options)}
    return Options(**{key: value for key, value in arguments.items() if key in known})
