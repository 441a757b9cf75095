"""How much of what the search saw goes back to each factor: Optuna's importance, beside the measured effects."""

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState

from sparkray.search.storage import unstable
from sparkray.stats import NotEstimable

_LEAST = 4


def importance(study: optuna.Study) -> dict[str, float] | NotEstimable:
    """Shares by factor that sum to 1, the greatest first (PED-ANOVA, Watanabe et al. 2023, IJCAI).

    It tells which factors part the better trials from the rest, not how much a level gains, and takes no account of noise.

    Returns:
        The shares, or why there are none (fewer than four complete trials, or all alike).
    """
    complete = [t for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if t.params]
    if len(complete) < _LEAST:
        return NotEstimable(f"{len(complete)} complete trials: at least {_LEAST} are needed")
    if len({trial.value for trial in complete}) == 1:
        return NotEstimable("all complete trials have one value")
    with unstable():
        found = optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {name: float(share) for name, share in found.items()}
