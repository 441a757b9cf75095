"""The verbs: which there are, how `--help` groups them, an example of each. Each is imported when it is called."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

CONTEXT: Mapping[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
"""What all verbs have in common."""
DOCUMENTATION = "docs/index.md of the repository, or `make docs`"
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"


@dataclass(frozen=True)
class Verb:
    """One verb of the command line.

    Attributes:
        group: Its heading in `--help`.
        module: Where the command is, below `sparkray.sweep`; it goes by the verb's name there.
        summary: What it does, for `--help`.
        example: A command line without the program's name.
        one_thread: Whether linear algebra gets one thread: matrices are small, and threads that wait for the next one spin.
    """

    group: str
    module: str
    summary: str
    example: str
    one_thread: bool = False


VERBS: Mapping[str, Verb] = {
    "quick": Verb("Measure", "measure", "Check that everything works: one model, three runs an environment.", "quick"),
    "baseline": Verb(
        "Measure", "measure", "Compare native and container in paired blocks.", "baseline --runs 10 --yes"
    ),
    "study": Verb(
        "Measure",
        "study",
        "Run the whole study: check, measure, optimise, validate, report.",
        "study --budget-hours 24",
    ),
    "validate": Verb(
        "Measure",
        "measure",
        "Measure native, baseline and optimised container in fresh blocks.",
        "validate --optimized results/container_optimized.yaml",
    ),
    "calibrate": Verb(
        "Measure", "calibrate", "Compare an environment with itself: is this machine sound?", "calibrate"
    ),
    "optimize": Verb(
        "Optimise",
        "optimize",
        "Find the Docker flags that win speed back, and their security price.",
        "optimize --runs 4",
    ),
    "analyze": Verb(
        "Analyse",
        "analyze",
        "Compute every estimate and verdict of a dataset.",
        "analyze",
        one_thread=True,
    ),
    "report": Verb(
        "Analyse",
        "report",
        "Write one page with figures and tables of a dataset.",
        "report",
        one_thread=True,
    ),
    "audit": Verb(
        "Analyse",
        "audit",
        "Judge results, anybody's: would they survive a review?",
        "audit results/local",
        one_thread=True,
    ),
    "roofline": Verb(
        "Analyse",
        "roofline",
        "Check whether a throughput is physically possible.",
        "roofline --model Qwen2.5-72B --batch 8 --throughput 119 --site dgx-spark",
    ),
    "compare-results": Verb(
        "Analyse",
        "compare_results",
        "Compare two datasets: before and after an update, two machines.",
        "compare-results results/local results/local@2",
        one_thread=True,
    ),
    "doctor": Verb("Inspect", "doctor", "Check this machine: what would stop a sweep, and what to do.", "doctor"),
    "plan": Verb("Inspect", "plan", "List every run with its command line and time; start nothing.", "plan --runs 3"),
    "status": Verb("Inspect", "status", "Show progress, ETA and last results, from any terminal.", "status --watch"),
    "models": Verb("Inspect", "listings", "List the models, with their files.", "models"),
    "sites": Verb("Inspect", "listings", "List the kinds of machine, with their files.", "sites"),
    "experiments": Verb("Inspect", "listings", "List the experiments, with their questions and files.", "experiments"),
    "engines": Verb(
        "Inspect", "engines", "List the engines, and what each was run on; check one.", "engines check vllm"
    ),
    "flags": Verb("Inspect", "listings", "List the Docker flags, with their security price.", "flags --json"),
}


class Program(click.Group):
    """A group of `VERBS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every verb, in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Imports the verb's module."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        if verb.one_thread:
            os.environ.setdefault(_BLAS_THREADS, "1")  # NumPy reads it when it is imported
        command: click.Command = getattr(import_module(f"sparkray.sweep.{verb.module}"), cmd_name.replace("-", "_"))
        command.epilog = f"\b\nExample: sparkray {verb.example}"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """The verbs by group, from the table alone."""
        width = max(map(len, VERBS))
        for group in dict.fromkeys(verb.group for verb in VERBS.values()):
            with formatter.section(group):
                formatter.write_dl(
                    [(f"{name:<{width}}", verb.summary) for name, verb in VERBS.items() if verb.group == group]
                )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """An example of each verb, and where the documentation is."""
        with formatter.section("Examples"):
            formatter.write_dl([(f"sparkray {verb.example}", "") for verb in VERBS.values()])
        with formatter.section("Documentation"), formatter.indentation():
            formatter.write_text(DOCUMENTATION)
