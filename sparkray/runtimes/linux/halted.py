"""Whether somebody halted a process: SIGSTOP, or a frozen control group, as by `docker pause`."""

from contextlib import suppress
from pathlib import Path

from sparkray.runtimes.linux.cgroup import locate, parse_mounts

_FILES = {1: ("freezer.state", "FROZEN"), 2: ("cgroup.freeze", "1")}


def halted(pid: int, proc: Path = Path("/proc")) -> str:
    """What halts it, in words; empty where nothing does, or nothing is known."""
    own = proc / str(pid)
    with suppress(OSError, IndexError):
        if _is_frozen((own / "cgroup").read_text(), (proc / "self" / "mountinfo").read_text()):
            return "its processes are frozen, as by `docker pause`"
        if (own / "stat").read_text().rpartition(")")[2].split()[0] in "Tt":
            return "its process is stopped, as by SIGSTOP"
    return ""


def _is_frozen(membership: str, mountinfo: str) -> bool:
    folder = locate("freezer", membership, parse_mounts(mountinfo))
    if folder is None:
        return False
    name, frozen = _FILES[folder.version]
    try:
        return (folder.path / name).read_text().strip() == frozen
    except FileNotFoundError:  # the topmost group cannot be frozen
        return False
