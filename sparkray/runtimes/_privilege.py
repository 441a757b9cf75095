"""Root when it is needed: as we are, else through `sudo -n`, else a clear error."""

import os
import shutil
import subprocess

from sparkray.errors import PrivilegeError


def as_root(argv: list[str]) -> list[str]:
    """The command as root would run it.

    Raises:
        PrivilegeError: We are not root and sudo would ask for a password or is not there.
    """
    if os.geteuid() == 0:
        return argv
    sudo = shutil.which("sudo")
    if sudo is None or subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode != 0:
        raise PrivilegeError(
            f"the native arm is a chroot and needs root; this is user id {os.geteuid()} and `sudo -n` does not work",
            "Run as root, allow passwordless sudo, or leave the arm out: --environments host,container_baseline",
        )
    return [sudo, "-n", *argv]
