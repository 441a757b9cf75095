"""A small optimisation whose numbers are known, as the document that `optimize` writes: one of everything in it."""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from sparkray.analysis.optimized import (
    Attributed,
    Attributions,
    Confirmation,
    Confirmed,
    Effect,
    JudgedHypothesis,
    Level,
    Optimized,
    Search,
    Tried,
    document_of,
)
from sparkray.config.isolation import AttributionStep
from sparkray.optimize.attribute import values_of
from sparkray.stats.attribution import attribute

METRIC, MEMORY = "output_throughput_tok_s", "host_available_drop_peak_gib"
STEPS = (
    AttributionStep("chroot", "start", "host", "native"),
    AttributionStep("pid", "add", "native", "native:plus-pid"),
    AttributionStep("seccomp", "add", "native", "native:plus-seccomp"),
    AttributionStep("pid", "leave", "container:less-pid", "container_baseline"),
    AttributionStep("seccomp", "leave", "container:less-seccomp", "container_baseline"),
)
MEANS = {
    "host": 100.0,
    "native": 99.9,
    "native:plus-pid": 99.8,
    "native:plus-seccomp": 96.9,
    "container:less-pid": 96.2,
    "container:less-seccomp": 99.1,
    "container_baseline": 96.1,
}


def effect(environment: str, gain: float, against: str = "container_baseline", **more: Any) -> Effect:
    """A gain in per cent, half a per cent to either side."""
    made = Effect(
        environment, against, METRIC, 10,
        ratio=1 + gain / 100, low=1 + (gain - 0.5) / 100, high=1 + (gain + 0.5) / 100,
        gain_pct=gain, gain_low_pct=gain - 0.5, gain_high_pct=gain + 0.5,
        p=0.0004, p_holm=0.0032, verdict="undecided", margin=0.01,
        sd_ratio=1.2, sd_low=0.6, sd_high=2.4, sd_p=0.41, levene_p=0.37,
    )  # fmt: skip
    return replace(made, **more)


def _level(factor: str, level: str, flags: str, gain: float | None, **more: Any) -> Level:
    name = f"container:{factor}={level}"
    verdict = "different" if gain is not None and abs(gain) > 1.5 else "equivalent"
    made = None if gain is None else effect(name, gain, verdict=verdict)
    plain = Level(
        factor, level, name, flags, "none", "because", "measured", None, made, "leave it as the baseline has it"
    )
    return replace(plain, **more)


LEVELS = (
    _level("cpuset", "one", "--cpuset-cpus=0,1", -48.3, advice="avoid it: it costs performance"),
    _level("seccomp", "unconfined", "--security-opt=seccomp=unconfined", 3.1, security="weakens",
           by_model={"Alpha-7B": effect("container:seccomp=unconfined", 4.4),
                     "Beta-70B": effect("container:seccomp=unconfined", 1.8)}),
    _level("init", "yes", "--init", 0.1),
    _level("pid", "host", "--pid=host", None, state="no-op", reason="the process gets what the baseline's gets",
           security="weakens", advice="leave it out: it changes nothing here"),
    _level("shm_size", "8g", "--shm-size=8g", None, state="excluded", reason="under --ipc=host there is no /dev/shm of 64m"),
    _level("memory", "96m", "--memory=96m", None, state="failed", reason="none of its 3 runs is ok: killed"),
    _level("network", "host", "--network=host", None, state="search only", reason="acts only under ipc"),
    _level("privileged", "yes", "--privileged", None, state="excluded", security="dangerous",
           reason="dangerous: requires --allow-insecure"),
)  # fmt: skip


def _tried(number: int, gain: float | None, memory: float, **more: Any) -> Tried:
    name = f"container:trial-{number:010x}"
    ratio = None if gain is None else 1 + gain / 100
    made = Tried(
        name, (number,), "--init", {"init": "yes"}, "none", "complete", 3, ratio, ratio, None,
        (f"run{number}a", f"run{number}b"), f"docker run --init --name=r{number}",
        {METRIC: 96.0, MEMORY: memory, "kv_cache_gib": 2.0 + number / 10},
    )  # fmt: skip
    return replace(made, **more)


TRIED = (
    _tried(1, 3.2, 4.1, security="weakens", on_front=True, flags="--security-opt=seccomp=unconfined"),
    _tried(2, 0.2, 4.0, on_front=True),
    _tried(3, -20.5, 4.2, state="stopped", reason="behind the best after 1 of 8"),
    _tried(4, None, 4.2, state="failed", reason="failed: exit status 137", metrics={}),
)
SEARCH = Search(
    "local-search-0a1b2c3d", "sqlite:///optuna.db", 24, 0.81, 1, TRIED,
    {METRIC: "higher", MEMORY: "lower", "isolation": "lower"}, {"seccomp": 0.71, "init": 0.29}, None,
)  # fmt: skip


def _candidate(environment: str, gain: float, *, wins: bool) -> Confirmed:
    why_not = None if wins else "no gain above the margin of 1.0% is shown"
    return Confirmed(
        environment, "--security-opt=seccomp=unconfined", {"seccomp": "unconfined"}, "weakens", "the best of the search",
        3.4, effect(environment, gain, verdict="different" if wins else "undecided"), 0.0007 if wins else 0.21,
        effect(environment, -0.4, "native"), effect(environment, 0.0, metric=MEMORY), wins, why_not,
        {"Alpha-7B": effect(environment, gain + 0.3), "Beta-70B": effect(environment, gain - 0.3)},
    )  # fmt: skip


def confirmation(*, wins: bool = True) -> Confirmation:
    """With a winner, or without."""
    best = _candidate("container:combined-0123456789", 2.9, wins=wins)
    other = _candidate("container:trial-0000000001", 0.6, wins=False)
    told = (
        "container:combined-0123456789 is better than the baseline by 2.9 % (95 % CI 2.4 to 3.4, 10 pairs)."
        if wins
        else "The baseline is as good as it gets: none of 2 candidates is shown to be better by more than 1.0%."
    )
    base = effect("container_baseline", -3.8, "native")
    return Confirmation(12, base, (best, other), best.environment if wins else None, told)


def attribution(blocks: int = 6) -> Attributions:
    """An attribution over two layers, of which one costs 3 tok/s: the fourth decimal parts the blocks."""
    arms: dict[str, Mapping[Hashable, float | None]] = {
        name: {block: mean + 0.07 * ((block * 7 + place * 3) % 5 - 2) for block in range(blocks)}
        for place, (name, mean) in enumerate(MEANS.items())
    }
    found = attribute(arms, STEPS, first="host", last="container_baseline")
    one = Attributed("Alpha-7B", METRIC, "tok/s", "higher", values_of(found))
    excluded = {"layer": "apparmor", "direction": "leave", "reason": "no AppArmor here"}
    return Attributions({"pid": "PID namespace"}, (excluded,), (one,))


HYPOTHESES = (
    JudgedHypothesis("shm-32g", "--shm-size=32g removes 30 to 50 % of the overhead", "cannot be judged", "no such level"),
    JudgedHypothesis("cpu-pinning", "pinning lowers the deviation and not the mean", "contradicted", "the mean has moved",
               "sd ratio 1.20 (95 % CI 0.60 to 2.40), mean -48.30 % (-48.80 to -47.80)"),
    JudgedHypothesis("combination", "the best flags combined remove 60 to 80 % of the overhead", "supported",
               "the interval lies inside what was expected", "71 % removed (95 % CI 64 to 78 %)"),
)  # fmt: skip


def optimised(**changes: Any) -> Optimized:
    """What the document is of; any field may be changed."""
    whole = Optimized(
        experiment="small", site="cpu", host="box", simulated=False, made_at="2026-11-22T17:00:00+00:00", complete=True,
        metric=METRIC, better="higher", margin=0.01, models=("Alpha-7B",),
        settings={"runs": 10, "trials": 12, "confirm_runs": 12, "allow_insecure": False, "seed": 1},
        baseline_flags="--ipc=host --ulimit=memlock=-1",
        datasets={name: f"results/small-{name}" for name in ("screen", "search", "confirm", "attribute")},
        overhead=effect("container_baseline", -3.8, "native", verdict="different"),
        levels=LEVELS, search=SEARCH, confirmation=confirmation(), attribution=attribution(), hypotheses=HYPOTHESES,
        output="results/container_optimized.yaml",
    )  # fmt: skip
    return replace(whole, **changes)


def document(**changes: Any) -> Mapping[str, Any]:
    """The document; any field of `Optimized` may be changed."""
    return document_of(optimised(**changes))
