"""What this machine must have before a sweep starts anything: a refusal must not wait for Ray to start."""

import os

from sparkray.config.site import HOST
from sparkray.machine.doctor import must_fit
from sparkray.machine.fingerprint import fingerprint
from sparkray.plan import Study
from sparkray.workflows.options import Options


def is_elsewhere(options: Options) -> bool:
    """Whether a cluster's machines measure."""
    return (options.address or os.environ.get("RAY_ADDRESS") or "local") != "local"


def must_fit_here(study: Study, options: Options) -> None:
    """Refuse this machine where a sweep on it cannot succeed. On a cluster's machines their runners check.

    Raises:
        HostError: Docker, the image or the GPU is missing, with every reason.
    """
    if not is_elsewhere(options) and any(treatment.environment != HOST for treatment in study.treatments):
        must_fit(study.site, fingerprint())
