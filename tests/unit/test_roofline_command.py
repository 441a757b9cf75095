"""`roofline` as a user and a script see it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


def ask(command_line: Call, *words: str) -> tuple[int, dict[str, Any]]:
    done = command_line("roofline", *words, "--json")
    return done.status, json.loads(done.out)


@pytest.mark.parametrize(
    ("model", "throughput", "verdict"),
    [
        ("DeepSeek-R1-Distill-Qwen-7B", 119.79, "plausible"),
        ("gpt-oss-120b", 120.27, "plausible"),
        ("Qwen/Qwen2.5-72B-Instruct", 119.33, "impossible"),
        ("Llama-3-8B", 5, "suspicious"),
    ],
)
def test_anybody_can_ask(command_line: Call, model: str, throughput: float, verdict: str) -> None:
    words = ("--model", model, "--batch", "8", "--throughput", str(throughput), "--site", "dgx-spark")
    code, document = ask(command_line, *words)
    assert (code, document["verdict"]) == (0 if verdict == "plausible" else 1, verdict)
    terms = document["terms"]
    assert document["share"] == pytest.approx(throughput / terms["expected"]["tok_s"])
    bound = terms["bound"]
    assert document["bound_tok_s"] == pytest.approx(8 * terms["bandwidth_gb_s"] / bound["step_gb"])
    assert bound["step_gb"] == pytest.approx(bound["dense_gb"] + bound["experts_gb"] + bound["kv_gb"])


def test_the_arithmetic_is_shown(command_line: Call) -> None:
    words = ("--batch", "8", "--throughput", "119.79", "--site", "dgx-spark", "--context", "576")
    done = command_line("roofline", "--model", "DeepSeek-R1-7B", *words)
    assert done.status == 0
    for number in (
        "7.62 billion",
        "273 GB/s",
        "8 x 33.03 MB",
        "14.14 + KV 0.2642 = 14.41 GB",
        "52.77 ms",
        "151.6 tok/s",
    ):
        assert number in done.out
    assert done.out.rstrip().endswith("verdict    plausible")


def test_a_site_can_be_given_its_bandwidth(command_line: Call) -> None:
    words = ("--model", "Llama-3-8B", "--batch", "1", "--throughput", "150", "--site", "discrete-gpu")
    code, document = ask(command_line, *words, "--set", "site.bandwidth_gb_s=3350")
    assert (code, document["terms"]["compute_tflops"], document["terms"]["memory_gib"]) == (0, None, None)


def test_a_gpu_can_be_named_and_counted(command_line: Call) -> None:
    words = ("--model", "Llama-3-8B", "--batch", "1", "--throughput", "150", "--site", "discrete-gpu")
    one = ask(command_line, *words, "--gpu", "NVIDIA H200")[1]
    four = ask(command_line, *words, "--gpu", "NVIDIA H200", "--devices", "4")[1]
    assert (one["terms"]["bandwidth_gb_s"], four["terms"]["bandwidth_gb_s"]) == (4800, 19200)
    assert four["bound_tok_s"] == pytest.approx(4 * one["bound_tok_s"])
    assert four["terms"]["memory_gib"] == 4 * 141


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--model": "no-such-model"}, "unknown model"),
        ({"--model": "some.gguf"}, "no shape"),
        ({"--site": "cpu"}, "bandwidth"),
        ({"--site": "dgx-sparc"}, "dgx-spark"),
        ({"--site": "discrete-gpu", "--gpu": "NVIDIA H20"}, "NVIDIA H200"),
        ({"--gpu": "NVIDIA H200"}, "unknown GPU of site dgx-spark"),
        ({"--batch": "0"}, "--batch"),
        ({"--throughput": "0"}, "--throughput"),
        ({"--throughput": "nan"}, "--throughput"),
        ({"--throughput": "inf"}, "--throughput"),
        ({"--context": "-1"}, "--context"),
        ({"--kv-bits": "nan"}, "--kv-bits"),
        ({"--set": "experiment.runs=3"}, "experiment"),
        ({"--set": "site.bandwidth_gb_s=-1"}, "bandwidth_gb_s"),
    ],
)
def test_bad_input_is_reported(command_line: Call, changes: dict[str, str], said: str) -> None:
    asked = {"--model": "Llama-3-8B", "--batch": "1", "--throughput": "10", "--site": "dgx-spark"} | changes
    done = command_line("roofline", *(word for pair in asked.items() for word in pair))
    assert done.status == 2
    assert said in done.err
    assert "Traceback" not in done.err


WORDS = ("--model", "Llama-3-8B", "--batch", "1", "--throughput", "10")


@pytest.mark.parametrize(
    ("gpu", "site", "bandwidth"),
    [
        ("NVIDIA GB10", "dgx-spark", 273),
        ("gb10", "dgx-spark", 273),
        ("NVIDIA H200", "discrete-gpu", 4800),
        ("h200", "discrete-gpu", 4800),
        ("NVIDIA H100 80GB HBM3", "discrete-gpu", 3350),
    ],
)
def test_a_gpu_is_enough_by_itself(command_line: Call, gpu: str, site: str, bandwidth: float) -> None:
    terms = ask(command_line, *WORDS, "--gpu", gpu)[1]["terms"]
    assert (terms["site"], terms["bandwidth_gb_s"]) == (site, bandwidth)


OTHERS = ("NVIDIA H100 PCIe", "NVIDIA GH200 480GB", "NVIDIA Thor", "NVIDIA GeForce RTX 5090", "NVIDIA H20", "H100")


@pytest.mark.parametrize("gpu", OTHERS)
@pytest.mark.parametrize("site", [(), ("--site", "discrete-gpu")])
def test_a_gpu_that_is_not_known_is_never_taken_for_another(
    command_line: Call, gpu: str, site: tuple[str, ...]
) -> None:
    done = command_line("roofline", *WORDS, "--gpu", gpu, *site)
    assert done.status == 2
    assert f"{gpu!r}: its data sheet is not in sparkray" in done.err
    assert "--set site.bandwidth_gb_s=" in done.err
    assert f"'{gpu}: {{bandwidth_gb_s: " in done.err
    assert "did you mean" not in done.err.lower()


def test_a_gpu_that_is_not_known_can_be_described(command_line: Call) -> None:
    terms = ask(command_line, *WORDS, "--gpu", "NVIDIA H100 PCIe", "--set", "site.bandwidth_gb_s=2000")[1]["terms"]
    assert (terms["bandwidth_gb_s"], terms["memory_gib"], terms["compute_tflops"]) == (2000, None, None)


def test_the_line_that_the_message_gives_can_be_added(command_line: Call, tmp_path: Path) -> None:
    site = tmp_path / "mine.yaml"
    site.write_text(
        "name: mine\ninherits: discrete-gpu\ndevices:\n  NVIDIA Thor: {bandwidth_gb_s: 273, memory_gib: 122}\n"
    )
    terms = ask(command_line, *WORDS, "--gpu", "NVIDIA Thor", "--site", str(site))[1]["terms"]
    assert (terms["bandwidth_gb_s"], terms["memory_gib"]) == (273, 122)


def test_the_site_of_a_gpu_of_another_site_is_reported(command_line: Call) -> None:
    done = command_line("roofline", *WORDS, "--gpu", "NVIDIA GB10", "--site", "discrete-gpu")
    assert done.status == 2
    assert "--site dgx-spark" in done.err
