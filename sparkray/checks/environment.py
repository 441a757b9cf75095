"""Has the engine's process the variables that were declared and no others?"""

from collections.abc import Mapping

from sparkray.checks import Evidence
from sparkray.config.experiment import Policy
from sparkray.records import Verdict
from sparkray.runtimes import MARKER

_OF_DOCKER = frozenset({MARKER, "HOSTNAME", "HOME", "PATH", "TERM", "container"})
"""The run's own marker, and what Docker makes itself."""


class Check:
    """See the module. What could not be read back is a warning."""

    name = "environment"
    policy: Policy = "invalid"
    remedy = "Look at what sets these variables: the image, its entrypoint, or Docker's own configuration"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict, whatever the evidence."""
        found = evidence.state.get("environment")
        if found is None:
            return Verdict(self.name, "warn", "the environment could not be read back")
        wrong = _wrong(evidence.asked.environment, found)
        if wrong:
            return Verdict(self.name, "invalid", "; ".join(wrong))
        return Verdict(self.name, "pass", f"{len(found)} variables as declared")


def _wrong(declared: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    return [
        f"{name} is {found.get(name)!r}, declared {declared.get(name)!r}"
        for name in sorted({*found, *declared} - _OF_DOCKER)
        if found.get(name) != declared.get(name)
    ]
