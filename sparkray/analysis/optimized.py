"""The document of an optimisation: what `optimize` found, in plain values, as `<results-dir>/<name>-optimize.json` holds it.

Ratios are of the metric as it is (`output_throughput_tok_s` of 0.98 is 2 % slower, `latency_mean_ms` of 0.98 is 2 % faster);
`gain_pct` is turned so that above 0 is better, whichever way the metric goes. Numbers that could not be estimated are null
with the reason beside them in `not_estimable`; nothing is NaN. Run ids lead to the rows of the datasets that are named.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from sparkray.config.boundary import parse, read_json
from sparkray.errors import ConfigError, DatasetError
from sparkray.units import reason_of

FORMAT, _FORMAT_1 = "sparkray-optimize/2", "sparkray-optimize/1"
_ANEW = "Make it anew: optimize"
# In order; each has a dataset of its own, `<name>-<stage>`.
STAGES = ("screen", "search", "confirm", "attribute")
LevelState = Literal["measured", "no-op", "failed", "excluded", "search only"]
Judged = Literal["supported", "contradicted", "undecided", "cannot be judged"]


@dataclass(frozen=True)
class Effect:
    """One environment against another, paired by block.

    Attributes:
        environment: The one.
        against: The other.
        metric: Of which metric.
        n: Pairs.
        ratio: environment / against.
        low: Of its 95 % interval.
        high: Likewise.
        gain_pct: The ratio less 1 in per cent, turned so that above 0 is better.
        gain_low_pct: Its interval.
        gain_high_pct: Likewise.
        p: Two-sided, of a ratio of 1.
        p_holm: Adjusted over the family that it was tested in; None outside one.
        verdict: `equivalent`, `different` or `undecided` against the margin.
        margin: Relative.
        sd_ratio: sd(environment) / sd(against) of the logarithms, with the interval and p of Pitman and Morgan.
        sd_low: Of its 95 % interval.
        sd_high: Likewise.
        sd_p: Of equal spread.
        levene_p: Of equal spread as independent samples, Brown and Forsythe's form of Levene's test.
        not_estimable: Why there is no ratio.
    """

    environment: str
    against: str
    metric: str
    n: int
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    gain_pct: float | None = None
    gain_low_pct: float | None = None
    gain_high_pct: float | None = None
    p: float | None = None
    p_holm: float | None = None
    verdict: str | None = None
    margin: float | None = None
    sd_ratio: float | None = None
    sd_low: float | None = None
    sd_high: float | None = None
    sd_p: float | None = None
    levene_p: float | None = None
    not_estimable: str | None = None

    @property
    def helps(self) -> bool:
        """Whether a gain is shown (after Holm where it was adjusted), by however little."""
        return self._shown and (self.gain_pct or 0.0) > 0.0

    @property
    def harms(self) -> bool:
        """Whether a loss is shown, by however little."""
        return self._shown and (self.gain_pct or 0.0) < 0.0

    @property
    def _shown(self) -> bool:
        p = self.p if self.p_holm is None else self.p_holm
        return p is not None and p < 0.05  # noqa: PLR2004 - 5 %


@dataclass(frozen=True)
class Level:
    """One level of the space and what became of it.

    Attributes:
        factor: Its factor.
        level: Its label.
        environment: Its treatment's name; the same as in the rows.
        flags: What it changes, as `docker run` words; empty where a flag is taken away.
        security: `none`, `weakens` or `dangerous`.
        why: Why it might matter.
        state: `measured`; `no-op`: the process got what the baseline's gets; `failed`: its container does not work;
            `excluded`: not measured; `search only`: cannot act alone.
        reason: Why, where it was not measured to the end.
        effect: Against the baseline, over all models.
        advice: For production, one sentence.
        by_model: The effect on each model alone.
    """

    factor: str
    level: str
    environment: str
    flags: str
    security: str
    why: str
    state: LevelState
    reason: str | None
    effect: Effect | None
    advice: str
    by_model: Mapping[str, Effect] = field(default_factory=dict)


@dataclass(frozen=True)
class Tried:
    """One configuration of the search, the best first. `ratio` and `estimate` are gains as factors: above 1 is better.

    `estimate` is drawn towards what its levels gave in other configurations, so that noise is not crowned.
    """

    environment: str
    trials: tuple[int, ...]
    flags: str
    choices: Mapping[str, str]
    security: str
    state: str
    n: int
    ratio: float | None
    estimate: float | None
    reason: str | None
    run_ids: tuple[str, ...]
    docker_command: str | None
    metrics: Mapping[str, float]
    on_front: bool = False


@dataclass(frozen=True)
class Search:
    """What the search found. Exploratory: it decides nothing.

    Attributes:
        study: Its name in the storage.
        storage: Where that lies, as `optuna-dashboard` takes it.
        evaluations: Log ratios, each of a run against the baseline's of its block.
        noise_pct: Estimated deviation of one paired ratio, per cent.
        abandoned: Trials whose driver died and that others took up.
        corrected: Trials whose numbers the rows no longer bear out, and that another trial replaced.
        tried: Every configuration, the baseline among them.
        front_of: The measures that the Pareto front is of; `isolation` is what is given up beside the baseline's flags, 0
            for `none`, 1 `weakens`, 2 `dangerous`.
        importance: Share of each factor in what parts good trials from the rest; None with the reason beside it.
        importance_reason: Why there is none.
    """

    study: str
    storage: str
    evaluations: int
    noise_pct: float | None
    abandoned: int
    tried: tuple[Tried, ...]
    front_of: Mapping[str, str]
    importance: Mapping[str, float] | None
    importance_reason: str | None
    corrected: int = 0


@dataclass(frozen=True)
class Confirmed:
    """One candidate on fresh runs.

    Attributes:
        environment: Its treatment's name.
        flags: Complete flags.
        choices: Level by factor.
        security: Worst grade.
        why: Where it comes from.
        expected_pct: Gain that was hoped for.
        effect: Against the baseline, of the first primary metric, over all models.
        beyond_p_holm: One-sided p of a gain of no more than the margin, Holm over the candidates; it wins below 0.025.
        to_native: Against the chroot.
        memory: Peak memory against the baseline.
        wins: Whether it is shown to be better by more than the margin, works on every model, is shown to harm none beyond
            the margin, and takes no more memory.
        reason: Why not; None for one that does.
        by_model: The effect on each model alone; `n` of it are the complete pairs.
    """

    environment: str
    flags: str
    choices: Mapping[str, str]
    security: str
    why: str
    expected_pct: float
    effect: Effect
    beyond_p_holm: float | None
    to_native: Effect
    memory: Effect
    wins: bool
    reason: str | None
    by_model: Mapping[str, Effect] = field(default_factory=dict)


@dataclass(frozen=True)
class Confirmation:
    """Fresh interleaved blocks of native, baseline and the candidates: the only stage that decides.

    `winner` names a candidate; None means that the baseline is as good as it gets. `sentence` says which, and why.
    """

    blocks: int
    baseline: Effect
    candidates: tuple[Confirmed, ...]
    winner: str | None
    sentence: str


@dataclass(frozen=True)
class Attributed:
    """Attribution of the difference between the first and the last environment, for one metric and one model.

    `estimates` is `stats.attribution.Attribution` as plain values, where what could not be estimated is `{"reason": ...}`.
    """

    model: str
    metric: str
    unit: str
    better: str
    estimates: Mapping[str, Any]


@dataclass(frozen=True)
class Attributions:
    """The attribution: layers in words, those that were excluded and why, and the estimates of each model and metric."""

    titles: Mapping[str, str]
    excluded: tuple[Mapping[str, str], ...]
    results: tuple[Attributed, ...]


@dataclass(frozen=True)
class JudgedHypothesis:
    """One hypothesis of the experiment with its verdict. `seen` is the measured number with its interval, in words.

    `source` is who expected it; `stage` the one whose runs judge it.
    """

    name: str
    claim: str
    judged: Judged
    reason: str
    seen: str | None = None
    source: str | None = None
    stage: str = "screen"


@dataclass(frozen=True)
class Optimized:
    """The whole document.

    Attributes:
        experiment: Its name (`local`, `phase2b`).
        site: The site's name.
        host: The machine.
        simulated: Whether a double stood in for the engine in any run.
        made_at: ISO 8601, UTC.
        complete: Whether every stage came to its end.
        metric: What was optimised.
        better: Which direction is a gain.
        margin: Relative.
        models: Names.
        settings: runs, trials, confirm_runs, allow_insecure, seed.
        baseline_flags: Of the baseline container.
        datasets: Folder by stage; as `search on HOST` what another machine measured for the search.
        overhead: Baseline against native, from the screen's blocks.
        levels: Every level of the space, in its order.
        search: None where nothing was left to search.
        confirmation: None where it was not reached.
        attribution: None where it was not reached.
        hypotheses: Of the experiment, judged; empty where it states none or the confirmation was not reached.
        output: The file of the optimised environment.
        format: Of this document.
    """

    experiment: str
    site: str
    host: str
    simulated: bool
    made_at: str
    complete: bool
    metric: str
    better: str
    margin: float
    models: tuple[str, ...]
    settings: Mapping[str, Any]
    baseline_flags: str
    datasets: Mapping[str, str]
    overhead: Effect | None
    levels: tuple[Level, ...]
    search: Search | None = None
    confirmation: Confirmation | None = None
    attribution: Attributions | None = None
    hypotheses: tuple[JudgedHypothesis, ...] = ()
    output: str | None = None
    format: str = field(default=FORMAT)

    @property
    def ranking(self) -> tuple[Level, ...]:
        """Levels that were measured by their gain, the greatest first; then the others in the order of the space."""
        return tuple(sorted(self.levels, key=_rank))


def _rank(level: Level) -> tuple[bool, float]:
    gain = level.effect.gain_pct if level.effect else None
    return gain is None or level.state != "measured", -(gain or 0.0)


def document_of(found: Optimized) -> dict[str, Any]:
    """Plain values for JSON: not a number and infinity are null."""
    return cast("dict[str, Any]", plain(asdict(found)))


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON's own kinds
    """A value as JSON holds it: tuples are lists, what is no finite number is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value


def file_of(results_dir: Path, experiment: str) -> Path:
    """Where the document of an experiment's optimisation lies."""
    return results_dir / f"{experiment}-optimize.json"


def read(path: Path) -> Mapping[str, Any]:
    """A stored document.

    Raises:
        DatasetError: It cannot be read, or is of another format.
    """
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {reason_of(error)}", _ANEW) from None
    if not isinstance(found, dict) or found.get("format") not in (FORMAT, _FORMAT_1):
        raise DatasetError(f"{path} is not of the format {FORMAT!r}", _ANEW)
    try:
        document = found if found["format"] == FORMAT else _renamed(found)
        parse(Optimized, document, str(path))
    except ConfigError as error:
        raise DatasetError(error.message, _ANEW) from None
    except (LookupError, TypeError, AttributeError):
        raise DatasetError(f"{path} is not what sparkray writes there", _ANEW) from None
    return document


def _renamed(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A document of format 1 under the names of format 2."""
    old = {"struck": "excluded"}
    levels = [
        {**one, **{name: old.get(one[name], one[name]) for name in ("state", "advice")}} for one in document["levels"]
    ]
    attribution = document["ladder"] and {
        "titles": document["ladder"]["titles"],
        "excluded": document["ladder"]["struck"],
        "results": [{**one, "estimates": one["found"]} for one in document["ladder"]["found"]],
    }
    return {**document, "levels": levels, "attribution": attribution}
