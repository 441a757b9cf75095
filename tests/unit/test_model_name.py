"""What names of models and GPUs tell; every row of the data files has a source."""

import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.config.gpu import find, plain
from sparkray.config.model_name import parse_name

B = 1e9


@pytest.mark.parametrize(
    ("name", "total", "active", "mixture", "weights"),
    [
        ("Qwen3-30B-A3B-FP8", 30 * B, 3 * B, True, "FP8"),
        ("Qwen3-4B", 4 * B, None, False, None),
        ("Qwen3-32B-AWQ", 32 * B, None, False, "INT4"),
        ("gemma-3n-E4B-it", None, 4 * B, True, None),
        ("Llama-4-Scout-17B-16E-Instruct-FP4", None, 17 * B, True, "NVFP4"),
        ("unsloth/Qwen3-235B-A22B-UD-Q4_K_XL.gguf", 235 * B, 22 * B, True, "Q4_K_XL"),
        ("Mixtral-8x7B", 56 * B, 7 * B, True, None),
        ("gpt-oss 120B MXFP4 MoE", 120 * B, None, True, "MXFP4"),
        ("qwen3 8B Q4_K - Medium", 8 * B, None, False, "Q4_K_M"),
        ("Llama-3.1-8B-Instruct-W4A16", 8 * B, None, False, "INT4"),
        ("SmolLM2-135M-Instruct-Q8_0", 135e6, None, False, "Q8_0"),
        ("Qwen2.5-1.5B", 1.5 * B, None, False, None),
        ("llama3:8b-instruct-q4_0", 8 * B, None, False, "Q4_0"),
        ("Mistral-7B-v0.3-4bit", 7 * B, None, False, "INT4"),
        ("nvidia/Llama-3.3-70B-Instruct-NVFP4", 70 * B, None, False, "NVFP4"),
        ("Qwen3-14B-4.65bpw-exl3", 14 * B, None, False, "4.65 bits"),
        ("gpt-4", None, None, False, None),
        ("DeepSeek-R1-Distill-Qwen-7B", 7 * B, None, False, None),
    ],
)
def test_names(name: str, total: float | None, active: float | None, mixture: bool, weights: str | None) -> None:
    found = parse_name(name)
    assert (found.params_total, found.params_active, found.mixture) == (total, active, mixture)
    assert (found.weights.name if found.weights else None) == weights


def test_bytes_that_a_token_reads() -> None:
    assert parse_name("Qwen3-30B-A3B-FP8").read_bytes == 3 * B
    assert parse_name("Qwen3-4B").read_bytes == 8 * B
    assert parse_name("gpt-oss-120b").read_bytes is None


def test_every_gpu_has_one_row_a_source_and_names_of_its_own() -> None:
    gpus = Catalog(data_root()).gpus()
    seen: dict[str, str] = {}
    for gpu in gpus:
        assert gpu.source.startswith("https://"), gpu.name
        for key in gpu.keys:
            assert seen.setdefault(key, gpu.name) == gpu.name
    assert find(gpus, "RTX 4090 Laptop GPU") is None
    assert [
        found and found.device.memory_gib for found in (find(gpus, "rtx3090 24GB"), find(gpus, "RTX 3090 48 GB"))
    ] == [24, None]
    assert find(gpus, "M1 Max 64GB") == find(gpus, "Apple M1 Max")
    assert plain("NVIDIA A100-SXM4-80GB") == "a100 sxm4 80gb"


def test_a_form_that_is_not_named_has_the_greatest_numbers_of_its_forms() -> None:
    gpus = Catalog(data_root()).gpus()
    for family in ("H100", "A100", "GH200"):
        forms = [gpu.device for gpu in gpus if plain(gpu.name).startswith(f"{family.lower()} ")]
        whole = find(gpus, family)
        assert whole is not None
        assert whole.device.bandwidth_gb_s == max(form.bandwidth_gb_s for form in forms)
        assert whole.device.memory_gib == max(form.memory_gib or 0 for form in forms)
