"""From an experiment to its runs, in order. Pure: no hardware, no clock; the same input gives the same plan, anywhere.

One round after another: in each, every model has one block, and each block holds every environment once. Under `random`
the order of the models in a round and of the environments in a block is drawn from the seed, the model and the block's
number alone, so that a plan with more runs begins with the runs of one with fewer. Under `alternating` the block's
environments rotate by one place from block to block (AB, BA, AB), the protocol of the study.

`run_id` hashes what the run *is* (treatment, model, workload, engine options, seed, replicate), not how many there are:
raising N keeps what is measured already.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sparkray.spec.docker import DockerOptions, given
from sparkray.spec.experiment import Experiment
from sparkray.spec.model import ModelCard
from sparkray.spec.site import CONTAINER_ENVIRONMENTS, Site

_ID_LENGTH = 16


@dataclass(frozen=True)
class Treatment:
    """One environment with its Docker options as asked (defaults outside Docker).

    `adapt` names the options that may be given up when the host cannot honour them.
    """

    environment: str
    options: DockerOptions = DockerOptions()  # noqa: RUF009 - frozen, all None
    adapt: tuple[str, ...] = ()

    @property
    def in_container(self) -> bool:
        """Whether Docker runs it."""
        return self.environment in CONTAINER_ENVIRONMENTS


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan. `replicate` counts from 1 within model and environment, `block` from 0 within a model."""

    run_id: str
    block: int
    position: int
    model: str
    environment: str
    replicate: int


@dataclass(frozen=True)
class Study:
    """Everything a plan is made from: the experiment with options applied, site, cards, treatments, engine options."""

    experiment: Experiment
    site: Site
    cards: tuple[ModelCard, ...]
    treatments: tuple[Treatment, ...]
    engine: str
    engine_options: Mapping[str, Any]

    def card(self, name: str) -> ModelCard:
        """The card of a planned run's model."""
        return next(card for card in self.cards if card.name == name)

    def treatment(self, environment: str) -> Treatment:
        """The treatment of a planned run's environment."""
        return next(t for t in self.treatments if t.environment == environment)


def canonical_sha256(value: object) -> str:
    """SHA-256 of a value's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _options(options: DockerOptions) -> dict[str, Any]:
    return {name: value for name, _, value in given(options)}


def experiment_sha256(study: Study) -> str:
    """The hash of the experiment as it is run: question, factors, margins, seed, and the options applied to them."""
    return canonical_sha256(
        {
            "experiment": asdict(study.experiment),
            "definition": definition_sha256(study),
            "environments": [t.environment for t in study.treatments],
            "models": [card.name for card in study.cards],
        }
    )


def definition_sha256(study: Study) -> str:
    """The hash of what may stand in one dataset: a change here makes runs that must not be pooled.

    The number of runs, the choice of models and of environments may change from sweep to sweep; the workload, the
    engine's options and the question may not.
    """
    experiment = replace(study.experiment, runs=1, models=("",), environments=("",))
    return canonical_sha256(
        {
            "experiment": asdict(experiment),
            "engine": study.engine,
            "options": dict(study.engine_options),
            "site": study.site.name,
        }
    )


def run_id_of(study: Study, card: ModelCard, treatment: Treatment, block: int) -> str:
    """The content hash of one run."""
    experiment = study.experiment
    identity = {
        "experiment": experiment.name,
        "site": study.site.name,
        "engine": study.engine,
        "engine_options": dict(study.engine_options),
        "protocol": asdict(experiment.protocol),
        "workload": asdict(experiment.workload),
        "seed": experiment.seed,
        "order": experiment.order,
        "model": card.name,
        "weights": asdict(card.weights),
        "concurrency": experiment.workload.concurrency or card.max_batch_size,
        "card_options": dict(card.engine_options.get(study.engine, {})),
        "environment": treatment.environment,
        "docker": _options(treatment.options),
        "block": block,
    }
    return canonical_sha256(identity)[:_ID_LENGTH]


def make_plan(study: Study) -> list[PlannedRun]:
    """Every run in order."""
    runs: list[PlannedRun] = []
    for block in range(study.experiment.runs):
        for card in _models_of_round(study, block):
            for treatment in _order_in_block(study, card, block):
                runs.append(
                    PlannedRun(
                        run_id=run_id_of(study, card, treatment, block),
                        block=block,
                        position=len(runs),
                        model=card.name,
                        environment=treatment.environment,
                        replicate=block + 1,
                    )
                )
    return runs


def _models_of_round(study: Study, block: int) -> Sequence[ModelCard]:
    cards = list(study.cards)
    if study.experiment.order == "random":
        random.Random(f"{study.experiment.seed} round {block}").shuffle(cards)  # noqa: S311 - reproducible, not secret
    return cards


def _order_in_block(study: Study, card: ModelCard, block: int) -> Sequence[Treatment]:
    treatments = list(study.treatments)
    if study.experiment.order == "random":
        random.Random(f"{study.experiment.seed} {card.name} {block}").shuffle(treatments)  # noqa: S311 - reproducible
        return treatments
    shift = block % len(treatments)
    return treatments[shift:] + treatments[:shift]


def estimated_s(study: Study, card: ModelCard) -> float:
    """A first guess at one run's duration in seconds, before anything was measured: load and decode by bandwidth.

    Weights are read once at 1 GB/s to load, and once a decode step at 60 % of the site's bandwidth (20 GB/s when the
    site does not say), the lower end of where sound dense decoding lands; a fixed 2 s stands for start and end.
    """
    workload = study.experiment.workload
    weight_bytes = card.shape.weight_bytes if card.shape else 1e9
    active = card.shape.params_active if card.shape and card.shape.params_active else None
    share = active / card.shape.params_total if card.shape and active else 1.0
    bandwidth = (study.site.bandwidth_gb_s or 20.0) * 1e9 * 0.6
    batch = workload.concurrency or card.max_batch_size
    steps = (workload.requests + workload.warmup_requests) * workload.output_tokens / batch
    prompt_steps = (workload.requests + workload.warmup_requests) * workload.input_tokens / 8 / batch
    step_s = max(weight_bytes * share / bandwidth, 0.004)
    return 2.0 + weight_bytes / 1e9 + (steps + prompt_steps) * step_s
