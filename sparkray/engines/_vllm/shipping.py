"""The simulated vLLM as files of an image."""

from importlib.resources import files

# The simulated tool writes this beside its report and the real one never does: rows made from it are simulated.
DOUBLE_MARKER = "sparkray-double.json"
_PLACES = {
    "lib/vllm/__init__.py": "",
    "lib/vllm/entrypoints/__init__.py": "",
    "lib/vllm/entrypoints/cli/__init__.py": "",
    "lib/vllm/entrypoints/cli/main.py": "main.py",
    "lib/vllm/entrypoints/cli/bench.py": "bench.py",
}


def double_files() -> dict[str, bytes]:
    """A simulated `python3 -m vllm.entrypoints.cli.main`, by path relative to a prefix whose `lib` is on PYTHONPATH."""
    source = files("sparkray.engines._vllm") / "double"
    return {place: (source / name).read_bytes() if name else b"" for place, name in _PLACES.items()}
