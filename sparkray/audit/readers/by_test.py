"""Tables of llama-bench and llama-benchy with one row a test, named `pp2048 @ d4096 (c2)`: Markdown or CSV."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sparkray.audit import wide
from sparkray.audit.content import Content
from sparkray.audit.names import plain
from sparkray.audit.reading import Asked, Reading
from sparkray.audit.results import Role
from sparkray.audit.rows import Row

LABEL = "llama-bench or llama-benchy by test (Markdown, CSV)"
TRIED = "files made up after the tables that both tools print"
_TEST = re.compile(
    r"(?:(?P<context>ctx)_)?(?:pp(?P<prompt>\d*))?\+?(?:tg(?P<gen>\d*))?(?:\s*@\s*d(?P<depth>\d+))?(?:\s*\(c(?P<batch>\d+)\))?"
)
_NAMES = ("test", "test_name")
_SPEEDS = ("t/s", "t/s (total)", "t_s_mean")
_METRICS = {
    "t/s (req)": "output_throughput_per_user_tok_s",
    "t_s_req_mean": "output_throughput_per_user_tok_s",
    "peak t/s": "peak_throughput_tok_s",
    "peak_ts_mean": "peak_throughput_tok_s",
    "e2e_ttft (ms)": "ttft_mean_ms",
    "e2e_ttft_mean": "ttft_mean_ms",
    "ttfr (ms)": "time_to_first_response_ms",
    "ttfr_mean": "time_to_first_response_ms",
}
_SETTINGS = (
    "size",
    "params",
    "backend",
    "ngl",
    "threads",
    "n_ubatch",
    "n_batch",
    "fa",
    "type_k",
    "type_v",
    "mmap",
    "dev",
    "build",
)
_ARMS = ("arm", "environment", "env", "label", "setup", "runtime")
_PLAIN = frozenset(("model", "gpu", "build", *_ARMS, *_SETTINGS))
_ROLES: dict[str, Role] = {
    **dict.fromkeys(("n_prompt", "n_gen", "n_depth", "is_context_prefill_phase"), "parameter"),
    **dict.fromkeys(_SETTINGS, "identity"),
}


def read(content: Content, asked: Asked) -> Reading | None:
    """The rows of the table; None where it has no column of such tests."""
    if not content.table:
        return None
    name = next((name for name in _NAMES if name in content.columns), None)
    speed = next((name for name in _SPEEDS if name in content.columns), None)
    listed = content.tree
    if name is None or speed is None:
        name, speed, listed = "test", "t/s", wide.by_test(content.tree, content.columns)
    if listed is None:
        return None
    rows = list(
        _rows(
            [{plain(key) if plain(key) in _PLAIN else key: cell for key, cell in row.items()} for row in listed],
            (name, speed),
            asked,
        )
    )
    return Reading(LABEL, rows, _ROLES, family="llama_benchy", rank=1) if rows else None


def _rows(rows: list[Mapping[str, Any]], columns: tuple[str, str], asked: Asked) -> Iterator[Row]:
    for row in rows:
        test = _TEST.fullmatch(str(row.get(columns[0]) or "").strip())
        if test is None or (test["prompt"] is None and test["gen"] is None):
            continue
        prompt, gen = test["prompt"] is not None, test["gen"] is not None
        kind = "total" if prompt and gen else "prefill" if prompt else "output"
        yield {
            "model": row.get("model"),
            "group": row.get("group"),
            "gpu": row.get("gpu"),
            "environment": next((row[name] for name in _ARMS if row.get(name)), None),
            **{name: row[name] for name in _SETTINGS if row.get(name)},
            **{ours: row[theirs] for theirs, ours in _METRICS.items() if row.get(theirs)},
            f"{kind}_throughput_tok_s": row.get(columns[1]),
            "n_prompt": test["prompt"] or 0,
            "n_gen": test["gen"] or 0,
            "n_depth": test["depth"] or 0,
            "is_context_prefill_phase": str(test["context"] is not None).lower(),
            "batch": test["batch"] or 1,
            **{ours: row.get(theirs) for ours, theirs in asked.columns.items()},
        }
