"""The words of the command line: text templates beside this file, and what renders them."""

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined

from sparkray.metrics import BY_NAME
from sparkray.schema import capital, unit_of

SHORT: Mapping[str, str] = {
    "output_throughput_tok_s": "throughput",
    "latency_mean_ms": "latency",
    "ttft_mean_ms": "first token",
    "host_available_drop_peak_gib": "memory",
}
"""Names of the usual metrics for a narrow terminal."""
ARMS: Mapping[str, str] = {
    "container_baseline": "Docker",
    "container_optimized": "tuned Docker",
    "host": "host process",
}
_WIDTH = 18


def short(metric: str) -> str:
    """A metric in a word or two."""
    return SHORT.get(metric, BY_NAME[metric].column.label if metric in BY_NAME else metric)


def arm(environment: str) -> str:
    """An environment in a word or two."""
    return ARMS.get(environment, environment)


def heading(metric: str) -> str:
    """A metric with its unit, for the first column of a table."""
    unit, name = unit_of(metric), capital(short(metric))
    suffix = f" ({unit})" if unit else ""
    return f"{name[: _WIDTH - len(suffix)]}{suffix}"


def rendered(name: str, **values: object) -> list[str]:
    """The lines of a template; empty ones are left out."""
    from sparkray.report.format import shown  # noqa: PLC0415 - the room brings Matplotlib, which takes long to import

    made = Environment(
        loader=PackageLoader("sparkray.sweep"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - plain text
    )
    made.filters |= {"num": shown, "short": short, "arm": arm, "heading": heading}
    return [line.rstrip() for line in made.get_template(name).render(values).splitlines() if line.strip()]
