"""`study`: the whole study as one resumable command: doctor, quick, baseline, optimize, validate, analyze, report."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from sparkray.analysis.optimized import file_of, read
from sparkray.config.model import Host, ModelCard, refusal
from sparkray.config.site import CONTAINER_OPTIMIZED, Site
from sparkray.errors import InputError
from sparkray.execute.prepared_host import memory_for
from sparkray.optimize.context import SUFFIX, OptimizationRequest
from sparkray.optimize.phases import phases
from sparkray.plan import Study, make_plan
from sparkray.sweep.analyze import FOLDER as TABLES
from sparkray.sweep.datasets import newest
from sparkray.sweep.doctor import findings_of
from sparkray.sweep.experiment import sweep
from sparkray.sweep.measure import smallest
from sparkray.sweep.optimize import run_optimisation
from sparkray.sweep.options import Amount, options_of, sweep_options
from sparkray.sweep.report import FOLDER as REPORT
from sparkray.sweep.show import console, print_line, show
from sparkray.sweep.start import as_root, ask, handed_back
from sparkray.timing import Timing
from sparkray.workflows.calibration_file import calibration_for
from sparkray.workflows.optimization import optimization_context
from sparkray.workflows.optimized_file import NAME as ENVIRONMENT_FILE
from sparkray.workflows.options import Options, build_study, site_of
from sparkray.workflows.prerequisites import is_elsewhere
from sparkray.workflows.study_design import CVS_PCT, Design, choose, kept_design, smaller_designs

QUICK_RUNS = 3
# Ray, the image and the models' digests, before the first run of a stage.
_STAGE_START_H = 15 / 3600
# Each environment is started once before it is measured.
_PREFLIGHT_H = 3 / 3600


@dataclass(frozen=True)
class Stages:
    """The stages of one study that measure, as options of the verbs that carry them out."""

    quick: Options
    baseline: Options
    optimize: Options
    asked: OptimizationRequest
    validate: Options


@click.command("study")
@sweep_options
@click.option(
    "--budget-hours",
    type=Amount(),
    metavar="H",
    help="Measure fewer blocks, then fewer models, until the estimated hours fit.",
)
def study(budget_hours: float | None, **arguments: Any) -> int:  # noqa: ANN401
    """Run the whole study: check, measure, optimise, validate, report. The same command continues where it stopped."""
    options, out = options_of(arguments), console(to_stderr=False)
    if options.environments or options.phase or options.mode:
        raise InputError(
            "study chooses the environments of each stage itself",
            "Leave --environments out; unset TEST_PHASE and OPTIMIZATION_MODE",
        )
    if not is_elsewhere(options):
        as_root()
    site, first = site_of(options), build_study(options)
    design = _chosen(options, site, first, budget_hours, out)
    stages = _stages(options, site, design)
    if _doctor(first, options, out) and not site.simulated:
        return 1
    ask(options)
    with handed_back(options.results_dir, *(str(each.experiment) for each in (stages.baseline, stages.validate))):
        return _measure(stages, out)


# each stage would print a document of its own; what they hold is in the datasets' analysis.json
study.params = [parameter for parameter in study.params if parameter.name != "json"]


def _chosen(options: Options, site: Site, first: Study, budget_hours: float | None, out: Console) -> Design:
    """The design that fits the budget, shown with its hours; that of an earlier call where there was one."""
    whole, costs = _whole(first, options, site), _Costs(options, site)
    able = [card for card in first.cards if _cannot_run(first, card) is None]
    asked = {
        "site": site.name,
        "experiment": first.experiment.name,
        "budget_hours": budget_hours,
        "whole": json.loads(json.dumps(asdict(whole))),
        "settings": list(options.settings),
    }
    design = kept_design(
        options.results_dir.absolute(),
        asked,
        lambda: choose(smaller_designs(whole, able), lambda one: sum(costs.hours(one).values()), budget_hours),
    )
    margin = min(first.experiment.margins.values(), default=0.01)
    what = {"first": first, "whole": whole, "d": design, "hours": costs.hours(design), "budget": budget_hours}
    show(out, "study.txt.j2", **what, margin=margin, cvs=CVS_PCT, able=[card.name for card in able])
    return design


def _measure(stages: Stages, out: Console) -> int:
    worst = 0
    steps: Mapping[str, Callable[[], int]] = {
        "quick": lambda: sweep(stages.quick),
        "baseline": lambda: sweep(stages.baseline),
        "optimize": lambda: run_optimisation(stages.optimize, stages.asked),
        "validate": lambda: sweep(stages.validate),
    }
    for title, stage in steps.items():
        print_line(out, f"\n== {title}")
        status = stage()
        if status not in (0, 1):
            return status  # interrupted: the stage said so
        worst = max(worst, status)
    print_line(out, "\n== analyze and report")
    for name, page in _report(stages).items():
        print_line(out, f"page of {name}: {page}")
    return worst


def _doctor(study: Study, options: Options, out: Console) -> bool:
    """Print what doctor found wrong. Returns whether something would stop a sweep; on a cluster, on every machine."""
    print_line(out, "\n== doctor")
    stopped: list[bool] = []
    for host, findings in findings_of(study, options, trying=False).items():
        notable = [finding for finding in findings if finding.state in ("stop", "warn")]
        for finding in notable:
            print_line(out, f"{host}: {finding.text()}" if host else finding.text())
        print_line(out, f"{f'{host}: ' if host else ''}{len(findings)} findings, {len(notable)} need attention")
        stopped.append(any(finding.state == "stop" for finding in findings))
    return all(stopped)


def _report(stages: Stages) -> Mapping[str, Path]:
    """Tables and page of the baseline and of the validation. The last has the optimisation too."""
    from sparkray.analysis import analyse, write  # noqa: PLC0415 - SciPy takes long to import
    from sparkray.report import write_report  # noqa: PLC0415 - so does Matplotlib

    root = stages.baseline.results_dir.absolute()
    optimised = file_of(root, str(stages.optimize.experiment).removesuffix(SUFFIX))
    pages = {}
    for name, document in ((stages.baseline.experiment, None), (stages.validate.experiment, read(optimised))):
        dataset = newest(root, str(name))
        calibration_for(dataset)
        analysis = analyse(dataset.path)
        write(analysis, dataset.path / TABLES)
        pages[str(name)] = write_report(analysis, dataset.path / REPORT, optimised=document).page
    return pages


def _whole(first: Study, options: Options, site: Site) -> Design:
    """The design without a budget: the experiments' own."""
    if not site.optimization or not site.validation:
        raise InputError(
            f"site {site.name} names no experiment to optimise or to validate with",
            "Name them: --set site.optimization=phase2b --set site.validation=phase2d",
        )
    second = build_study(replace(options, experiment=site.optimization, models=None, runs=None))
    runs = second.experiment.runs
    return Design(
        runs=first.experiment.runs,
        models=tuple(card.name for card in first.cards),
        optimize_runs=runs if options.runs is None else min(runs, options.runs),
        trials=OptimizationRequest().trials,
        confirm_runs=min(30, 3 * (runs if options.runs is None else min(runs, options.runs))),
    )


def _cannot_run(study: Study, card: ModelCard) -> str | None:
    """Why a model cannot run on the study's site, in words; None when nothing is known against it."""
    return refusal(card, Host(study.engine, memory_for(study.site), f"site {study.site.name}"))


@dataclass(frozen=True)
class _Costs:
    """Estimated hours of a design by stage. Each set of models is planned once; hours grow with blocks and trials."""

    options: Options
    site: Site
    planned: dict[tuple[str, ...], Mapping[str, float]] = field(default_factory=dict)

    def hours(self, design: Design) -> Mapping[str, float]:
        """By stage, at most; runs that are stored already count as if they were to come."""
        if design.models not in self.planned:
            self.planned[design.models] = self._of_one(design)
        one = self.planned[design.models]
        return {
            "baseline": design.runs * one["baseline"] + 2 * _STAGE_START_H,
            "optimize": design.optimize_runs * (one["screen"] + one["attribute"])
            + design.trials * one["search"]
            + design.confirm_runs * one["confirm"]
            + one["preflight"]
            + _STAGE_START_H,
            "validate": design.runs * one["validate"] + _STAGE_START_H,
        }

    def _of_one(self, design: Design) -> Mapping[str, float]:
        """Hours of one block of each stage, and of one trial of the search."""
        stages = _stages(self.options, self.site, design, design.models[0])
        counts = {
            "screen": design.optimize_runs,
            "attribute": design.optimize_runs,
            "search": design.trials,
            "confirm": design.confirm_runs,
        }
        context = optimization_context(stages.optimize, stages.asked, measuring=False)
        planned = phases(context, self.options.results_dir)
        return {
            "baseline": _block_hours(stages.baseline),
            "validate": _block_hours(replace(stages.validate, optimized=None)),
            "preflight": sum(phase.treatments for phase in planned) * _PREFLIGHT_H,
            **{phase.stage: next(iter(phase.hours.values())) / counts[phase.stage] for phase in planned},
        }


def _block_hours(options: Options) -> float:
    """Hours of one block of every model."""
    study = build_study(options)
    once = replace(study, experiment=replace(study.experiment, runs=1, sequential=None, fold=False))
    timing = Timing(once, None)
    return sum(timing.total_s(run) for run in make_plan(once)) / 3600


def _stages(options: Options, site: Site, design: Design, quick: str | None = None) -> Stages:
    """Options of each stage; `quick` is the model of its first, the smallest where it is not given."""
    settings = options.settings
    if design.sequential and not any(text.startswith("experiment.sequential") for text in settings):
        interim = ", ".join(map(str, design.interim))
        settings = (*settings, f"experiment.sequential={{looks: [{interim}], spending: linear}}")
    models = ",".join(design.models)
    baseline = replace(
        options, experiment=options.experiment or site.experiment, models=models, runs=design.runs, settings=settings
    )
    output = options.results_dir / ENVIRONMENT_FILE
    own = [card.name for card in build_study(replace(options, experiment=site.optimization, models=None)).cards]
    kept = [name for name in own if name in design.models]
    quick = quick or smallest(build_study(baseline))
    return Stages(
        quick=replace(baseline, models=quick, runs=min(QUICK_RUNS, design.runs)),
        baseline=baseline,
        optimize=replace(
            options,
            experiment=site.optimization,
            models=",".join(kept) or quick,
            runs=design.optimize_runs,
        ),
        asked=OptimizationRequest(
            trials=design.trials,
            confirm_runs=design.confirm_runs,
            allow_insecure=options.allow_insecure,
            output=output,
        ),
        validate=replace(
            options,
            experiment=site.validation,
            models=models,
            runs=design.runs,
            settings=settings,
            optimized=output,
            trusted=(CONTAINER_OPTIMIZED,),  # the stage before it found them, within what it was allowed to try
        ),
    )
