"""Does the engine's process have exactly the declared environment variables?"""

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence
from sparkray.records import Verdict
from sparkray.runtimes import MARKER

# The run's own marker, and variables that Docker sets.
_OF_DOCKER = frozenset({MARKER, "HOSTNAME", "HOME", "PATH", "TERM", "container"})


class Check(BaseCheck):
    """See the module. Variables that cannot be read back are a warning."""

    name = "environment"
    repeats = True
    remedy = "Find what sets these variables: the image, its entrypoint or Docker's configuration"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict."""
        actual, declared = evidence.state.get("environment"), evidence.asked.environment
        if actual is None:
            return Verdict(self.name, "warn", "the environment could not be read back")
        wrong = [
            f"{name} is {actual.get(name)!r}, declared {declared.get(name)!r}"
            for name in sorted({*actual, *declared} - _OF_DOCKER)
            if actual.get(name) != declared.get(name)
        ]
        if wrong:
            return Verdict(self.name, "invalid", "; ".join(wrong))
        return Verdict(self.name, "pass", f"{len(actual)} variables as declared")
