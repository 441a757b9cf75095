"""Verbs that stand alone are the same as among all, and start without what they do not need."""

import subprocess
import sys

import click

from sparkray.sweep.app import app
from sparkray.sweep.verbs import ALONE, program

HEAVY = ("ray", "docker", "matplotlib", "scipy.stats", "scipy.optimize", "sparkray.sweep.app")


def test_a_verb_alone_is_the_one_among_all() -> None:
    for name in ALONE:
        alone = program([name, "--json"])
        context = click.Context(app, info_name="sparkray")
        assert alone.list_commands(context) == [name]
        assert alone.get_command(context, name) is app.get_command(context, name)
        assert alone.context_settings == app.context_settings


def test_any_other_command_line_gets_all_verbs() -> None:
    for words in ([], ["--help"], ["plan"], ["analyse"]):
        assert program(words) is app


def test_analyze_starts_without_what_it_does_not_need() -> None:
    begin = "import sys; from sparkray.sweep import main; main(['analyze', '-h'])"
    code = f"{begin}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
