"""The report for people: the table of the dataset before a run, and all sections after it."""

from collections.abc import Mapping
from typing import Any

from .settings import Settings
from .versions import text

_WIDE = 100_000
Section = Mapping[str, Any]


def dataset_table(dataset: Section) -> str:
    """The table of input and output lengths."""
    names = {"MIN": "minimum", "MAX": "maximum", "AVG": "average", **{f"P{q}": f"p{q}" for q in (50, 90, 95, 99)}}
    columns = {"isl": "isl_stats", "osl": "osl_stats", "total": "seq_len_stats"}
    rows = [
        text("dataset_row", name=name, **{column: _cell(dataset[part][key]) for column, part in columns.items()})
        for name, key in names.items()
    ]
    return text("dataset_table", **{**dataset, "rows": "\n".join(rows)})


def summary(settings: Settings, document: Section) -> str:
    """All sections, as one record of many lines."""
    fraction = document["world_info"]["kv_cache_percentage"]
    streaming = document.get("streaming_metrics")
    optional = {
        "revision": text("revision", settings.minor),
        "machine_details": text("machine_details", settings.minor, details=_machine(document.get("machine"))),
        "energy_lines": text("energy", **document["energy"]) if "energy" in document else "",
        "streaming_lines": _streaming(streaming) if streaming else "",
    }
    return text(
        "summary",
        settings.minor,
        **{key: section for key, section in document.items() if key not in ("machine", "energy", "dataset")},
        **optional,
        kv_percentage=None if fraction is None else format(fraction, ".2%"),
        latencies=_percentiles("Latency", document["performance"]["request_latency_percentiles_ms"]),
        dataset_table=dataset_table(document["dataset"]),
    )


def _machine(machine: Section | None) -> str:
    if machine is None:
        return text("no_machine")
    clock = "N/A" if machine["clocks.mem"] is None else f"{machine['clocks.mem']:.2f} GHz"
    return text("machine", name=machine["name"], memory=machine["memory.total"], clock=clock)


def _streaming(streaming: Section) -> str:
    sections = {"tpot": "tpot_percentiles", "ttft": "ttft_percentiles", "gtps": "gen_tps_percentiles"}
    order = ("minimum", "maximum", "average", "p50", "p90", "p95", "p99")
    tables = {
        name: _percentiles(name.upper(), {which: streaming[key][which] for which in order})
        for name, key in sections.items()
    }
    return text("streaming", **streaming, **tables)


def _percentiles(name: str, values: Mapping[str, float]) -> str:
    return "\n".join(text("percentile", name=name, which=which.upper(), value=value) for which, value in values.items())


def _cell(value: float) -> str:
    """Nine characters."""
    return (f"{value:9.2e}" if value >= _WIDE else f"{value:9.4f}").ljust(9)
