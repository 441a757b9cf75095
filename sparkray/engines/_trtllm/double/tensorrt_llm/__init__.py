"""Reports the simulated version as `tensorrt_llm.__version__` and prints the banner; holds nothing else of TensorRT-LLM."""

import os
import sys
from pathlib import Path

_FULL = {"1.0": "1.0.0", "1.1": "1.1.0", "1.2": "1.2.1", "1.3": "1.3.0rc13"}
_BAKED = Path(__file__).resolve().parent.parent / "VERSION"
_MINOR = os.environ.get("SPARKRAY_DOUBLE_VERSION") or (_BAKED.read_text().strip() if _BAKED.is_file() else "1.2")
__version__ = _FULL[_MINOR]
_NAME = "TensorRT-LLM" if _MINOR == "1.0" else "TensorRT LLM"
sys.stdout.write(f"[TensorRT-LLM] {_NAME} version: {__version__}\n")
sys.stdout.flush()
