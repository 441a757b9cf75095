"""`doctor`: what this machine is, or each of a cluster, what would stop a sweep, and what to do about it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from sparkray.execute.examination import examine_machine
from sparkray.machine.finding import Finding
from sparkray.machine.fingerprint import fingerprint
from sparkray.machine.load import LoadMeter
from sparkray.plan import Study
from sparkray.sweep.options import address_option, options_of, study_options
from sparkray.sweep.show import console, print_json, print_line
from sparkray.workflows.consent import OPTION, dangers_in_site
from sparkray.workflows.options import Options, build_study
from sparkray.workflows.prerequisites import is_elsewhere

if TYPE_CHECKING:  # it brings Ray, which takes long to import
    from sparkray.cluster import Node

# The site whose other requirements `doctor` checks where the machine's own cannot be recognised.
_STAND_IN = "cpu"


@click.command()
@study_options
@address_option
def doctor(**arguments: Any) -> int:  # noqa: ANN401
    """Check this machine: what would stop a sweep, and what to do about it. With --address, each machine of a cluster."""
    meter = LoadMeter()
    options = options_of(arguments)
    named = options.site is not None or fingerprint().site is not None
    study = build_study(options if named else replace(options, site=_STAND_IN))
    by_machine = findings_of(study, options, named=named, meter=meter)
    if is_elsewhere(options):
        document: dict[str, Any] = {
            "machines": [{"host": host, "findings": _documents(found)} for host, found in by_machine.items()]
        }
    else:
        document = {"findings": _documents(by_machine[""])}
    if options.json:
        print_json(document)
    else:
        out = console(to_stderr=False)
        for host, findings in by_machine.items():
            for line in ([f"== {host}"] if host else []) + [finding.text() for finding in findings]:
                print_line(out, line)
    return 1 if any(finding.state == "stop" for found in by_machine.values() for finding in found) else 0


def _documents(findings: Sequence[Finding]) -> list[Mapping[str, Any]]:
    return [finding.document() for finding in findings]


def findings_of(
    study: Study, options: Options, *, named: bool = True, meter: LoadMeter | None = None, trying: bool = True
) -> dict[str, list[Finding]]:
    """Findings by machine of a cluster, or of this machine under an empty name. Raises ClusterError.

    `trying`: whether containers are started with the site's flags, and GPUs given work.
    """
    consent = dangers_in_site(study.site) if trying else []
    open_ones = {danger.environment for danger in consent}
    environments = study.site.environments.items()
    harmless = {name: one for name, one in environments if name not in open_ones} if trying else None
    why = "flags that give a container power over this machine are not tried without consent"
    also = [Finding("consent", "warn", f"{danger.text()}: a sweep needs {OPTION}", why) for danger in consent]
    if not is_elsewhere(options):
        return {"": [*examine_machine(study, harmless, named=named, meter=meter), *also]}
    from sparkray.cluster import connected  # noqa: PLC0415 - Ray takes long to import

    found: dict[str, list[Finding]] = {}
    with connected(options.address, dashboard=False) as cluster:
        nodes = cluster.nodes()
        for name, answer in zip(names_of(nodes), cluster.examine(nodes, study, harmless), strict=True):
            silent = "what this machine is and lacks is not known"
            mine = [Finding("ray", "stop", answer, silent)] if isinstance(answer, str) else answer
            found[name] = [*mine, *also]
    return found


def names_of(nodes: Sequence["Node"]) -> list[str]:
    """A name for each node: its machine's, with Ray's id of the node where others have the same."""
    counts = Counter(node.host for node in nodes)
    return [node.host if counts[node.host] == 1 else f"{node.host} (node {node.id})" for node in nodes]
