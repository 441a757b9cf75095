"""Power, energy, temperatures and limits of a DGX Spark, from the third-party driver `spark_hwmon`.

NVML covers the GPU alone; the power limits of a GB10 (pl1, syspl1, prochot) are readable nowhere else. The driver
(github.com/antheas/spark_hwmon) registers as `spbm`. Its channels depend on its version and on the firmware, so all go
into one JSON column, by kind and by the driver's labels.
"""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Self

from sparkray.telemetry import Row
from sparkray.telemetry._base import FileSampler
from sparkray.telemetry._proc import OpenFile
from sparkray.telemetry.cores import SYS

DRIVERS = frozenset({"spbm", "spark_hwmon"})
# Kind and factor by hwmon's name (Documentation/hwmon/sysfs-interface.rst): it counts in µW, µJ and m°C.
_KINDS = {"power": ("power_w", 1e-6), "energy": ("energy_j", 1e-6), "temp": ("temp_c", 1e-3)}
_INPUT = re.compile(r"(power|energy|temp)\d+_input")
_STATUS = ("prochot", "pl_level")


def devices(sys: Path = SYS) -> list[Path]:
    """Folders of this driver's hwmon devices."""
    folders = []
    for path in sorted((sys / "class/hwmon").glob("hwmon*")):
        with suppress(OSError):
            if (path / "name").read_text().strip() in DRIVERS:
                folders.append(path)
    return folders


# Its file, kind, label and unit factor.
Channel = tuple[Path, str, str, float]


def channel_of(path: Path) -> Channel | None:
    """The channel of a file; None when it is not a channel or its label is unreadable."""
    if match := _INPUT.fullmatch(path.name):
        kind, factor = _KINDS[match[1]]
        stem = path.name.removesuffix("_input")
        label = path.with_name(f"{stem}_label")
        with suppress(OSError):
            return path, kind, label.read_text().strip() if label.exists() else stem, factor
        return None
    return (path, "status", path.name, 1) if path.name in _STATUS else None


class Sampler(FileSampler):
    """All power, energy and temperature channels, and the throttling status."""

    name = "spark_hwmon"
    period_s = 1.0

    def __init__(self, *, sys: Path = SYS) -> None:
        super().__init__()
        self._sys = sys

    def __enter__(self) -> Self:
        """Open the channels."""
        paths = [path for device in devices(self._sys) for path in sorted(device.iterdir())]
        for channel in filter(None, map(channel_of, paths)):
            with suppress(OSError):
                self._files[channel] = OpenFile(channel[0])
        self.unavailable = None if self._files else "no device of the driver spark_hwmon"
        return self

    def capture(self) -> list[tuple[Channel, bytes]] | None:
        """Contents of the channels, without those the firmware does not fill."""
        captured = []
        for channel, file in self._files.items():
            with suppress(OSError):
                captured.append((channel, file.raw(64)))
        return captured or None

    def rows(self, captured: list[tuple[Channel, bytes]]) -> list[Row]:
        """One row."""
        values: dict[str, dict[str, float]] = {}
        for (_, kind, label, factor), text in captured:
            with suppress(ValueError):
                values.setdefault(kind, {})[label] = round(int(text) * factor, 6)
        return [{"spark_hwmon": json.dumps(values, separators=(",", ":"))}] if values else []
