"""Doing it again: the command that asks the same question, and lines that start an engine as a run did."""

import json
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import pytest
from support.studies import small_study

from sparkray.analysis import Analysis, analyse
from sparkray.config.container import run_line
from sparkray.config.docker_columns import column_values
from sparkray.engines import load_engine
from sparkray.execute.layout import planned_container
from sparkray.plan import Study, definition_sha256, make_plan
from sparkray.records import Outcome
from sparkray.report import report_data
from sparkray.report.data import ReportData
from sparkray.report.launches import by_environment, script
from sparkray.report.page import commands
from sparkray.report.repeat import repeat_line
from sparkray.runtimes import StartState
from sparkray.store import open_dataset
from sparkray.sweep.app import app
from sparkray.sweep.options import options_of
from sparkray.sweep.verbs import CONTEXT
from sparkray.workflows.options import build_study

EMPTY = Analysis(Path("nowhere"), {}, {})


def data(**context: Any) -> ReportData:
    return ReportData(Analysis(Path("nowhere"), {}, context))


def asked(line: str) -> Study:
    """The study that a printed command asks for."""
    python, m, module, verb, *words = shlex.split(line)
    assert (python, m, module) == ("python", "-m", "sparkray.sweep")
    parent = click.Context(app, **CONTEXT)  # without its names of the help option a command would keep others
    command = app.get_command(parent, verb)
    assert command is not None
    return build_study(options_of(command.make_context(verb, words, parent=parent).params))


def told_of(study: Study) -> dict[str, Any]:
    """The context of a dataset of that study, as far as the command goes."""
    plain = json.loads(json.dumps(asdict(study.experiment), default=str))
    site = json.loads(json.dumps(asdict(study.site), default=str))
    engine = load_engine(study.engine)
    lines: dict[str, str] = {}
    options: dict[str, Any] = {}
    for run in make_plan(study):
        container = planned_container(study, run, engine, Path("results"))
        if container is not None:
            lines.setdefault(run.environment, run_line(container))
            options.setdefault(run.environment, column_values(container.options))
    return {
        "experiment": study.experiment.name,
        "site": study.site.name,
        "models": [card.name for card in study.cards],
        "environments": [treatment.environment for treatment in study.treatments],
        "pairs_planned": study.experiment.runs,
        "seed": study.experiment.seed,
        "workload": plain["workload"],
        "definition": plain,
        "site_definition": site,
        "docker_commands": lines,
        "docker_options": options,
    }


@pytest.mark.parametrize(
    "words",
    [
        ("--experiment", "local", "--site", "cpu"),
        ("--experiment", "phase2a", "--site", "dgx-spark", "--models", "Qwen2-1.5B,Mistral-7B-v0.3", "--runs", "5"),
        (
            "--experiment",
            "phase2a-sequential",
            "--site",
            "dgx-spark",
            "--models",
            "Qwen2-1.5B",
            "--requests",
            "50",
            "--seed",
            "7",
        ),
        ("--experiment", "phase2d", "--site", "dgx-spark-double", "--models", "tier1"),
        (
            *("--experiment", "local", "--site", "cpu", "--set", "experiment.timeout_s=99"),
            *("--set", "experiment.families={speed: [latency_mean_ms]}", "--set", "experiment.workload.input_spread=3"),
            *("--set", "docker.container_baseline.shm_size=1g", "--set", "site.hf_cache=/data/hf"),
        ),
    ],
    ids=["as it ships", "some models", "interim analyses", "three arms", "settings"],
)
def test_the_command_asks_the_same_question(words: tuple[str, ...]) -> None:
    study = asked(shlex.join(["python", "-m", "sparkray.sweep", "baseline", *words]))
    line = repeat_line(data(**told_of(study)))
    again = asked(line)
    assert again.experiment == study.experiment or again.experiment.models != ("all",)
    assert definition_sha256(again) == definition_sha256(study)
    assert [run.run_id for run in make_plan(again)] == [run.run_id for run in make_plan(study)]
    verb = "validate" if "container_optimized" in told_of(study)["environments"] else "baseline"
    assert shlex.split(line)[3] == verb


def test_the_place_of_an_experiment_that_does_not_ship_is_reported() -> None:
    found = data(experiment="ours", site="cpu", environments=["native"], models=["SmolLM2-135M"])
    assert "--experiment experiment.yaml" in repeat_line(found)
    assert "experiment.json has under `experiment`" in commands(found)


def test_flags_that_no_column_records_are_said_to_be_unknown() -> None:
    """A dataset older than schema 1.3 has the printed line alone, and no line is parsed for data."""
    older = data(
        experiment="local", site="cpu", docker_commands={"container_baseline": "docker run --shm-size=3g image"}
    )
    assert "docker." not in repeat_line(older)
    assert "No Docker flags are recorded for container_baseline" in commands(older)
    recorded = data(
        docker_commands={"a": "docker run"}, docker_options={"a": {"docker_init": True}}, experiment="local"
    )
    assert "No Docker flags" not in commands(recorded)


def test_an_arm_against_itself_is_calibrated_again() -> None:
    found = data(experiment="aa", site="cpu", environments=["native"], models=["SmolLM2-135M"], pairs_planned=120)
    assert repeat_line(found).startswith("python -m sparkray.sweep calibrate --experiment aa --site cpu")
    assert "--runs 120" in repeat_line(found)


START = asdict(
    StartState(nice=-5, oom_score_adj=17, rlimits={"nofile": (1024, 4096), "memlock": (-1, -1)}, affinity=(0, 2, 3))
)
LAUNCH: Mapping[str, Any] = {
    "argv": ["python3", "worker.py", "--model", "/sparkray/model/alpha one.gguf"],
    "start_state": START,
    "variables": {"PATH": "/opt/bin:/bin", "GREETING": "a b", "SPARKRAY_RUN": "sparkray-1"},
    "model_path": None,
    "image": "engine:1.0",
    "docker_command": None,
    "level": "",
    "levels": {},
}


def test_chroot_lines_do_what_the_launcher_does() -> None:
    text = script("native", LAUNCH)
    lines = text.splitlines()
    launcher = (Path(__file__).parents[2] / "sparkray/runtimes/linux/_launcher.py").read_text()
    for place in ("/proc", "/sys", "/dev", "/tmp"):
        assert f'f"{{root}}{place}"' in launcher
        assert f'"$ROOTFS{place}"' in text
    assert lines[-2].startswith(
        "exec nice -n -5 prlimit --nofile=1024:4096 --memlock=unlimited:unlimited taskset -c 0,2,3 env -i "
    )
    assert "'GREETING=a b'" in text
    assert "SPARKRAY_RUN" not in text
    assert text.index("umask 0022") < text.index("exec nice")
    assert "echo 17 > /proc/self/oom_score_adj" in lines
    assert 'mount --bind "$MODEL" "$ROOTFS"\'/sparkray/model/alpha one.gguf\'' in lines
    assert text.index('remount,bind,ro "$ROOTFS"\'/sparkray/model') < text.index('remount,bind,ro "$ROOTFS"\n')


@pytest.mark.parametrize(
    "change", [{}, {"variables": {"HF_HOME": "/sparkray/hf"}}, {"start_state": None, "variables": {}}]
)
def test_a_shell_can_read_them(change: Mapping[str, Any]) -> None:
    for environment in ("native", "host"):
        lines = script(environment, {**LAUNCH, **change})
        done = subprocess.run(["sh", "-n"], input=lines, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert ("$HF" in script("native", {**LAUNCH, **change})) == ("HF_HOME" in {**LAUNCH, **change}["variables"])


def test_without_its_folders_the_script_ends_before_it_mounts() -> None:
    done = subprocess.run(["sh"], input=script("native", LAUNCH), text=True, capture_output=True, check=False, env={})
    assert done.returncode != 0
    assert "ROOTFS" in done.stderr


@pytest.mark.slow
def test_every_model_has_its_lines_in_every_environment(tmp_path: Path) -> None:
    study = analyse(small_study(tmp_path, models=2, runs=2))
    made = by_environment(ReportData(study))
    models = ["Qwen2-1.5B", "Mistral-7B-v0.3"]
    assert {what: [one.model for one in found] for what, found in made.items()} == dict.fromkeys(
        [
            "native (chroot into the image's own files)",
            "container with the baseline flags",
            "container with the tuned flags",
        ],
        models,
    )
    for native in made["native (chroot into the image's own files)"]:
        assert "unshare --mount" in native.line
        assert native.model in native.line
        assert "sparkray also mounts the driver's libraries" in native.remark
    for container in made["container with the baseline flags"]:
        assert container.line.startswith("docker run ")
        assert container.remark == ""
    text = commands(report_data(study))
    assert all(f"\n# {model}\n" in text for model in models)
    assert text.startswith("# The same question, measured anew:\npython -m sparkray.sweep validate")


def test_how_other_levels_of_the_load_differ_is_said(tmp_path: Path) -> None:
    argv = {level: json.dumps(["engine", "--batch", level[-1]]) for level in ("batch=1", "batch=8")}
    dataset = open_dataset(tmp_path, "levels", "0" * 64)
    for position, (level, command) in enumerate(argv.items()):
        where = {"run_id": level, "attempt": 1, "model": "A", "level": level, "environment": "native", "block": 0}
        dataset.write(Outcome(row={**where, "position": position, "status": "ok", "engine_command": command}))
    [[one]] = by_environment(ReportData(analyse(dataset.path))).values()
    assert one.remark.startswith(
        "This is batch=1; other levels differ in their inputs and these words: batch=8 has 8 in"
    )
