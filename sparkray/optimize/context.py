"""Optimisation context: the study of native and baseline, the search space, the feasible levels of the host, the request."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sparkray.config.docker import DockerOptions, flag_words, given
from sparkray.config.experiment import Sequential
from sparkray.config.feasible_levels import LevelVerdict
from sparkray.config.flag import Security
from sparkray.config.isolation import AttributionSteps, KernelFacts, attribution_steps
from sparkray.config.site import CONTAINER_BASELINE, Environment, Site
from sparkray.config.space import HostFacts, Space, apply_level
from sparkray.engines import load_engine
from sparkray.metrics import BY_NAME
from sparkray.plan import Study, Treatment
from sparkray.stats.screen import Better

Stage = Literal["screen", "search", "confirm", "attribute"]
SUFFIX = "-optimize"
MEMORY = "host_available_drop_peak_gib"
_CONFIRM_FACTOR, MOST_CONFIRM = 3, 30


def better_of(metric: str) -> Better:
    """Which direction of a metric is a gain; where neither is, a rise is taken for one."""
    return "lower" if BY_NAME[metric].better == "lower" else "higher"


@dataclass(frozen=True)
class OptimizationRequest:
    """Options of an optimisation beyond those of every sweep. None: not given."""

    trials: int = 20
    confirm_runs: int | None = None
    security: Security = "weakens"
    allow_insecure: bool = False
    output: Path | None = None
    storage: str | None = None
    skip: tuple[str, ...] = ()
    """Stages that are left out: `screen`, `attribution`."""

    @property
    def allowed(self) -> Security:
        """The worst grade that may be offered."""
        return "dangerous" if self.allow_insecure else self.security


@dataclass(frozen=True)
class OptimizationContext:
    """Everything known before the first run. `here`: this machine measures, and its capabilities were read."""

    study: Study
    space: Space
    facts: HostFacts
    kernel: KernelFacts
    verdicts: tuple[LevelVerdict, ...]
    request: OptimizationRequest
    here: bool

    @property
    def name(self) -> str:
        """The experiment's name without what marks it as an optimisation: datasets are called after it."""
        return self.study.experiment.name.removesuffix(SUFFIX)

    @property
    def baseline(self) -> Treatment:
        """The container whose flags are changed."""
        return self.study.treatment(CONTAINER_BASELINE)

    @property
    def metric(self) -> str:
        """What is optimised: the first primary metric."""
        return self.study.experiment.primary_metrics[0]

    @property
    def better(self) -> Better:
        """Which direction of it is a gain."""
        return better_of(self.metric)

    @property
    def margin(self) -> float:
        """Its margin."""
        return self.study.experiment.margins[self.metric]

    @property
    def runs(self) -> int:
        """Blocks a model of screen and attribution, and instances of the search."""
        return self.study.experiment.runs

    @property
    def interim(self) -> Sequential | None:
        """The sequential design of the confirmation, where the experiment has one and no number of blocks was asked for."""
        return None if self.request.confirm_runs else self.study.experiment.sequential

    @property
    def confirm_runs(self) -> int:
        """Blocks of the confirmation, a model; the most there can be where it is sequential."""
        if self.interim is not None:
            return self.interim.looks[-1]
        return self.request.confirm_runs or min(MOST_CONFIRM, _CONFIRM_FACTOR * self.runs)

    def stage(self, stage: Stage, treatments: Sequence[Treatment], runs: int) -> Study:
        """The study of one stage."""
        experiment = replace(
            self.study.experiment,
            name=f"{self.name}-{stage}",
            environments=tuple(treatment.environment for treatment in treatments),
            runs=runs,
            sequential=None,
        )
        return replace(self.study, experiment=experiment, treatments=tuple(treatments))

    def treatment(self, environment: str, options: DockerOptions) -> Treatment:
        """Docker options as a treatment; the site may give up what it may in the baseline, as far as that is the same."""
        mine = self.baseline
        kept = tuple(name for name in mine.adapt if getattr(options, name) == getattr(mine.options, name))
        return Treatment(environment, options, kept)

    def level(self, verdict: LevelVerdict) -> Treatment:
        """One level as the only change to the baseline."""
        return self.treatment(f"container:{verdict.name}", apply_level(self.baseline.options, verdict.options))

    def attribution_steps(self) -> AttributionSteps:
        """From a plain process, or the chroot where the engine runs nowhere else, to the baseline."""
        anywhere = load_engine(self.study.engine).image_contents == "venv"
        mine = self.baseline
        return attribution_steps(
            Environment(mine.options, mine.adapt), self.facts, self.kernel, start="host" if anywhere else "native"
        )


def is_optimisation(name: str, sites: Iterable[Site]) -> bool:
    """Whether an experiment is one for `optimize`, so that `plan` shows its stages: a site names it, or it ends so."""
    return name.endswith(SUFFIX) or any(site.optimization == name for site in sites)


def words_of(options: DockerOptions) -> str:
    """Flags as `docker run` has them, on one line."""
    return " ".join(flag_words(options))


def changed_words(before: DockerOptions, after: DockerOptions) -> str:
    """The flags in which one set of options differs from another; those that were taken away are named so."""
    own = {name: value for name, _, value in given(after) if getattr(before, name) != value}
    gone = [name for name, _, _ in given(before) if getattr(after, name) is None]
    lost = [f"(without {words_of(DockerOptions(**{name: getattr(before, name)}))})" for name in gone]
    return " ".join([*flag_words(DockerOptions(**own)), *lost])
