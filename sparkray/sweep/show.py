"""The console of the command line: messages, errors and documents."""

import json
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

from sparkray.errors import SparkrayError
from sparkray.sweep.templates import rendered
from sparkray.units import shorten

WIDTH_WITHOUT_TERMINAL = 110
_MOST = 3000  # characters of a message or line


def error_text(error: SparkrayError) -> str:
    """An error for the user: what is wrong, then what to do."""
    text = f"sparkray: {shorten(error.message, _MOST)}"
    return f"{text}\n  {shorten(error.remedy, _MOST)}" if error.remedy else text


def console(*, to_stderr: bool) -> Console:
    """Where things are shown: stderr when stdout is for a JSON document."""
    stream = sys.stderr if to_stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else WIDTH_WITHOUT_TERMINAL, highlight=False, emoji=False)


def print_line(out: Console, text: str, *, style: str | None = None) -> None:
    """One message. A terminal gets it broken between words alone; a file or pipe gets it as one line."""
    lines = [_broken(line, out.width) for line in text.splitlines()] if out.is_terminal else [text]
    out.print("\n".join(lines), style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def show(out: Console, template: str, **values: object) -> None:
    """The lines of a template, the longest cut: in bold where one begins with `!`.

    One that begins with `=` is to be pasted: it is neither broken nor cut.
    """
    for line in rendered(template, width=out.width, **values):
        if line.startswith("="):
            out.print(line[1:], markup=False, emoji=False, highlight=False, soft_wrap=True)
        else:
            text = shorten(line.removeprefix("!"), _MOST)
            print_line(out, text, style="bold" if line.startswith("!") else None)


def print_json(document: object, *, default: Callable[[Any], Any] | None = None) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, indent=1, default=default, allow_nan=False))


def _broken(line: str, width: int) -> str:
    """A line at most so wide, its further parts indented. Words that are wider, such as paths, stay whole."""
    if len(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
