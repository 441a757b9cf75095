"""Options of a sweep as the user gave them, and the study that they describe."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sparkray.catalog import Catalog, data_root, override, parse_settings
from sparkray.checks import check_names
from sparkray.config.boundary import parse
from sparkray.config.docker import given, option_names
from sparkray.config.experiment import Experiment
from sparkray.config.gpu_choice import CUDA, by_index, names_a_uuid
from sparkray.config.site import (
    CONTAINER_BASELINE,
    CONTAINER_ENVIRONMENTS,
    CONTAINER_OPTIMIZED,
    ENVIRONMENTS,
    HOST_FILES,
    NATIVE,
    Environment,
    Site,
    is_container,
)
from sparkray.engines import SERVER, Engine, Server, load_engine
from sparkray.errors import ConfigError, InputError, UnknownNameError
from sparkray.metrics import BY_NAME
from sparkray.plan import Study, Treatment
from sparkray.workflows.optimized_file import with_environment

_MOST_RUNS = 300_000
PHASES: Mapping[str, tuple[str, ...]] = {
    "baseline": (NATIVE, CONTAINER_BASELINE),
    "optimization": (CONTAINER_OPTIMIZED,),
    "both": (NATIVE, CONTAINER_BASELINE, CONTAINER_OPTIMIZED),
}


@dataclass(frozen=True)
class Options:
    """What the user asked for. None: not given."""

    experiment: str | None = None
    site: str | None = None
    models: str | None = None
    environments: str | None = None
    runs: int | None = None
    requests: int | None = None
    seed: int | None = None
    results_dir: Path = Path("results")
    settings: tuple[str, ...] = ()
    phase: str | None = None
    mode: str | None = None
    address: str | None = None
    dashboard: bool = True
    lock: Literal["wait", "fail"] = "wait"
    fresh: bool = False
    json: bool = False
    yes: bool = False
    optimized: Path | None = None
    engine: str | None = None
    seconds: float | None = None
    allow_insecure: bool = False
    trusted: tuple[str, ...] = ()


def build_study(options: Options) -> Study:
    """Site, experiment, cards and treatments as asked for, every option applied.

    Raises:
        InputError: Something that was asked for does not exist or is out of bounds.
    """
    catalog = Catalog(data_root())
    rooms = parse_settings(list(options.settings))
    site = site_of(options)
    if options.optimized is not None:
        site = replace(site, environments={**site.environments, **_optimized(site, options)})
    protocol = {f"protocol.{key}": value for key, value in site.protocol.items()}
    overrides = {**protocol, **rooms["experiment"], **_asked(options)}
    experiment = catalog.experiment(options.experiment or site.experiment, overrides)
    _check_names(experiment)
    environments = _environments(options, experiment)
    experiment = replace(experiment, environments=environments)
    asked = override(experiment.engine, rooms["engine"])
    named = asked.pop("name", site.engine)
    engine_name, own = engine_of(str(options.engine or named), catalog)
    engine = load_engine(engine_name)
    given_options = {**(site.engine_options if engine_name == site.engine else {}), **asked, **own}
    engine_options = engine.options(_by_index(given_options), "engine options")
    _fits(engine, experiment)
    whole_recipe = bool(engine_options.get("recipe"))
    own_image = "image" in rooms["site"] or (not whole_recipe and _has_image_for(site, engine_name, catalog))
    if isinstance(engine, Server) and not own_image:
        site = replace(site, image=engine.recipe(engine_options).image or site.image)
    containers = {name: _with_image_of_recipe(one) for name, one in experiment.containers.items()}
    site = replace(site, environments={**site.environments, **containers})
    explicit = _explicit(rooms["docker"], experiment)
    treatments = tuple(_treatment(name, site, options.mode, explicit.get(name, {})) for name in environments)
    if unused := set(explicit) - set(environments):
        raise ConfigError(
            f"--set docker.{min(unused)}: that environment is not in this sweep",
            f"Environments: {', '.join(environments)}",
        )
    cards = tuple(catalog.select(experiment.models))
    study = Study(experiment, site, cards, treatments, engine_name, engine_options)
    _check_size(study)
    return replace(study, treatments=tuple(_with_own(one, study, engine, given_options) for one in treatments))


def _check_size(study: Study) -> None:
    """Raises ConfigError for a plan that nobody can wait for, before it is made."""
    total = study.experiment.runs * len(study.cards) * len(study.experiment.levels) * len(study.treatments)
    if total > _MOST_RUNS:
        raise ConfigError(f"the plan would have {total:,} runs, more than {_MOST_RUNS:,}", "Ask for fewer: --runs N")


def _has_image_for(site: Site, engine_name: str, catalog: Catalog) -> bool:
    """Whether a site's image holds an engine: the machine's own files, or an image that it names for its own engine.

    A site may inherit the image of another engine.
    """
    if site.image == HOST_FILES or site.inherits is None:
        return site.image == HOST_FILES or engine_name == site.engine
    parent = catalog.site(site.inherits)
    return engine_name == site.engine and (parent.engine == site.engine or parent.image != site.image)


def _with_image_of_recipe(environment: Environment) -> Environment:
    """An environment whose image is that of its own recipe, where it names no other."""
    recipe = environment.engine.get("recipe")
    named = recipe.get("image", "") if isinstance(recipe, Mapping) else ""
    return replace(environment, image=environment.image or str(named))


def _with_own(treatment: Treatment, study: Study, engine: Engine, shared: Mapping[str, Any]) -> Treatment:
    """A treatment with the image and the options of the engine that its environment has in place of the study's.

    Args:
        treatment: Without them.
        study: Has the site's environments.
        engine: The study's.
        shared: Its options as they were asked for, without defaults.

    Raises:
        ConfigError: The environment's own options are not the engine's.
    """
    environment = study.site.environments.get(treatment.environment)
    if environment is None or not treatment.in_container:
        return treatment
    options = study.engine_options
    if environment.engine:
        own = _by_index({**shared, **environment.engine})
        options = engine.options(own, f"containers.{treatment.environment}.engine")
    return replace(
        treatment,
        image=study.own_images.get(treatment.environment, ""),
        engine_options={} if options == study.engine_options else options,
    )


def engine_of(name: str, catalog: Catalog) -> tuple[str, dict[str, Any]]:
    """An engine's name, and its recipe among the options where a file was named."""
    if not name.endswith((".yaml", ".yml")) and "/" not in name:
        return name, {}
    recipe = catalog.recipe(name)
    return f"{SERVER}:{recipe.name}", {"recipe": asdict(recipe)}


def _fits(engine: Engine, experiment: Experiment) -> None:
    """Raises ConfigError where an engine cannot run a kind of workload."""
    if experiment.workload.kind not in engine.workloads:
        kinds = " and ".join(engine.workloads)
        raise ConfigError(
            f"engine {engine.name} runs workloads of the kind {kinds}, and {experiment.name} is {experiment.workload.kind}",
            "Choose another: --engine NAME (sparkray engines), or --experiment NAME",
        )


def _by_index(engine_options: dict[str, Any]) -> dict[str, Any]:
    """Engine options in which a GPU that was named by its UUID is named by its index on this machine."""
    variables = engine_options.get("environment")
    if not isinstance(variables, Mapping) or not names_a_uuid({CUDA: str(variables.get(CUDA, ""))}):
        return engine_options
    texts = {str(name): str(value) for name, value in variables.items()}
    from sparkray.machine.fingerprint import fingerprint  # noqa: PLC0415 - `status` asks no machine

    return {**engine_options, "environment": by_index(texts, fingerprint().gpu_uuids, "engine.environment")}


def site_of(options: Options) -> Site:
    """The site that was named, or that this machine is.

    Raises:
        InputError: There is none of that name, or a setting does not fit it.
        HostError: None was named, and this machine's GPUs cannot be read.
    """
    settings = parse_settings(list(options.settings))["site"]
    if options.site:
        return Catalog(data_root()).site(options.site, settings)
    from sparkray.machine.fingerprint import fingerprint, recognised_site  # noqa: PLC0415 - as above

    return Catalog(data_root()).site(recognised_site(fingerprint()), settings)


def _asked(options: Options) -> dict[str, Any]:
    """Keys of the experiment that options override."""
    asked = {
        "models": _names(options.models),
        "runs": options.runs,
        "workload.requests": options.requests,
        "seed": options.seed,
    }
    return {key: value for key, value in asked.items() if value is not None}


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.replace(" ", ",").split(",") if name.strip()]
    if not names:
        raise InputError(f"{text!r} names nothing", "Write names with commas between: a,b")
    return list(dict.fromkeys(names))


def _environments(options: Options, experiment: Experiment) -> tuple[str, ...]:
    """By `--environments`, else by TEST_PHASE, else the experiment's."""
    names = _names(options.environments)
    if names is None:
        names = list(PHASES[options.phase]) if options.phase else list(experiment.environments)
    known = [*ENVIRONMENTS, *experiment.containers]
    for name in names:
        if name not in known:
            raise UnknownNameError("environment", name, known)
    return tuple(dict.fromkeys(names))


def _check_names(experiment: Experiment) -> None:
    """A metric that nobody computes, or a check that there is not, would be missed only after the last run."""
    for name in experiment.checks:
        if name not in check_names():
            raise UnknownNameError("check", name, list(check_names()))
    grouped = [name for metrics in experiment.families.values() for name in metrics]
    for name in (*experiment.primary_metrics, *experiment.margins, *experiment.difference_margins, *grouped):
        if name not in BY_NAME:
            raise UnknownNameError("metric", name, list(BY_NAME))


def _explicit(settings: Mapping[str, Any], experiment: Experiment) -> dict[str, dict[str, Any]]:
    """`--set docker.ENVIRONMENT.OPTION=value` by environment."""
    found: dict[str, dict[str, Any]] = {}
    known = list(dict.fromkeys((*CONTAINER_ENVIRONMENTS, *experiment.containers)))
    for key, value in settings.items():
        environment, _, option = key.partition(".")
        if environment not in known:
            raise UnknownNameError("container environment", environment, known)
        if option not in option_names():
            raise UnknownNameError("Docker option", option, option_names())
        found.setdefault(environment, {})[option] = value
    return found


def _treatment(name: str, site: Site, mode: str | None, explicit: Mapping[str, Any]) -> Treatment:
    """An environment with its flags. A flag that the user asked for is never given up."""
    if not is_container(name):
        return Treatment(name)
    environment = _site_environment(name, site, mode)
    options = {option: value for option, _, value in given(environment.options)}
    options.update(explicit)
    adapt = tuple(option for option in environment.adapt if option not in explicit)
    parsed = (
        parse(Environment, {"options": options}, f"--set docker.{name}").options if explicit else environment.options
    )
    return Treatment(name, parsed, adapt)


def _optimized(site: Site, options: Options) -> dict[str, Environment]:
    """The optimised environment of a file, in place of the site's own."""
    if options.mode is not None:
        raise InputError(
            f"OPTIMIZATION_MODE={options.mode} and --optimized both name the optimised flags", "Leave one of them out"
        )
    if not options.optimized:
        return {}
    from sparkray.machine.fingerprint import fingerprint  # noqa: PLC0415 - as above

    return {CONTAINER_OPTIMIZED: with_environment(site, options.optimized, host=fingerprint().host)}


def _site_environment(name: str, site: Site, mode: str | None) -> Environment:
    if name not in site.environments:
        raise UnknownNameError(f"environment of site {site.name}", name, list(site.environments))
    environment = site.environments[name]
    if name != CONTAINER_OPTIMIZED or mode is None:
        return environment
    if mode == "all":
        raise InputError(
            "OPTIMIZATION_MODE=all screens every configuration, which is what the verb `optimize` does",
            f"Name one: {', '.join(site.modes)}; or run optimize",
        )
    if mode not in site.modes:
        raise UnknownNameError("OPTIMIZATION_MODE", mode, list(site.modes))
    return replace(environment, options=site.modes[mode])
