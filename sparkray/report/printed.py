"""The tables that a report derives, as LaTeX: in the form of `analysis.latex`, columns of sentences as wide as they need.

What is a formula or a rule for the reader of the page (`source`, `supports`) is not printed; it stands in the other formats.
"""

import re
from collections.abc import Mapping

import polars as pl

from sparkray.analysis.latex import Col, View, latex
from sparkray.report.latex import escaped

_WHO = (Col("Model", "model"), Col("Env.", "environment"))
_GAIN = (
    Col("$n$", "n", 0),
    Col("Gain, %", "gain_pct", 2),
    Col("Low", "gain_low_pct", 2),
    Col("High", "gain_high_pct", 2),
    Col("Verdict", "verdict"),
)
_NONE = "--: none, or not known"


_CELLS = re.compile(r"^    [^{].*\\\\$", re.MULTILINE)
_LONG = re.compile(r"(\\_|=|[0-9a-f]{8}(?=[0-9a-f]{8}))")
"""Where a long word may break: behind an underscore or an equals sign, and inside of a digest."""


def _view(caption: str, *columns: Col, split: tuple[str, ...] = ()) -> tuple[View, ...]:
    return (View(caption, columns, split, missing=_NONE),)


VIEWS: Mapping[str, tuple[View, ...]] = {
    "method": _view(
        "Constants of the method", Col("What", "name"), Col("Value", "value", 1), Col("", "note", width="4cm")
    ),
    "fit": _view(
        "Which models fit: memory that is needed as they are, and at 16, 8 and 4 bits, GiB",
        Col("Model", "model"),
        Col("Precision", "precision"),
        Col("$10^9$", "params_b", 1),
        Col("Needed", "needed_gib", 1),
        Col("Fits", "fits"),
        Col("16", "needed_16_gib", 1),
        Col("8", "needed_8_gib", 1),
        Col("4", "needed_4_gib", 1),
        Col("Seq.", "most_sequences", 0),
    ),
    "flags": _view(
        "Flags that the containers really had, with their security price",
        Col("Env.", "environment"),
        Col("Flag", "flag", width="3.2cm"),
        Col("Security", "security"),
        Col("Cannot act", "cannot_act", width="2.4cm"),
    ),
    "costs": _view(
        "What the ratio comes to: $10^6$ tokens a day gained or lost with 95 % interval, kWh per $10^6$ tokens",
        *_WHO,
        Col("Tokens", "tokens_day", 3, 1e-6),
        Col("Low", "tokens_day_low", 3, 1e-6),
        Col("High", "tokens_day_high", 3, 1e-6),
        Col("kWh", "kwh_per_million", 2),
        Col("Ref.", "reference_kwh_per_million", 2),
        Col("Power", "power_checked", width="1cm"),
    ),
    "load": _view(
        "The load to take: throughput and latency there, and what the largest throughput is beyond it",
        *_WHO,
        Col("Load", "level"),
        Col("tok/s", "throughput_tok_s", 1),
        Col("ms", "latency_ms", 1),
        Col("Left, %", "left_pct", 1),
    ),
    "memory_split": _view(
        "What the drop of available memory is made of, GiB: where each part begins in the stack, and its size",
        *_WHO,
        Col("Part", "part"),
        Col("Begins", "begin_gib", 2),
        Col("Size", "value_gib", 2),
    ),
    "audit": _view(
        "What a reviewer would object to, and what could not be judged",
        Col("Finding", "kind", width="1.8cm"),
        Col("Gravity", "gravity"),
        Col("What it means", "message", width="4.6cm"),
    ),
    "between": _view(
        "{metric}: this study over the other, ratio with 95 % interval and verdict",
        Col("What", "kind"),
        *_WHO,
        Col("Ratio", "ratio", 4),
        Col("Low", "low", 4),
        Col("High", "high", 4),
        Col("Verdict", "verdict"),
        split=("metric",),
    ),
    "studies": _view(
        "What both studies are of",
        Col("What", "what"),
        Col("Same", "same"),
        Col("This study", "here", width="2.8cm"),
        Col("The other", "there", width="2.8cm"),
    ),
    "flag_levels": _view(
        "Each level of a flag alone against the baseline ($p$ after Holm)",
        Col("Flag", "factor", width="1cm"),
        Col("Level", "level", width="1cm"),
        *_GAIN[1:],
        Col("$p$", "p_holm", 3),
        Col("Security", "security"),
    ),
    "flag_models": _view(
        "Levels and candidates on each model alone", Col("Of", "name", width="1.8cm"), Col("Model", "model"), *_GAIN
    ),
    "flag_factors": _view(
        "Flags by what their levels did alone, and their share in the search",
        Col("Flag", "factor"),
        Col("Best", "best"),
        Col("Gain, %", "best_pct", 2),
        Col("Worst", "worst"),
        Col("Gain, %", "worst_pct", 2),
        Col("Importance", "importance", 2),
    ),
    "flag_trials": _view(
        "What the search tried, the best first",
        Col("", "label"),
        Col("Flags", "flags", width="3.2cm"),
        Col("Runs", "n", 0),
        Col("Gain, %", "gain_pct", 2),
        Col("GiB", "memory_gib", 2),
        Col("Security", "security"),
    ),
    "flag_candidates": _view(
        "Candidates on fresh blocks against the baseline",
        Col("Flags", "flags", width="2.4cm"),
        *_GAIN,
        Col("Wins", "wins"),
    ),
    "flag_facts": _view(
        "The optimisation: single values",
        Col("What", "name", width="2.2cm"),
        Col("Value", "value", 3),
        Col("Ratio", "ratio", 4),
        Col("", "text", width="3cm"),
    ),
    "attribution": _view(
        "{metric}, {model}: where the difference comes from, effects in the metric's own unit ($p$ adjusted)",
        Col("Layer", "layer"),
        Col("", "direction"),
        Col("Row", "role"),
        Col("Effect", "value", 3),
        Col("Low", "low", 3),
        Col("High", "high", 3),
        Col("$p$", "p_adjusted", 3),
        split=("metric", "model"),
    ),
    "layers_struck": _view(
        "Layers that could not be added or taken away",
        Col("Layer", "layer"),
        Col("", "direction"),
        Col("Reason", "reason", width="4.6cm"),
    ),
    "hypotheses": _view(
        "Hypotheses of the study before",
        Col("What", "name", width="1.6cm"),
        Col("Judged", "judged"),
        Col("Seen", "seen", width="4.4cm"),
    ),
}


def printed(name: str, frame: pl.DataFrame) -> str:
    """A derived table's floats, for every metric that it has."""
    metrics = frame["metric"].unique().to_list() if "metric" in frame.columns else []
    text = latex(name, frame, metrics, views=VIEWS) or ""
    plain = "".join(letter if letter.isascii() else escaped(letter) for letter in text)
    return _CELLS.sub(lambda line: _LONG.sub(r"\1\\allowbreak{}", line[0]), plain)
