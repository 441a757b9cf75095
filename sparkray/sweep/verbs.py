"""The verbs: which there are, how `--help` groups them, an example of each. Each is imported when it is called."""

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from typing import Any

import click

# What all verbs have in common.
CONTEXT: Mapping[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
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


def _read() -> Mapping[str, Verb]:
    """The verbs of `verbs.csv`, in the order of the help."""
    lines = files("sparkray.sweep").joinpath("verbs.csv").read_text(encoding="utf-8").splitlines()
    return {
        row["name"]: Verb(
            row["group"], row["module"], row["summary"], row["example"], one_thread=row["one_thread"] == "yes"
        )
        for row in csv.DictReader(lines)
    }


VERBS = _read()


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
        command.context_settings = {**CONTEXT, **command.context_settings}
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
