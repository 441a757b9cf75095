"""Files of this package that go elsewhere: the NVML shim into a run's input folder, the double into an image."""

from importlib.resources import files
from importlib.resources.abc import Traversable

from sparkray.engines._trtllm.features import VERSIONS
from sparkray.errors import UnknownNameError

_PACKAGE = "sparkray.engines._trtllm"
DOUBLE_MARKER = "sparkray-double.json"
"""What the double writes beside its report and the real tool never does: rows made from it are simulated."""


def nvml_shim() -> bytes:
    """The `sitecustomize.py` that keeps the tool from dying where NVML tells no memory clock."""
    return (files(_PACKAGE) / "nvml_shim.py").read_bytes()


def double_files(version: str, *, python: str) -> dict[str, bytes]:
    """The double of `trtllm-bench` as files of an image, by path relative to a prefix.

    `bin/trtllm-bench` must be executable and on PATH. The folder `lib` on PYTHONPATH, or its content in site-packages,
    makes `import tensorrt_llm` tell the version, as in the real image.

    Args:
        version: `1.0` to `1.3`.
        python: Absolute path of the image's interpreter.

    Raises:
        UnknownNameError: There is no double of that version.
    """
    if version not in VERSIONS:
        raise UnknownNameError("version of the double", version, list(VERSIONS))
    laid = {f"lib/trtllm_double/{name}": data for name, data in _tree(files(_PACKAGE) / "double").items()}
    for stub in ("tensorrt_llm/__init__.py", "pynvml.py"):
        laid[f"lib/{stub}"] = laid[f"lib/trtllm_double/{stub}"]
    laid["lib/VERSION"] = laid["lib/trtllm_double/VERSION"] = f"{version}\n".encode()
    script = (
        f"#!{python}\n"
        "import pathlib, sys\n"
        "sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))\n"
        "from trtllm_double.main import main\n"
        "raise SystemExit(main(sys.argv[1:]))\n"
    )
    return {**laid, "bin/trtllm-bench": script.encode()}


def _tree(folder: Traversable, prefix: str = "") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= {} if entry.name == "__pycache__" else _tree(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".py"):
            found[f"{prefix}{entry.name}"] = entry.read_bytes()
    return found
