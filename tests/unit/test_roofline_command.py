"""`roofline` as a user and a script see it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparkray.catalog import Catalog, data_root

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
        ({"--site": "discrete-gpu", "--gpu": "NVIDIA H22"}, "NVIDIA H200"),
        ({"--model": "Qwen2.5-7B"}, "Another one needs a card"),
        ({"--weights": "q4_k_n"}, "Q4_K_M"),
        ({"--weights": "nan"}, "--weights"),
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
        ("DGX Spark", "dgx-spark", 273),
        ("NVIDIA H200", "discrete-gpu", 4800),
        ("h200", "discrete-gpu", 4800),
        ("NVIDIA H100 80GB HBM3", "discrete-gpu", 3350),
        ("NVIDIA H100 PCIe", "discrete-gpu", 2000),
        ("NVIDIA A100-SXM4-80GB", "discrete-gpu", 2039),
        ("rtx 4090", "discrete-gpu", 1008),
        ("AMD Instinct MI300X", "discrete-gpu", 5300),
        ("M4 Max", "discrete-gpu", 546),
        ("AMD Ryzen AI Max+ 395", "discrete-gpu", 256),
    ],
)
def test_a_gpu_is_enough_by_itself(command_line: Call, gpu: str, site: str, bandwidth: float) -> None:
    terms = ask(command_line, *WORDS, "--gpu", gpu)[1]["terms"]
    assert (terms["site"], terms["bandwidth_gb_s"]) == (site, bandwidth)


@pytest.mark.parametrize(
    ("gpu", "near"),
    [
        ("NVIDIA H22", "NVIDIA H200"),
        ("RTX 4095", "NVIDIA GeForce RTX 4090"),
        ("Apple M7 Max", "Apple M4 Max"),
        ("TPU v5e", ""),
    ],
)
@pytest.mark.parametrize("site", [(), ("--site", "discrete-gpu")])
def test_a_gpu_that_is_not_known_is_never_taken_for_another(
    command_line: Call, gpu: str, near: str, site: tuple[str, ...]
) -> None:
    done = command_line("roofline", *WORDS, "--gpu", gpu, *site)
    assert done.status == 2
    assert f"{gpu!r}: its data sheet is not in sparkray" in done.err
    assert "--set site.bandwidth_gb_s=" in done.err
    assert f"'{gpu},,KIND," in done.err
    assert "did you mean" not in done.err.lower()
    assert ("Near: " in done.err) is bool(near)
    kinds = {one.kind for one in Catalog(data_root()).gpus() if one.name in done.err.partition("Near: ")[2].split(", ")}
    assert (near in done.err, len(kinds)) == (True, 1 if near else 0), "of one kind"


def test_a_gpu_that_is_not_known_can_be_described(command_line: Call) -> None:
    terms = ask(command_line, *WORDS, "--gpu", "NVIDIA X100", "--set", "site.bandwidth_gb_s=2000")[1]["terms"]
    assert (terms["bandwidth_gb_s"], terms["memory_gib"], terms["compute_tflops"]) == (2000, None, None)


def test_a_device_of_a_site_of_ones_own_stands_before_the_data_sheet(command_line: Call, tmp_path: Path) -> None:
    site = tmp_path / "mine.yaml"
    site.write_text(
        "name: mine\ninherits: discrete-gpu\ndevices:\n  NVIDIA Thor: {bandwidth_gb_s: 270, memory_gib: 122}\n"
    )
    terms = ask(command_line, *WORDS, "--gpu", "NVIDIA Thor", "--site", str(site))[1]["terms"]
    assert (terms["bandwidth_gb_s"], terms["memory_gib"]) == (270, 122)


def test_the_site_of_a_gpu_of_another_site_is_reported(command_line: Call) -> None:
    done = command_line("roofline", *WORDS, "--gpu", "NVIDIA GB10", "--site", "discrete-gpu")
    assert done.status == 2
    assert "--site dgx-spark" in done.err


@pytest.mark.parametrize(
    ("weights", "share"),
    [("q4_k_m", 0.729), ("Q4_K - Medium", 0.729), ("4.9", 0.730), ("fp8", 1.19), ("bf16", 2.383)],
)
def test_weights_of_another_format(command_line: Call, weights: str, share: float) -> None:
    """7.07 billion weights are streamed: 4.3 GB of Q4_K_M, 7.1 of FP8 at the least, 14.1 of BF16."""
    words = (
        "--model",
        "DeepSeek-R1-7B",
        "--batch",
        "1",
        "--throughput",
        "46",
        "--site",
        "dgx-spark",
        "--weights",
        weights,
    )
    code, document = ask(command_line, *words)
    assert document["terms"]["share_of_bound"] == pytest.approx(share, abs=0.002)
    assert (code, document["verdict"]) == ((0, "plausible") if share < 1 else (1, "impossible"))


def test_the_format_that_a_card_has_changes_nothing(command_line: Call) -> None:
    words = ("--model", "GPT-OSS-120B", "--batch", "8", "--throughput", "146", "--site", "dgx-spark")
    assert ask(command_line, *words, "--weights", "mxfp4")[1]["share"] == ask(command_line, *words)[1]["share"]


def test_a_name_of_another_size_is_no_guess(command_line: Call) -> None:
    for name in ("Qwen2.5-7B", "Llama-3-13B"):
        assert "mean" not in command_line("roofline", "--model", name, "--batch", "1", "--throughput", "1").err
