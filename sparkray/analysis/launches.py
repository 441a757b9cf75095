"""How engines were started: the first run of each environment and model, and the command lines of other levels."""

import json
from typing import Any

import polars as pl

from sparkray.analysis.frames import Frames, rank


def launches_of(frames: Frames) -> dict[str, dict[str, dict[str, Any]]]:
    """By environment and model: level, argv, declared start state, variables and Docker's line as the first run had them.

    `levels` has the argv of the first run at every other level of the load. What no row recorded is None or empty.
    """
    rows = frames.attempts.drop_nulls("engine_command").sort("position")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for environment in sorted(rows["environment"].unique().to_list(), key=rank):
        mine = rows.filter(pl.col("environment") == environment)
        for row in mine.unique(["model", "level"], keep="first", maintain_order=True).to_dicts():
            models = found.setdefault(environment, {})
            if row["model"] in models:
                models[row["model"]]["levels"][row["level"]] = _words(row["engine_command"])
            else:
                models[row["model"]] = _launch(row)
    return found


def _launch(row: dict[str, Any]) -> dict[str, Any]:
    state = json.loads(row["effective_state"] or "{}")
    return {
        "level": row["level"],
        "argv": _words(row["engine_command"]),
        "start_state": json.loads(row["start_state"] or "null"),
        "variables": state.get("environment") or {},
        "model_path": row["model_path"],
        "image": row["image"],
        "docker_command": row["docker_command"],
        "levels": {},
    }


def _words(argv: str) -> list[str]:
    """An argv that is stored as JSON; a line of another form as one word."""
    try:
        words = json.loads(argv)
    except ValueError:
        return [argv]
    return [str(word) for word in words] if isinstance(words, list) else [argv]
