"""Which verbs stand alone: they are imported without the others, whose imports take longer than they themselves work."""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
CONTEXT: Mapping[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
"""What all verbs have in common."""
ALONE: Mapping[str, str] = {name: f"sparkray.sweep.{name}" for name in ("analyze", "audit", "report")}
"""Verbs that measure nothing, by name, and their modules, in which each goes by the same name."""


def program(words: Sequence[str]) -> click.Group:
    """The program for a command line: with the one verb that it begins with where that stands alone, else with all.

    Args:
        words: The command line without the program's name.
    """
    if words and words[0] in ALONE:
        name = words[0]
        # NumPy reads it when it is imported: matrices are small here, and threads that wait for the next one spin
        os.environ.setdefault(_BLAS_THREADS, "1")
        return click.Group(
            "sparkray", {name: getattr(import_module(ALONE[name]), name)}, context_settings=dict(CONTEXT)
        )
    return import_module("sparkray.sweep.app").app  # type: ignore[no-any-return] # every verb, and with them every room
