"""Keeps `trtllm-bench` from losing a whole run to an NVML error: a `sitecustomize` that the engine's Python loads first.

When it writes its report, the tool (1.2 and later) asks NVML for the highest memory clock. It is prepared for a
RuntimeError, but pynvml raises errors of its own: NotSupported on a GB10, Uninitialized because nothing called nvmlInit
(1.2) or because the energy monitor called nvmlShutdown before (1.3). The run then ends with status 1, a report of 0 bytes
and no request file. The energy monitor of 1.3, in turn, is prepared for pynvml's errors and not for a RuntimeError. So:

* Every error of pynvml becomes a RuntimeError *as well*. Its class stays the same, so whoever catches it by its own name
  still does. This covers every call and every kind of error, also those of later versions.
* A call that needs no device handle and finds NVML uninitialized is made again after nvmlInit, so that the report holds
  the machine instead of null. With a handle it is not: a handle from before a shutdown may no longer be valid.

Nothing else changes: where NVML answers, the tool gets the same answer. The shim acts outside the measured interval and
alike in every arm. It is therefore on by default for every GPU (`engine.nvml_shim: false` turns it off): what it does
where nothing fails is one import hook, and what is lost without it is a run of minutes or hours.

Python finds this file through PYTHONPATH under the name `sitecustomize.py`. A `sitecustomize` that would have been found
without it is run as well.
"""

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_HERE = str(Path(__file__).resolve().parent)
_LIBRARY = "pynvml"
_UNINITIALIZED = 1  # NVML_ERROR_UNINITIALIZED
_WITHOUT_HANDLE = ("nvmlDeviceGetCount", "nvmlDeviceGetHandleBy", "nvmlSystemGet")


class _Loader(importlib.abc.Loader):
    """pynvml's own loader, and the change after it."""

    def __init__(self, inner: importlib.abc.Loader) -> None:
        self._inner = inner

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._inner.exec_module(module)
        change(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Answers for pynvml alone, with what the other finders would have found."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _LIBRARY:
            return None
        for finder in sys.meta_path:
            spec = None if isinstance(finder, _Finder) else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader)
                return spec
        return None


def change(module: Any) -> None:  # noqa: ANN401 - whatever pynvml is at this version
    """Make pynvml's errors RuntimeErrors as well, and let calls without a handle initialise NVML."""
    error = getattr(module, "NVMLError", None)
    if not isinstance(error, type) or issubclass(error, RuntimeError):
        return
    try:
        error.__bases__ = tuple(RuntimeError if base is Exception else base for base in error.__bases__)
    except TypeError as why:  # a class that Python lays out otherwise: the tool is as it was without the shim
        sys.stderr.write(f"sparkray's NVML shim has no effect: {why}\n")
        return
    start: Any = getattr(module, "nvmlInit", None)
    for name in dir(module) if callable(start) else ():
        if name.startswith(_WITHOUT_HANDLE) and callable(call := getattr(module, name)):
            setattr(module, name, _initialising(call, start, error))


def _initialising(call: Callable[..., Any], start: Callable[[], Any], error: type) -> Callable[..., Any]:
    """The call, made once more after nvmlInit where NVML was not initialised."""

    @functools.wraps(call)
    def again(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - passed on as they come
        try:
            return call(*arguments, **keywords)
        except Exception as raised:
            if not isinstance(raised, error) or not _uninitialized(raised):
                raise
            start()
            return call(*arguments, **keywords)

    return again


def _uninitialized(error: Exception) -> bool:
    return getattr(error, "value", None) == _UNINITIALIZED or type(error).__name__ == "NVMLError_Uninitialized"


def _run_the_other_sitecustomize() -> None:
    elsewhere = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "sitecustomize":
    if _LIBRARY in sys.modules:  # a .pth file came first
        change(sys.modules[_LIBRARY])
    sys.meta_path.insert(0, _Finder())
    _run_the_other_sitecustomize()
