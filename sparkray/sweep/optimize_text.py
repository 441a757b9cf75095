"""What a user sees of an optimisation, from its document alone: ranking, search, confirmation, ladder, hypotheses."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sparkray.analysis.optimized import Confirmation, Effect, Ladder, Optimized, Search
from sparkray.sweep.show import print_line

_MOST_TRIED = 12


def show(found: Optimized, out: Console) -> None:
    """Everything, in the order of the stages."""
    out.print(ranking_table(found))
    for line in struck_lines(found):
        print_line(out, line)
    if found.search is not None:
        out.print(search_table(found.search))
        for line in search_lines(found.search):
            print_line(out, line)
    if found.confirmation is not None:
        out.print(confirm_table(found.confirmation))
        for line in model_lines(found.confirmation):
            print_line(out, line)
        print_line(out, found.confirmation.sentence, style="bold")
    if found.ladder is not None:
        for line in ladder_lines(found.ladder):
            print_line(out, line)
    for hypothesis in found.hypotheses:
        seen = f" Seen: {hypothesis.seen}." if hypothesis.seen else ""
        said = (
            hypothesis.reason
            if hypothesis.judged == "cannot be judged"
            else f"{hypothesis.judged}, {hypothesis.reason}"
        )
        print_line(out, f"Expected: {hypothesis.claim}: {said}.{seen}")
    if found.simulated:
        out.print("SIMULATED: these runs are from a simulated engine.", style="bold")


def gain_words(effect: Effect | None) -> str:
    """`+1.2 % (0.8 to 1.6)`, or why there is no number."""
    if effect is None or effect.gain_pct is None:
        return "–"
    return f"{effect.gain_pct:+.1f} % ({effect.gain_low_pct:+.1f} to {effect.gain_high_pct:+.1f})"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004 - as papers print it


def ranking_table(found: Optimized) -> Table:
    """Every level that was measured, the best first."""
    title = f"Levels alone against the baseline: gain in {found.metric} (95 % CI), p after Holm"
    table = _table(title, "level", "gain", "p", "sd ratio", "verdict", "security", "advice")
    for level in found.ranking:
        if level.state in ("struck", "search only"):
            continue
        made = level.effect
        verdict = (made.verdict or "–") if made is not None else level.state
        spread = f"{made.sd_ratio:.2f}" if made is not None and made.sd_ratio is not None else "–"
        table.add_row(
            escape(f"{level.factor}={level.level}"),
            gain_words(made),
            _p(made.p_holm if made else None),
            spread,
            verdict,
            level.security,
            escape(level.advice),
        )
    return table


def struck_lines(found: Optimized) -> Iterator[str]:
    """Levels that were not measured alone, and native's place."""
    if found.overhead is not None:
        yield f"The baseline container against native: {gain_words(found.overhead)} in {found.metric}."
    for level in found.levels:
        if level.state == "measured" and level.reason:
            yield f"{level.factor}={level.level} does not always work: {level.reason}"
    for level in found.levels:
        if level.state == "failed":
            yield f"{level.factor}={level.level} does not work: {level.reason}"
    for level in found.levels:
        if level.state in ("struck", "search only"):
            yield f"{level.factor}={level.level} not measured alone: {level.reason}"


def _choices(choices: Any) -> str:  # noqa: ANN401 - a mapping of a stored document, too
    changed = [f"{name}={label}" for name, label in choices.items() if label != "baseline"]
    return ", ".join(changed) or "the baseline"


def search_table(search: Search) -> Table:
    """The best configurations of the search; `*` is on the Pareto front."""
    title = "Search (exploratory): gain over the baseline of the same blocks; * on the Pareto front"
    table = _table(title, "", "choices", "n", "mean", "drawn in", "security", "state")
    for one in search.tried[:_MOST_TRIED]:
        table.add_row(
            "*" if one.on_front else "",
            escape(_choices(one.choices)),
            str(one.n),
            "–" if one.ratio is None else f"{100 * (one.ratio - 1):+.1f} %",
            "–" if one.estimate is None else f"{100 * (one.estimate - 1):+.1f} %",
            one.security,
            escape(one.state if one.state in ("complete", "stopped") else f"{one.state}: {one.reason}"),
        )
    return table


def search_lines(search: Search) -> Iterator[str]:
    """What stands below it."""
    noise = "unknown" if search.noise_pct is None else f"{search.noise_pct:.1f} %"
    yield (
        f"{len(search.tried)} configurations, the baseline among them, in {search.evaluations} runs beside a baseline's of "
        f"the same block; noise of one such ratio {noise}. "
        f"Pareto front over {', '.join(search.front_of) or 'nothing'}. Study {search.study!r}: "
        f"optuna-dashboard {search.storage}"
    )
    if search.corrected:
        yield (
            f"{search.corrected} trials were replaced: runs of theirs were refused after they had been told, and the rows "
            "decide."
        )
    if search.importance is not None:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in list(search.importance.items())[:6])
        yield f"What parts good trials from the rest (PED-ANOVA): {shares}."
    elif search.importance_reason:
        yield f"No importances: {search.importance_reason}."


def confirm_table(confirmation: Confirmation) -> Table:
    """The candidates on fresh runs."""
    title = f"Confirmation on {confirmation.blocks} fresh blocks a model: gain over the baseline (95 % CI)"
    table = _table(title, "candidate", "hoped for", "gain", "over native", "security", "wins")
    for one in confirmation.candidates:
        table.add_row(
            escape(f"{one.environment.partition(':')[2]}: {one.flags}"),
            f"{one.expected_pct:+.1f} %",
            gain_words(one.effect),
            gain_words(one.to_native),
            one.security,
            "yes" if one.wins else escape(f"no: {one.reason}"),
        )
    table.add_row("container_baseline", "", "", gain_words(confirmation.baseline), "", "")
    return table


def model_lines(confirmation: Confirmation) -> Iterator[str]:
    """What each candidate did on each model, where there are several."""
    for one in confirmation.candidates:
        if len(one.by_model) > 1:
            each = "; ".join(
                f"{model} {gain_words(found)} in {found.n} blocks" for model, found in one.by_model.items()
            )
            yield f"{one.environment.partition(':')[2]}: {each}"


def ladder_lines(ladder: Ladder) -> Iterator[str]:
    """A sentence for each model, metric and direction, and what could not be climbed."""
    ways = {"add": "layers added to the chroot", "leave": "layers taken from the container"}
    for one in ladder.found:
        for way, said in one.sentences.items():
            yield f"{one.model}, {one.metric}, {ways[way]}: {said}"
    for struck in ladder.struck:
        way = "added alone" if struck["direction"] == "add" else "taken away alone"
        yield f"{ladder.titles.get(struck['layer'], struck['layer'])}: not {way}: {struck['reason']}"
