"""Every notebook in `examples` runs from its first cell to its last, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert [cell for cell in cells if cell["cell_type"] == "code" and cell["outputs"]] == []  # kept free of old outputs
    environment = {name: value for name, value in os.environ.items() if name != "SPARKRAY_RESULTS"}
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
        cwd=tmp_path,
        env=environment | {"MPLBACKEND": "agg", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Qwen2-1.5B") == 4  # two environments, by Polars and by DuckDB
    assert list(tmp_path.glob("*/forest.svg"))
