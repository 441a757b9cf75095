"""The launcher's bind mounts, in a mount namespace that ends with the test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from real_machine import require_root

from sparkray.runtimes.linux.process import LAUNCHER

CODE = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import _launcher as launcher
launcher.mount("none", "/", "none", launcher.MS_REC | launcher.MS_PRIVATE)
source, target = sys.argv[2:]
below = f"{source}/a b"
os.makedirs(below)
launcher.mount("tmpfs", below, "tmpfs", launcher.MS_NOEXEC)
open(f"{below}/file", "w").close()
launcher.bind(source, target, read_only=True, recursive=True)
lines = [line.split() for line in open("/proc/self/mountinfo")]
flags = next(fields[5] for fields in lines if fields[4] == f"{target}/a\\\\040b")
seen = os.listdir(f"{target}/a b")
print(json.dumps([seen, os.access(target, os.W_OK), os.access(f"{target}/a b", os.W_OK), flags.split(",")]))
"""


@pytest.mark.root
def test_a_mount_below_a_folder_comes_with_it_and_is_as_read_only(tmp_path: Path) -> None:
    require_root("native")
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    words = [sys.executable, "-c", CODE, str(LAUNCHER.parent), str(source), str(target)]
    done = subprocess.run(["unshare", "-m", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen, writes, writes_below, flags = json.loads(done.stdout)
    assert (seen, writes, writes_below) == (["file"], False, False)
    assert {"ro", "noexec"} <= set(flags)
    assert not list((source / "a b").iterdir()), "nothing of it is left"
