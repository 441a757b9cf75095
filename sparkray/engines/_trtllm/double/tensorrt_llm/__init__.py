"""Reports the simulated version as `tensorrt_llm.__version__` and prints the banner; holds nothing else of TensorRT-LLM."""

from trtllm_double.console import banner  # type: ignore[import-not-found]
from trtllm_double.settings import read_settings  # type: ignore[import-not-found]

_SETTINGS = read_settings()
__version__ = _SETTINGS.full
banner(_SETTINGS)
