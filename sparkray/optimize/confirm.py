"""The confirmation: native, the baseline and a few candidates on fresh interleaved blocks. Only this decides.

The highest of many estimates is too high: a search of nothing but noise still has a best trial. So each candidate is
measured again, and wins if its gain over the baseline is shown to be above the margin: a one-sided paired t test of a gain
of no more than the margin at 2.5 %, with Holm's correction over the candidates. With nothing but noise there is a winner in
at most 2.5 % of optimisations, however many were tried before.

Blocks in which a candidate failed leave no pair, so that a mean over pairs would be of its survivors: it must have pairs in
nine of ten blocks of every model, and none of the models may be shown to lose by more than the margin. Of winners whose
intervals overlap the safest is taken. Where the experiment has a sequential design, its interim analyses decide.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sparkray.analysis.optimized import Confirmation, Confirmed, Effect
from sparkray.config.boundary import read_json
from sparkray.config.site import CONTAINER_BASELINE, NATIVE
from sparkray.config.space import isolation_rank, weakenings
from sparkray.optimize.context import OptimizationContext, changed_words
from sparkray.optimize.effects import Comparison, compare
from sparkray.optimize.interim import interim_analyses
from sparkray.optimize.memory import memory_of
from sparkray.optimize.rows import Rows, key_of, must_run, rows_of
from sparkray.optimize.runner import StudyRunner
from sparkray.optimize.screen import Screened
from sparkray.optimize.search import Candidate, shortlist
from sparkray.optimize.search.stage import Searched
from sparkray.plan import Treatment, definition_sha256, make_plan
from sparkray.stats.reasons import worded
from sparkray.stats.screen import beyond_margin
from sparkray.stats.sequential import Interim
from sparkray.store import Dataset
from sparkray.store.writing import write_atomically

# One-sided: that of a 95 % interval beyond the margin.
RISK = 0.025
# Of the blocks of each model in which a candidate must have a pair.
LEAST_SHARE = 0.9
_FILE = "candidates.json"


@dataclass(frozen=True)
class Decided:
    """Results of the confirmation. `winner` becomes the optimised environment; None keeps the baseline."""

    dataset: Dataset
    confirmation: Confirmation
    winner: Candidate | None
    rows: Rows


def confirm(context: OptimizationContext, screened: Screened, searched_: Searched, runner: StudyRunner) -> Decided:
    """Measures what is left of the confirmation, and decides.

    Raises:
        SparkrayError: No further run is possible, or the baseline does not run.
        InterruptedSweepError: The user asked to stop.
    """
    candidates = shortlist(searched_.feasible_space, searched_.found, list(screened.measured.values()))
    ends, runs = (Treatment(NATIVE), context.baseline), context.confirm_runs
    treatments = {one.environment: context.treatment(one.environment, one.options) for one in candidates}
    dataset = _dataset(context, runner, (*ends, *treatments.values()))
    names = ", ".join(treatments) or "no candidate: neither screen nor search shows a gain"
    runner.say(f"confirm: {names}; {runs} fresh blocks a model; data in {dataset.path}")
    excluded = runner.able(context.stage("confirm", ends, runs), dataset, list(treatments.values()))
    kept = [treatment for name, treatment in treatments.items() if name not in excluded]
    study = context.stage("confirm", (*ends, *kept), runs)

    def settled(rows: Rows) -> bool:
        found = interim_analyses(context, list(treatments), rows, models=screened.models, closed=False)
        given_up = {name for name in treatments if name in excluded or rows.failing(name) is not None}
        return bool(found) and all(one.stop or name in given_up for name, one in found.items())

    failed = runner.rounds(study, dataset, always=(NATIVE, CONTAINER_BASELINE), over=settled)
    rows = rows_of(dataset, make_plan(study))
    must_run(rows, CONTAINER_BASELINE, dataset.path, screened.models)
    made = decide_among(context, candidates, rows, models=screened.models, out={**excluded, **failed})
    winner = next((one for one in candidates if one.environment == made.winner), None)
    return Decided(dataset, made, winner, rows)


def _dataset(context: OptimizationContext, runner: StudyRunner, treatments: Sequence[Treatment]) -> Dataset:
    """The dataset of these very flags: blocks with other flags are another confirmation."""
    names = sorted(f"{treatment.environment} {key_of(treatment)}" for treatment in treatments)
    study = context.stage("confirm", (), context.confirm_runs)
    definition = definition_sha256(study)
    dataset = runner.dataset(study, definition)
    path = dataset.path / _FILE
    if path.is_file() and _names_in(path) != names:
        dataset = runner.dataset(study, definition, fresh=True)
        path = dataset.path / _FILE
    write_atomically(path, json.dumps(names).encode())
    return dataset


def _names_in(path: Path) -> object:
    """What an earlier confirmation was of; None where that cannot be read, so that a new one begins."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def decide_among(
    context: OptimizationContext,
    candidates: Sequence[Candidate],
    rows: Rows,
    *,
    models: Sequence[str],
    out: Mapping[str, str] | None = None,
) -> Confirmation:
    """The verdict on fresh rows.

    Args:
        context: The optimisation.
        candidates: Those that were measured.
        rows: Of the confirmation.
        models: Those that the baseline runs; a candidate must work on each.
        out: Candidates that were given up, with why.
    """
    found = compare(context, rows, {one.environment: one.environment for one in candidates}, models)
    beyond = beyond_margin([plain for _, plain in found.effects.values()], context.margin)
    p_beyond = dict(zip(found.effects, beyond, strict=True))
    blocks = 1 + max((block for _, block in found.base), default=0) if context.interim else context.confirm_runs
    closed = blocks == context.confirm_runs
    interim = interim_analyses(context, list(found.effects), rows, models=models, closed=closed)
    native = rows.values(NATIVE, context.metric)
    judged = []
    for one in candidates:
        name, made = one.environment, found.effects[one.environment][0]
        each = found.on_each(name)
        memory, more_memory = memory_of(context, rows, name)
        reason = (
            (out or {}).get(name)
            or _unproven(made, each, blocks)
            or (_by_interim(interim[name]) if interim else _by_test(made, p_beyond[name], context.margin))
            or more_memory
        )
        to_native = Comparison(context.metric, context.margin, NATIVE)
        judged.append(
            Confirmed(
                environment=name,
                flags=changed_words(context.baseline.options, one.options),
                choices=dict(one.choices),
                security=one.security,
                why=one.why,
                expected_pct=100 * math.expm1(one.expected),
                effect=made,
                beyond_p_holm=None if interim else p_beyond[name],
                to_native=to_native.effect(native, rows.values(name, context.metric), name),
                memory=memory,
                wins=reason is None,
                reason=reason,
                by_model=each,
            )
        )
    winner = best_of(judged, {one.environment: weakenings(one.options) for one in candidates})
    whole = Confirmation(blocks, found.overhead, tuple(judged), winner.environment if winner else None, "")
    return replace(whole, sentence=_sentence(context, whole, winner))


def best_of(judged: Sequence[Confirmed], weak: Mapping[str, int]) -> Confirmed | None:
    """The winner with the highest gain, or a safer one whose interval overlaps with its own.

    Args:
        judged: The candidates.
        weak: How many of its options trade isolation away, by environment.
    """
    winners = [one for one in judged if one.wins]
    best = max(winners, key=_gain, default=None)
    if best is None:
        return None
    level = [one for one in winners if (one.effect.gain_high_pct or 0.0) >= (best.effect.gain_low_pct or 0.0)]
    return min(level, key=lambda one: (isolation_rank(one.security), weak[one.environment], -_gain(one)))  # type: ignore[arg-type]


def _gain(one: Confirmed) -> float:
    return one.effect.gain_pct or 0.0


def _unproven(made: Effect, by_model: Mapping[str, Effect], blocks: int) -> str | None:
    """Why too little is known of a candidate, or too much against it on one model; None where neither holds."""
    if made.ratio is None:
        return worded(made.not_estimable) or "too few runs"
    for model, one in by_model.items():
        if one.n < LEAST_SHARE * blocks:
            return f"it works in {one.n} of {blocks} blocks of {model}: {LEAST_SHARE:.0%} are needed"
        if len(by_model) > 1 and one.harms and one.verdict == "different":
            return f"it harms {model} by more than the margin: {one.gain_pct:+.1f} %"
    return None


def _by_test(made: Effect, p: float | None, margin: float) -> str | None:
    return None if p is not None and p < RISK else _short_of(made, margin)


def _by_interim(found: Interim) -> str | None:
    return None if found.verdict == "different" and (found.ratio or 0.0) > 1.0 else worded(found.reason)


def _short_of(made: Effect, margin: float) -> str:
    """What is shown of a candidate that is not shown to be better by more than the margin."""
    if made.verdict == "equivalent":
        return f"equivalent to the baseline within {margin:.1%}"
    if made.harms:
        return "worse than the baseline"
    return f"{'a gain is shown, but ' if made.helps else ''}no gain above the margin of {margin:.1%} is shown"


def _sentence(context: OptimizationContext, made: Confirmation, winner: Confirmed | None) -> str:
    """The outcome, for the terminal and beside the flags in their file."""
    if winner is None:
        count = len(made.candidates)
        why = (
            f"on {made.blocks} fresh blocks a model none of {count} candidate{'s' * (count != 1)} is shown to be better by "
            f"more than {context.margin:.1%}"
            if count
            else "neither screen nor search shows a gain worth confirming"
        )
        return f"The baseline is as good as it gets: {why}."
    gain = winner.effect
    price = {"none": "no isolation is given up", "weakens": "it weakens isolation", "dangerous": "IT IS DANGEROUS"}
    return (
        f"{winner.environment} ({winner.flags}) is better than the baseline by {gain.gain_pct:.1f} % (95 % CI "
        f"{gain.gain_low_pct:.1f} to {gain.gain_high_pct:.1f}, {gain.n} pairs), beyond the margin of {context.margin:.1%}; "
        f"{price[winner.security]}."
    )


def evidence_of(context: OptimizationContext, decided: Decided) -> dict[str, object]:
    """What stands beside the flags in the file of the optimised environment."""
    made = decided.confirmation
    confirmed = next((one for one in made.candidates if one.environment == made.winner), None)
    rows = decided.rows.of(confirmed.environment if confirmed else CONTAINER_BASELINE).values()
    effect = {key: value for key, value in asdict(confirmed.effect).items() if value is not None} if confirmed else None
    return {
        "decision": "confirmed" if confirmed else "the baseline is as good as it gets",
        "sentence": made.sentence,
        "security": confirmed.security if confirmed else "none",
        "effect": effect,
        "p_holm_beyond_margin": confirmed.beyond_p_holm if confirmed else None,
        "runs": len(rows),
        "run_ids": sorted(str(row["run_id"]) for row in rows),
        "dataset": str(decided.dataset.path),
        "simulated": any(row["simulated"] for row in decided.rows.ok),
        "host": next((str(row["host"]) for row in decided.rows.ok), None),
        "site": context.study.site.name,
        "experiment": context.study.experiment.name,
    }
