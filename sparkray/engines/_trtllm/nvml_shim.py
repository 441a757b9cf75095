"""Keeps `trtllm-bench` from dying while it reports: a `sitecustomize` for GPUs whose NVML tells no memory clock.

From late 2025 on the tool asks NVML for the highest memory clock when it writes its report, and is prepared for a
RuntimeError, not for pynvml's own error, which a GB10 raises. The whole run would end with an empty report. This file,
found by Python through PYTHONPATH under the name `sitecustomize.py`, turns what NVML raises from that one call into the
RuntimeError that the tool expects; everything else of pynvml stays as it is.

Whatever `sitecustomize` would have been found without it is run as well.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_HERE = str(Path(__file__).resolve().parent)


class _Loader(importlib.abc.Loader):
    """pynvml's own loader, and after it the wrapper."""

    def __init__(self, inner: importlib.abc.Loader) -> None:
        self._inner = inner

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._inner.exec_module(module)
        _wrap(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Answers for pynvml alone, once, with what the other finders would have found."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "pynvml":
            return None
        for finder in sys.meta_path:
            spec = None if isinstance(finder, _Finder) else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader)
                return spec
        return None


def _wrap(module: Any) -> None:  # noqa: ANN401 - whatever pynvml is at this version
    inner: Callable[..., Any] = module.nvmlDeviceGetMaxClockInfo

    def max_clock_info(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - passed on as they come
        try:
            return inner(*arguments, **keywords)
        except module.NVMLError as error:
            raise RuntimeError(f"{error} (told as RuntimeError by sparkray's shim)") from error

    module.nvmlDeviceGetMaxClockInfo = max_clock_info


def _run_the_other_sitecustomize() -> None:
    elsewhere = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, _Finder())
    _run_the_other_sitecustomize()
