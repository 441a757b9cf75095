"""What this machine must have before a sweep starts anything: a refusal must not wait for Ray to start."""

import os
import tempfile

from sparkray.catalog.weights import cache_folder
from sparkray.config.site import HOST
from sparkray.errors import HostError, InputError
from sparkray.machine.doctor import must_fit
from sparkray.machine.fingerprint import fingerprint
from sparkray.machine.lock import MachineLock
from sparkray.plan import Study
from sparkray.units import reason_of, short
from sparkray.workflows.options import Options


def is_elsewhere(options: Options) -> bool:
    """Whether a cluster's machines measure."""
    return (options.address or os.environ.get("RAY_ADDRESS") or "local") != "local"


def must_fit_here(study: Study, options: Options) -> None:
    """Refuse this machine where a sweep on it cannot succeed. On a cluster's machines their runners check.

    Raises:
        InputError: Docker could not mount the results folder, or its name is no text.
        HostError: Docker, the image or the GPU is missing, with every reason; or nothing can be written to the cache.
        LockHeldError: Another process measures, and `--lock fail` was given.
    """
    folder = str(options.results_dir.absolute())
    if ":" in folder and any(treatment.in_container for treatment in study.treatments):
        raise InputError(
            f"the results folder {short(folder)} has a colon, at which Docker would divide the mount",
            "Name another: --results-dir DIR",
        )
    if folder.encode(errors="replace").decode() != folder:
        raise InputError(
            f"the results folder {short(folder)} has a name that is no UTF-8 text, which Ray cannot pass on",
            "Name another: --results-dir DIR",
        )
    if is_elsewhere(options):
        return
    _must_have_a_cache()
    machine = fingerprint()
    if options.lock == "fail":
        MachineLock(machine.lock_keys).must_be_free()
    if any(treatment.environment != HOST for treatment in study.treatments):
        must_fit(study.site, machine)


def _must_have_a_cache() -> None:
    """Refuse a folder for models and images that cannot be made or written to."""
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    except OSError as error:
        message = f"nothing can be written to the cache folder {short(str(cache))}: {reason_of(error)}"
        raise HostError(message, "Name another: XDG_CACHE_HOME=DIR") from None
