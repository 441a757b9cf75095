"""What `doctor` finds out about this machine for a study."""

from collections.abc import Mapping
from dataclasses import replace

from sparkray.catalog.weights import cache_folder
from sparkray.config.site import Environment
from sparkray.engines import load_engine
from sparkray.execute.flag_trials import try_flags
from sparkray.execute.layout import engine_warnings
from sparkray.images.rootfs import export_folder
from sparkray.machine.doctor import examine, look
from sparkray.machine.finding import Finding
from sparkray.machine.fingerprint import fingerprint
from sparkray.machine.load import LoadMeter
from sparkray.machine.probe import clocks_under_load
from sparkray.plan import Study, make_plan


def examine_machine(
    study: Study,
    harmless: Mapping[str, Environment] | None,
    *,
    named: bool = True,
    meter: LoadMeter | None = None,
) -> list[Finding]:
    """Every finding.

    Args:
        study: What is to be measured.
        harmless: The site's environments whose flags may be tried; None: nothing is tried, the facts are read alone.
        named: False where the site is a fallback for one that could not be recognised.
        meter: Measures the load of other programs from its creation on.
    """
    cache = cache_folder()
    if harmless is None:
        return examine(look(study.site, study.cards, machine=fingerprint(), cache=cache))
    seen = look(
        study.site,
        study.cards,
        machine=fingerprint(),
        cache=cache,
        site_named=named,
        export=lambda digest: export_folder(cache, digest),
        load=clocks_under_load,
        try_flags=lambda site: try_flags(replace(site, environments=harmless)),
        start_below_c=study.experiment.protocol.start_below_c,
        meter=meter or LoadMeter(),
    )
    why = "what the engine will be asked to do"
    warnings = engine_warnings(study, make_plan(study), load_engine(study.engine))
    return [*examine(seen), *(Finding("engine", "warn", warning, why) for warning in warnings)]
