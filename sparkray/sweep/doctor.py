"""`doctor`: what this machine is, what would stop a sweep, and what to do about it."""

from dataclasses import replace
from typing import Any

import click

from sparkray.catalog.weights import cache_folder
from sparkray.engines import load_engine
from sparkray.execute.flag_trials import try_flags
from sparkray.execute.layout import engine_warnings
from sparkray.images.rootfs import export_folder
from sparkray.machine.doctor import examine, look
from sparkray.machine.finding import Finding
from sparkray.machine.fingerprint import fingerprint
from sparkray.machine.load import LoadMeter
from sparkray.machine.probe import clocks_under_load
from sparkray.plan import make_plan
from sparkray.sweep.options import options_of, study_options
from sparkray.sweep.show import console, print_json, print_line
from sparkray.workflows.consent import OPTION, dangers_in_site
from sparkray.workflows.options import build_study

# The site whose other requirements `doctor` checks where the machine's own cannot be recognised.
_STAND_IN = "cpu"


@click.command()
@study_options
def doctor(**arguments: Any) -> int:  # noqa: ANN401
    """Check this machine: what would stop a sweep, and what to do about it."""
    meter = LoadMeter()
    options = options_of(arguments)
    machine = fingerprint()
    named = options.site is not None or machine.site is not None
    study = build_study(options if named else replace(options, site=_STAND_IN))
    cache = cache_folder()
    consent = dangers_in_site(study.site)
    open_ones = {danger.environment for danger in consent}
    harmless = {name: one for name, one in study.site.environments.items() if name not in open_ones}
    seen = look(
        study.site,
        study.cards,
        machine=machine,
        cache=cache,
        site_named=named,
        export=lambda digest: export_folder(cache, digest),
        load=clocks_under_load,
        try_flags=lambda site: try_flags(replace(site, environments=harmless)),
        start_below_c=study.experiment.protocol.start_below_c,
        meter=meter,
    )
    findings = examine(seen)
    why = "what the engine will be asked to do"
    warnings = engine_warnings(study, make_plan(study), load_engine(study.engine))
    findings += [Finding("engine", "warn", warning, why) for warning in warnings]
    why = "flags that give a container power over this machine are not tried without consent"
    findings += [Finding("consent", "warn", f"{danger.text()}: a sweep needs {OPTION}", why) for danger in consent]
    if options.json:
        print_json({"findings": [finding.document() for finding in findings]})
    else:
        out = console(to_stderr=False)
        for finding in findings:
            print_line(out, finding.text())
    return 1 if any(finding.state == "stop" for finding in findings) else 0
