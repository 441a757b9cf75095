"""The fixtures over the real machine, which two folders share; tests are no package, so their folder is named here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from real_machine import cache, client, image, images, machine_lock, rootfs

__all__ = ["cache", "client", "image", "images", "machine_lock", "rootfs"]
