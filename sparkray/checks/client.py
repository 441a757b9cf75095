"""Could the load generator keep up? One that is near its limit slows the load, or stamps tokens late.

The generator is one thread, so its limit is one CPU. Each run measures its own: `client_rate_ratio` is the chunks of the
busiest second over those that a whole CPU could have taken at the run's own CPU time per chunk. Within a factor of two of
that limit is a warning. Null, as of `aiperf`, is not judged.
"""

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence
from sparkray.checks._finding import number
from sparkray.config.experiment import Policy
from sparkray.records import Verdict

NEAR = 0.5


class Check(BaseCheck):
    """See the module."""

    name = "client"
    policy: Policy = "warn"
    remedy = "Give the load generator faster CPUs of its own (site.client_cpus), or send less at once"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None of an offline run, and where the limit is not known."""
        ratio = number(evidence.row, "client_rate_ratio")
        if ratio is None:
            return None
        text = f"the load generator received {100 * ratio:.0f} % of the chunks per second that its CPU time allows"
        if ratio <= NEAR:
            return Verdict(self.name, "pass", text)
        return Verdict(self.name, "warn", f"{text}, limit {100 * NEAR:.0f} %: latencies may be the generator's own")
