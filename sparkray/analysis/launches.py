"""How engines were started: of each environment the first run, and the command of the first run of every other model."""

import json
from typing import Any

import polars as pl

from sparkray.analysis.frames import Frames, rank


def launches_of(frames: Frames) -> dict[str, dict[str, Any]]:
    """By environment: model, argv, declared start state, variables and path of the model as the first run had them.

    `others` has the argv of the first run of every other model. What no row tells is None or empty.
    """
    rows = frames.attempts.drop_nulls("engine_command").sort("position")
    found: dict[str, dict[str, Any]] = {}
    for environment in sorted(rows["environment"].unique().to_list(), key=rank):
        firsts = rows.filter(pl.col("environment") == environment).unique("model", keep="first", maintain_order=True)
        first, *others = firsts.to_dicts()
        state = json.loads(first["effective_state"] or "{}")
        found[environment] = {
            "model": first["model"],
            "argv": _words(first["engine_command"]),
            "start_state": json.loads(first["start_state"] or "null"),
            "variables": state.get("environment") or {},
            "model_path": first["model_path"],
            "image": first["image"],
            "others": {row["model"]: _words(row["engine_command"]) for row in others},
        }
    return found


def _words(argv: str) -> list[str]:
    """An argv that is stored as JSON; a line of another form as one word."""
    try:
        words = json.loads(argv)
    except ValueError:
        return [argv]
    return [str(word) for word in words] if isinstance(words, list) else [argv]
