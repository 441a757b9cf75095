"""The words of the command line: text templates beside this file, and what renders them."""

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from sparkray.metrics import BY_NAME
from sparkray.report.compiled import Compiled
from sparkray.report.format import grouped, listed, shown
from sparkray.schema import capital, unit_of
from sparkray.stats.reasons import worded
from sparkray.units import format_duration, shorten

# Names of the usual metrics for a narrow terminal.
SHORT: Mapping[str, str] = {
    "output_throughput_tok_s": "throughput",
    "latency_mean_ms": "latency",
    "ttft_mean_ms": "first token",
    "itl_mean_ms": "next token",
    "container_to_ready_s": "until ready",
    "host_available_drop_peak_gib": "memory",
}
ARMS: Mapping[str, str] = {
    "container_baseline": "Docker",
    "container_optimized": "tuned Docker",
    "host": "host process",
    "container_host_network": "host network",
    "container_against": "2nd Docker",
}
_WIDTH = 18
_COMPILED = Compiled("terminal")


def short(metric: str) -> str:
    """A metric in a word or two."""
    return SHORT.get(metric, BY_NAME[metric].column.label if metric in BY_NAME else metric)


def arm(environment: str) -> str:
    """An environment in a word or two."""
    return ARMS.get(environment, environment.replace("_", " "))


def heading(metric: str) -> str:
    """A metric with its unit, for the first column of a table."""
    unit, name = unit_of(metric), capital(short(metric))
    suffix = f" ({unit})" if unit else ""
    return f"{name[: _WIDTH - len(suffix)]}{suffix}"


def rendered(name: str, *, width: int = 110, **values: object) -> list[str]:
    """The lines of a template of this room, which may import those of `report`; empty ones are left out.

    Args:
        name: Its file.
        width: Of the terminal, for `table`.
        values: What it reads.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader("sparkray.sweep"), PackageLoader("sparkray.report")]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - plain text
        bytecode_cache=_COMPILED,
    )
    made.globals["table"] = lambda head, rows: "\n".join(table(head, rows, width))
    made.globals["duration"] = format_duration
    made.filters |= {"num": shown, "listed": listed, "grouped": grouped, "short": short, "arm": arm, "heading": heading}
    made.filters["bare"] = lambda number: number.partition(" ")[0]
    made.filters |= {"shell": shlex.join, "reason": worded, "shorten": shorten}
    return [line.rstrip() for line in made.get_template(name).render(values).splitlines() if line.strip()]


def table(head: Sequence[str], rows: Iterable[Sequence[object]], width: int) -> Iterator[str]:
    """Aligned columns; those that have no room stand below their row, in whole words.

    Rich folds words in the middle where columns are narrow.
    """
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    fitting = max(1, sum(end <= width + 2 for end in accumulate(one + 2 for one in widths)))
    for cells in lines:
        yield "  ".join(f"{cell:<{one}}" for cell, one in zip(cells[:fitting], widths, strict=False)).rstrip()
        rest = "  ".join(filter(None, cells[fitting:]))
        yield from textwrap.wrap(
            rest, width, initial_indent="    ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
