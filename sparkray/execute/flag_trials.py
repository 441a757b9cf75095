"""Tries the flags of a site's environments in containers, for `doctor`: as before the first run of a sweep."""

from collections.abc import Mapping

from sparkray.catalog.weights import cache_folder
from sparkray.config.gpu_access import route_of
from sparkray.config.site import Site
from sparkray.docker_engine import connect
from sparkray.errors import DockerError, ImageError, PreflightError, SparkrayError
from sparkray.execute.arms import cdi_folders
from sparkray.execute.preflight import Probe, honoured
from sparkray.images.idle import write_idle
from sparkray.images.rootfs import Images
from sparkray.machine.finding import FlagTrial
from sparkray.plan import Treatment
from sparkray.runtimes.container import Runtime
from sparkray.runtimes.linux.gpu_routes import routes_for
from sparkray.runtimes.linux.owner import DOCTOR

_PROGRAM = "/sparkray-idle"


def try_flags(site: Site) -> Mapping[str, FlagTrial] | None:
    """Start a container with the flags of each environment of a site; of one engine that starts none there is one trial.

    It has the site's image where Docker has it, else one of a single file.

    Returns:
        What became of each; None where nothing could be tried (an unknown kind of machine, Docker does not answer).
    """
    try:
        images = Images(connect(), cache_folder())
        program = write_idle(images.cache)
        if program is None:
            return None
        try:
            image = images.find(site.image)
        except ImageError:
            image = images.of_one_file(program)
        cdi_dirs = cdi_folders(images.client)
        probe = Probe(
            Runtime(images.client),
            image,
            (_PROGRAM,),
            program,
            routes=lambda gpus: routes_for(gpus, cdi_dirs),
            purpose=DOCTOR,
        )
        return {name: _tried(Treatment(name, own.options, own.adapt), probe) for name, own in site.environments.items()}
    except DockerError as error:
        return {"": FlagTrial(problem=error.message, remedy=error.remedy)}
    except (SparkrayError, OSError):
        return None


def _tried(treatment: Treatment, probe: Probe) -> FlagTrial:
    """What became of one environment's flags. Raises DockerError."""
    try:
        options, deviations, _ = honoured(treatment, probe)
    except PreflightError as error:
        return FlagTrial(problem=error.message, remedy=error.remedy)
    return FlagTrial(route_of(options), deviations)
