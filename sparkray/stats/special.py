"""SciPy's special functions, without what `scipy.special` imports around them.

The functions themselves load in 5 ms. `scipy.special` imports all of NumPy beside them, its Fortran compiler included, to
serve array libraries that sparkray does not use: 0.15 s, a tenth of an analysis. So the extension module is loaded on its
own; where SciPy's layout is another, or `scipy.special` is there already, the functions are taken from the package. They are
the same objects either way.
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import scipy

_PACKAGE = "scipy.special"
_NAMES = (
    "bdtr",
    "bdtrc",
    "betaln",
    "chdtrc",
    "chdtri",
    "fdtrc",
    "gammaincc",
    "gammainccinv",
    "gammaincinv",
    "ndtr",
    "ndtri",
    "pdtrc",
    "stdtr",
    "stdtrit",
)


def _functions() -> ModuleType:
    if _PACKAGE in sys.modules:
        return import_module(_PACKAGE)
    package = ModuleType(_PACKAGE)
    package.__path__ = [str(Path(scipy.__file__).parent / "special")]
    sys.modules[_PACKAGE] = (
        package  # for as long as the extension module is loaded, which imports others of its package
    )
    try:
        found = import_module(f"{_PACKAGE}._ufuncs")
    except ImportError:
        found = package
    finally:
        del sys.modules[_PACKAGE]
    return found if all(hasattr(found, name) for name in _NAMES) else import_module(_PACKAGE)


_FOUND = _functions()
bdtr = _FOUND.bdtr
bdtrc = _FOUND.bdtrc
betaln = _FOUND.betaln
chdtrc = _FOUND.chdtrc
chdtri = _FOUND.chdtri
fdtrc = _FOUND.fdtrc
gammaincc = _FOUND.gammaincc
gammainccinv = _FOUND.gammainccinv
gammaincinv = _FOUND.gammaincinv
ndtr = _FOUND.ndtr
ndtri = _FOUND.ndtri
pdtrc = _FOUND.pdtrc
stdtr = _FOUND.stdtr
stdtrit = _FOUND.stdtrit
