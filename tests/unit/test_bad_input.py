"""Bad input ends with 2 and a message that holds the value and what to do; a traceback reaches nobody."""

from collections.abc import Callable
from pathlib import Path

import pytest
from builders import Ended

from sparkray.sweep import main

Call = Callable[..., Ended]
PLAN = ("plan", "--site", "cpu")
BAD = {
    "model": (("--models", "SmolLM-135M"), ["unknown model 'SmolLM-135M'", "Did you mean 'SmolLM2-135M'?"]),
    "model far off": (("--models", "zzz"), ["unknown model 'zzz'", "Known: ", "Llama-3-8B"]),
    "no model": (("--models", ","), ["','", "Write names with commas"]),
    "environment": (("--environments", "nativ"), ["unknown environment 'nativ'", "Did you mean 'native'?"]),
    "experiment": (("--experiment", "locl"), ["unknown experiment 'locl'", "Did you mean 'local'?"]),
    "experiment file": (("--experiment", "./none.yaml"), ["none.yaml", "cannot be read", "No such file"]),
    "N = 0": (("--runs", "0"), ["--runs", "0 is not in the range", "plan --help"]),
    "N < 0": (("--runs", "-2"), ["--runs", "-2 is not in the range"]),
    "N no number": (("--runs", "many"), ["--runs", "'many'", "integer"]),
    "requests = 0": (("--requests", "0"), ["--requests", "0 is not in the range"]),
    "seed": (("--seed", "x"), ["--seed", "'x'", "integer"]),
    "option": (("--modles", "x"), ["--modles", "--models"]),
    "results-dir": (("--results-dir", __file__), ["--results-dir", __file__, "is a file"]),
    "room": (("--set", "engin.threads=1"), ["no room 'engin'", "Did you mean 'engine'?"]),
    "form": (("--set", "threads"), ["'threads'", "room.key=value", "Rooms: site, experiment, engine, docker"]),
    "no YAML": (("--set", "site.image=["), ["'site.image=['", "is not valid YAML"]),
    "site key": (("--set", "site.imag=x"), ["unknown key 'imag'", "did you mean 'image'?"]),
    "experiment key": (("--set", "experiment.workload.request=3"), ["'workload.request'", "did you mean 'requests'?"]),
    "too deep": (("--set", f"experiment.{'a.' * 50_000}b=1"), ["experiment.a.a", "more than 20 deep"]),
    "through a value": (("--set", "experiment.runs.x=3"), ["runs.x", "'runs' has no keys below it, it is "]),
    "experiment value": (("--set", "experiment.runs=0"), ["runs = 0", "greater than 0"]),
    "order": (("--set", "experiment.order=sorted"), ["order = 'sorted'", "'random' or 'alternating'"]),
    "name": (("--set", "experiment.name=../x"), ["'../x'", "must be letters"]),
    "metric": (("--set", "experiment.margins={latency_ms: 0.1}"), ["unknown metric 'latency_ms'", "latency_p95_ms"]),
    "primary": (("--set", "experiment.primary_metrics=[ttft_p98_ms]"), ["'ttft_p98_ms'", "Did you mean 'ttft_p9"]),
    "engine key": (("--set", "engine.thread=1"), ["unknown key 'thread'", "did you mean 'threads'?"]),
    "engine value": (("--set", "engine.threads=-1"), ["threads = -1", "greater than or equal to 0"]),
    "engine": (("--set", "engine.name=lamacpp"), ["unknown engine 'lamacpp'", "Did you mean 'llamacpp'?"]),
    "docker option": (
        ("--set", "docker.container_baseline.shm_siz=1g"),
        ["unknown Docker option 'shm_siz'", "Did you mean 'shm_size'?"],
    ),
    "docker value": (
        ("--set", "docker.container_baseline.shm_size=lots"),
        ["shm_size: 'lots' is not a size", "k, m or g"],
    ),
    "docker environment": (("--set", "docker.native.ipc=host"), ["unknown container environment 'native'", "Known: "]),
    "docker elsewhere": (
        ("--set", "docker.container_optimized.ipc=host"),
        ["docker.container_optimized", "not in this sweep", "native, container_baseline"],
    ),
    "mode": (
        ("--environments", "container_optimized", "--mode", "bst"),
        ["OPTIMIZATION_MODE 'bst'", "Did you mean 'best'?"],
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_reported_and_ends_with_2(capsys: pytest.CaptureFixture[str], what: str) -> None:
    words, said = BAD[what]
    assert main([*PLAN, *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [word for word in said if word not in err] == []
    assert "Traceback" not in err


@pytest.mark.parametrize("verb", ["plan", "baseline", "quick"])
def test_an_unknown_site_is_refused_by_every_verb(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert main([verb, "--site", "dgx-sparc"]) == 2
    assert "unknown site 'dgx-sparc'\n  Did you mean 'dgx-spark'? Known: cpu, dgx-spark" in capsys.readouterr().err


def test_doctor_knows_its_sites_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--site", "nosuch"]) == 2
    assert "unknown site 'nosuch'" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["baseline", "quick"])
@pytest.mark.parametrize("words", [("--models", "zzz"), ("--runs", "0"), ("--lock", "never")])
def test_a_sweep_refuses_before_it_makes_anything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: str, words: tuple[str, str]
) -> None:
    assert main([verb, "--site", "cpu", "--yes", "--results-dir", str(tmp_path / "r"), *words]) == 2
    assert words[1] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["plam"], ["plan", "extra"], ["status", "--wach"], ["--nosuch"]])
def test_what_the_command_line_does_not_know_is_reported(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(words) == 2
    assert words[-1] in capsys.readouterr().err


def test_a_file_of_the_users_own_is_named_in_the_message(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nquestion: q\nmodels: [SmolLM2]\nrunz: 3\n")
    assert main([*PLAN, "--experiment", str(mine)]) == 2
    err = capsys.readouterr().err
    assert f"{mine}: unknown key 'runz', did you mean 'runs'?" in err
    assert "key 'workload' is missing" in err


@pytest.mark.parametrize("words", [["--help"], ["plan", "-h"], ["--version"]])
def test_help_and_version_end_well(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(words) == 0
    assert "sparkray" in capsys.readouterr().out


def test_without_a_verb_it_shows_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert {"baseline", "doctor", "plan", "quick", "status"} <= set((out + err).split())


def test_status_of_nothing_says_how_to_start(command_line: Call, tmp_path: Path) -> None:
    done = command_line("status", "--results-dir", str(tmp_path / "none"))
    assert (done.status, done.out) == (2, "")
    assert str(tmp_path / "none") in done.err
    assert "sparkray quick" in done.err


@pytest.mark.parametrize(
    "words",
    [["plan", "--runs", "9" * 10**5], ["plan", "--" + "x" * 10**5], ["x" * 10**5], ["analyze", "x" * 10**5, "y"]],
)
def test_messages_of_click_have_a_bound(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(words) == 2
    assert len(capsys.readouterr().err) < 5000


def test_messages_have_a_bound(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    long = "m" * 300
    lines = [
        f"{long}{model},{arm},{run},{10**6 + model}"
        for model in range(150)
        for arm in ("native", "docker")
        for run in (1, 2)
    ]
    table.write_text("\n".join(["model,environment,iteration,output_throughput_tok_s", *lines]) + "\n")
    main(["audit", str(table), "--site", "dgx-spark", "--batch", "1"])
    said = "".join(capsys.readouterr())
    assert 0 < len(said) < 60_000
    assert main([*PLAN, "--models", "x" * 100_000]) == 2
    assert main([*PLAN, "--set", f"site.image=[{'x' * 100_000}"]) == 2
    assert len("".join(capsys.readouterr())) < 10_000
