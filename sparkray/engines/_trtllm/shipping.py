"""Files of this package that go elsewhere: the NVML shim into a run's input folder, the simulated tool into an image."""

from importlib.resources import files
from importlib.resources.abc import Traversable

from sparkray.engines._trtllm.features import VERSIONS
from sparkray.engines._trtllm.messages import note
from sparkray.errors import UnknownNameError

_PACKAGE = "sparkray.engines._trtllm"
# The simulated tool writes this beside its report and the real one never does: rows made from it are simulated.
DOUBLE_MARKER = "sparkray-double.json"


def nvml_shim() -> bytes:
    """The `sitecustomize.py` that keeps the tool from dying where NVML reports no memory clock."""
    return (files(_PACKAGE) / "nvml_shim.py").read_bytes()


def double_files(version: str, *, python: str) -> dict[str, bytes]:
    """The simulated `trtllm-bench` as files of an image, by path relative to a prefix.

    `bin/trtllm-bench` must be executable and on PATH. The folder `lib` on PYTHONPATH, or its content in site-packages,
    makes `import tensorrt_llm` report the version, as in the real image.

    Args:
        version: `1.0` to `1.3`.
        python: Absolute path of the image's interpreter.

    Raises:
        UnknownNameError: That version is not simulated.
    """
    if version not in VERSIONS:
        raise UnknownNameError(note("simulated_version"), version, list(VERSIONS))
    laid = {f"lib/trtllm_double/{name}": data for name, data in _tree(files(_PACKAGE) / "double").items()}
    for stub in ("tensorrt_llm/__init__.py", "pynvml.py"):
        laid[f"lib/{stub}"] = laid[f"lib/trtllm_double/{stub}"]
    laid["lib/VERSION"] = laid["lib/trtllm_double/VERSION"] = f"{version}\n".encode()
    script = laid["lib/trtllm_double/launcher.py"]
    return {**laid, "bin/trtllm-bench": f"#!{python}\n".encode() + script}


def _tree(folder: Traversable, prefix: str = "") -> dict[str, bytes]:
    tree: dict[str, bytes] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            tree |= {} if entry.name == "__pycache__" else _tree(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith((".py", ".json", ".txt")):
            tree[f"{prefix}{entry.name}"] = entry.read_bytes()
    return tree
