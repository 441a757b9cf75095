"""What a sweep shows to Prometheus through Ray, and to Grafana with `conf/grafana/sparkray.json`.

Ray exports each under its name with `ray_` before it. Values of a run stay until the next run of its machine ends, or the
machine is lost: then they are NaN, which Grafana shows as a gap.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.util.metrics import Counter, Gauge

PREFIX = "sparkray_"
OF_SWEEP = {
    "runs_planned": "runs of the plan",
    "runs_done": "runs that have ended",
    "eta_seconds": "estimated time until the last run ends, s",
}
OF_MACHINE = {
    "queue_runs": "runs that this machine has taken and not begun",
    "throughput_tok_s": "output throughput of the last run, tokens/s",
    "gpu_temperature_c": "highest GPU temperature of the last run, degrees C",
    "gpu_power_w": "mean GPU power of the last run, W",
    "run_seconds": "duration of the last run, s",
}
ATTEMPTS = "attempts_total"
COLUMNS = {
    "throughput_tok_s": "output_throughput_tok_s",
    "gpu_temperature_c": "gpu_temp_max_c",
    "gpu_power_w": "power_mean_w",
    "run_seconds": "duration_s",
}


@dataclass
class Meters:
    """The meters of one experiment; needs a connection to Ray."""

    experiment: str
    gauges: dict[str, Gauge] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, meaning in OF_SWEEP.items():
            self.gauges[name] = Gauge(PREFIX + name, meaning, ("experiment",))
        for name, meaning in OF_MACHINE.items():
            self.gauges[name] = Gauge(PREFIX + name, meaning, ("experiment", "host"))
        tags = ("experiment", "host", "environment", "status")
        # Ray adds `_total` itself
        self.attempts = Counter(PREFIX + ATTEMPTS.removesuffix("_total"), "attempts that have ended, by status", tags)

    def sweep(self, *, done: int, planned: int, eta_s: float) -> None:
        """Where the sweep is."""
        for name, value in (("runs_done", done), ("runs_planned", planned), ("eta_seconds", eta_s)):
            self.gauges[name].set(value, {"experiment": self.experiment})

    def queue(self, host: str, count: int) -> None:
        """How much a machine still has to do of what it has taken."""
        self.gauges["queue_runs"].set(count, {"experiment": self.experiment, "host": host})

    def attempt(self, host: str, environment: str, row: Mapping[str, Any]) -> None:
        """An attempt has ended. What it lacks is NaN, not the value of an earlier one."""
        tags = {"experiment": self.experiment, "host": host}
        self.attempts.inc(1.0, {**tags, "environment": environment, "status": str(row["status"])})
        for name, column in COLUMNS.items():
            value = row.get(column)
            self.gauges[name].set(math.nan if value is None else float(value), tags)

    def lose(self, host: str) -> None:
        """A machine measures no more: nothing is known of it."""
        for name in OF_MACHINE:
            self.gauges[name].set(math.nan, {"experiment": self.experiment, "host": host})
