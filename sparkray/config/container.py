"""One container, apart from Docker: from the same value come the SDK call and the `docker run` line. Pure."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparkray.config.docker import DockerOptions, flag_words, sdk_arguments
from sparkray.config.secrets import masked_words

LOOPBACK, EVERY_ADDRESS = "127.0.0.1", "0.0.0.0"  # noqa: S104 - inside a container's own network


@dataclass(frozen=True)
class ContainerSpec:
    """Everything that makes one container, apart from Docker itself.

    `binds` are (source, target, read_only); `environment` is added to the image's own. `port` of the container is published
    as the same port of the host's loopback interface; None publishes nothing.
    """

    name: str
    image: str
    argv: tuple[str, ...]
    options: DockerOptions
    environment: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[tuple[str, str, bool], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    port: int | None = None


def run_words(spec: ContainerSpec, verb: tuple[str, ...] = ("run", "--rm")) -> list[str]:
    """The `docker run` command as a list of words: what the SDK call does, for a person to repeat.

    The entrypoint is cleared, as the native arm has none: what an image's entrypoint would set stands in `environment`.
    """
    words = ["docker", *verb, f"--name={spec.name}", *flag_words(spec.options)]
    own = variables_of(spec.options)
    words += [f"--env={name}={value}" for name, value in sorted(spec.environment.items()) if name not in own]
    words += [f"--volume={bind}" for bind in _volumes(spec)]
    words += [f"--publish={LOOPBACK}:{spec.port}:{spec.port}"] if spec.port else []
    words += [f"--label={name}={value}" for name, value in sorted(spec.labels.items())]
    words += [f"--workdir={spec.workdir}"] if spec.workdir else []
    return [*words, "--entrypoint=", spec.image, *spec.argv]


def variables_of(options: DockerOptions) -> dict[str, str]:
    """The variables that options add to those that every arm has."""
    return dict(sdk_arguments(options).get("environment", {}))


def publishes(options: DockerOptions) -> bool:
    """Whether a container has a network of its own, so that a port must be published to be reached from outside."""
    return options.network in (None, "bridge")


def _volumes(spec: ContainerSpec) -> list[str]:
    return [f"{source}:{target}{':ro' if read_only else ''}" for source, target, read_only in spec.binds]


def run_line(spec: ContainerSpec) -> str:
    """`run_words` quoted for a shell: paste it and it runs, where the shell has the variables whose values are secret."""
    return shlex.join(masked_words(run_words(spec)))


def create_arguments(spec: ContainerSpec) -> dict[str, Any]:
    """Keywords for `client.containers.create`: the container that `run_line` makes, less options that have no type."""
    flags = {name: value for name, value in sdk_arguments(spec.options).items() if name not in ("environment", "other")}
    return {
        "image": spec.image,
        "command": list(spec.argv),
        "name": spec.name,
        "entrypoint": "",
        "environment": {**spec.environment, **variables_of(spec.options)},
        "labels": dict(spec.labels),
        "volumes": _volumes(spec),
        "use_config_proxy": False,  # variables of the user's Docker configuration would reach this arm alone
        **({"working_dir": spec.workdir} if spec.workdir else {}),
        **({"ports": {f"{spec.port}/tcp": (LOOPBACK, spec.port)}} if spec.port else {}),
        **flags,
    }
