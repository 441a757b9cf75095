"""What every run must show: the right files, the right model, the right start, the tokens it was given."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from builders import card, measurement, request, shape, site, study, treatments

from sparkray.catalog.weights import Located
from sparkray.engines import load_engine
from sparkray.execute.bench import Arm, Bench
from sparkray.execute.verify import check_files, check_model, check_start, check_tokens, verify
from sparkray.machine.fingerprint import Machine
from sparkray.plan import make_plan
from sparkray.runtimes import StartState
from sparkray.runtimes.host import Runtime as Host
from sparkray.store import Dataset

START = StartState(rlimits={"nofile": (1024, 4096)})
STATE: dict[str, Any] = {
    "nice": 0,
    "oom_score_adj": 0,
    "rlimits": {"nofile": (1024, 4096), "stack": (8, -1)},
    "signals_blocked": "0000000000000000",
    "signals_ignored": "0000000000000000",
}


def bench_of(tmp_path: Path) -> Bench:
    environments = ("native", "container_baseline")
    arm = Arm(treatments("native")[0], Host(), None, None, {}, START)
    return Bench(
        study=study(cards=(card(engine_architecture="llama"),)),
        engine=load_engine("llamacpp"),
        machine=Machine("host", (), (), {}),
        dataset=Dataset(tmp_path),
        images=None,
        arms={name: replace(arm, treatment=treatments(name)[0]) for name in environments},
        weights={"Alpha": Located(tmp_path / "alpha.gguf", "1" * 64)},
        expected_digest="sha256:good",
    )


def verdicts(tmp_path: Path, **changes: Any) -> list[tuple[str, str]]:
    bench = bench_of(tmp_path)
    facts = {"model_sha256": "1" * 64, "model_architecture": "llama"} | changes.get("facts", {})
    requests = changes.get("requests", tuple(request(i, output_tokens=4) for i in range(4)))
    found = verify(
        bench,
        make_plan(bench.study)[0],
        measurement(*requests, **facts),
        changes.get("state", STATE),
        changes.get("digest", "sha256:good"),
    )
    return [(verdict.check, verdict.verdict) for verdict in found]


def test_a_run_that_is_as_it_should_be_passes_every_check(tmp_path: Path) -> None:
    assert verdicts(tmp_path) == [
        ("identity", "pass"),
        ("identity", "pass"),
        ("start_state", "pass"),
        ("tokens", "pass"),
    ]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"digest": "sha256:other"}, 0),
        ({"facts": {"model_sha256": "2" * 64}}, 1),
        ({"facts": {"model_architecture": "qwen"}}, 1),
        ({"state": STATE | {"nice": 15}}, 2),
        ({"requests": tuple(request(i, output_tokens=4, input_tokens=8 + (i == 3)) for i in range(4))}, 3),
    ],
)
def test_one_thing_that_is_wrong_makes_its_own_check_invalid(
    tmp_path: Path, changes: dict[str, Any], place: int
) -> None:
    found = verdicts(tmp_path, **changes)
    assert [i for i, (_, verdict) in enumerate(found) if verdict == "invalid"] == [place]


@pytest.mark.parametrize(("bandwidth_gb_s", "verdict"), [(1e-5, "invalid"), (2e-5, "pass")])
def test_a_site_that_tells_its_bandwidth_has_its_runs_judged_by_it(
    tmp_path: Path, bandwidth_gb_s: float, verdict: str
) -> None:
    """9.1 tok/s of a model that reads 1808 bytes a step, 320 of them KV cache."""
    bench = bench_of(tmp_path)
    known = card(engine_architecture="llama", shape=shape())
    judged = replace(bench.study, site=site(bandwidth_gb_s=bandwidth_gb_s), cards=(known,))
    left = measurement(request(0), request(1), model_sha256="1" * 64, model_architecture="llama")
    found = verify(replace(bench, study=judged), make_plan(judged)[0], left, STATE, "sha256:good")
    assert [(v.check, v.verdict) for v in found[4:]] == [("roofline", verdict)]


def test_files_are_told_with_both_digests() -> None:
    assert check_files("sha256:a", "sha256:a").evidence == "files sha256:a"
    assert check_files("sha256:b", "sha256:a").evidence.endswith("sha256:b, expected sha256:a")


@pytest.mark.parametrize(
    ("facts", "sha256", "verdict"),
    [
        ({"model_sha256": "a"}, "a", "pass"),
        ({"model_sha256": "b"}, "a", "invalid"),
        ({}, "a", "invalid"),
        ({"model_path": "/m"}, None, "pass"),
    ],
)
def test_the_model_is_the_one_that_was_meant(facts: dict[str, str], sha256: str | None, verdict: str) -> None:
    assert check_model(measurement(**facts), sha256, ()).verdict == verdict


def test_what_the_engine_says_against_the_card_is_evidence() -> None:
    verdict = check_model(measurement(model_sha256="a"), "a", ("architecture: one", "layers: another"))
    assert (verdict.verdict, verdict.evidence) == ("invalid", "architecture: one; layers: another")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nice": 15}, "nice is 15, declared 0"),
        ({"oom_score_adj": 1000}, "oom_score_adj is 1000, declared 0"),
        ({"rlimits": {"nofile": (1024, 1024)}}, "rlimit nofile is (1024, 1024), declared (1024, 4096)"),
        ({"rlimits": {}}, "rlimit nofile is None, declared (1024, 4096)"),
        ({"signals_blocked": "0000000000004000"}, "signals blocked are 0000000000004000, declared none"),
        ({"signals_ignored": "0000000180000000"}, "signals ignored are 0000000180000000, declared none"),
    ],
)
def test_what_leaked_into_the_start_is_told_with_its_value(change: dict[str, Any], said: str) -> None:
    verdict = check_start(asdict(START), STATE | change)
    assert (verdict.verdict, verdict.evidence) == ("invalid", said)


def test_a_field_that_could_not_be_read_is_not_believed() -> None:
    state = {key: value for key, value in STATE.items() if key != "nice"}
    assert check_start(asdict(START), state).evidence == "nice is None, declared 0"
    gone = check_start(asdict(START), {})
    assert (gone.verdict, gone.evidence) == (
        "invalid",
        "the engine's process had ended before its state could be read",
    )


def test_what_a_row_holds_as_json_is_read_as_well() -> None:
    assert check_start(asdict(START), STATE | {"rlimits": {"nofile": [1024, 4096]}}).verdict == "pass"


def test_tokens_are_those_that_were_asked_for_warm_up_apart() -> None:
    asked = ((8, 5), (6, 4))
    warm_up, first, second = (
        request(0, warmup=True, input_tokens=7),
        request(1),
        request(2, input_tokens=6, output_tokens=4),
    )
    assert check_tokens(measurement(warm_up, second, first), asked).verdict == "pass"
    short = request(2, input_tokens=6, output_tokens=3)
    assert check_tokens(measurement(warm_up, first, short), asked).evidence.endswith("asked for were 2 of 14 and 9")
    assert check_tokens(measurement(first), asked).verdict == "invalid"
