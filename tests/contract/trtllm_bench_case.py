"""An installed double of `trtllm-bench` for contract tests: laid out as in an image, run in an environment from nothing."""

import subprocess
import sys
from pathlib import Path

import yaml

from sparkray.catalog.checkpoint import checkpoint_files
from sparkray.config.boundary import parse
from sparkray.config.experiment import Workload
from sparkray.config.model import ModelCard
from sparkray.engines import Job, Paths, load_engine
from sparkray.engines._trtllm.shipping import double_files

CARDS = Path(__file__).parents[2] / "conf" / "models"
ENGINE = load_engine("trtllm")
QUICK = {"SPARKRAY_DOUBLE_TIME_SCALE": "0", "SPARKRAY_DOUBLE_SEED": "1"}


def card(name):
    return parse(ModelCard, yaml.safe_load((CARDS / f"{name}.yaml").read_text()), name)


class Bench:
    """An installed double, a models root and a place for runs."""

    def __init__(self, root, version):
        self.root, self.version, self.count = root, version, 0
        for name, data in double_files(version, python=sys.executable).items():
            self.lay(root / "image" / name, data)
        (root / "image/bin/trtllm-bench").chmod(0o755)
        python = root / "image/bin/python3"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        self.environment = {"PATH": str(root / "image/bin"), "PYTHONPATH": str(root / "image/lib")}

    @staticmethod
    def lay(path, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def job(self, name="Qwen2-1.5B", *, told=True, **options):
        load = Workload(options.pop("requests", 6), 16, 8, concurrency=options.pop("concurrency", 0))
        tool = ENGINE.understand(self.ask()) if told else {}
        return Job(card(name), load, 3, ENGINE.options(options, "test"), tool)

    def ask(self):
        done = subprocess.run(
            [*ENGINE.probe()],
            env={**self.environment, "PATH": f"{self.environment['PATH']}:/bin"},
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
        )
        return done.stdout

    def start(self, job, *, change=None, **environment):
        """Starts the job's command in a fresh folder; `change` may alter its words."""
        self.count += 1
        here = self.root / f"run{self.count}"
        paths = Paths(str(self.root / "models" / job.card.weights.path), f"{here}/in", f"{here}/out", "", "")
        for name, data in checkpoint_files(job.card).items():
            self.lay(Path(paths.model) / name, data)
        command = ENGINE.command(job, paths)
        for name, data in command.inputs.items():
            self.lay(Path(paths.input) / name, data)
        out = Path(paths.output)
        out.mkdir(parents=True)
        words = change(list(command.argv)) if change else list(command.argv)
        given = {**self.environment, **command.environment, **QUICK, **environment}
        if "PYTHONPATH" in command.environment:  # the double's stubs stand where an image has site-packages
            given["PYTHONPATH"] = f"{command.environment['PYTHONPATH']}:{self.environment['PYTHONPATH']}"
        words[0] = str(self.root / "image/bin/trtllm-bench")
        with (out / "engine.log").open("wb") as log:
            process = subprocess.Popen(words, env=given, cwd="/", stdout=log, stderr=subprocess.STDOUT)
        return process, out, paths

    def run(self, job, **more):
        process, out, paths = self.start(job, **more)
        return process.wait(timeout=60), out, paths
