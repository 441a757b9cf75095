"""Root, which a chroot and a declared start state need: as we are, else the whole program again through `sudo -n`.

The whole program and not the one command: what root started, a user can neither inspect nor end, and a run that cannot
be read back or stopped is not believed.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping

from sparkray.errors import PrivilegeError

_KEPT = (
    *(
        "DOCKER_HOST",
        "DOCKER_CONTEXT",
        "DOCKER_CONFIG",
        "XDG_CACHE_HOME",
        "HOME",
        "PATH",
        "VIRTUAL_ENV",
        "LANG",
        "TERM",
    ),
    # of the older scripts
    *("MODELS_TO_TEST", "RUNS_PER_MODEL", "TEST_PHASE", "OPTIMIZATION_MODE"),
)
_KEPT_PREFIXES = ("RAY_", "PYTHON")
_REMEDY = "Run as root, allow passwordless sudo, or leave those arms out: --environments container_baseline"


def need_root() -> None:
    """Raises PrivilegeError when we are not root."""
    if os.geteuid() != 0:
        raise PrivilegeError(f"a process of a declared start state needs root; this is user id {os.geteuid()}", _REMEDY)


def through_sudo(command: list[str], environment: Mapping[str, str]) -> list[str]:
    """The command as root would run it, with the variables that matter, for `os.execv`.

    Raises:
        PrivilegeError: sudo is not there, or would ask for a password.
    """
    sudo = shutil.which("sudo")
    if sudo is None or subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode != 0:
        raise PrivilegeError(
            f"the native arm is a chroot and needs root; this is user id {os.geteuid()} and `sudo -n` does not work",
            _REMEDY,
        )
    kept = [
        f"{name}={value}" for name, value in environment.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    ]
    return [sudo, "-n", "env", *kept, *command]
