"""What spans machines and models: clustered ratios, straight lines, pooled effects; statsmodels, print, simulation."""

import math
import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from sparkray.stats import NotEstimable
from sparkray.stats.nested import ClusteredRatio, clustered_ratio
from sparkray.stats.paired import Ratio, paired_ratio
from sparkray.stats.reasons import worded
from sparkray.stats.regression import Line, line, pooled
from sparkray.stats.samples import Estimate
from sparkray.stats.subgroups import Group, Subgroups

POINTS = st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10), st.floats(0.1, 10)), min_size=3, max_size=15)
# Colditz and others (1994), J. Am. Med. Assoc. 271: thirteen trials of the BCG vaccine; cases and not, vaccinated and not.
BCG = np.array([
    (4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761),
    (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232), (17, 1699, 65, 1600),
    (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825),
], dtype=float)  # fmt: skip


def clustered(a: object, b: object, clusters: list[int]) -> ClusteredRatio:
    found = clustered_ratio(a, b, clusters, resamples=500)  # type: ignore[arg-type]
    assert isinstance(found, ClusteredRatio)
    return found


def fitted(found: Line | NotEstimable) -> Line:
    assert isinstance(found, Line)
    return found


def together(effects: object, errors: object) -> tuple[Group, Subgroups]:
    found = pooled(effects, errors)  # type: ignore[arg-type]
    assert not isinstance(found, NotEstimable)
    return found


def test_the_ratio_over_clusters_is_the_paired_one_of_their_means() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.lognormal(3, 0.1, 12), rng.lognormal(3.1, 0.1, 12)
    clusters = [0] * 5 + [1] * 4 + [2] * 3
    logs = np.log(b / a)
    means = [logs[:5].mean(), logs[5:9].mean(), logs[9:].mean()]
    found, expected = clustered(a, b, clusters), paired_ratio(np.ones(3), np.exp(means))
    assert isinstance(expected, Ratio)
    assert (found.pairs, found.clusters, found.ratio.n) == (12, 3, 3)
    assert found.ratio.ci95 == pytest.approx(expected.ci95, rel=1e-9)
    assert isinstance(found.bootstrap, NotEstimable)


def test_clusters_of_one_pair_are_pairs() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.lognormal(3, 0.1, 12), rng.lognormal(3.1, 0.1, 12)
    assert clustered(a, b, list(range(12))).ratio == paired_ratio(a, b)


def test_swapped_arms_invert_and_a_block_effect_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    a, b, block = rng.lognormal(3, 0.1, 18), rng.lognormal(3.1, 0.1, 18), rng.lognormal(0, 2, 18)
    clusters = [place // 3 for place in range(18)]
    there, back = clustered(a, b, clusters), clustered(b, a, clusters)
    after = clustered(a * block, b * block, clusters)
    assert there.ratio.ci95 == pytest.approx((1 / back.ratio.ci95[1], 1 / back.ratio.ci95[0]), rel=1e-9)
    assert after.ratio.ci95 == pytest.approx(there.ratio.ci95, rel=1e-9)
    assert isinstance(there.bootstrap, Estimate)
    assert isinstance(back.bootstrap, Estimate)
    assert there.bootstrap.value == pytest.approx(1 / back.bootstrap.value, rel=1e-9)


def test_an_interval_over_machines_covers_where_that_of_pairs_does_not() -> None:
    rng, rounds, machines, blocks = np.random.default_rng(3), 500, 6, 10
    clusters = [place // blocks for place in range(machines * blocks)]
    ones, covered = np.ones(machines * blocks), np.zeros(2)
    for _ in range(rounds):
        logs = np.repeat(rng.normal(0, 0.02, machines), blocks) + rng.normal(0, 0.01, machines * blocks)
        plain = paired_ratio(ones, np.exp(logs))
        assert isinstance(plain, Ratio)
        for place, ratio in enumerate((clustered(ones, np.exp(logs), clusters).ratio, plain)):
            covered[place] += ratio.ci95[0] <= 1 <= ratio.ci95[1]
    assert covered[0] / rounds == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / rounds))
    assert covered[1] / rounds < 0.75


def test_the_bootstrap_of_clusters_covers_with_many_of_them() -> None:
    rng, rounds, covered = np.random.default_rng(4), 300, 0
    clusters = [cluster for cluster in range(20) for _ in range(1 + cluster % 4)]
    for _ in range(rounds):
        logs = rng.normal(0, 0.02, 20)[clusters] + rng.normal(0, 0.01, len(clusters))
        found = clustered(np.ones(len(clusters)), np.exp(logs), clusters).bootstrap
        assert isinstance(found, Estimate)
        covered += (found.low or 0) <= 1 <= (found.high or 0)
    assert 0.89 < covered / rounds < 0.98


@pytest.mark.parametrize(("clusters", "reason"), [([1, 1, 1], "one cluster"), ([1, 2], "one a pair")])
def test_clusters_that_say_nothing_say_why(clusters: list[int], reason: str) -> None:
    found = clustered_ratio([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], clusters)
    assert isinstance(found, NotEstimable)
    assert reason in worded(found.reason)


@given(POINTS)
def test_a_line_is_statsmodels(points: list[tuple[float, float, float]]) -> None:
    x, y, _ = np.array(points).T
    assume(np.ptp(x) > 0.1)
    assume(np.ptp(y) > 0.1)
    found = fitted(line(x, y))
    expected = sm.OLS(y, sm.add_constant(x)).fit()
    assume(expected.mse_resid > 1e-9)
    assert found.slope.value == pytest.approx(expected.params[1], rel=1e-6, abs=1e-8)
    assert found.centre.value == pytest.approx(expected.predict([[1, found.centre_x]])[0], rel=1e-6, abs=1e-8)
    interval = expected.conf_int()
    assert (found.slope.low, found.slope.high) == pytest.approx(tuple(interval[1]), rel=1e-6, abs=1e-8)
    assert found.p == pytest.approx(expected.pvalues[1], rel=1e-6, abs=1e-9)


def test_anscombes_quartet_has_the_line_that_is_printed() -> None:
    # Anscombe (1973), "Graphs in statistical analysis", The American Statistician 27: y = 3 + 0.5 x, error of the slope
    # 0.118.
    x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
    y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
    found = fitted(line([float(each) for each in x], y))
    assert (round(found.centre.value - found.slope.value * found.centre_x, 1), round(found.slope.value, 2)) == (
        3.0,
        0.5,
    )
    assert ((found.slope.high or 0) - found.slope.value) / 2.262157 == pytest.approx(0.118, abs=5e-4)


def test_points_on_a_line_leave_no_doubt() -> None:
    found = fitted(line([1.0, 2.0, 4.0], [1.0, 2.0, 4.0]))
    assert (found.slope.value, found.slope.low, found.p) == (1, 1, 0)
    flat = fitted(line([1.0, 2.0, 4.0], [3.0, 3.0, 3.0]))
    assert (flat.slope.value, flat.p) == (0, 1)


def test_a_slope_is_covered() -> None:
    rng, rounds, x = np.random.default_rng(5), 1500, np.log10([1.5, 7, 7, 8, 13, 32, 70, 120])
    bounds = [fitted(line(x, 0.01 * x + rng.normal(0, 0.01, 8))).slope for _ in range(rounds)]
    covered = np.mean([(each.low or 0) <= 0.01 <= (each.high or 0) for each in bounds])
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / rounds))


def test_the_bcg_trials_are_as_heterogeneous_as_printed() -> None:
    # As R's `metafor` prints with method "DL" (Viechtbauer 2010, J. Stat. Software 36 (3), has the data): Q = 152.2330,
    # I2 = 92.12 %, tau2 = 0.3088, mean log risk ratio -0.7141.
    ill_a, well_a, ill_b, well_b = BCG.T
    effects = np.log(ill_a / (ill_a + well_a)) - np.log(ill_b / (ill_b + well_b))
    variances = 1 / ill_a - 1 / (ill_a + well_a) + 1 / ill_b - 1 / (ill_b + well_b)
    group, fit = together(effects, np.sqrt(variances))
    assert (round(group.q or 0, 4), round(fit.i2_pct, 2)) == (152.2330, 92.12)
    assert (round(fit.tau**2, 4), round(group.mean.value, 4)) == (0.3088, -0.7141)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0.01, 1)), min_size=2, max_size=15))
def test_pooled_effects_are_statsmodels(made: list[tuple[float, float]]) -> None:
    effects, errors = np.array(made).T
    assume(np.ptp(effects) > 1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels takes the root of a negative variance between models
        expected = combine_effects(effects, errors**2, method_re="dl", use_t=True)
    (group, fit), alike = together(effects, errors), expected.tau2 <= 0
    assert group.q == pytest.approx(expected.q, rel=1e-6, abs=1e-9)
    assert fit.tau**2 == pytest.approx(max(0.0, expected.tau2), rel=1e-6, abs=1e-9)
    mean = expected.mean_effect_fe if alike else expected.mean_effect_re
    error = expected.sd_eff_w_fe_hksj if alike else expected.sd_eff_w_re_hksj
    assert group.mean.value == pytest.approx(mean, rel=1e-6, abs=1e-9)
    half = error * stats.t.ppf(0.975, len(made) - 1)
    assert group.mean.high == pytest.approx(mean + half, rel=1e-6, abs=1e-9)


def test_models_that_agree_are_not_heterogeneous() -> None:
    group, fit = together([0.1, 0.1, 0.1], [0.01, 0.02, 0.03])
    assert (group.q, group.q_p, fit.i2_pct, fit.tau) == pytest.approx((0, 1, 0, 0))
    assert group.mean.value == pytest.approx(0.1)


def test_a_pooled_mean_is_covered_with_few_models() -> None:
    rng, rounds, errors = np.random.default_rng(6), 2000, np.array([0.01, 0.01, 0.02, 0.02])
    drawn = 0.05 + rng.normal(0, 0.02, (rounds, 4)) + rng.normal(0, 1, (rounds, 4)) * errors
    means = [together(row, errors)[0].mean for row in drawn]
    covered = np.mean([(each.low or 0) <= 0.05 <= (each.high or 0) for each in means])
    assert 0.92 < covered < 0.97
    naive = np.mean([abs(each.value - 0.05) <= 1.96 / math.sqrt(float(np.sum(errors**-2))) for each in means])
    assert naive < 0.70
