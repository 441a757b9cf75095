"""A planted truth comes back: row by row through the analysis, and in thousands of studies at the promised rates."""

import math
from collections import Counter

import numpy as np
import pytest
from support.planted import MARGINS, MEMORY, THROUGHPUT, Arms, Truth, draw, draw_apart, rows_of

from sparkray.analysis import comparisons, frames_of_rows
from sparkray.stats.operating import ends_of, sd_log_of
from sparkray.stats.paired import Ratio, decide, paired_ratio, tost_power
from sparkray.stats.regression import Line, line
from sparkray.stats.sequential import Design
from sparkray.stats.serial import Drift, drift

STUDIES = 2_000
TWO_ERRORS = 2 * math.sqrt(0.05 * 0.95 / STUDIES)
MOST_WRONG = 0.05 + TWO_ERRORS
LOOKS = (4, 6, 8, 10, 12, 15, 20, 25, 30)
MODELS = {"small": 1e9, "middle": 1e10, "large": 1e11}
ON_THE_MARGIN = (
    Truth("low", {THROUGHPUT: 1 / 1.01}),
    Truth("high", {THROUGHPUT: 1.01}),
    Truth("quiet", {THROUGHPUT: 1.01}, cv_pct=0.1),
    Truth("noisy", {THROUGHPUT: 1 / 1.01}, cv_pct=2.0),
    Truth("drifting", {THROUGHPUT: 1 / 1.01}, drift_pct=-0.1),
    Truth("one bad block", {THROUGHPUT: 1.01}, bad_block_pct=25),
)


def rates(arms: Arms, margin: float) -> dict[str, float]:
    """Shares of the fixed design's verdicts, through the product's own functions."""
    verdicts: Counter[str] = Counter()
    for a, b in zip(arms.reference, arms.other, strict=True):
        ratio = paired_ratio(a, b)
        assert isinstance(ratio, Ratio)
        verdicts[decide(ratio, margin).verdict] += 1
    return {verdict: verdicts[verdict] / len(arms.other) for verdict in ("equivalent", "different", "undecided")}


def many(truth: Truth, metric: str = THROUGHPUT, seed: int = 11) -> Arms:
    return draw(truth, metric, np.random.default_rng(seed), studies=STUDIES)


@pytest.mark.parametrize("truth", ON_THE_MARGIN, ids=lambda truth: truth.name)
@pytest.mark.slow
def test_on_the_margin_either_verdict_comes_in_at_most_5_percent(truth: Truth) -> None:
    arms = many(truth)
    fixed, looks = rates(arms, 0.01), ends_of(Design(LOOKS, 0.01), arms.log_ratios).rates
    assert max(fixed["equivalent"], fixed["different"]) <= MOST_WRONG
    assert max(looks.equivalent, looks.different) <= MOST_WRONG


@pytest.mark.slow
def test_the_rate_on_the_margin_is_5_percent_and_not_far_less() -> None:
    assert rates(many(ON_THE_MARGIN[0]), 0.01)["equivalent"] == pytest.approx(0.05, abs=TWO_ERRORS)


@pytest.mark.parametrize(
    ("truth", "metric", "right"),
    [
        (Truth("1"), THROUGHPUT, "equivalent"),
        (Truth("0.997", {THROUGHPUT: 0.997}), THROUGHPUT, "equivalent"),
        (Truth("0.99", {THROUGHPUT: 0.99}), THROUGHPUT, "undecided"),
        (Truth("0.97", {THROUGHPUT: 0.97}), THROUGHPUT, "different"),
        (Truth("memory", {MEMORY: 1.05}), MEMORY, "different"),
        (Truth("memory", {MEMORY: 1.05}), THROUGHPUT, "equivalent"),
        (Truth("drift", drift_pct=-0.1), THROUGHPUT, "equivalent"),
        (Truth("drift and 0.97", {THROUGHPUT: 0.97}, drift_pct=-0.1), THROUGHPUT, "different"),
        (Truth("bad block", bad_block_pct=25), THROUGHPUT, "equivalent"),
        (Truth("bad block and 0.97", {THROUGHPUT: 0.97}, bad_block_pct=25), THROUGHPUT, "different"),
        (Truth("bad run", bad_run_pct=3), THROUGHPUT, "equivalent"),
    ],
)
def test_the_right_verdict_comes_with_power_and_the_wrong_one_seldom(truth: Truth, metric: str, right: str) -> None:
    arms = many(truth, metric)
    fixed, looks = rates(arms, MARGINS[metric]), ends_of(Design(LOOKS, MARGINS[metric]), arms.log_ratios).rates
    sequential = {"equivalent": looks.equivalent, "different": looks.different, "undecided": looks.undecided}
    inside = abs(math.log(truth.ratio(metric))) < math.log1p(MARGINS[metric])
    for shares in (fixed, sequential):
        assert shares[right] >= 0.80
        assert shares["different" if inside else "equivalent"] <= MOST_WRONG


@pytest.mark.parametrize(("ratio", "cv"), [(1.0, 1.0), (1.0, 1.4), (0.997, 0.8), (0.997, 1.0)])
def test_power_is_what_was_computed_before(ratio: float, cv: float) -> None:
    promised = tost_power(30, sd_log_of(cv), 0.01, ratio=ratio)
    assert 0.4 < promised < 0.98
    found = rates(many(Truth("", {THROUGHPUT: ratio}, cv_pct=cv)), 0.01)["equivalent"]
    assert found == pytest.approx(promised, abs=3 * math.sqrt(promised * (1 - promised) / STUDIES))


def test_a_real_but_negligible_effect_is_equivalent_and_excludes_one() -> None:
    arms = many(Truth("", {THROUGHPUT: 0.995}, cv_pct=0.3))
    ratios = [paired_ratio(a, b) for a, b in zip(arms.reference, arms.other, strict=True)]
    assert np.mean([isinstance(r, Ratio) and r.excludes_one for r in ratios]) > 0.99
    assert rates(arms, 0.01)["equivalent"] > 0.99


def test_without_blocks_a_drifting_machine_would_show_a_difference_that_is_not_there() -> None:
    truth = Truth("", drift_pct=-0.1)
    assert rates(draw_apart(truth, np.random.default_rng(1), studies=200), 0.01)["different"] > 0.95
    assert rates(many(truth), 0.01)["different"] <= MOST_WRONG


def test_the_drift_itself_is_found() -> None:
    arms = draw(Truth("", drift_pct=-0.1), THROUGHPUT, np.random.default_rng(2), studies=50)
    found = [drift(values) for values in arms.reference]
    seen = [one for one in found if isinstance(one, Drift) and one.p < 0.05]
    assert len(seen) >= 40
    assert np.mean([one.pct_per_run.value for one in seen]) == pytest.approx(-0.2, abs=0.03)  # a block is two runs


@pytest.mark.parametrize("gain", [0.0, 1.4])
def test_an_effect_of_size_is_found_where_there_is_one(gain: float) -> None:
    truth, sizes = Truth("", per_decade_pct=gain), np.geomspace(5e8, 1.2e11, 10)
    rng = np.random.default_rng(3)
    arms = [draw(truth, THROUGHPUT, rng, studies=STUDIES, parameters=size) for size in sizes]
    fitted = [line(np.log10(sizes), row) for row in np.stack([a.log_ratios.mean(axis=1) for a in arms], axis=1)]
    lines = [one for one in fitted if isinstance(one, Line)]
    assert len(lines) == STUDIES
    covered = np.mean([one.slope.low <= math.log1p(gain / 100) <= one.slope.high for one in lines])
    assert covered == pytest.approx(0.95, abs=1.5 * TWO_ERRORS)
    seen = np.mean([one.p < 0.05 for one in lines])
    assert seen > 0.99 if gain else seen <= 0.05 + 1.5 * TWO_ERRORS


def test_rows_go_the_way_of_real_ones() -> None:
    truth = Truth("", {MEMORY: 1.05}, per_decade_pct=1.5, drift_pct=-0.1, cv_pct=0.3)
    rows = rows_of(truth, MODELS, seed=4)
    assert len(rows) == 3 * 30 * 2
    assert [row["position"] for row in rows[:60]] == list(range(60))
    assert [row["environment"] for row in rows[:4]] == ["native", "container_baseline", "container_baseline", "native"]
    frames = frames_of_rows(rows, {row["run_id"] for row in rows})
    found = {(c["model"], c["metric"]): c for c in comparisons(frames, [THROUGHPUT, MEMORY], MARGINS)}
    verdicts = {key: row["verdict"] for key, row in found.items()}
    assert {verdicts[model, MEMORY] for model in MODELS} == {"different"}
    assert verdicts["middle", THROUGHPUT] == "equivalent"
    assert {verdicts["small", THROUGHPUT], verdicts["large", THROUGHPUT]} == {"different"}
    assert found["small", THROUGHPUT]["ratio"] < 1 < found["large", THROUGHPUT]["ratio"]


def test_the_same_seed_makes_the_same_study() -> None:
    assert rows_of(Truth(""), MODELS, seed=1) == rows_of(Truth(""), MODELS, seed=1)
    assert rows_of(Truth(""), MODELS, seed=1) != rows_of(Truth(""), MODELS, seed=2)
