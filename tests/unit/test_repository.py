"""The repository's shell side: what a stranger's first commands run."""

import ast
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
SHELL_FILES = sorted([*(ROOT / "scripts").glob("*.sh"), ROOT / ".ci" / "run"])
# In pieces, so that this file does not name what it forbids.
_HOSTS = ("py" + r"pi\.org", "python" + "hosted", "deb" + r"\.debian", "registry" + r"\.npm")
REGISTRIES = re.compile("|".join(_HOSTS), re.IGNORECASE)
TEXT = {".py", ".sh", ".md", ".toml", ".txt", ".yaml", ".yml", ".cff", ".cfg", ".json", ""}


def _tree() -> Iterator[Path]:
    """Files of the checkout, less what git ignores; by walking, since an unpacked archive has no git."""
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.endswith("/")}
    for folder, folders, files in os.walk(ROOT):
        skipped = ignored | {".git", "results"}
        folders[:] = [name for name in folders if name not in skipped and not name.endswith(".egg-info")]
        yield from (Path(folder) / name for name in files if Path(name).suffix in TEXT)


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def _requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
    return [Requirement(text) for text in asked + project["build-system"]["requires"]]


def _run(*command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = os.environ | {"PYTHON": sys.executable, "MAKEFLAGS": "", "MAKELEVEL": ""}
    return subprocess.run(
        command, cwd=cwd, env=inherited | environment, capture_output=True, text=True, check=False, timeout=60
    )


@contextmanager
def _engine(address: Path, reply: bytes) -> Iterator[str]:
    """Somebody who listens on a unix socket and answers every connection alike; nothing at all for an empty reply."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    stream, _ = listener.accept()
                except OSError:
                    return
                with stream:
                    stream.recv(4096)
                    stream.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"unix://{address}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("path", SHELL_FILES, ids=lambda path: path.name)
def test_shell_scripts_parse(path: Path) -> None:
    done = _run("bash", "-n", str(path))
    assert (done.returncode, done.stderr) == (0, "")


def test_there_are_shell_scripts() -> None:
    assert {"common.sh", "docker.sh", "install.sh", "run"} <= {path.name for path in SHELL_FILES}


@pytest.mark.parametrize("requirement", _requirements(), ids=lambda requirement: requirement.name)
def test_every_direct_dependency_has_a_pin_that_satisfies_it(requirement: Requirement) -> None:
    pin = _pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(Version(pin))


def test_constraints_are_exact_sorted_and_bare() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9A-Za-z.+]*", line)] == []
    names = [line.split("==")[0] for line in lines]
    assert names == sorted(set(names))


def test_the_pattern_knows_a_registry() -> None:
    assert REGISTRIES.search("https://files." + "python" + "hosted.org/packages")
    assert not REGISTRIES.search("https://semver.org/")


def test_no_file_names_a_registry() -> None:
    files = list(_tree())
    assert ROOT / "constraints.txt" in files
    assert [str(path.relative_to(ROOT)) for path in files if REGISTRIES.search(path.read_text(errors="replace"))] == []


def test_make_help_lists_every_target() -> None:
    declared = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared is not None
    done = _run("make", "--no-print-directory")
    assert re.findall(r"^  make (\S+) +\S", done.stdout, re.MULTILINE) == declared[1].split()


def _copy_of_the_installer(folder: Path) -> None:
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)


def test_install_refuses_another_python_and_makes_nothing(tmp_path: Path) -> None:
    _copy_of_the_installer(tmp_path)
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\necho 3.10\n")
    old.chmod(0o755)
    done = _run("bash", "scripts/install.sh", cwd=tmp_path, PYTHON=str(old))
    assert done.returncode == 3
    assert f"{old} is 3.10; sparkray needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_install_is_done_when_its_stamp_is_newer(tmp_path: Path) -> None:
    _copy_of_the_installer(tmp_path)
    interpreter = tmp_path / ".venv" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text("#!/bin/sh\necho 3.12\n")
    interpreter.chmod(0o755)
    (tmp_path / ".venv" / ".made-in").write_text(str(tmp_path))
    os.utime(tmp_path / "pyproject.toml", (1, 1))
    os.utime(tmp_path / "constraints.txt", (1, 1))
    stamp = tmp_path / ".venv" / ".sparkray-installed"
    stamp.touch()
    done = _run("bash", "scripts/install.sh", cwd=tmp_path, PYTHON="")
    assert (done.returncode, done.stdout) == (0, "sparkray: .venv is up to date\n")
    os.utime(stamp, (0, 0))
    again = _run("bash", "scripts/install.sh", cwd=tmp_path, PYTHON="")
    assert "installing sparkray" in again.stdout


def test_docker_uses_the_engine_that_is_named(tmp_path: Path) -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
    with _engine(tmp_path / "s", ok) as address:
        done = _run("bash", "scripts/docker.sh", DOCKER_HOST=address)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"using the Docker engine at {address}" in done.stdout


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b"SSH-2.0-x\r\n"])
def test_docker_refuses_a_listener_that_is_no_engine(tmp_path: Path, reply: bytes) -> None:
    with _engine(tmp_path / "s", reply) as address:
        done = _run("bash", "scripts/docker.sh", DOCKER_HOST=address)
    assert done.returncode == 3
    assert f"no Docker engine answers at {address}" in done.stderr


@pytest.mark.parametrize(
    ("address", "said"),
    [("unix:///nobody/is/there", "no Docker engine answers"), ("ssh://elsewhere", "is no unix:// socket")],
)
def test_docker_refuses_a_named_engine_that_does_not_do(address: str, said: str) -> None:
    done = _run("bash", "scripts/docker.sh", DOCKER_HOST=address)
    assert done.returncode == 3
    assert said in done.stderr
    assert address in done.stderr


def test_docker_sees_an_engine_beside_which_it_starts_none_without_a_bridge(tmp_path: Path) -> None:
    program = tmp_path / "dockerd"
    shutil.copy(shutil.which("sleep") or "sleep", program)
    with subprocess.Popen([str(program), "60"]) as engine:
        try:
            seen = _run("bash", "scripts/docker.sh", "neighbours").stdout.split()
        finally:
            engine.kill()
    assert str(engine.pid) in seen


def test_a_detached_program_inherits_nothing_of_its_caller(tmp_path: Path) -> None:
    log, pid = tmp_path / "log", tmp_path / "pid"
    show = 'nice; echo "left=$LEFT"; cut -d" " -f6 /proc/$$/stat; echo "pid=$$"; grep SigIgn /proc/$$/status; echo end'
    command = [sys.executable, str(ROOT / "scripts" / "detach.py"), str(pid), str(log), "sh", "-c", show]
    # make leaves signals 32 and 33 ignored in its recipes: exactly what must not reach a container.
    (tmp_path / "Makefile").write_text('all:\n\t@trap "" INT; exec $(COMMAND)\n')
    words = " ".join(f"'{word.replace('$', '$$')}'" for word in command)
    done = _run("nice", "-n", "5", "make", "-s", f"COMMAND={words}", cwd=tmp_path, LEFT="over")
    assert done.returncode == 0, done.stderr
    for _ in range(100):
        if log.exists() and log.read_text().endswith("end\n"):
            break
        time.sleep(0.05)
    said = [line for line in log.read_text().splitlines() if not line.startswith("detach: ")]
    nice, left, session, own, ignored, _ = said
    assert left == "left="
    assert session == own.removeprefix("pid=") == pid.read_text().strip()
    assert ignored.split() == ["SigIgn:", "0" * 16]
    if os.geteuid() == 0:
        assert nice == "0"


@pytest.mark.parametrize(
    "path",
    [ROOT / ".pre-commit-config.yaml", *sorted((ROOT / ".github").rglob("*.yml"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_forge_configuration_is_valid_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_the_workflow_runs_what_continuous_integration_runs() -> None:
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["test"]["steps"]
    assert any(".ci/run" in step.get("run", "") for step in steps)


def _private_imports(source: str, room: str) -> list[str]:
    """Imports of another room's `_private` module or name in one file of a room."""
    imported = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
    paths = [name.split(".") for name in imported]
    private = [path for path in paths if any(part.startswith("_") and not part.startswith("__") for part in path)]
    return [".".join(path) for path in private if path[0] == "sparkray" and path[1:2] != [room]]


@pytest.mark.parametrize(
    ("line", "private"),
    [
        ("from sparkray.engines._trtllm.features import VERSIONS", True),
        ("from sparkray.engines import _worker", True),
        ("import sparkray.engines._worker", True),
        ("def f():\n    from sparkray.store import _write", True),
        ("from sparkray.execute._own import thing", False),
        ("from sparkray import __version__", False),
        ("from _ast import AST", False),
    ],
)
def test_private_imports_are_recognised(line: str, *, private: bool) -> None:
    assert bool(_private_imports(line, "execute")) is private


def test_no_room_imports_a_private_module_of_another() -> None:
    package = ROOT / "sparkray"
    offenders = {
        str(path.relative_to(package)): imported
        for path in sorted(package.rglob("*.py"))
        if (imported := _private_imports(path.read_text(), path.relative_to(package).parts[0].removesuffix(".py")))
    }
    assert offenders == {}
