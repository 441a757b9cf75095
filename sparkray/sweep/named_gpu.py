"""The machine that `--gpu NAME` means: the site that has such a GPU, or how to describe one that no site has.

An unknown name is never taken for a similar one: an H100 PCIe has 0.6 times the bandwidth of an H100 SXM.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sparkray.catalog import Catalog, parse_settings
from sparkray.config.site import Site
from sparkray.errors import InputError
from sparkray.machine.finding import SPARK
from sparkray.machine.fingerprint import site_for

_OTHERS = "discrete-gpu"
_SPARKS_GPU = "NVIDIA GB10"
_MAKER = "nvidia "


def site_settings(texts: Sequence[str]) -> Mapping[str, Any]:
    """`--set site.KEY=VALUE` by key. Raises InputError: another room is set."""
    settings = parse_settings(list(texts))
    if others := [room for room, values in settings.items() if values and room != "site"]:
        raise InputError(f"--set {others[0]}: only a site can be set here", "Set site.KEY=VALUE")
    return settings["site"]


def site_with_gpu(catalog: Catalog, gpu: str, name: str | None, settings: Mapping[str, Any]) -> tuple[Site, str]:
    """The site of a GPU, with settings, and the GPU's name as NVML spells it.

    Args:
        catalog: Has the sites.
        gpu: A name; upper and lower case are the same, and so is one without the maker.
        name: The site that was asked for; None takes the one that has the GPU.
        settings: Keys of the site that were set (`--set site.KEY=VALUE`). A bandwidth describes a GPU that no site has.

    Raises:
        InputError: No site has it, or the one that was asked for has not.
    """
    owners = {device: own for own in catalog.site_names() for device in catalog.site(own).devices}
    if name is not None:
        owners |= dict.fromkeys(catalog.site(name).devices, name)
    owners.setdefault(_SPARKS_GPU, SPARK)
    known = next((device for device in owners if _plain(device) == _plain(gpu)), None)
    if known is None and site_for((gpu,)) == SPARK:
        known = _SPARKS_GPU
    if known is None and settings.get("bandwidth_gb_s") is not None:
        return _described(catalog.site(name or _OTHERS, settings), settings), gpu
    if known is None:
        of_site = f" of site {name}" if name else ""
        message = f"unknown GPU{of_site} {gpu!r}: its data sheet is not in sparkray"
        raise InputError(message, _how_to_add(catalog, gpu, owners))
    if name is None:
        return catalog.site(owners[known], settings), known
    site = catalog.site(name, settings)
    has_it = SPARK in (site.name, site.inherits) if known == _SPARKS_GPU else known in site.devices
    if not has_it:
        raise InputError(f"unknown GPU of site {name} {known!r}", f"It is of another site: --site {owners[known]}")
    return site, known


def _described(site: Site, settings: Mapping[str, Any]) -> Site:
    """The site with the numbers that were set alone: those of its own GPU must not be mixed with another's."""
    return replace(
        site,
        memory_gib=site.memory_gib if "memory_gib" in settings else None,
        compute_tflops=site.compute_tflops if "compute_tflops" in settings else None,
        least_sm_clock_mhz=site.least_sm_clock_mhz if "least_sm_clock_mhz" in settings else None,
    )


def _plain(gpu: str) -> str:
    return " ".join(gpu.casefold().split()).removeprefix(_MAKER)


def _how_to_add(catalog: Catalog, gpu: str, known: Mapping[str, str]) -> str:
    file = catalog.root / "conf/sites" / f"{_OTHERS}.yaml"
    return (
        f"Give its memory bandwidth, --set site.bandwidth_gb_s=GB_PER_S (and site.memory_gib, site.compute_tflops), "
        f"or add one line to `devices` in {file}: '{gpu}: {{bandwidth_gb_s: GB_PER_S, memory_gib: GIB}}'. "
        f"Known: {', '.join(sorted(known))}"
    )
