"""Lines that start an engine again as a run did, to be pasted: what Docker was told, or what a chroot has in its place.

The chroot's lines do what `runtimes/linux/_launcher.py` does: a mount namespace, the image's files read-only with proc,
sys, dev and a fresh /tmp, what the run mounts, then the declared start state and an environment made from nothing. Of an
environment the first run of each model is shown; a sentence tells how other levels of the load differ.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparkray.config.site import is_native
from sparkray.report.book import Book
from sparkray.report.labels import arm_in_full

INSIDE, MARKER, HF_HOME = "/sparkray", "SPARKRAY_RUN", "HF_HOME"
_UNLIMITED = -1
_NEEDS = (
    "# As root. ROOTFS: the files of the image {image} (docker export of a container of it, unpacked);\n"
    "# MODEL: the weights; IN: the run's inputs, of the dataset's inputs/; OUT, SCRATCH: two empty folders{hf}.\n"
    "export ROOTFS MODEL IN OUT SCRATCH{hf_export}\n"
    ': "${{ROOTFS:?}} ${{MODEL:?}} ${{IN:?}} ${{OUT:?}} ${{SCRATCH:?}}{hf_check}"'
)
_MOUNTS = (
    'mount --bind "$ROOTFS" "$ROOTFS"',
    'mount -t proc -o nosuid,nodev,noexec proc "$ROOTFS/proc"',
    'mount --rbind /sys "$ROOTFS/sys"',
    'mount --rbind /dev "$ROOTFS/dev"',
    'mount --bind "$SCRATCH" "$ROOTFS/tmp"',
    f'mount -t tmpfs -o nosuid,nodev,mode=755,size=1m tmpfs "$ROOTFS{INSIDE}"',
)


@dataclass(frozen=True)
class Command:
    """What starts an environment's engine with a model: verbatim lines, and what they do not say."""

    model: str
    line: str
    remark: str = ""


def by_environment(book: Book) -> dict[str, list[Command]]:
    """The lines of the first run of every model, by the environment's name in full."""
    launches: Mapping[str, Any] = book.context.get("launches") or {}
    docker: Mapping[str, str] = book.context.get("docker_commands") or {}
    found: dict[str, list[Command]] = {}
    for environment in book.context.get("environments") or []:
        made = [
            Command(model, _line(environment, launch), _remark(book, environment, launch))
            for model, launch in launches.get(environment, {}).items()
        ]
        if not made and environment in docker:
            made = [Command("", docker[environment])]
        if made:
            found[arm_in_full(environment)] = made
    return found


def _line(environment: str, launch: Mapping[str, Any]) -> str:
    if launch["docker_command"]:
        return str(launch["docker_command"])
    return "\n".join(chroot_lines(launch) if is_native(environment) else host_lines(launch))


def host_lines(launch: Mapping[str, Any]) -> Iterator[str]:
    """A plain process: the start state, and an environment made from nothing."""
    yield from _state(launch["start_state"] or {})
    yield f"exec {_prefix(launch['start_state'] or {})}{_environment(launch)} {shlex.join(launch['argv'])}"


def chroot_lines(launch: Mapping[str, Any]) -> Iterator[str]:
    """A chroot into the image's files, in a mount namespace that vanishes with it."""
    hf = HF_HOME in launch["variables"]
    model = model_inside(launch)
    yield _NEEDS.format(
        image=launch["image"] or "the image",
        hf="; HF: the Hugging Face cache" if hf else "",
        hf_export=" HF" if hf else "",
        hf_check=" ${HF:?}" if hf else "",
    )
    yield "unshare --mount --propagation private sh -eu <<'END'"
    yield from _MOUNTS
    yield from (f'mkdir -p "$ROOTFS{INSIDE}/{name}"' for name in ("in", "out", *(("hf",) if hf else ())))
    if model is not None:
        quoted = shlex.quote(model)
        yield f'mkdir -p "$ROOTFS"{shlex.quote(model.rpartition("/")[0])}'
        yield f'if [ -d "$MODEL" ]; then mkdir -p "$ROOTFS"{quoted}; else : > "$ROOTFS"{quoted}; fi'
        yield from _bound('"$MODEL"', f'"$ROOTFS"{quoted}')
    yield from _bound('"$IN"', f'"$ROOTFS{INSIDE}/in"')
    yield f'mount --bind "$OUT" "$ROOTFS{INSIDE}/out"'
    if hf:
        yield from _bound('"$HF"', f'"$ROOTFS{INSIDE}/hf"')
    yield 'mount -o remount,bind,ro "$ROOTFS"'
    start = launch["start_state"] or {}
    yield from _state(start)
    # found before PATH is the image's own; the image may have no env to be asked inside
    yield f'exec {_prefix(start)}{_environment(launch)} "$(command -v chroot)" "$ROOTFS" {shlex.join(launch["argv"])}'
    yield "END"


def _bound(source: str, target: str) -> Iterator[str]:
    """A bind mount that may not be written to, which needs a second call."""
    yield f"mount --bind {source} {target}"
    yield f"mount -o remount,bind,ro {target}"


def model_inside(launch: Mapping[str, Any]) -> str | None:
    """Where a run has its weights: as its command names it, else as its engine reported it."""
    told = [*launch["argv"], launch["model_path"] or ""]
    return next((word for word in told if word.startswith(f"{INSIDE}/model/")), None)


def _state(start: Mapping[str, Any]) -> Iterator[str]:
    """What a shell can set for what it becomes."""
    if "umask" in start:
        yield f"umask {start['umask']:04o}"
    if "oom_score_adj" in start:
        yield f"echo {start['oom_score_adj']} > /proc/self/oom_score_adj"


def _prefix(start: Mapping[str, Any]) -> str:
    """Programs that each set a part of the start state and become the next: nice, limits, CPUs."""
    words: list[str] = []
    if "nice" in start:
        words += ["nice", "-n", str(start["nice"])]
    limits = start.get("rlimits") or {}
    if limits:
        words += ["prlimit", *(f"--{name}={_limit(soft)}:{_limit(hard)}" for name, (soft, hard) in limits.items())]
    line = shlex.join(words) + " " if words else ""
    if "affinity" not in start:
        return line
    cpus = start["affinity"]
    every = "0-$(($(nproc --all) - 1))" if cpus is None else ",".join(map(str, cpus))
    return f"{line}taskset -c {every} "


def _limit(value: int) -> str:
    return "unlimited" if value == _UNLIMITED else str(value)


def _environment(launch: Mapping[str, Any]) -> str:
    """An environment made from nothing; the marker by which sparkray finds its own runs is left out."""
    variables = {name: value for name, value in launch["variables"].items() if name != MARKER}
    return shlex.join(["env", "-i", *(f"{name}={value}" for name, value in sorted(variables.items()))])


def _remark(book: Book, environment: str, launch: Mapping[str, Any]) -> str:
    """How other levels of the load differ, and what the lines leave out."""
    said = [_differences(launch)] if launch["levels"] else []
    layers = environment.partition(":")[2]
    if layers:
        said.append(f"Layers of isolation that were added are not in these lines: {layers}.")
    if launch["docker_command"]:
        return " ".join(said)
    if not launch["variables"]:
        said.append("The run's variables are not stored: add what the image sets.")
    if launch["start_state"] is None:
        said.append("The run's start state is not stored.")
    gpus = any(machine.get("gpus") for machine in book.context.get("machines") or [])
    if gpus and is_native(environment):
        said.append("sparkray also mounts the driver's libraries into the image's files, as Docker's toolkit does.")
    return " ".join(said)


def _differences(launch: Mapping[str, Any]) -> str:
    """How the engine's command at other levels of the load differs from this one, word by word."""
    argv: Sequence[str] = launch["argv"]
    told = []
    for level, words in launch["levels"].items():
        gone, new = [w for w in argv if w not in words], [w for w in words if w not in argv]
        if gone or new:
            told.append(f"{level} has {' '.join(new) or 'nothing'} in place of {' '.join(gone) or 'nothing'}")
    if not told:
        return f"This is {launch['level']}; at other levels the engine's command is the same, and its inputs differ."
    return f"This is {launch['level']}; other levels differ in their inputs and these words: {'; '.join(told)}."
