"""Lines that start an engine again as a run did, to be pasted: what Docker was told, or what a chroot has in its place.

The chroot's lines (`templates/launch.sh.j2`) do what `runtimes/linux/_launcher.py` does: a mount namespace, the image's
files read-only with proc, sys, dev and a fresh /tmp, what the run mounts, then the declared start state and an environment
made from nothing. Of an environment the first run of each model is shown, and how other levels of the load differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparkray.config.site import is_native
from sparkray.report.data import ReportData
from sparkray.report.labels import arm_in_full
from sparkray.report.render import environment as templates

MARKER, HF_HOME, MODEL = "SPARKRAY_RUN", "HF_HOME", "/sparkray/model/"
Launch = Mapping[str, Any]


@dataclass(frozen=True)
class Command:
    """What starts an environment's engine with a model: verbatim lines, and what they leave out."""

    model: str
    line: str
    remark: str = ""


def by_environment(data: ReportData) -> dict[str, list[Command]]:
    """The lines of the first run of every model, by the environment's name in full."""
    launches: Mapping[str, Any] = data.context.get("launches") or {}
    docker: Mapping[str, str] = data.context.get("docker_commands") or {}
    found: dict[str, list[Command]] = {}
    for environment in data.context.get("environments") or []:
        made = [
            Command(model, launch["docker_command"] or script(environment, launch), _remark(data, environment, launch))
            for model, launch in launches.get(environment, {}).items()
        ]
        if not made and environment in docker:
            made = [Command("", docker[environment])]
        if made:
            found[arm_in_full(environment)] = made
    return found


def script(environment: str, launch: Launch) -> str:
    """Shell lines for a plain process, or for a chroot into the image's files in a mount namespace that vanishes with it."""
    variables = {name: value for name, value in launch["variables"].items() if name != MARKER}
    words = [*launch["argv"], launch["model_path"] or ""]
    values = {
        "native": is_native(environment),
        "environment": ["env", "-i", *(f"{name}={value}" for name, value in sorted(variables.items()))],
        "hf": HF_HOME in variables,
        "model": next((word for word in words if word.startswith(MODEL)), None),
    }
    return templates("text").get_template("launch.sh.j2").render(launch=launch, **values).rstrip()


def _remark(data: ReportData, environment: str, launch: Launch) -> str:
    """How other levels of the load differ, word by word, and what the lines leave out."""
    argv = launch["argv"]
    differences = [
        (level, [w for w in words if w not in argv], [w for w in argv if w not in words])
        for level, words in launch["levels"].items()
        if words != argv
    ]
    values = {
        "differences": [one for one in differences if one[1] or one[2]],
        "layers": environment.partition(":")[2],
        "gpus": any(machine.get("gpus") for machine in data.context.get("machines") or []),
        "native": is_native(environment),
    }
    text = templates("text").get_template("text/launch.j2").render(launch=launch, **values)
    return " ".join(text.split())
