"""The verbs are a table: each is found, has an example that the program understands, and brings no more than it needs."""

import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support.studies import small_study

from sparkray.sweep.app import app
from sparkray.sweep.verbs import DOCUMENTATION, VERBS

HEAVY = ("scipy", "pandas", "polars", "ray", "matplotlib", "optuna", "sparkray.sweep.experiment")
# The functions of `scipy.special` are loaded without the package (`sparkray.stats.special`).
SCIPY = ("scipy.special", "scipy.stats", "scipy.optimize", "scipy.interpolate")


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_has_an_example_that_the_program_understands(name: str) -> None:
    parent = click.Context(app, info_name="sparkray")
    verb, command, rest = app.resolve_command(parent, shlex.split(VERBS[name].example))
    assert verb == name
    assert command is not None
    with command.make_context(name, rest, parent=parent) as context:
        assert VERBS[name].example in command.get_help(context)


def test_help_groups_the_verbs_and_names_the_documentation() -> None:
    text = click.Context(app, info_name="sparkray", max_content_width=110, terminal_width=110)
    shown = app.get_help(text)
    headings = ["Measure:", "Optimise:", "Analyse:", "Inspect:", "Examples:", "Documentation:"]
    places = [shown.index(f"\n{heading}\n") for heading in headings]
    assert places == sorted(places)
    assert DOCUMENTATION in shown
    for name, verb in VERBS.items():
        assert f"{name} " in shown
        assert f"sparkray {verb.example}" in shown
        assert verb.summary in shown


def test_no_verb_begins_with_the_number_of_a_phase() -> None:
    context = click.Context(app, info_name="sparkray")
    for name in VERBS:
        command = app.get_command(context, name)
        assert command is not None
        assert not (command.help or "").startswith("Phase"), name


def test_an_unknown_verb_is_refused() -> None:
    with pytest.raises(click.UsageError, match="analyse"):
        app.resolve_command(click.Context(app, info_name="sparkray"), ["analyse"])


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (["--help"], (*HEAVY, "numpy", "pyarrow", "docker", "pydantic", "rich", "jinja2")),
        (["analyze", "-h"], ("ray", "docker", "matplotlib", *SCIPY)),
        (["analyze", "--seed", "1"], ("pandas", "pyarrow", "ray", "docker", "matplotlib", *SCIPY)),
        (["status"], (*HEAVY, "numpy", "pyarrow", "docker", "pydantic")),
        (
            ["plan", "--site", "dgx-spark", "--runs", "1"],
            ("pandas", "polars", "ray", "matplotlib", "optuna", "docker", *SCIPY),
        ),
        (["doctor", "--site", "cpu"], (*HEAVY[1:], *SCIPY)),
    ],
    ids=lambda value: value[0],
)
def test_a_verb_imports_only_what_it_needs(words: list[str], unneeded: tuple[str, ...], tmp_path: Path) -> None:
    if words[0] not in ("--help", "doctor") and "-h" not in words:
        small_study(tmp_path, models=1, runs=1, requests=0, samples=0)
        words = [*words, "--results-dir", str(tmp_path)]
    code = f"import sys; from sparkray.sweep import main; print(main({words}), [n for n in {unneeded} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] in ("0 []", "1 []")  # 1: `doctor` found what would stop a sweep
