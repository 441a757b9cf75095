"""The machine that `--gpu NAME` means: a data sheet of `conf/gpus.csv`, a device of a site, or one that was described."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sparkray.catalog import Catalog, parse_settings
from sparkray.config.gpu import Gpu, find, near, plain
from sparkray.config.site import SPARK, Device, Site
from sparkray.errors import InputError

_OTHERS = "discrete-gpu"


def site_settings(texts: Sequence[str]) -> Mapping[str, Any]:
    """`--set site.KEY=VALUE` by key. Raises InputError: another room is set."""
    settings = parse_settings(list(texts))
    if others := [room for room, values in settings.items() if values and room != "site"]:
        raise InputError(f"--set {others[0]}: only a site can be set here", "Set site.KEY=VALUE")
    return settings["site"]


def site_with_gpu(catalog: Catalog, gpu: str, name: str | None, settings: Mapping[str, Any]) -> tuple[Site, str]:
    """The site of a GPU, with settings and the GPU's data sheet, and the GPU's name as the file has it.

    Args:
        catalog: Has the sites and the data sheets.
        gpu: A name of it, as `config.gpu.find` reads it.
        name: The site that was asked for; None takes the GPU's own.
        settings: Keys of the site that were set (`--set site.KEY=VALUE`). A bandwidth describes a GPU that no file has.

    Raises:
        InputError: Nothing describes it, or it is not of the site that was asked for.
    """
    own = next((one for one in _devices(catalog, name) if plain(one) == plain(gpu)), None)
    if name is not None and own is not None:
        return catalog.site(name, settings), own
    gpus = catalog.gpus()
    known = find(gpus, gpu)
    if known is None and settings.get("bandwidth_gb_s") is not None:
        return _described(catalog.site(name or _OTHERS, settings), settings), gpu
    if known is None:
        of_site = f" of site {name}" if name else ""
        message = f"unknown GPU{of_site} {gpu!r}: its data sheet is not in sparkray"
        raise InputError(message, _how_to_add(catalog, gpu, gpus))
    site = catalog.site(name or known.site, settings)
    is_spark = SPARK in (site.name, site.inherits)
    if is_spark is not (known.site == SPARK):
        raise InputError(f"unknown GPU of site {name} {known.name!r}", f"It is of another site: --site {known.site}")
    return _with_sheet(site, known), known.name


def site_of_gpus(catalog: Catalog, names: Sequence[str], settings: Mapping[str, Any]) -> Site | None:
    """The site of GPUs that results name, where the file has all of them and they are of one site."""
    gpus = catalog.gpus()
    known = [find(gpus, name) for name in dict.fromkeys(names)]
    sheets = [gpu for gpu in known if gpu is not None]
    if not sheets or len(sheets) < len(known) or len({gpu.site for gpu in sheets}) > 1:
        return None
    site = catalog.site(sheets[0].site, settings)
    for name, sheet in zip(dict.fromkeys(names), sheets, strict=True):
        site = replace(site, devices={**site.devices, name: site.devices.get(sheet.name, sheet.device)})
    return site


def _devices(catalog: Catalog, name: str | None) -> Mapping[str, Device]:
    return {} if name is None else catalog.site(name).devices


def _with_sheet(site: Site, gpu: Gpu) -> Site:
    """The site with one more device; what the site itself says about it stands."""
    return replace(site, devices={gpu.name: gpu.device, **site.devices})


def _described(site: Site, settings: Mapping[str, Any]) -> Site:
    """The site with the numbers that were set alone: those of its own GPU must not be mixed with another's."""
    return replace(
        site,
        memory_gib=site.memory_gib if "memory_gib" in settings else None,
        compute_tflops=site.compute_tflops if "compute_tflops" in settings else None,
        least_sm_clock_mhz=site.least_sm_clock_mhz if "least_sm_clock_mhz" in settings else None,
    )


def _how_to_add(catalog: Catalog, gpu: str, gpus: Sequence[Gpu]) -> str:
    alike = near(gpus, gpu)
    return (
        f"Give its memory bandwidth, --set site.bandwidth_gb_s=GB_PER_S (and site.memory_gib, site.compute_tflops), or add "
        f"one line to {catalog.root / 'conf/gpus.csv'}: '{gpu},,KIND,{_OTHERS},GB_PER_S,GIB,,SOURCE,no'"
        + (f". Near: {', '.join(alike)}" if alike else "")
    )
