"""The tool as a whole: the group, its subcommands, and what `throughput` does from start to end."""

import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import gpu, versions
from .clicklike import HelpAsked, NoArguments, UsageError, Values, help_page, parse, usage
from .console import banner, log
from .settings import Settings, read_settings
from .throughput import throughput
from .versions import text

PROGRAM = "trtllm-bench"
GROUP_ARGUMENTS = "[OPTIONS] COMMAND [ARGS]..."


def main(words: Sequence[str]) -> int:
    """Runs the tool; the value is its exit status."""
    try:
        settings = read_settings()
    except ValueError as error:
        sys.stderr.write(text("bad_environment", error=error) + "\n")
        return 70
    banner(settings)
    return _answered(PROGRAM, GROUP_ARGUMENTS, lambda: _group(settings, words))


def _answered(program: str, arguments: str, act: Callable[[], int]) -> int:
    try:
        return act()
    except UsageError as error:
        sys.stderr.write(usage(error, program, arguments))
        return 2


def _group(settings: Settings, words: Sequence[str]) -> int:
    known = versions.options("group", settings.minor)
    commands = versions.subcommands(settings.minor)
    relaxed = settings.has("help_without_model") and "--help" in words
    try:
        values, left = parse(
            [replace(option, required=False) for option in known] if relaxed else known, words, group=True
        )
    except (HelpAsked, NoArguments) as asked:
        page = help_page(f"{PROGRAM} {GROUP_ARGUMENTS}", known, commands=commands, indent=2)
        (sys.stdout if isinstance(asked, HelpAsked) else sys.stderr).write(page)
        return 0 if isinstance(asked, HelpAsked) else 2
    if not left:
        raise UsageError(text("no_command"))
    if left[0] not in commands:
        raise UsageError(text("unknown_command", name=left[0]))
    refused = _callback(settings, values)
    return refused or _answered(
        f"{PROGRAM} {left[0]}", "[OPTIONS]", lambda: _subcommand(settings, left[0], words=left[1:], group=values)
    )


def _callback(settings: Settings, values: Values) -> int:
    """What the group does before its subcommand: check the model's name (from 1.2 on) and make the workspace."""
    name = Path(str(values["model"] or ""))
    if settings.has("model_name_check") and values["model"] and (name.is_dir() or name.is_file()):
        sys.stderr.write(text("model_is_a_folder") + "\n")
        return 1
    Path(str(values["workspace"])).mkdir(parents=True, exist_ok=True)
    return 0


def _subcommand(settings: Settings, name: str, *, words: Sequence[str], group: Values) -> int:
    if name not in ("throughput", "latency"):
        sys.stderr.write(text("not_simulated", name=name) + "\n")
        return 70
    known = versions.options(name, settings.minor)
    try:
        values, _ = parse(known, words, group=False)
    except HelpAsked:
        sys.stdout.write(help_page(f"{PROGRAM} {name} [OPTIONS]", known, indent=4))
        return 0
    everything: dict[str, Any] = {**group, **values}
    return _latency(settings) if name == "latency" else throughput(settings, everything)


def _latency(settings: Settings) -> int:
    """It cannot be given a batch size, so it asks NVML for the memory, which a GB10 does not report."""
    log(settings, "prepare_latency")
    try:
        gpu.memory_size()
    except Exception:  # noqa: BLE001 - the tool dies of whatever it is, with a traceback
        sys.stderr.write(traceback.format_exc())
    return 1
