"""The parts of an optimisation apart: blocks of the search, which rows count, the file, facts of a host, advice."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from builders import Ended
from rich.console import Console
from simulated_runner import NOTHING, Truth, context_in, context_of_two, options_in, pretending, row

from sparkray.analysis.optimized import Effect, Level
from sparkray.catalog import Catalog, data_root
from sparkray.config.docker import DockerOptions
from sparkray.config.site import Environment
from sparkray.errors import ConfigError, HostError, InputError
from sparkray.machine.capabilities import host_facts, lacking, security_of
from sparkray.machine.fingerprint import Machine
from sparkray.optimize.context import OptimizationContext, changed_words
from sparkray.optimize.rows import Rows, must_run, rows_of
from sparkray.optimize.screen import advice_of
from sparkray.optimize.search import feasible_space
from sparkray.optimize.search.stage import dataset_of, feasible_space_of, plan_of, result_of, study_name
from sparkray.plan import Treatment, make_plan
from sparkray.sweep.progress import Display
from sparkray.workflows.optimized_file import read_environment, with_environment, write_environment
from sparkray.workflows.options import build_study
from sparkray.workflows.study_runner import SessionRunner

Call = Callable[..., Ended]
DISPLAY = Display(Console(file=StringIO()), 0, 0)


def test_a_treatment_may_give_up_what_the_baseline_may_as_far_as_it_is_the_same(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    assert context.treatment("container:x", replace(context.baseline.options, ulimit_stack=8)).adapt == (
        "ulimit_memlock",
    )
    assert context.name == "local"
    assert context.stage("search", (context.baseline,), 1).experiment.name == "local-search"


def test_changed_words_say_what_was_added_and_what_was_taken() -> None:
    before = DockerOptions(ipc="host", ulimit_stack=1)
    assert changed_words(before, DockerOptions(ipc="host", init=True)) == "--init (without --ulimit=stack=1)"
    assert changed_words(before, before) == ""


def test_a_batch_is_a_block_of_the_baseline_and_its_trials_in_an_order_of_its_own(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    names = [f"container:trial-{n}" for n in range(8)]
    trials = [Treatment(name, DockerOptions(init=True, cpu_shares=n + 2)) for n, name in enumerate(names)]
    study = context.stage("search", (context.baseline,), 4)
    plans = [plan_of(study, (context.baseline, *trials), "SmolLM2-135M", block) for block in (64, 65, 128)]
    assert plans[0] == plan_of(study, (context.baseline, *trials), "SmolLM2-135M", 64)
    assert all(set(plan) == {"container_baseline", *names} for plan in plans)
    assert len({run.run_id for plan in plans for run in plan.values()}) == 27
    assert len({tuple(plan) for plan in plans}) == 3, "each block has another order"
    assert len({list(plan).index("container_baseline") for plan in plans}) > 1
    fewer = plan_of(study, (context.baseline, *trials[:3]), "SmolLM2-135M", 64)
    assert list(fewer) == [name for name in plans[0] if name in fewer], (
        "whoever is left out, the others keep their order"
    )
    assert {name: run.run_id for name, run in fewer.items()} == {name: plans[0][name].run_id for name in fewer}


def study_named(measuring: SessionRunner, context: OptimizationContext, **more: Any) -> str:
    return study_name(context, feasible_space_of(context), dataset_of(context, measuring), **more)


def test_a_study_is_named_by_what_may_be_chosen_and_not_by_what_a_screen_found(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    with ExitStack() as stack:
        measuring = pretending(tmp_path, stack, NOTHING)
        name = study_named(measuring, context)
        barred = feasible_space(context.space, context.baseline.options, context.verdicts, barred=("pid=host",))
        assert study_name(context, barred, dataset_of(context, measuring)) == name
        other = replace(context, space=replace(context.space, factors=context.space.factors[:2]))
        assert study_named(measuring, other) != name
        assert dataset_of(other, measuring) != dataset_of(context, measuring), "its blocks are numbered from 64 as well"
        assert study_named(measuring, context) == name
        fresh = replace(measuring, options=replace(measuring.options, fresh=True))
        assert study_named(fresh, context) != name


def test_machines_share_a_study_whatever_else_they_have_searched(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    other = replace(context, space=replace(context.space, factors=context.space.factors[:2]))
    with ExitStack() as stack:
        first, second = (pretending(tmp_path / name, stack, NOTHING) for name in ("first", "second"))
        study_named(first, other)
        assert study_named(first, context) == study_named(second, context)


def test_other_models_are_another_study(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    two = context_of_two(tmp_path)
    with ExitStack() as stack:
        measuring = pretending(tmp_path, stack, NOTHING)
        assert study_named(measuring, two) != study_named(measuring, context)
        assert dataset_of(two, measuring) != dataset_of(context, measuring)
        assert study_named(measuring, two, models=["SmolLM2-135M"]) != study_named(measuring, two)


def test_a_result_is_turned_so_that_higher_is_better_and_bounds_memory(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    base = row(host_available_drop_peak_gib=2.0, run_id="base", attempt=3)
    found = result_of(context, row(output_throughput_tok_s=110.0, host_available_drop_peak_gib=2.7), base)
    assert found.log_ratio == pytest.approx(0.0953, abs=1e-4)
    assert found.constraints == {"memory_over_limit_gib": pytest.approx(0.25)}
    assert (found.run_id, found.attempt, found.baseline_id, found.baseline_attempt) == ("r", 1, "base", 3)
    experiment = replace(context.study.experiment, primary_metrics=("latency_mean_ms",))
    slower = replace(context, study=replace(context.study, experiment=experiment))
    found = result_of(slower, row(latency_mean_ms=110.0), row(latency_mean_ms=100.0))
    assert found.log_ratio == pytest.approx(-0.0953, abs=1e-4)
    assert found.constraints == {}


@pytest.mark.parametrize(
    ("mine", "reason"),
    [
        (row(status="oom", reason="killed"), "oom: killed"),
        (row(output_throughput_tok_s=None), "output_throughput_tok_s is None, the baseline's 100.0: no ratio"),
    ],
)
def test_a_trial_without_a_number_says_why(tmp_path: Path, mine: dict[str, Any], reason: str) -> None:
    found = result_of(context_in(tmp_path), mine, row(run_id="base"))
    assert (found.log_ratio, found.reason, found.answered, found.run_id) == (None, reason, True, "r")


@pytest.mark.parametrize(
    ("mine", "base"),
    [
        (row(status="invalid", reason="throttled"), row()),
        (row(status="interrupted", reason="stopped"), row()),
        (None, row()),
        (row(), None),
        (row(), row(status="invalid", reason="throttled")),
        (row(), row(host="another machine")),
    ],
)
def test_a_run_that_a_check_refused_or_the_baseline_of_another_machine_is_no_answer(
    tmp_path: Path, mine: Any, base: Any
) -> None:
    found = result_of(context_in(tmp_path), mine, base)
    assert (found.log_ratio, found.answered) == (None, False)


def arm(environment: str, statuses: str, model: str = "M") -> list[dict[str, Any]]:
    """Rows by block: `o`k, `f`ailed, `i`nvalid, `u`nready."""
    words = {"o": "ok", "f": "failed", "i": "invalid", "u": "unready"}
    return [
        row(
            run_id=f"{environment}{model}{n}",
            environment=environment,
            model=model,
            block=n,
            attempt=1,
            status=words[one],
        )
        for n, one in enumerate(statuses)
    ]


def test_refused_runs_are_no_failures_of_a_flag() -> None:
    assert Rows(arm("x", "iiii")).failing("x") is None
    assert Rows(arm("x", "fi")).failing("x") is None
    assert Rows(arm("x", "fif")).failing("x") == "none of its 2 runs was ok; the last: failed, None"
    assert Rows(arm("x", "fofi")).failing("x") is None
    assert sorted(Rows(arm("x", "fofi")).failures("x")) == [("M", 0), ("M", 2)]


def test_a_model_that_was_not_there_for_the_baseline_either_says_nothing_of_a_flag() -> None:
    there = [*arm("container_baseline", "uo"), *arm("x", "uu"), *arm("y", "fu")]
    missing = [one | {"reason": "no file" if one["status"] == "unready" else one["reason"]} for one in there]
    assert Rows(missing).answered == {"container_baselineM1", "yM0"}
    assert Rows(missing).failures("x") == {}
    assert Rows(missing).failing("x") is None
    assert list(Rows(missing).failures("y")) == [("M", 0)]
    refused = [one | {"reason": "no such runtime"} if one["environment"] == "x" else one for one in missing]
    assert Rows(refused).answered == {"container_baselineM1", "yM0", "xM0", "xM1"}
    assert Rows(refused).failing("x") == "none of its 2 runs was ok; the last: unready, no such runtime"
    elsewhere = [one | {"model": "N"} if one["environment"] == "x" else one for one in missing]
    assert list(Rows(elsewhere).failures("x")) == [("N", 0), ("N", 1)]


def test_rows_are_those_of_a_plan_and_not_of_a_name(tmp_path: Path) -> None:
    context = context_in(tmp_path, runs=1)
    before = context.treatment("container:x", replace(context.baseline.options, cpu_shares=2))
    after = context.treatment("container:x", replace(context.baseline.options, cpu_shares=512))
    plans = [make_plan(context.stage("screen", (context.baseline, one), 1)) for one in (before, after)]
    with ExitStack() as stack:
        measuring = pretending(tmp_path, stack, NOTHING)
        dataset = measuring.dataset(context.stage("screen", (), 1), "d")
        measuring.measure(
            context.stage("screen", (context.baseline, before), 1), dataset, plans[0], DISPLAY, plan=plans[0]
        )
        assert len(rows_of(dataset, plans[0]).of("container:x")) == 1
        assert rows_of(dataset, plans[1]).of("container:x") == {}
        assert len(rows_of(dataset, plans[1]).of("container_baseline")) == 1
        assert measuring.able(context.stage("screen", (context.baseline,), 1), dataset, [after]) == {}
        assert "container:x" in measuring.turned


def test_flags_that_were_refused_are_not_what_they_are_called(tmp_path: Path) -> None:
    context = context_in(tmp_path, runs=1)
    study = context.stage("screen", (context.baseline,), 1)
    refused = context.treatment("container:x", replace(context.baseline.options, ulimit_nofile=1 << 20))
    fine = context.treatment("container:y", replace(context.baseline.options, cpu_shares=2))
    with ExitStack() as stack:
        measuring = pretending(tmp_path, stack, Truth())
        dataset = measuring.dataset(study, "d")
        assert list(measuring.able(study, dataset, [refused, fine])) == ["container:x"]
        edited = context.treatment("container:x", replace(context.baseline.options, cpu_shares=4))
        assert measuring.able(study, dataset, [edited, fine]) == {}
        assert list(measuring.able(study, dataset, [refused])) == ["container:x"]


def test_an_arm_that_all_is_compared_with_must_run_on_every_model_that_was_tried(tmp_path: Path) -> None:
    small = arm("native", "oo", "small")
    must_run(Rows([*small, *arm("native", "oo", "large")]), "native", tmp_path, ("small", "large"))
    must_run(Rows([*small, *arm("native", "uu", "large")]), "native", tmp_path, ("small", "large"))
    with pytest.raises(HostError, match="no run of native on large is ok"):
        must_run(Rows([*small, *arm("native", "ff", "large")]), "native", tmp_path, ("small", "large"))
    with pytest.raises(HostError, match="no run of native is ok"):
        must_run(Rows(arm("native", "uu", "large")), "native", tmp_path, ("small", "large"))


OPTIMISED = Environment(DockerOptions(ipc="private", security_opt=("seccomp=unconfined",)), ())


def test_the_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "made.yaml"
    write_environment(path, OPTIMISED, {"site": "cpu", "runs": 12})
    assert read_environment(path) == (OPTIMISED, {"site": "cpu", "runs": 12})
    assert "validate --optimized made.yaml" in path.read_text()


def test_validate_takes_the_flags_of_the_file(tmp_path: Path, command_line: Call) -> None:
    path = tmp_path / "made.yaml"
    write_environment(path, OPTIMISED, {"site": "cpu"})
    options = replace(options_in(tmp_path), settings=(), experiment="local-validate", optimized=path)
    treatment = build_study(options).treatment("container_optimized")
    assert (treatment.options, treatment.adapt) == (OPTIMISED.options, ())
    done = command_line(
        "validate", "--site", "dgx-spark", "--optimized", str(path), "--results-dir", str(tmp_path / "r")
    )
    assert done.status == 2
    assert "was found on site cpu, and this is dgx-spark" in done.err


def test_flags_of_another_machine_or_of_a_double_are_taken_with_a_word_of_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, site = tmp_path / "made.yaml", Catalog(data_root()).site("dgx-spark")
    write_environment(path, OPTIMISED, {"site": "dgx-spark", "host": "spark-1", "simulated": True})
    assert with_environment(site, path, host="spark-2") == OPTIMISED
    told = capsys.readouterr().err
    assert "found on spark-1, and this is spark-2" in told
    assert "with a simulated engine" in told
    double = replace(site, simulated=True)
    assert with_environment(double, path, host="spark-1") == OPTIMISED
    assert capsys.readouterr().err == ""


def test_two_names_for_the_optimised_flags_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.yaml"
    write_environment(path, OPTIMISED, {})
    assert with_environment(Catalog(data_root()).site("dgx-spark"), path) == OPTIMISED
    with pytest.raises(InputError, match="OPTIMIZATION_MODE=best and --optimized both"):
        build_study(replace(options_in(tmp_path), optimized=path, mode="best"))


def test_another_yaml_is_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("options: {ipc: host}\n")
    with pytest.raises(ConfigError, match="is not of the format"):
        read_environment(path)


def test_the_facts_of_a_host_come_from_its_files_and_its_engine(tmp_path: Path) -> None:
    (tmp_path / "proc/77").mkdir(parents=True)
    (tmp_path / "proc/77/comm").write_text("dockerd\n")
    (tmp_path / "proc/77/status").write_text("Name:\tdockerd\nCapBnd:\t000001fffeffffff\n")
    cpuinfo = "\n\n".join(
        f"processor : {n}\nCPU implementer : 0x41\nCPU part : {0xD85 + 2 * (n % 2):#x}" for n in range(4)
    )
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    info = {
        "Runtimes": {"runc": {}, "nvidia": {}},
        "SecurityOptions": ["name=seccomp,profile=default", "name=cgroupns"],
    }
    space = Catalog(data_root()).space("dgx-spark")
    found = host_facts(space, Machine("spark", ("NVIDIA GB10",), (), {}), info, root=tmp_path)
    assert (found.cpus, found.performance_cpus, found.has_gpu) == ("0-3", "0,2", True)
    assert (found.runtimes, found.security) == (("nvidia", "runc"), ("cgroupns", "seccomp"))
    assert found.devices == ("/dev/nvidia0",)
    assert found.lacks == ("SYS_RESOURCE",)


def test_without_an_engine_nothing_is_said_of_it(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\n")
    found = host_facts(Catalog(data_root()).space("local"), Machine("box", (), (), {}), None, root=tmp_path)
    assert (found.runtimes, found.security, found.lacks) == (None, None, ())
    assert lacking("0000003fffffffff") == ()
    assert security_of({}) == ()


@pytest.mark.parametrize(
    ("gain", "p_holm", "verdict", "code"),
    [
        (-36.0, 0.010, "different", "avoid"),
        (-36.0, 0.160, "different", "loss_by_chance"),
        (36.0, 0.160, "different", "gain_by_chance"),
        (-3.0, 0.900, "undecided", "undecided"),
    ],
)
def test_advice_does_not_contradict_the_verdict(gain: float, p_holm: float, verdict: str, code: str) -> None:
    made = Effect(
        "container:x=y",
        "container_baseline",
        "m",
        4,
        ratio=1 + gain / 100,
        gain_pct=gain,
        p_holm=p_holm,
        verdict=verdict,
    )
    level = Level("x", "y", "container:x=y", "--x=y", "none", "", "measured", None, made, "")
    assert advice_of(level) == code
