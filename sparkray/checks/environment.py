"""Does the engine's process have exactly the declared environment variables?"""

from collections.abc import Mapping

from sparkray.checks import Evidence
from sparkray.config.experiment import Policy
from sparkray.records import Verdict
from sparkray.runtimes import MARKER

_OF_DOCKER = frozenset({MARKER, "HOSTNAME", "HOME", "PATH", "TERM", "container"})
"""The run's own marker, and variables that Docker sets."""


class Check:
    """See the module. Variables that cannot be read back are a warning."""

    name = "environment"
    policy: Policy = "invalid"
    remedy = "Find what sets these variables: the image, its entrypoint or Docker's configuration"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict."""
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
