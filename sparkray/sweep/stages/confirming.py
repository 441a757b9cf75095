"""The confirmation: native, the baseline and a few candidates on fresh interleaved blocks. Only this decides.

The highest of many estimates is too high: a search that saw nothing but noise still has a best trial. So each candidate is
measured anew, and wins if its gain over the baseline is shown to be above the margin: a one-sided paired t test of a gain
of no more than the margin at 2.5 %, which is the verdict `different` for the better, with Holm's correction over the
candidates. With nothing but noise there is a winner in at most 2.5 % of optimisations, however many were tried before.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from scipy import special

from sparkray.analysis.optimized import Confirmation, Confirmed, Effect
from sparkray.plan import Treatment, definition_sha256
from sparkray.search import Candidate, shortlist
from sparkray.spec.site import CONTAINER_BASELINE, NATIVE
from sparkray.spec.space import isolation_rank
from sparkray.stats.multiplicity import holm
from sparkray.stats.paired import Ratio
from sparkray.stats.screen import LevelEffect
from sparkray.store import Dataset, write_atomically
from sparkray.sweep.stages.effects import effect, effects
from sparkray.sweep.stages.measuring import Measuring, Rows, must_run, rows_of
from sparkray.sweep.stages.scene import MEMORY, Scene, changed_words
from sparkray.sweep.stages.screening import Screened
from sparkray.sweep.stages.searching import Searched

RISK = 0.025
"""One-sided: that of a 95 % interval beyond the margin."""
_FILE = "candidates.json"


@dataclass(frozen=True)
class Decided:
    """What was confirmed. `winner` is the candidate whose flags the optimised environment gets; None keeps the baseline."""

    dataset: Dataset
    told: Confirmation
    winner: Candidate | None
    rows: Rows


def confirm(scene: Scene, screened: Screened, searched_: Searched, measuring: Measuring) -> Decided:
    """Measures what is left of the confirmation, and decides.

    Raises:
        SparkrayError: No further run is possible, or the baseline does not run.
        InterruptedSweepError: Somebody asked for the end.
    """
    candidates = shortlist(searched_.ground, searched_.found, list(screened.measured.values()))
    ends = (Treatment(NATIVE), scene.baseline)
    mine = {one.environment: scene.treatment(one.environment, one.options) for one in candidates}
    study = scene.stage("confirm", (*ends, *mine.values()), scene.confirm_runs)
    dataset = _dataset(scene, measuring, sorted(mine))
    names = ", ".join(mine) or "no candidate: neither screen nor search saw a gain"
    measuring.say(f"confirm: {names}; {scene.confirm_runs} fresh blocks a model; data in {dataset.path}")
    struck = measuring.able(scene.stage("confirm", ends, scene.confirm_runs), dataset, list(mine.values()))
    if struck:
        study = scene.stage(
            "confirm", (*ends, *(t for name, t in mine.items() if name not in struck)), scene.confirm_runs
        )
    failed = measuring.rounds(study, dataset, always=(NATIVE, CONTAINER_BASELINE))
    rows = rows_of(dataset)
    must_run(rows, CONTAINER_BASELINE, dataset.path)
    told = decide_among(scene, candidates, rows, out={**struck, **failed})
    winner = next((one for one in candidates if one.environment == told.winner), None)
    return Decided(dataset, told, winner, rows)


def _dataset(scene: Scene, measuring: Measuring, names: Sequence[str]) -> Dataset:
    """The dataset of these very candidates: blocks with others in them were another confirmation, and stay apart."""
    study = scene.stage("confirm", (), scene.confirm_runs)
    definition = definition_sha256(study)
    dataset = measuring.dataset(study, definition, fresh=measuring.options.fresh)
    path = dataset.path / _FILE
    if path.is_file() and json.loads(path.read_text()) != list(names):
        dataset = measuring.dataset(study, definition, fresh=True)
        path = dataset.path / _FILE
    write_atomically(path, json.dumps(list(names)).encode())
    return dataset


def decide_among(
    scene: Scene, candidates: Sequence[Candidate], rows: Rows, *, out: Mapping[str, str] | None = None
) -> Confirmation:
    """The verdict on fresh rows.

    Args:
        scene: What the optimisation is of.
        candidates: Those that were measured.
        rows: Of the confirmation.
        out: Candidates that were given up, with why.
    """
    base = rows.values(CONTAINER_BASELINE, scene.metric)
    native = rows.values(NATIVE, scene.metric)
    arms = {one.environment: rows.values(one.environment, scene.metric) for one in candidates}
    found = effects(base, arms, against=CONTAINER_BASELINE, metric=scene.metric, margin=scene.margin)
    beyond = dict(zip(found, holm([_beyond(one, scene.margin) for _, one in found.values()]), strict=True))
    told = []
    for one in candidates:
        name = one.environment
        made = found[name][0]
        memory = effect(
            rows.values(CONTAINER_BASELINE, MEMORY),
            rows.values(name, MEMORY),
            names=(CONTAINER_BASELINE, name),
            metric=MEMORY,
            margin=scene.study.experiment.margins.get(MEMORY, scene.margin),
        )
        reason = _against(scene, made, beyond[name], memory, (out or {}).get(name))
        told.append(
            Confirmed(
                environment=name,
                flags=changed_words(scene.baseline.options, one.options),
                choices=dict(one.choices),
                security=one.security,
                why=one.why,
                expected_pct=100 * math.expm1(one.expected),
                effect=made,
                beyond_p_holm=beyond[name],
                to_native=effect(native, arms[name], names=(NATIVE, name), metric=scene.metric, margin=scene.margin),
                memory=memory,
                wins=reason is None,
                reason=reason,
            )
        )
    winner = max((one for one in told if one.wins), key=_merit, default=None)
    return Confirmation(
        blocks=scene.confirm_runs,
        baseline=effect(native, base, names=(NATIVE, CONTAINER_BASELINE), metric=scene.metric, margin=scene.margin),
        candidates=tuple(told),
        winner=winner.environment if winner else None,
        sentence=_sentence(scene, told, winner),
    )


def _merit(one: Confirmed) -> tuple[float, int]:
    return one.effect.gain_pct or 0.0, -isolation_rank(one.security)  # type: ignore[arg-type]


def _beyond(one: LevelEffect, margin: float) -> float | None:
    """One-sided p of a gain of no more than the margin."""
    if not isinstance(one.ratio, Ratio) or one.gain_log is None:
        return None
    ahead = one.gain_log - math.log1p(margin)
    if one.ratio.sd_log == 0:
        return 0.0 if ahead > 0 else 1.0
    return float(special.stdtr(one.ratio.n - 1, -ahead / (one.ratio.sd_log / math.sqrt(one.ratio.n))))


def _against(scene: Scene, made: Effect, p: float | None, memory: Effect, out: str | None) -> str | None:
    """Why a candidate does not win; None for one that does."""
    if out is not None:
        return out
    if made.ratio is None or p is None:
        return made.not_estimable or "too few runs"
    if p >= RISK:
        return _short_of(made, scene.margin)
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


def _sentence(scene: Scene, told: Sequence[Confirmed], winner: Confirmed | None) -> str:
    if winner is None:
        if not told:
            return "The baseline is as good as it gets: neither screen nor search saw a gain worth confirming."
        return (
            f"The baseline is as good as it gets: on {scene.confirm_runs} fresh blocks a model none of {len(told)} "
            f"candidate{'s' * (len(told) != 1)} is shown to be better by more than {scene.margin:.1%}."
        )
    made = winner.effect
    price = {"none": "no isolation is given up", "weakens": "it weakens isolation", "dangerous": "IT IS DANGEROUS"}
    return (
        f"{winner.environment} ({winner.flags}) is better than the baseline by {made.gain_pct:.1f} % "
        f"(95 % CI {made.gain_low_pct:.1f} to {made.gain_high_pct:.1f}, {made.n} pairs), beyond the margin of "
        f"{scene.margin:.1%}; {price[winner.security]}."
    )


def evidence_of(scene: Scene, decided: Decided) -> dict[str, object]:
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
        "site": scene.study.site.name,
        "experiment": scene.study.experiment.name,
    }
