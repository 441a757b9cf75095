"""A calibration in tables and sentences, from its document, so that one made long ago is told as one made now."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from sparkray.stats.calibration import LEVEL
from sparkray.sweep.show import print_line
from sparkray.workflows.calibration_file import Document, not_judged, rate_words

_SEVERAL = 1.05
_BLOCK = 2


def show(document: Document, out: Console) -> None:
    """Everything: whose runs, the rates of both designs, the noise, what it lets be seen, and the verdict."""
    for line in _about(document):
        print_line(out, line)
    judged = {name: metric for name, metric in document["metrics"].items() if metric["not_estimable"] is None}
    if judged:
        out.print(_rates(judged, document["headline_pairs"]))
        out.print(_noise(judged))
    for line in (*_reach(judged), *_left_out(document), *_verdicts(document, judged)):
        print_line(out, line)


def _about(document: Document) -> Iterator[str]:
    yield (
        f"A/A: {document['runs']} runs of {document['model']} in {document['environment']} against themselves, on "
        f"{document['host']} (site {document['site']}), experiment {document['experiment']}"
    )
    if document["every"] > _SEVERAL:
        yield (
            f"Runs of other arms lie between them: {document['every']:g} runs were made for each of these, so blocks are "
            "longer here than in a sweep of two arms, which would make two."
        )
    if document["simulated"]:
        yield "SIMULATED: these runs are from a simulated engine."


def _rates(metrics: Mapping[str, Any], headline: int) -> Table:
    table = _table(
        "How often a design tells the arm from itself (sound: 5 %), with 95 % intervals",
        "m: pairs of an experiment; * is the headline, fixed beforehand. The rows of a metric share its runs. paired: m "
        f"blocks of {_BLOCK} runs, order drawn; blocked: m runs, then m runs. windows: all stretches of {_BLOCK}m runs; "
        "they overlap and REUSE runs, so have no interval",
        ("metric", "m", "paired", "blocked", "windows\npaired", "windows\nblocked"),
    )
    for name, metric in metrics.items():
        for number, trial in enumerate(metric["trials"]):
            table.add_row(
                name if number == 0 else "",
                f"{trial['pairs']}{'*' if trial['pairs'] == headline else ' '}",
                _rate(trial["paired"]),
                _rate(trial["blocked"]),
                f"{trial['paired_reused']:.1%}",
                f"{trial['blocked_reused']:.1%}",
            )
    return table


def _table(title: str, caption: str, columns: Sequence[str]) -> Table:
    table = Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def _rate(rate: Mapping[str, Any]) -> str:
    return f"{rate['rejections']} of {rate['experiments']} ({rate['low']:.1%} to {rate['high']:.1%})"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _noise(metrics: Mapping[str, Any]) -> Table:
    table = _table(
        "The noise of the runs",
        "sd log: of the log ratio of the two runs of a block. worth: independent runs that would tell as much about the "
        "mean. drift: a run (Theil-Sen). p: Moran's of lag 1, Kendall's of drift",
        ("metric", "mean", "CV", "sd log", "lag 1", "p", "worth", "drift", "p"),
    )
    for name, metric in metrics.items():
        noise, course = metric["noise"], metric["course"]
        table.add_row(
            name,
            f"{noise['mean']:.4g}",
            f"{noise['cv_pct']:.2f} %",
            f"{noise['sd_log']:.4f}",
            _number(course["lag1"], "+.2f"),
            _number(course["lag1_p"], ".2g"),
            f"{_number(course['effective_n'], '.0f')} of {noise['runs']}",
            f"{_number(course['drift_pct_per_run'], '+.3f')} %",
            _number(course["drift_p"], ".2g"),
        )
    return table


def _reach(metrics: Mapping[str, Any]) -> Iterator[str]:
    for name, metric in metrics.items():
        reach = metric["reach"]
        sees = (
            "no effect, an interval needs two pairs"
            if reach["smallest_pct"] is None
            else f"an effect of {reach['smallest_pct']:.2g} % or more with 80 % power"
        )
        text = f"{name}: {reach['planned_pairs']} pairs show {sees}"
        if reach["margin"] is not None:
            need = reach["pairs_needed"]
            how_many = f"{need} pairs" if need is not None else "more than 100,000 pairs, or there was no noise at all"
            text += f"; to call equal arms equivalent within {reach['margin']:.1%} takes {how_many}"
        yield f"{text}."


def _left_out(document: Document) -> Iterator[str]:
    for name, metric in document["metrics"].items():
        if metric["not_estimable"] is not None:
            yield f"{name}: not estimable, {metric['not_estimable']}."


def _verdicts(document: Document, metrics: Mapping[str, Any]) -> Iterator[str]:
    """Does the paired design hold, and is the blocked one worse?"""
    for name, metric in metrics.items():
        trial = metric["trials"][0]
        paired, blocked = trial["paired"], trial["blocked"]
        if metric["cause"] is not None:
            yield (
                f"FAILED: {name}: the paired design tells the arm from itself in {rate_words(paired)}, an interval that "
                f"excludes 5 %. Likely cause: {metric['cause']}."
            )
        worse = "which lies above 5 %" if blocked["low"] > LEVEL else "which holds 5 %"
        yield (
            f"{name}, {trial['pairs']} pairs: the blocked design is wrong in {rate_words(blocked)}, {worse}; over all "
            f"windows in {trial['blocked_reused']:.1%}, the paired one in {trial['paired_reused']:.1%}."
        )
    if document["sound"]:
        rates = [metric["trials"][0]["paired"] for metric in metrics.values()]
        yield (
            f"Passed: the interval of the paired design holds 5 % in {_how_many(document)}. "
            f"{rates[0]['experiments']} experiments exclude rates above {max(r['high'] for r in rates):.1%}, no lower ones."
        )
    elif document["sound"] is None:
        yield "Nothing could be judged: measure more runs."


def _how_many(document: Document) -> str:
    """A metric that could not be judged has passed nothing."""
    missing = not_judged(document)
    if not missing:
        return "every metric"
    count = len(document["metrics"])
    return f"{count - len(missing)} of {count} metrics; not judged: {', '.join(missing)}"
