"""From an experiment to its runs, in order. Pure: no hardware, no clock; the same input gives the same plan, anywhere.

One round after another: in each, every model has one block, and each block holds every environment once. Under `random`
the order of the models in a round and of the environments in a block is drawn from the seed, the model and the block's
number alone, so that a plan with more runs begins with the runs of one with fewer. Under `alternating` the block's
environments rotate by one place from block to block (AB, BA, AB), the protocol of the study.

`run_id` hashes what the run *is* (treatment, model, workload, engine options, seed, replicate), not how many there are:
raising N keeps what is measured already.

A treatment that is equivalent to one before it (`config.equivalence`) has no runs. The plan is that of the study without it:
no position in a block is held for it, so that alternation stays balanced. Where the experiment says `fold: false` it has.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sparkray.config.docker import DockerOptions, given
from sparkray.config.equivalence import Equivalence, acting, find_equivalences
from sparkray.config.experiment import Experiment, Level, Protocol, Workload
from sparkray.config.gpu_access import any_wants_gpu
from sparkray.config.isolation import AttributionSteps
from sparkray.config.model import Host, ModelCard, refusal
from sparkray.config.site import CONTAINER_ENVIRONMENTS, Site, is_container, is_native

_ID_LENGTH = 16


@dataclass(frozen=True)
class Treatment:
    """One environment with its Docker options as asked (defaults outside Docker).

    `adapt` names the options that may be given up when the host cannot honour them. `isolation` are layers that are
    added to a chroot (`config.isolation`); the options then say with what (`shm_size` of an own /dev/shm). `image` is the
    reference of an image of its own, `engine_options` are all options of the engine; empty: those of the study.
    """

    environment: str
    options: DockerOptions = DockerOptions()  # noqa: RUF009 - frozen, all None
    adapt: tuple[str, ...] = ()
    isolation: tuple[str, ...] = ()
    image: str = ""
    engine_options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def in_container(self) -> bool:
        """Whether Docker runs it."""
        return is_container(self.environment)

    @property
    def in_chroot(self) -> bool:
        """Whether it is a chroot into the image's files."""
        return is_native(self.environment)


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan. `replicate` counts from 1 within model, level and environment, `block` from 0 within a model.

    `level` names the level of the load in words; it is empty where an experiment has but one.
    """

    run_id: str
    block: int
    position: int
    model: str
    environment: str
    replicate: int
    level: str = ""


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

    def level(self, planned: PlannedRun) -> Level:
        """The level of the load of a planned run."""
        return next(level for level in self.experiment.levels if str(level) == planned.level)

    def concurrency(self, planned: PlannedRun) -> int:
        """Requests in flight: the level's, else the workload's, else the card's batch size."""
        return (
            self.level(planned).concurrency
            or self.experiment.workload.concurrency
            or self.card(planned.model).max_batch_size
        )

    def workload_of(self, planned: PlannedRun) -> Workload:
        """The load of a planned run, its level applied."""
        return replace(self.experiment.workload, concurrency=self.concurrency(planned))

    def options_of(self, planned: PlannedRun) -> Mapping[str, Any]:
        """The engine's options of a planned run, its environment's and its level's applied."""
        batch = self.level(planned).max_batch_size
        options = self.treatment(planned.environment).engine_options or self.engine_options
        return options if batch is None else {**options, "max_batch_size": batch}

    def treatment(self, environment: str) -> Treatment:
        """The treatment of a planned run's environment."""
        return next(t for t in self.treatments if t.environment == environment)

    @property
    def own_images(self) -> Mapping[str, str]:
        """Images by environment, of those that have one in place of the site's; of environments of the site too."""
        images = {
            **{name: environment.image for name, environment in self.site.environments.items()},
            **{treatment.environment: treatment.image for treatment in self.treatments if treatment.image},
        }
        return {name: image for name, image in images.items() if image not in ("", self.site.image)}

    def setup_of(self, environment: str) -> tuple[str, str]:
        """Image and hash of the engine's options of an environment, each empty where it is the study's."""
        of_treatments = {treatment.environment: treatment.engine_options for treatment in self.treatments}
        declared = {name: each.engine for name, each in self.site.environments.items()}
        options = {**declared, **of_treatments}.get(environment)
        return self.own_images.get(environment, ""), canonical_sha256(dict(options)) if options else ""

    def image_of(self, environment: str) -> str:
        """The reference of the image that an environment is made of; the site's may be one that is built here."""
        return self.own_images.get(environment, self.site.image)


def canonical_sha256(value: object) -> str:
    """SHA-256 of a value's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


# Keys of an experiment that came later, with what they are in a file without them: there the hash is what it was.
_LATER: Mapping[str, object] = {"difference_margins": {}, "families": {}, "planned_effect": None, "containers": {}}
# Likewise, of each of `containers` and of a treatment.
_LATER_OF_CONTAINERS = ("image", "engine", "engine_options")
# Keys that change no run and no comparison: no hash has them, so they may be added to an experiment that has data.
_DESCRIPTIVE = ("hypotheses", "expected_hours")


def _hashed(experiment: Experiment) -> dict[str, Any]:
    """An experiment as it is hashed."""
    hashed = {key: value for key, value in asdict(experiment).items() if key not in _DESCRIPTIVE}
    hashed["workload"] = _load(experiment.workload)
    hashed["protocol"] = _protocol(experiment)
    hashed["containers"] = {name: without_later(container) for name, container in hashed["containers"].items()}
    return {key: value for key, value in hashed.items() if key not in _LATER or value != _LATER[key]}


def _protocol(experiment: Experiment) -> dict[str, Any]:
    """A protocol as it is hashed: as before there was a warm start, where it is the default."""
    usual, hashed = Protocol().warm_start, asdict(experiment.protocol)
    return {key: value for key, value in hashed.items() if key != "warm_start" or value != usual}


def without_later(container: Mapping[str, Any]) -> dict[str, Any]:
    """A container environment or a treatment as it is hashed: as before it could have an image and engine options."""
    return {key: value for key, value in container.items() if key not in _LATER_OF_CONTAINERS or value}


def _load(workload: Workload) -> dict[str, Any]:
    """A workload as it is hashed: as before there were servers, and loads that end early, where it has none."""
    hashed = {key: value for key, value in asdict(workload).items() if key != "serve" or value is not None}
    if workload.serve is not None and workload.serve.saturation is None:
        del hashed["serve"]["saturation"]
    return hashed


def _options(options: DockerOptions) -> dict[str, Any]:
    return {name: value for name, _, value in given(options)}


def experiment_sha256(study: Study, policies: Mapping[str, str]) -> str:
    """The hash of the experiment as it is run: question, factors, margins, seed, the options applied to them, the checks.

    A check's own policy holds where the experiment says nothing, so another default is another experiment, and its rows say
    so. It is no other dataset (`definition_sha256`): a later version of sparkray goes on with what an earlier one began.

    Args:
        study: The study.
        policies: The policy of every check there is, by its name.
    """
    return canonical_sha256(
        {
            "experiment": _hashed(study.experiment),
            "policies": dict(policies),
            "definition": definition_sha256(study),
            "environments": [t.environment for t in study.treatments],
            "models": [card.name for card in study.cards],
        }
    )


def definition_sha256(study: Study) -> str:
    """The hash of what may stand in one dataset: a change here makes runs that must not be pooled.

    The number of runs, the choice of models and of environments may change from sweep to sweep; the workload, the
    engine's options, the policies that the experiment itself names and the question may not. Patience (`timeout_s`,
    `max_attempts`) is no part of it either.
    """
    experiment = replace(
        study.experiment, runs=1, models=("",), environments=("",), timeout_s=1.0, max_attempts=1, fold=True
    )
    return canonical_sha256(
        {
            "experiment": _hashed(experiment),
            "engine": study.engine,
            "options": dict(study.engine_options),
            "site": study.site.name,
        }
    )


def run_id_of(study: Study, card: ModelCard, treatment: Treatment, *, block: int, level: Level) -> str:
    """The content hash of one run."""
    experiment = study.experiment
    identity = {
        "experiment": experiment.name,
        "site": study.site.name,
        "engine": study.engine,
        "engine_options": dict(treatment.engine_options or study.engine_options),
        "protocol": _protocol(experiment),
        "workload": _load(experiment.workload),
        "seed": experiment.seed,
        "order": experiment.order,
        "model": card.name,
        "weights": asdict(card.weights),
        "concurrency": experiment.workload.concurrency or card.max_batch_size,
        "card_options": dict(card.engine_options.get(study.engine, {})),
        "environment": treatment.environment,
        "docker": _options(treatment.options),
        "block": block,
        **({"level": asdict(level)} if str(level) else {}),
        **({"isolation": list(treatment.isolation)} if treatment.isolation else {}),
        **({"image": treatment.image} if treatment.image else {}),
    }
    return canonical_sha256(identity)[:_ID_LENGTH]


def equivalences(study: Study) -> tuple[Equivalence, ...]:
    """Container environments that by their flags are effectively another of the study, the baseline first of all.

    Two that may not give up the same flags are kept apart: one of them may lose a flag on a host where the other stops. So
    are two that differ in their image or in options of the engine.
    """
    in_order = sorted((t for t in study.treatments if t.in_container), key=_rank)
    contained = {treatment.environment: treatment for treatment in in_order}

    def apart(environment: str) -> object:
        treatment = contained[environment]
        adaptable = [name for name in acting(treatment.options) if name in treatment.adapt]
        return adaptable, treatment.image, canonical_sha256(dict(treatment.engine_options))

    return find_equivalences({name: treatment.options for name, treatment in contained.items()}, apart=apart)


def _rank(treatment: Treatment) -> int:
    """The site's own first, then those of a search or of attribution steps, in the order of the study."""
    known = {name: place for place, name in enumerate(CONTAINER_ENVIRONMENTS)}
    return known.get(treatment.environment, len(known))


def treatments_of(attribution_steps: AttributionSteps) -> tuple[Treatment, ...]:
    """The treatments of attribution steps, in their order: host, native, layers added, layers removed, the container."""
    return tuple(Treatment(arm.environment, arm.options, arm.adapt, arm.isolation) for arm in attribution_steps.arms)


def measured(study: Study) -> tuple[Treatment, ...]:
    """The treatments that have runs: all but those that another one stands for."""
    left_out = {found.treatment for found in equivalences(study)} if study.experiment.fold else set()
    return tuple(t for t in study.treatments if t.environment not in left_out)


def make_plan(study: Study) -> list[PlannedRun]:
    """Every run in order."""
    treatments = measured(study)
    runs: list[PlannedRun] = []
    for round_ in range(study.experiment.runs):
        for card in _models_of_round(study, round_):
            for number, level in enumerate(study.experiment.levels):
                block = round_ * len(study.experiment.levels) + number
                for treatment in _order_in_block(study, treatments, f"{card.name} {block}", shift=round_ + number):
                    runs.append(
                        PlannedRun(
                            run_id=run_id_of(study, card, treatment, block=round_, level=level),
                            block=block,
                            position=len(runs),
                            model=card.name,
                            environment=treatment.environment,
                            replicate=round_ + 1,
                            level=str(level),
                        )
                    )
    return runs


def _models_of_round(study: Study, block: int) -> Sequence[ModelCard]:
    cards = list(study.cards)
    if study.experiment.order == "random":
        random.Random(f"{study.experiment.seed} round {block}").shuffle(cards)  # noqa: S311 - reproducible, not secret
    return cards


def _order_in_block(study: Study, arms: Sequence[Treatment], block: str, *, shift: int) -> Sequence[Treatment]:
    """The treatments as one block has them; `block` names it, over all models."""
    treatments = list(arms)
    if study.experiment.order == "random":
        random.Random(f"{study.experiment.seed} {block}").shuffle(treatments)  # noqa: S311 - reproducible
        return treatments
    start = shift % len(treatments)
    return treatments[start:] + treatments[:start]


_SIMULATED_S = 2.5
_START_S, _CPU_START_S = 20.0, 1.0
# A server also captures graphs or warms up, answers when it is ready, and is stopped.
_SERVER_START_S, _CPU_SERVER_START_S = 60.0, 4.0
# Of a model of unknown size, output tokens/s of each sequence, prompts included.
_UNKNOWN_TOK_S, _CPU_UNKNOWN_TOK_S = 25.0, 5.0
_LOAD_BYTES_S = 1e9
_BANDWIDTH_SHARE, _COMPUTE_SHARE = 0.7, 0.4
# Of two cores of a virtual machine: llama.cpp read 3.2 GB/s of weights there (SmolLM2-135M, 20 tokens/s).
_CPU_BANDWIDTH_GB_S, _CPU_TFLOPS = 5.0, 0.25
_GPU_BANDWIDTH_GB_S, _GPU_TFLOPS = 1000.0, 150.0
_LEAST_STEP_S = 0.005


def estimated_s(study: Study, planned: PlannedRun) -> float:
    """A first guess at one run's duration in seconds, before anything was measured; cooldown apart.

    Weights are loaded at 1 GB/s; prompts cost 2 operations a parameter and token at 40 % of the site's compute; a decode
    step reads what `Shape.step_bytes` says at 70 % of the site's bandwidth, the middle of where sound dense decoding
    lands (60 to 90 %). A run that will be refused costs nothing. A site without a data sheet is taken for a middling
    data-centre GPU where its containers get one, else for a small CPU. A model of unknown size is taken for one that fits
    such a device. A simulated run waits for nothing but its start.
    """
    card, workload, site = study.card(planned.model), study.experiment.workload, study.site
    if refused(study, planned) is not None:
        return 0.0
    if site.simulated:
        return _SIMULATED_S
    batch = study.concurrency(planned)
    requests = workload.requests + workload.warmup_requests
    on_gpu = any_wants_gpu(environment.options for environment in site.environments.values())
    start_s = _start_s(workload, fast=on_gpu or site.bandwidth_gb_s is not None)
    if card.shape is None:
        per_sequence = _UNKNOWN_TOK_S if on_gpu else _CPU_UNKNOWN_TOK_S
        return start_s + requests / batch * workload.output_tokens / per_sequence
    assumed = (_GPU_BANDWIDTH_GB_S, _GPU_TFLOPS) if on_gpu else (_CPU_BANDWIDTH_GB_S, _CPU_TFLOPS)
    bandwidth = (site.bandwidth_gb_s or assumed[0]) * 1e9 * _BANDWIDTH_SHARE
    compute = (site.compute_tflops or assumed[1]) * 1e12 * _COMPUTE_SHARE
    context = workload.input_tokens + workload.output_tokens / 2
    step_s = max(card.shape.step_bytes(batch, context) / bandwidth, _LEAST_STEP_S)
    active = card.shape.params_active or card.shape.params_total
    prefill_s = 2 * active * workload.input_tokens * requests / compute
    return (
        start_s
        + (0.0 if card.weights.kind == "random" else card.shape.weight_bytes / _LOAD_BYTES_S)
        + prefill_s
        + requests / batch * workload.output_tokens * step_s
    )


def _start_s(workload: Workload, *, fast: bool) -> float:
    """Start and end of an engine without its weights; `fast` is a machine whose engines compile for a GPU."""
    if workload.kind == "serve":
        return _SERVER_START_S if fast else _CPU_SERVER_START_S
    return _START_S if fast else _CPU_START_S


def refused(study: Study, planned: PlannedRun, memory_gib: float | None = None) -> str | None:
    """Why a run will be refused as `unready`: by the machine's memory, else by the site's, as far as that is known."""
    workload = study.experiment.workload
    memory = study.site.memory_gib if memory_gib is None else memory_gib
    return refusal(
        study.card(planned.model),
        Host(study.engine, memory, f"site {study.site.name}"),
        sequences=study.concurrency(planned),
        tokens=workload.input_tokens + workload.output_tokens,
    )


def cooldown_s(study: Study, kind: str) -> float:
    """Seconds of cooldown before a run, under `fixed` or `adaptive`: the protocol's own time, or a fifth of it."""
    protocol = study.experiment.protocol
    return 0.0 if protocol.cooldown == "none" else protocol.cooldown_s * (1.0 if kind == "fixed" else 0.2)
