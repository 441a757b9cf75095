"""Loads made-up NVML libraries and asks everything that sparkray asks of NVML, under every fault; writes JSON.

    nvml_player.py LIBRARY CALLS CODES [LIBRARY-WITHOUT-A-CALL ...]

A program of its own, since a library that was loaded once stays. Each library is played in a forked child: the first with
every call of CALLS answering every code of CODES (names and numbers with commas between), the others as they are.
"""

import ctypes
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from sparkray.catalog import Catalog, data_root
from sparkray.errors import HostError
from sparkray.execute.gates import thermometer
from sparkray.machine._gpus import CHECKS
from sparkray.machine._nvml import read_gpus
from sparkray.machine.doctor import _site
from sparkray.machine.finding import DockerFacts, Programs, Seen
from sparkray.machine.fingerprint import fingerprint, recognised_site
from sparkray.telemetry import Target, gpu, gpu_energy, gpu_errors, gpu_process, gpu_slow, gpu_util

SAMPLERS = (gpu, gpu_energy, gpu_errors, gpu_process, gpu_slow, gpu_util)
# Parent of /dev and /proc: those of the machine under the test may be of a real driver.
NO_FILES = Path(__file__).with_name("no-such-root")
SITE = Catalog(data_root()).site("dgx-spark")


def played() -> dict[str, Any]:
    """What is shown and stored now; `crash` is the traceback of what should have been caught."""
    try:
        gpus = read_gpus(root=NO_FILES)
        machine = fingerprint(gpus, root=NO_FILES)
        seen = Seen(SITE, (), machine, gpus, DockerFacts(), Programs())
        findings = {found.name: found.document() for check in (_site, *CHECKS) if (found := check(seen))}
        try:
            site: str | None = recognised_site(machine)
            refused = ""
        except HostError as error:
            site, refused = None, str(error)
        with thermometer() as hottest:
            temperature = hottest()
        rows, problems = sampled()
        return {
            "findings": findings,
            "facts": dict(machine.facts),
            "locks": machine.lock_keys,
            "site": site,
            "refused": refused,
            "temperature": temperature,
            "rows": rows,
            "problems": problems,
        }
    except BaseException:  # noqa: BLE001 - whatever it is, it is what the test is about
        return {"crash": traceback.format_exc()}


def sampled() -> tuple[dict[str, Any], dict[str, str]]:
    """The columns that samplers give, and what they say is wrong; a fault when they look is the recorder's to note."""
    rows: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for module in SAMPLERS:
        with module.Sampler() as sampler:
            sampler.attach(Target(os.getpid()))
            try:
                for row in sampler.sample():
                    rows |= {name: value for name, value in row.items() if value is not None}
            except Exception as error:  # noqa: BLE001 - as `recorder.Recorder` does
                problems[sampler.name] = f"{type(error).__name__}: {error}"
        if sampler.unavailable:
            problems[sampler.name] = sampler.unavailable
    return rows, problems


def forked(library: str, cases: list[tuple[str, dict[str, str]]]) -> dict[str, Any]:
    """What a child with that library loaded says of each case."""
    end, start = os.pipe()
    if (pid := os.fork()) == 0:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        found = {}
        for name, variables in cases:
            os.environ.update(variables)
            found[name] = played()
            for key in variables:
                del os.environ[key]
        with os.fdopen(start, "w") as pipe:
            json.dump(found, pipe)
        os._exit(0)
    os.close(start)
    with os.fdopen(end) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    found: dict[str, Any] = json.loads(text or "{}")
    return found


def main(library: str, calls: str, codes: str, *without: str) -> None:
    """Plays everything."""
    table = [(f"{call} {code}", {f"NVML_{call}": code}) for call in calls.split(",") for code in codes.split(",")]
    found = forked(library, [("sound", {}), *table])
    for path in without:
        name = Path(path).parent.name
        found |= {f"without {name}": forked(path, [("it", {})]).get("it", {"crash": "the child died"})}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
