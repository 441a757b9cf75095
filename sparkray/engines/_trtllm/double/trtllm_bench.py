#!/usr/bin/env python3
"""`trtllm-bench`, played: link to this file under that name from a folder on PATH. See the package's docstring."""

import importlib.util
import sys
from pathlib import Path

if __name__ == "__main__":
    _HERE = Path(__file__).resolve().parent
    _SPEC = importlib.util.spec_from_file_location("trtllm_double", _HERE / "__init__.py")
    if _SPEC is None:
        raise SystemExit(70)
    sys.path.insert(0, str(_HERE))  # its pynvml, which no interpreter without site-packages has
    sys.modules["trtllm_double"] = importlib.util.module_from_spec(_SPEC)
    raise SystemExit(importlib.import_module("trtllm_double.main").main(sys.argv[1:]))
