"""How much of what the search saw goes back to each factor: Optuna's importance, beside the measured effects."""

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages import InMemoryStorage

from sparkray.config.space import BASELINE
from sparkray.optimize.search.feasible_space import FeasibleSpace
from sparkray.optimize.search.storage import unstable
from sparkray.optimize.search.types import Found
from sparkray.stats import NotEstimable
from sparkray.stats.samples import too_few

_LEAST = 4


def importance(found: Found, feasible_space: FeasibleSpace) -> dict[str, float] | NotEstimable:
    """Shares by factor that sum to 1, the greatest first (PED-ANOVA, Watanabe et al. 2023, IJCAI).

    Each configuration counts once, however many trials it has, and a factor that cannot act beside the others counts as
    the baseline has it, else conditional factors would have no share. It tells which factors part the better
    configurations from the rest, not how much a level gains, and takes no account of noise.

    Returns:
        The shares, or why there are none (fewer than four configurations, or all alike).
    """
    points = [(one.choices, one.mean or 0.0) for one in found.evaluated if one.state in ("complete", "stopped")]
    if len(points) < _LEAST:
        return too_few(len(points), _LEAST, "configuration")
    if len({mean for _, mean in points}) == 1:
        return NotEstimable("one_value")
    axes = {axis.name: CategoricalDistribution(axis.open) for axis in feasible_space.open_axes}
    study = optuna.create_study(direction="maximize", storage=InMemoryStorage())
    for choices, mean in points:
        params = {
            name: label if (label := choices.get(name, BASELINE)) in axes[name].choices else BASELINE for name in axes
        }
        study.add_trial(optuna.trial.create_trial(params=params, distributions=dict(axes), value=mean))
    with unstable():
        shares = optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {name: float(share) for name, share in shares.items()}
