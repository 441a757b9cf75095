"""Summaries that tools print, `Output token throughput (tok/s): 380.5` a line, as rows. Pure."""

import re
from typing import Any

from sparkray.audit.names import known_as
from sparkray.metrics import BY_NAME

_LINE = re.compile(r"\s*(?P<label>[A-Za-z][\w./%() +-]{1,60}?)\s*:\s+(?P<value>\S.{0,60}?)\s*")
# Of llama.cpp: `eval time = 7900.00 ms / 312 runs ( 25.32 ms per token, 39.49 tokens per second)`.
_TIMING = re.compile(r"(?P<label>(?:prompt )?eval) time =.*?(?P<value>[\d.]+) tokens per second")
_ANY = re.compile(r":\s| time =")
_LEAST_METRICS = 2


def printed_rows(text: str) -> list[dict[str, Any]]:
    """A row for each summary in a text, the rest of which is prose; none where fewer than 2 metrics are printed.

    A summary begins where a label comes again that the last one has.
    """
    if _ANY.search(text) is None:
        return []
    rows: list[dict[str, Any]] = [{}]
    for line in text.splitlines():
        timing = _TIMING.search(line)
        match = timing or _LINE.fullmatch(line)
        if match is None:
            continue
        label, value = match["label"], match["value"]
        if timing is not None:
            label, value = f"{label} rate", f"{value} tokens/s"
        if label in rows[-1]:
            rows.append({})
        rows[-1][label] = value
    return [row for row in rows if sum(_is_metric(label, value) for label, value in row.items()) >= _LEAST_METRICS]


def _is_metric(label: str, value: str) -> bool:
    if not value[:1].isdigit():
        return False
    ours = known_as(label, [value])
    return ours is not None and (ours in BY_NAME or ours.endswith("_throughput_tok_s"))
