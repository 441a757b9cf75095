"""`compare`: paste a `docker run` line, and learn what the container costs."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sparkray.catalog import Catalog, data_root
from sparkray.catalog.weights import NO_FILE, cache_folder, locate
from sparkray.config.container import run_line
from sparkray.config.docker_line import DockerLine, Shell, parse_text, parse_words
from sparkray.config.experiment import MOST_REQUESTS, MOST_RUNS, Workload
from sparkray.config.recognise import ImageConfig
from sparkray.config.secrets import masked_words
from sparkray.config.site import CONTAINER_BASELINE, NATIVE
from sparkray.config.space import HostFacts, Space
from sparkray.docker_engine import connect
from sparkray.engines import load_engine
from sparkray.errors import HostError, InputError
from sparkray.execute.layout import models_root, planned_command, planned_container
from sparkray.files import read_regular
from sparkray.images.rootfs import Images
from sparkray.machine.capabilities import engine_info, host_facts
from sparkray.machine.fingerprint import fingerprint
from sparkray.plan import Study, make_plan
from sparkray.runtimes.linux.privilege import through_sudo
from sparkray.runtimes.linux.root_part import has_root
from sparkray.stopping import INTERRUPTED, interruptible
from sparkray.sweep.experiment import sweep
from sparkray.sweep.options import insecure_option
from sparkray.sweep.show import console, print_line
from sparkray.sweep.templates import rendered
from sparkray.timing import Timing
from sparkray.units import format_duration
from sparkray.workflows.compare import (
    AGAINST,
    Compared,
    ComparedLoad,
    check_comparable,
    differences,
    experiment_of,
    idle_flags,
    model_card,
    notes_of,
    runs_for,
    secrets_in,
    unchecked,
    understand,
    write_files,
)
from sparkray.workflows.consent import OPTION, dangers_in, require_consent
from sparkray.workflows.options import Options, build_study, site_of
from sparkray.workflows.recipe_line import RecipeLine, recipe_line

_MINUTES = 10.0
_LOOK_S = 0.5  # between two looks at whether a stop was asked for
_POSITIVE = click.IntRange(1, MOST_RUNS)
_LOAD = ComparedLoad()


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("line", nargs=-1, type=click.UNPROCESSED, metavar="docker run ...")
@click.option("--against", metavar="'docker run ...'", help="A second line, measured against the first.")
@click.option("--engine", metavar="NAME|FILE", help="The server's recipe; recognised when not given.")
@click.option("--model", metavar="NAME|PATH", help="With --engine and no line: a card, or a model's file or folder.")
@click.option("--concurrency", type=_POSITIVE, default=_LOAD.concurrency, show_default=True, help="Requests in flight.")
@click.option("--input-tokens", type=_POSITIVE, default=_LOAD.input_tokens, show_default=True, help="Of each prompt.")
@click.option(
    "--output-tokens",
    type=click.IntRange(2, MOST_REQUESTS),
    default=_LOAD.output_tokens,
    show_default=True,
    help="Of each answer.",
)
@click.option("--requests", type=_POSITIVE, default=_LOAD.requests, show_default=True, help="Requests of each run.")
@click.option("--runs", type=_POSITIVE, help="Runs of each arm; as many as fit into about ten minutes when not given.")
@click.option("--site", metavar="NAME|FILE", help="The kind of machine; recognised when not given.")
@click.option(
    "--results-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("results"), show_default=True,
    help="Where the experiment and its results go.",
)  # fmt: skip
@click.option("--fresh", is_flag=True, help="Start a new results folder and keep the old one.")
@click.option("--dry-run", is_flag=True, help="Write the experiment, show what would run, and start nothing.")
@insecure_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def compare(line: tuple[str, ...], **arguments: Any) -> int:  # noqa: ANN401
    """Compare a `docker run` line of a server with the same image, command and variables in a chroot.

    With --against it compares two lines: two sets of flags, two images, or two servers of one model. The options of
    sparkray stand before the line. It writes an experiment file, which every other verb takes. With --engine and no
    line, the line is that of the recipe for this site and model.
    """
    catalog = Catalog(data_root())
    adapt: tuple[str, ...] = ()
    if not line:
        made = _of_recipe(catalog, arguments)
        if made is None:
            return 0
        line, adapt = made.words, made.adapt
    elif arguments["model"] is not None:
        raise InputError("--model belongs to --engine without a line", "Name the model in the line's command")
    shell = Shell(os.environ, str(Path.cwd()), _read)
    lines = {"the line": parse_words(line, shell)}
    if arguments["against"]:
        lines["the second line"] = parse_text(arguments["against"], shell)
    engines = {"the line": arguments["engine"]}  # the second line is recognised: it may be of another server
    compared = {name: understand(each, _image(each), catalog, engines.get(name)) for name, each in lines.items()}
    return _compare(compared, catalog, arguments, adapt)


def _of_recipe(catalog: Catalog, arguments: Mapping[str, Any]) -> RecipeLine | None:
    """The recipe's line, printed; None for a dry run that cannot know the rest: image or weights are not here.

    Raises:
        InputError: No recipe is named, or it has no line.
        HostError: Weights cannot be fetched.
    """
    if arguments["engine"] is None:
        raise InputError(
            "no line was given",
            "Write it after two dashes: sparkray compare -- docker run ...; or name a recipe: --engine NAME",
        )
    site = site_of(Options(site=arguments["site"]))
    load = ComparedLoad(**{name: arguments[name] for name in vars(_LOAD)})
    workload = Workload(kind="serve", **vars(load))
    made = recipe_line(
        arguments["engine"], arguments["model"], site, workload, catalog=catalog, folder=arguments["results_dir"]
    )
    out = console(to_stderr=False)
    print_line(out, shlex.join(masked_words(made.words)))
    if not arguments["dry_run"]:
        if made.weights != NO_FILE:
            locate(made.card, models_root(site.models_root, cache_folder()), cache_folder())
        made.write()
        return made
    unknown = [f"{made.weights} is not on this machine"] if not made.weights.exists() else []
    try:
        _image(parse_words(made.words, Shell(os.environ, str(Path.cwd()), _read)))
    except HostError as error:
        unknown.append(f"{error.message}: its variables, folder and user are not known")
    if not unknown:
        made.write()
        return made
    for text in unknown:
        print_line(out, f"{text}.")
    print_line(out, "Nothing was started.")
    return None


def _compare(
    compared: Mapping[str, Compared], catalog: Catalog, arguments: Mapping[str, Any], adapt: tuple[str, ...]
) -> int:
    first, *others = compared.values()
    for other in others:
        check_comparable(first, other)
    load = ComparedLoad(**{name: arguments[name] for name in vars(_LOAD)})
    card = model_card(first, catalog)
    experiment = experiment_of(first, load, *others, adapt=adapt)
    folder: Path = arguments["results_dir"]
    path = write_files(folder, card, experiment, arguments["runs"] or 1)
    options = Options(
        experiment=str(path),
        **{name: arguments[name] for name in ("site", "results_dir", "fresh", "yes", "allow_insecure")},
    )
    study = build_study(options)
    if not arguments["dry_run"]:
        require_consent(study, given=options.allow_insecure)
    if arguments["runs"] is None:
        path = write_files(folder, card, experiment, runs_for(_MINUTES, _seconds(study)))
        study = build_study(options)
    out = console(to_stderr=False)
    secrets = secrets_in([each.line for each in compared.values()])
    for text in _understood(study, list(compared.values()), path, secrets):
        print_line(out, text)
    if arguments["dry_run"]:
        runs = make_plan(study)
        seconds = _seconds(study) * study.experiment.runs
        print_line(out, f"{len(runs)} runs, about {format_duration(seconds)}. Nothing was started.")
        status = 0
    else:
        status = _measure(options, path)
        if status == INTERRUPTED:
            return status
    facts = host_facts(Space("", "", ()), fingerprint(), engine_info())
    for text in _cannot_act(compared, facts, path):
        print_line(out, text)
    return status


def _measure(options: Options, path: Path) -> int:
    """The sweep. As root it is the experiment that is named: variables of the line need not pass through sudo."""
    if has_root():
        return sweep(options)
    words = ["baseline", "--experiment", str(path), "--results-dir", str(options.results_dir)]
    words += ["--site", options.site] if options.site else []
    flags = (("--fresh", options.fresh), ("--yes", options.yes), (OPTION, options.allow_insecure))
    words += [flag for flag, given in flags if given]
    return _awaited(through_sudo([sys.executable, "-m", "sparkray.sweep", *words], os.environ))


def _awaited(command: Sequence[str]) -> int:
    """The exit status of a command; a stop of this program is passed on, and waited for."""
    asked, passed_on = threading.Event(), False
    # an exception just when the command has started would leave it running
    with interruptible(asked), subprocess.Popen(command) as child:
        while child.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(_LOOK_S)
            if asked.is_set() and not passed_on:
                passed_on = True
                with suppress(OSError):  # a user may not end sudo, which has the terminal's signal itself
                    child.send_signal(signal.SIGTERM)
    if asked.is_set():
        raise KeyboardInterrupt
    return child.returncode


def _image(line: DockerLine) -> ImageConfig:
    """What the image brings. Raises ImageError where it is not on this machine."""
    return Images(connect(), cache_folder()).find(line.image).config


def _read(path: str) -> str:
    """Raises InputError."""
    try:
        return read_regular(Path(path)).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--env-file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _seconds(study: Study) -> float:
    """Expected time of one block, s."""
    once = replace(study, experiment=replace(study.experiment, runs=1))
    timing = Timing(once, None)
    return sum(timing.total_s(run) for run in make_plan(once))


def _understood(study: Study, lines: Sequence[Compared], path: Path, secrets: list[str]) -> list[str]:
    engine = load_engine(study.engine)
    commands: dict[str, str] = {}
    for run in make_plan(replace(study, experiment=replace(study.experiment, runs=1))):
        container = planned_container(study, run, engine, path.with_suffix(""))
        chroot = shlex.join(["chroot", "FILES", *masked_words(planned_command(study, run, engine).argv)])
        commands[run.environment] = run_line(container) if container else chroot
    return rendered(
        "compare.txt.j2",
        lines=lines,
        differ=differences(*lines) if len(lines) > 1 else [],
        unchecked=unchecked(*lines) if len(lines) > 1 else [],
        commands=dict(sorted(commands.items(), key=lambda item: (NATIVE, CONTAINER_BASELINE, AGAINST).index(item[0]))),
        path=path,
        secrets=secrets,
        consent=[danger.text() for danger in dangers_in(study)],
        idle=None,
    )


def _cannot_act(compared: Mapping[str, Compared], facts: HostFacts, path: Path) -> list[str]:
    return rendered(
        "compare.txt.j2",
        idle={
            name: idle_flags(each, facts.defaults, cpus=facts.cpus, memory_gib=facts.memory_gib)
            for name, each in compared.items()
        },
        notes=[
            note if len(compared) == 1 else f"{name}: {note}"
            for name, each in compared.items()
            for note in notes_of(each, native=len(compared) == 1)
        ],
        results=path.parent,
        stem=path.stem,
    )
