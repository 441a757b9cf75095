"""Every command line in the documentation is one that the program understands, down to the names of models and sites."""

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

import click
import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.errors import InputError
from sparkray.sweep.app import app
from sparkray.sweep.options import options_of
from sparkray.workflows.options import build_study

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM = re.compile(
    r"^(?:sudo )?(?:(?:\S*/)?python3? -m sparkray\.sweep|\.venv/bin/sparkray|sparkray)(?P<words> +.*)?$"
)
MAKE = re.compile(r"^make (?P<target>[a-z-]+)(?P<rest>.*)$")
STUDIES = ("baseline", "quick", "plan", "validate")


def code_lines(text: str) -> list[str]:
    """Lines of fenced and of indented code blocks, continued lines joined, and inline code."""
    fenced = re.findall(r"^```(?:bash|sh|console)?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    bare = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^ {4,}(\S.*)$", bare, re.MULTILINE)
    inline = re.findall(r"(?<!`)`([^`]+)`(?!`)", bare)
    blocks = [line for block in fenced for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines()]
    return [line.strip() for line in (*blocks, *indented, *inline)]


def without_remark(line: str) -> str:
    """The command alone: a remark follows a hash, or two spaces as in a table of verbs."""
    return re.split(r"\s+#\s|\s{2,}", line)[0].strip()


def commands_of(text: str) -> list[list[str]]:
    """Arguments of every call of the program, `make baseline ARGS="..."` among them."""
    found: list[list[str]] = []
    for line in code_lines(text):
        command = without_remark(line)
        if (called := PROGRAM.match(command)) and called["words"]:
            words = [word for word in shlex.split(called["words"]) if word != "--help"]  # every verb has that one
            if words and words[0] != "VERB":
                found.append(words)
        elif (made := MAKE.match(command)) and made["target"] == "baseline":
            given = re.search(r'ARGS="([^"]*)"', made["rest"])
            found.append(["baseline", "--yes", *(shlex.split(given[1]) if given else [])])
    return found


def understood(words: list[str]) -> None:
    """Raises click.ClickException for a verb, option or value that is none, InputError for a name that is none."""
    parent = click.Context(app, info_name="sparkray")
    verb, command, rest = app.resolve_command(parent, list(words))
    assert command is not None
    with command.make_context(verb, rest, parent=parent) as context:
        if verb in STUDIES:
            build_study(replace(options_of(context.params), optimized=None))  # a file that a sweep will have written
        elif context.params.get("site"):
            Catalog(data_root()).site(context.params["site"])


COMMANDS = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)}")
    for page in PAGES
    for words in commands_of(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("words", COMMANDS)
def test_the_program_understands_it(words: list[str]) -> None:
    understood(words)


def test_the_lines_were_found() -> None:
    """A pattern that finds nothing would let everything pass."""
    readme = commands_of((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {"plan", "baseline"} <= {words[0] for words in readme}
    quickstart = commands_of((ROOT / "docs" / "tutorials" / "day-with-a-spark.md").read_text(encoding="utf-8"))
    assert {"doctor", "plan", "quick", "baseline", "validate", "status"} <= {words[0] for words in quickstart}


@pytest.mark.parametrize(
    "line",
    [
        "    .venv/bin/sparkray bassline",
        "    .venv/bin/python -m sparkray.sweep baseline --run 3 --quiet",
        "```bash\nsudo .venv/bin/python -m sparkray.sweep plan --runs none\n```",
        "```\npython -m sparkray.sweep status \\\n    --watched\n```",
        "say `sparkray doctor --site dgx-sprak` first",
        "`sparkray plan --site cpu --models Qwen3-1.5B`",
        "`sparkray plan --site cpu --set experiment.protocol.cool=fixed`",
        '    make baseline ARGS="--lock never"',
    ],
)
def test_a_wrong_line_is_refused(line: str) -> None:
    (words,) = commands_of(line)
    with pytest.raises((click.ClickException, InputError)):
        understood(words)


def settings() -> list[object]:
    """What the pages say of `--set`, apart from whole commands."""
    return [
        pytest.param(line.split()[1], id=f"{page.name}: {line}")
        for page in PAGES
        for line in map(without_remark, code_lines(page.read_text(encoding="utf-8")))
        if re.fullmatch(r"--set [a-z]+\.\S+=\S+", line)
    ]


@pytest.mark.parametrize("setting", settings())
def test_every_setting_is_one(setting: str) -> None:
    understood(["plan", "--site", "dgx-spark", "--set", setting])


def test_every_make_target_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [line for page in PAGES for line in code_lines(page.read_text(encoding="utf-8"))]
    named = {found["target"] for line in lines if (found := MAKE.match(without_remark(line)))}
    assert named
    assert named <= targets


def test_every_script_that_is_named_is_there() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(
        re.findall(r"(?<![\w/])((?:scripts|benchmarks|conf|experiments|sparkray)/[\w/.-]+\.(?:py|sh|yaml))\b", text)
    )
    assert named
    assert [name for name in sorted(named) if not os.path.lexists(ROOT / name)] == []
