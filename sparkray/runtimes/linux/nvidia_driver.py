"""The NVIDIA driver's own libraries on this host: what the container toolkit mounts into a container.

They belong to the kernel's driver and not to the image, so the chroot of the native arm must be given the same files, or
no CUDA program in it finds the GPU. The toolkit's own list is asked first; without the toolkit, the dynamic linker's.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

# Where the native arm has them: NVIDIA's images have this folder in LD_LIBRARY_PATH for exactly that.
MOUNT_POINT = "/usr/local/nvidia/lib64"
_CACHE_LINE = re.compile(r"^\s*(?P<name>\S+) \(.*\) => (?P<path>/\S+)$", re.MULTILINE)
_DRIVER_LIBRARY = re.compile(r"lib(cuda|cudadebugger|nvidia-[\w-]+|nvcuvid|nvoptix|nvidia)\.so(\.\d+)*$")
_PATIENCE_S = 20
Ask = Callable[[list[str]], str]


def driver_libraries(ask: Ask | None = None) -> tuple[Path, ...]:
    """Libraries of the driver as the linker would name them (`libcuda.so.1`), sorted; empty where there is no driver.

    Args:
        ask: Runs a command and returns what it printed, empty when it cannot; tests give their own.
    """
    run = ask or _ask
    listed = parse_toolkit(run(["nvidia-container-cli", "list", "--libraries"]))
    return tuple(sorted(listed or parse_linker(run(["ldconfig", "-p"]))))


def parse_toolkit(text: str) -> set[Path]:
    """Libraries from `nvidia-container-cli list --libraries`: one path a line."""
    return {Path(line.strip()) for line in text.splitlines() if line.strip().startswith("/")}


def parse_linker(text: str) -> set[Path]:
    """The driver's libraries from `ldconfig -p`; of several with one name, the first, as the linker takes it."""
    libraries: dict[str, Path] = {}
    for match in _CACHE_LINE.finditer(text):
        if _DRIVER_LIBRARY.fullmatch(match["name"]):
            libraries.setdefault(match["name"], Path(match["path"]))
    return set(libraries.values())


def driver_binds(libraries: tuple[Path, ...]) -> tuple[tuple[str, str, bool], ...]:
    """Each library under the name that programs ask for and under its own, read-only, below `MOUNT_POINT`.

    The toolkit lists versioned files (`libcuda.so.580.95.05`); programs ask for `libcuda.so.1`, which `ldconfig` would
    link inside a container.
    """
    binds: dict[str, str] = {}
    for path in libraries:
        real = path.resolve()
        stem = path.name.split(".so", 1)[0]
        for name in (path.name, real.name, f"{stem}.so.1"):
            binds.setdefault(name, str(real))
    return tuple((source, f"{MOUNT_POINT}/{name}", True) for name, source in sorted(binds.items()))


def _ask(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
