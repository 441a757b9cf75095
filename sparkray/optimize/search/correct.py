"""Stored numbers against the rows that they came from: a run may be refused long after it ended.

Optuna's finished trials cannot be changed. Where the rows say something else now, a further trial of the configuration
has the numbers that stand, and names in `corrects` those that it replaces; what has no number left is measured again.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import optuna

from sparkray.optimize.search.history import History
from sparkray.optimize.search.types import Recall, Result, Settings

_FIELDS = tuple(field.name for field in fields(Result))


def corrected(study: optuna.Study, settings: Settings, recall: Recall) -> int:
    """Puts a trial into the queue for each configuration whose numbers stand no more; how many there were."""
    history = History(study.get_trials(deepcopy=False), settings)
    idle = [c for c in history.by_key.values() if c.facts and not c.running]
    facts_of = [facts for c in idle for facts in c.facts.values()]
    stored = [Result(**{name: facts[name] for name in _FIELDS}) for facts in facts_of]
    now = dict(zip(map(id, facts_of), recall(stored), strict=True))
    changed = 0
    for own in idle:
        stands = [_stored(facts, now[id(facts)]) for facts in own.facts.values()]
        if stands != list(own.facts.values()):
            more = {"raced": True} if own.raced else {}
            kept = [facts for facts in stands if facts is not None]
            attrs = {**more, "corrects": [trial.number for trial in own.trials], "evaluations": kept}
            study.enqueue_trial(dict(own.choices), user_attrs=attrs)
            changed += 1
    return changed


def _stored(facts: Mapping[str, Any], now: Result | None) -> dict[str, Any] | None:
    """As it is stored; None for a result of which nothing stands."""
    if now is None or not now.answered:
        return None
    return {"model": facts["model"], "block": facts["block"], **asdict(now)}
