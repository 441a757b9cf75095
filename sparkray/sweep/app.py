"""The program: its name, its version and its verbs."""

import click

from sparkray import __version__
from sparkray.sweep.verbs import CONTEXT, Program


@click.group(cls=Program, context_settings=dict(CONTEXT))
@click.version_option(__version__, prog_name="sparkray")
def app() -> None:
    """Measure what Docker costs an LLM inference workload, find out why, and win it back.

    Each verb has its own --help.
    """
