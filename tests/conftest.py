"""What every test stands on: Hypothesis without its own clock or database, and the command line as a user meets it."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from builders import Ended
from click.testing import CliRunner
from hypothesis import settings

from sparkray.sweep import main

settings.register_profile(
    "sparkray", deadline=None, derandomize=True, max_examples=100 if os.environ.get("SPARKRAY_SLOW") else 25
)
settings.load_profile("sparkray")

MACHINE = "docker or root or ray"
MARKED = re.compile(r"\bmark\.(docker|root|ray)\b")
UNIT_TESTS = Path(__file__).with_name("unit")
OLDER_VARIABLES = ("MODELS_TO_TEST", "RUNS_PER_MODEL", "TEST_PHASE", "OPTIMIZATION_MODE")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import unit tests that mark nothing where only what is marked is asked for: importing them all takes 30 s."""
    only_marked = config.getoption("markexpr") in (MACHINE, f"({MACHINE}) and not beside")
    if not only_marked or collection_path.parent != UNIT_TESTS or not collection_path.match("test_*.py"):
        return None
    return not MARKED.search(collection_path.read_text(encoding="utf-8")) or None


def pytest_itemcollected(item: pytest.Item) -> None:
    """What takes long is left out unless the environment asks for it: SPARKRAY_SLOW=1.

    What takes the machine's own lock is marked, so that it never runs beside another that does.
    """
    if "machine_lock" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("docker"):
        item.add_marker("docker")
    if item.get_closest_marker("slow") and not os.environ.get("SPARKRAY_SLOW"):
        item.add_marker(pytest.mark.skip(reason="takes long: run it with SPARKRAY_SLOW=1"))


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}, add_help_option=False
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def program(context: click.Context, words: tuple[str, ...]) -> None:
    """The whole program as one click command, so that click's own runner gives it an environment and takes its output."""
    context.exit(main(list(words)))


@pytest.fixture(scope="session")
def command_line() -> Callable[..., Ended]:
    """`command_line("plan", "--runs", "2", RUNS_PER_MODEL="3")`: exit status, stdout and stderr; an error is raised."""

    def call(*words: str, **environment: str) -> Ended:
        clean: dict[str, str | None] = dict.fromkeys(OLDER_VARIABLES)
        done = CliRunner().invoke(program, ["--", *words], env=clean | environment, catch_exceptions=False)
        return Ended(done.exit_code, done.stdout, done.stderr)

    return call
