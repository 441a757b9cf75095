"""The confirmation: native, the baseline and a few candidates on fresh interleaved blocks. Only this decides.

The highest of many estimates is too high: a search that saw nothing but noise still has a best trial. So each candidate is
measured anew, and wins if its gain over the baseline is shown to be above the margin: a one-sided paired t test of a gain
of no more than the margin at 2.5 %, which is the verdict `different` for the better, with Holm's correction over the
candidates. With nothing but noise there is a winner in at most 2.5 % of optimisations, however many were tried before.

Blocks in which a candidate failed leave no pair, so that a mean over pairs would speak of its survivors: it must have pairs
in nine of ten blocks of every model, and none of the models may be shown to lose by more than the margin. Of winners that
are not told apart the safest is taken. Where the experiment has a sequential design, its looks decide (`stages.looking`).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sparkray.analysis.optimized import Confirmation, Confirmed, Effect
from sparkray.config.site import CONTAINER_BASELINE, NATIVE
from sparkray.config.space import isolation_rank, weakenings
from sparkray.optimize.context import MEMORY, OptimizationContext, changed_words
from sparkray.optimize.effects import effect, effects, effects_by_model
from sparkray.optimize.interim import looks_at
from sparkray.optimize.rows import Rows, key_of, must_run, rows_of
from sparkray.optimize.runner import StudyRunner
from sparkray.optimize.screen import Screened
from sparkray.optimize.search import Candidate, shortlist
from sparkray.optimize.search.stage import Searched
from sparkray.plan import Treatment, definition_sha256, make_plan
from sparkray.stats.screen import beyond_margin
from sparkray.stats.sequential import Interim
from sparkray.store import Dataset, write_atomically

RISK = 0.025
"""One-sided: that of a 95 % interval beyond the margin."""
LEAST_SHARE = 0.9
"""Of the blocks of each model in which a candidate must have a pair."""
_FILE = "candidates.json"


@dataclass(frozen=True)
class Decided:
    """What was confirmed. `winner` is the candidate whose flags the optimised environment gets; None keeps the baseline."""

    dataset: Dataset
    told: Confirmation
    winner: Candidate | None
    rows: Rows


def confirm(context: OptimizationContext, screened: Screened, searched_: Searched, runner: StudyRunner) -> Decided:
    """Measures what is left of the confirmation, and decides.

    Raises:
        SparkrayError: No further run is possible, or the baseline does not run.
        InterruptedSweepError: Somebody asked for the end.
    """
    candidates = shortlist(searched_.feasible_space, searched_.found, list(screened.measured.values()))
    ends = (Treatment(NATIVE), context.baseline)
    mine = {one.environment: context.treatment(one.environment, one.options) for one in candidates}
    study = context.stage("confirm", (*ends, *mine.values()), context.confirm_runs)
    dataset = _dataset(context, runner, study.treatments)
    names = ", ".join(mine) or "no candidate: neither screen nor search saw a gain"
    runner.say(f"confirm: {names}; {context.confirm_runs} fresh blocks a model; data in {dataset.path}")
    struck = runner.able(context.stage("confirm", ends, context.confirm_runs), dataset, list(mine.values()))
    if struck:
        study = context.stage(
            "confirm", (*ends, *(t for name, t in mine.items() if name not in struck)), context.confirm_runs
        )

    def settled(rows: Rows) -> bool:
        found = looks_at(context, list(mine), rows, models=screened.models, closed=False)
        given_up = {name for name in mine if name in struck or rows.failing(name) is not None}
        return bool(found) and all(one.stop or name in given_up for name, one in found.items())

    failed = runner.rounds(study, dataset, always=(NATIVE, CONTAINER_BASELINE), over=settled)
    rows = rows_of(dataset, make_plan(study))
    must_run(rows, CONTAINER_BASELINE, dataset.path, screened.models)
    told = decide_among(context, candidates, rows, models=screened.models, out={**struck, **failed})
    winner = next((one for one in candidates if one.environment == told.winner), None)
    return Decided(dataset, told, winner, rows)


def _dataset(context: OptimizationContext, runner: StudyRunner, treatments: Sequence[Treatment]) -> Dataset:
    """The dataset of these very flags: blocks with others in them were another confirmation, and stay apart."""
    names = sorted(f"{treatment.environment} {key_of(treatment)}" for treatment in treatments)
    study = context.stage("confirm", (), context.confirm_runs)
    definition = definition_sha256(study)
    dataset = runner.dataset(study, definition)
    path = dataset.path / _FILE
    if path.is_file() and json.loads(path.read_text()) != list(names):
        dataset = runner.dataset(study, definition, fresh=True)
        path = dataset.path / _FILE
    write_atomically(path, json.dumps(list(names)).encode())
    return dataset


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
        context: What the optimisation is of.
        candidates: Those that were measured.
        rows: Of the confirmation.
        models: Those that the baseline runs; a candidate must work on each.
        out: Candidates that were given up, with why.
    """
    base = rows.values(CONTAINER_BASELINE, context.metric)
    native = rows.values(NATIVE, context.metric)
    arms = {one.environment: rows.values(one.environment, context.metric) for one in candidates}
    found = effects(base, arms, against=CONTAINER_BASELINE, metric=context.metric, margin=context.margin)
    apart = effects_by_model(
        base, arms, models=models, against=CONTAINER_BASELINE, metric=context.metric, margin=context.margin
    )
    beyond = dict(zip(found, beyond_margin([one for _, one in found.values()], context.margin), strict=True))
    blocks = 1 + max((block for _, block in base), default=0) if context.interim else context.confirm_runs
    looks = looks_at(context, list(arms), rows, models=models, closed=blocks == context.confirm_runs)
    told = []
    for one in candidates:
        name, made = one.environment, found[one.environment][0]
        each = {model: apart[model][name][0] for model in models}
        memory = _memory_of(context, rows, name)
        reason = (
            (out or {}).get(name)
            or _unproven(made, each, blocks)
            or (_by_looks(looks[name]) if looks else _by_test(made, beyond[name], context.margin))
            or _too_dear(memory)
        )
        told.append(
            Confirmed(
                environment=name,
                flags=changed_words(context.baseline.options, one.options),
                choices=dict(one.choices),
                security=one.security,
                why=one.why,
                expected_pct=100 * math.expm1(one.expected),
                effect=made,
                beyond_p_holm=None if looks else beyond[name],
                to_native=effect(
                    native, arms[name], names=(NATIVE, name), metric=context.metric, margin=context.margin
                ),
                memory=memory,
                wins=reason is None,
                reason=reason,
                by_model=each,
            )
        )
    winner = best_of(told, {one.environment: weakenings(one.options) for one in candidates})
    return Confirmation(
        blocks=blocks,
        baseline=effect(native, base, names=(NATIVE, CONTAINER_BASELINE), metric=context.metric, margin=context.margin),
        candidates=tuple(told),
        winner=winner.environment if winner else None,
        sentence=_sentence(context, told, winner, blocks),
    )


def _memory_of(context: OptimizationContext, rows: Rows, name: str) -> Effect:
    return effect(
        rows.values(CONTAINER_BASELINE, MEMORY),
        rows.values(name, MEMORY),
        names=(CONTAINER_BASELINE, name),
        metric=MEMORY,
        margin=context.study.experiment.margins.get(MEMORY, context.margin),
    )


def best_of(told: Sequence[Confirmed], weak: Mapping[str, int]) -> Confirmed | None:
    """The winner with the highest gain, or one that it is not told apart from (their intervals overlap) and is safer.

    Args:
        told: The candidates.
        weak: How many of its options trade isolation away, by environment.
    """
    winners = [one for one in told if one.wins]
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
        return made.not_estimable or "too few runs"
    for model, one in by_model.items():
        if one.n < LEAST_SHARE * blocks:
            return f"it works in {one.n} of {blocks} blocks of {model}: {LEAST_SHARE:.0%} are asked for"
        if len(by_model) > 1 and one.harms and one.verdict == "different":
            return f"it is shown to harm {model} by more than the margin: {one.gain_pct:+.1f} %"
    return None


def _by_test(made: Effect, p: float | None, margin: float) -> str | None:
    return None if p is not None and p < RISK else _short_of(made, margin)


def _by_looks(found: Interim) -> str | None:
    return None if found.verdict == "different" and (found.ratio or 0.0) > 1.0 else found.reason


def _too_dear(memory: Effect) -> str | None:
    if memory.verdict == "different" and memory.harms:
        return f"it takes more memory: {MEMORY} is {memory.ratio:.3f} times the baseline's"
    return None


def _short_of(made: Effect, margin: float) -> str:
    """What is shown of a candidate that is not shown to be better by more than the margin."""
    if made.verdict == "equivalent":
        return f"equivalent to the baseline within {margin:.1%}"
    if made.harms:
        return "worse than the baseline"
    real = "a gain is shown, but " if made.helps else ""
    return f"{real}no gain above the margin of {margin:.1%} is shown"


def _sentence(context: OptimizationContext, told: Sequence[Confirmed], winner: Confirmed | None, blocks: int) -> str:
    if winner is None:
        if not told:
            return "The baseline is as good as it gets: neither screen nor search saw a gain worth confirming."
        return (
            f"The baseline is as good as it gets: on {blocks} fresh blocks a model none of {len(told)} "
            f"candidate{'s' * (len(told) != 1)} is shown to be better by more than {context.margin:.1%}."
        )
    made = winner.effect
    price = {"none": "no isolation is given up", "weakens": "it weakens isolation", "dangerous": "IT IS DANGEROUS"}
    return (
        f"{winner.environment} ({winner.flags}) is better than the baseline by {made.gain_pct:.1f} % "
        f"(95 % CI {made.gain_low_pct:.1f} to {made.gain_high_pct:.1f}, {made.n} pairs), beyond the margin of "
        f"{context.margin:.1%}; {price[winner.security]}."
    )


def evidence_of(context: OptimizationContext, decided: Decided) -> dict[str, object]:
    """What stands beside the flags in the file of the optimised environment."""
    confirmed = next((one for one in decided.told.candidates if one.environment == decided.told.winner), None)
    mine = confirmed.environment if confirmed else CONTAINER_BASELINE
    made = confirmed.effect if confirmed else None
    return {
        "decision": "confirmed" if confirmed else "the baseline is as good as it gets",
        "sentence": decided.told.sentence,
        "security": confirmed.security if confirmed else "none",
        "effect": None if made is None else {key: value for key, value in asdict(made).items() if value is not None},
        "p_holm_beyond_margin": confirmed.beyond_p_holm if confirmed else None,
        "runs": len(decided.rows.of(mine)),
        "run_ids": sorted(str(row["run_id"]) for row in decided.rows.of(mine).values()),
        "dataset": str(decided.dataset.path),
        "simulated": any(row["simulated"] for row in decided.rows.ok),
        "host": next((str(row["host"]) for row in decided.rows.ok), None),
        "site": context.study.site.name,
        "experiment": context.study.experiment.name,
    }
