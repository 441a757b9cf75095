"""The checkpoints that NVIDIA supports on a Spark: cards against published sizes, and the layers a plain decoder lacks."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from builders import card, shape

from sparkray.catalog import Catalog, data_root
from sparkray.catalog.checkpoint import checkpoint_identity
from sparkray.checks.roofline import Load, expected_of, judge
from sparkray.config.model import Host, ModelCard, Shape, needed_gib, refusal
from sparkray.errors import UnknownNameError
from sparkray.units import GIB, did_you_mean

CATALOG = Catalog(data_root())
CARDS = CATALOG.cards()
SPARK = CATALOG.site("dgx-spark")
EXPERIMENT = CATALOG.experiment("spark-supported")

# id: total parameters, active ones where they differ (both as published), bytes of the published weights where known.
SUPPORTED = {
    "nvidia/Llama-3.1-8B-Instruct-FP8": (8_030_261_248, None, None),
    "nvidia/Llama-3.1-8B-Instruct-FP4": (8_030_261_248, None, None),
    "nvidia/Llama-3.3-70B-Instruct-FP4": (70_553_706_496, None, 42_709_045_632),
    "nvidia/Qwen3-8B-FP8": (8_190_735_360, None, 8.788 * GIB),
    "nvidia/Qwen3-8B-FP4": (8_190_735_360, None, 5.958 * GIB),
    "nvidia/Qwen3-14B-FP8": (14_768_307_200, None, None),
    "nvidia/Qwen3-14B-FP4": (14_768_307_200, None, None),
    "nvidia/Qwen3-32B-FP4": (32_762_123_264, None, 19.247 * GIB),
    "nvidia/Qwen3-30B-A3B-FP4": (30_532_122_624, 3_353_032_704, None),
    "nvidia/Phi-4-reasoning-plus-FP8": (14_659_507_200, None, None),
    "nvidia/Phi-4-reasoning-plus-FP4": (14_659_507_200, None, 9.056 * GIB),
    "nvidia/Llama-4-Scout-17B-16E-Instruct-FP4": (108_641_793_536, 17_172_894_720, 60.860 * GIB),
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4": (123_611_033_088, 12_770_237_440, None),
    "openai/gpt-oss-20b": (20_914_757_184, 4_187_440_704, 12.817 * GIB),
    "openai/gpt-oss-120b": (116_829_156_672, 5_711_982_912, None),
}
NEAREST = {
    "Llama-3-70B": "Llama-3.3-70B-FP4",
    "Qwen2.5-72B": "Qwen3-32B-FP4",
    "Gemma-2B": "Qwen3-8B-FP4",
    "Mixtral-8x7B": "Qwen3-30B-A3B-FP4",
    "Phi-3-mini": "Phi-4-reasoning-plus-FP8",
}


def card_of(name: str) -> ModelCard:
    return next(found for found in CARDS if found.answers_to(name))


def shape_of(name: str) -> Shape:
    found = card_of(name).shape
    assert found is not None
    return found


@pytest.mark.parametrize("identity", SUPPORTED)
def test_a_supported_checkpoint_has_a_card_of_the_published_size(identity: str) -> None:
    total, active, size = SUPPORTED[identity]
    found = shape_of(identity)
    assert (found.params_total, found.params_active) == (total, active)
    if size is not None:
        assert found.weight_bytes == pytest.approx(size, rel=1e-4)


@pytest.mark.parametrize("identity", SUPPORTED)
def test_it_fits_a_spark_and_its_kv_cache_leaves_the_host_its_floor(identity: str) -> None:
    found = card_of(identity)
    assert refusal(found, Host("trtllm", SPARK.memory_gib, "x"), sequences=found.max_batch_size, tokens=640) is None
    fraction = found.engine_options.get("trtllm", {}).get("kv_fraction", 0.9)
    assert (1 - fraction) * (119.64 - 3.0 - (needed_gib(found) or 0.0)) >= 8


@pytest.mark.parametrize("identity", SUPPORTED)
def test_names_are_found_in_any_case_and_without_the_owner(identity: str) -> None:
    expected = card_of(identity).name
    tail = identity.rpartition("/")[2]
    for name in (tail, tail.lower(), identity.upper(), expected.lower()):
        assert [found.name for found in CARDS if found.answers_to(name)] == [expected]
    assert CATALOG.card(tail.lower()).name == expected


def test_an_unknown_card_fact_is_named_where_no_size_was_published() -> None:
    for identity, (_, _, size) in SUPPORTED.items():
        found = card_of(identity)
        assert size is not None or found.unverified or found.name == "GPT-OSS-120B"


def test_no_two_cards_share_a_folder_or_a_name() -> None:
    cards = CARDS
    folders = [found.weights.path for found in cards if found.weights.path]
    names = [name for found in cards for name in found.names]
    assert len(folders) == len(set(folders))
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("name", "nearest"), NEAREST.items())
def test_the_nearest_checkpoint_has_a_card_that_can_run_on_a_spark(name: str, nearest: str) -> None:
    found = card_of(str(card_of(name).instead))
    assert found.name == nearest
    assert refusal(found, Host(SPARK.engine, SPARK.memory_gib, "x"), sequences=found.max_batch_size, tokens=640) is None


def test_every_instead_is_a_card() -> None:
    for found in CARDS:
        if found.instead:
            card_of(found.instead)


def test_the_experiment_is_ten_supported_models_under_the_protocol_of_phase2a() -> None:
    names = {card_of(identity).name for identity in SUPPORTED}
    assert len(set(EXPERIMENT.models)) == 10
    assert set(EXPERIMENT.models) <= names
    assert set(NEAREST.values()) <= set(EXPERIMENT.models)
    phase2a = CATALOG.experiment("phase2a")
    same = {"name": phase2a.name, "question": phase2a.question, "models": phase2a.models}
    same["expected_hours"] = phase2a.expected_hours  # the earlier study's, of its own ten models
    assert replace(EXPERIMENT, **same) == phase2a


def test_the_suite_and_its_tiers_are_as_registered() -> None:
    chosen = {word: [found.name for found in CATALOG.select((word,))] for word in ("all", "tier1", "tier2", "tier3")}
    assert chosen == {
        "all": [
            *("DeepSeek-R1-7B", "GPT-OSS-120B", "Gemma-2B", "Llama-3-70B", "Llama-3-8B"),
            *("Mistral-7B-v0.3", "Mixtral-8x7B", "Phi-3-mini", "Qwen2-1.5B", "Qwen2.5-72B"),
        ],
        "tier1": ["DeepSeek-R1-7B", "Llama-3-70B", "Llama-3-8B", "Mistral-7B-v0.3", "Qwen2.5-72B"],
        "tier2": ["Gemma-2B", "Mixtral-8x7B", "Phi-3-mini"],
        "tier3": ["GPT-OSS-120B", "Qwen2-1.5B"],
    }


def test_only_attention_layers_keep_a_cache_and_a_state_is_per_sequence() -> None:
    nemotron = shape_of("Nemotron-3-Super-FP4")
    assert nemotron.kv_bytes_per_token == 8 * 1024  # published as 8 KiB a token at 16 bits
    assert nemotron.kv_bytes(1000) == 1000 * 8 * 1024
    state = 40 * (128 * 64 * 128 * 4 + 3 * 10240 * 2)
    assert nemotron.sequence_bytes(0) == state
    cards = card(shape=nemotron)
    eight = needed_gib(cards, sequences=8, tokens=1000)
    assert eight == pytest.approx((nemotron.weight_bytes + 8 * (state + 8_192_000)) / GIB)


def test_a_state_is_read_and_written_back_each_step_and_once_in_the_bound() -> None:
    hybrid = shape(state_bytes=500)
    assert (hybrid.step_read(3, 0).state, hybrid.least_step_read(3, 0).state) == (3000, 1500)
    assert hybrid.step_read(3, 0).total == shape().step_read(3, 0).total + 3000
    assert shape().step_read(3, 0).state == 0


def test_a_packed_kv_cache_leaves_the_state_as_it_is() -> None:
    nemotron = shape_of("Nemotron-3-Super-FP4")
    wide, packed = (expected_of(nemotron, SPARK, Load(8, 1000, kv_bits=bits)).read for bits in (16.0, 8.0))
    assert (packed.kv, packed.state) == (wide.kv / 2, wide.state)


def test_chunked_and_sliding_layers_keep_no_more_than_their_window() -> None:
    scout, oss = shape_of("Llama-4-Scout-FP4"), shape_of("gpt-oss-20b")
    row = 2 * 8 * 128 * 2
    assert scout.kv_bytes(8192) == 48 * 8192 * row
    assert scout.kv_bytes(100_000) == (12 * 100_000 + 36 * 8192) * row
    assert oss.kv_bytes(1128) == 12 * (1128 + 128) * 2 * 8 * 64 * 2


def test_what_no_step_reads_is_in_memory_alone() -> None:
    scout = shape_of("Llama-4-Scout-FP4")
    text = replace(
        scout,
        params_total=scout.params_total - scout.params_unread,
        params_16bit=scout.params_16bit - scout.params_unread,
        params_unread=0,
    )
    assert scout.step_read(8, 100) == text.step_read(8, 100)
    assert scout.least_step_read(8, 100) == text.least_step_read(8, 100)
    assert (scout.used_params, scout.expert_params) == (text.used_params, text.expert_params)
    assert scout.weight_bytes - text.weight_bytes == 2 * scout.params_unread


def test_mixed_precision_counts_each_part_at_its_bits() -> None:
    mixed = shape(params_total=1000, bits_per_weight=4.0, params_8bit=300, params_16bit=400)
    assert mixed.weight_bytes == 300 * 0.5 + 300 + 400 * 2
    # vocabulary of 32 by 8: 256 of the 16-bit ones are the gathered embedding
    assert mixed.step_read(1, 0).dense == 300 * 0.5 + 300 + 144 * 2
    nemotron = shape_of("Nemotron-3-Super-FP4")
    assert nemotron.step_read(10**6, 0).experts == pytest.approx(nemotron.expert_params * 4.5 / 8, rel=1e-6)


def test_a_known_speed_of_each_is_plausible_and_ten_times_the_bandwidth_is_not() -> None:
    for identity in SUPPORTED:
        found = shape_of(identity)
        roof = expected_of(found, SPARK, Load(8, 576)).tok_s
        assert judge(found, SPARK, load=Load(8, 576), throughput_tok_s=0.75 * roof).verdict == "plausible"
        assert judge(found, SPARK, load=Load(8, 576), throughput_tok_s=30 * roof).verdict == "impossible"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"params_unread": 1001}, "params_unread"),
        ({"params_16bit": 600, "params_8bit": 500}, "params_8bit"),
        ({"attention_layers": 3}, "attention_layers"),
        ({"attention_layers": 1, "sliding_window": 8, "sliding_layers": 2}, "sliding_layers"),
    ],
)
def test_a_part_above_its_whole_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        shape(**wrong)


@pytest.mark.parametrize(
    "asked", ["Qwen2.5-7B", "Qwen3-4B", "Llama-3-80B", "Llama-3.1-70B", "Phi-3-medium", "gpt-oss-200b", "Mixtral-8x22B"]
)
def test_a_model_of_another_size_is_not_suggested(asked: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        CATALOG.card(asked)
    assert "Did you mean" not in str(error.value)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("Lama-3-8B", "Llama-3-8B"),
        ("Qwen25-72B", None),
        ("DeepSeek-7B", "DeepSeek-R1-7B"),
        ("Mistal-7B", "Mistral-7B-v0.3"),
    ],
)
def test_a_slip_is_still_answered(asked: str, meant: str | None) -> None:
    assert did_you_mean(asked, [found.name for found in CARDS], exact_numbers=True) == meant


def test_another_gpu_is_not_suggested() -> None:
    assert did_you_mean("NVIDIA H20", ["NVIDIA H200", "NVIDIA H100"], exact_numbers=True) is None


def test_a_refusal_names_the_site_and_never_the_spark_for_another() -> None:
    large = card_of("Qwen2.5-72B")
    said = str(refusal(large, Host("trtllm", 80.0, "site discrete-gpu")))
    assert "of 80.0 GiB (site discrete-gpu)" in said
    assert "needs 135.4 GiB" in said
    assert refusal(large, Host("trtllm", 2 * 141.0, "two H200")) is None


@pytest.mark.parametrize("name", ["Llama-3-70B", "Gemma-2B"])
def test_what_one_engine_cannot_read_is_not_refused_on_another(name: str) -> None:
    found = card_of(name)
    assert refusal(found, Host("trtllm", 119.6, "x")) is not None
    assert refusal(found, Host("vllm", 119.6, "x")) is None


def test_a_reason_without_an_engine_holds_on_every_one() -> None:
    for engine in ("trtllm", "vllm"):
        assert "it is broken" in str(refusal(card(unsupported="it is broken"), Host(engine, None, "x")))


def checked(identity: str, packed: dict[str, Any] | None, exported: dict[str, Any] | None = None) -> tuple[str, ...]:
    found: ModelCard = card_of(identity)
    config = {"architectures": [found.engine_architecture], "torch_dtype": "bfloat16"}
    config |= {} if packed is None else {"quantization_config": packed}
    side = (
        None if exported is None else json.dumps({"producer": {"name": "modelopt"}, "quantization": exported}).encode()
    )
    return checkpoint_identity(json.dumps(config).encode(), found, exported=side)


def test_an_export_of_modelopt_is_known_by_its_algorithm() -> None:
    """`quant_method` is the tool's name; older exports have the algorithm in hf_quant_config.json alone."""
    name = "Llama-3.3-70B-FP4"
    assert checked(name, {"quant_method": "modelopt", "quant_algo": "NVFP4"}) == ()
    assert checked(name, None, {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}) == ()
    assert "FP8" in checked(name, {"quant_method": "modelopt", "quant_algo": "FP8"})[0]
    assert "FP8" in checked(name, None, {"quant_algo": "FP8"})[0]
    assert "no quantization_config" in checked(name, None)[0]


def test_mixed_precision_is_that_of_a_mixed_card_alone() -> None:
    mixed = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
    assert checked("Nemotron-3-Super-FP4", mixed) == ()
    assert checked("Llama-3.3-70B-FP4", mixed) != ()


def test_a_multimodal_checkpoint_is_held_against_its_text_part() -> None:
    found = card_of("Llama-4-Scout")
    config = {
        "architectures": ["Llama4ForConditionalGeneration"],
        "text_config": {
            "num_hidden_layers": 48,
            "hidden_size": 4096,
            "num_local_experts": 16,
            "torch_dtype": "bfloat16",
        },
        "quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"},
    }
    (said,) = checkpoint_identity(json.dumps(config).encode(), found)
    assert "hidden_size: 5120 in the card" in said


def test_roofline_shows_what_is_not_verified(command_line: Callable[..., Any]) -> None:
    words = ("--batch", "8", "--throughput", "60", "--site", "dgx-spark", "--context", "576")
    done = command_line("roofline", "--model", "nemotron-3-super", *words)
    assert "unverified the published weights are 74.802 GiB" in done.out
    assert "8 x 170.2 MB of recurrent state" in done.out
    assert "2.94 billion of them in no decode step" in done.out
    document = json.loads(command_line("roofline", "--model", "nemotron-3-super", *words, "--json").out)
    assert document["terms"]["unverified"] == list(card_of("nemotron-3-super").unverified)
    assert "unverified" not in command_line("roofline", "--model", "gpt-oss-20b", *words).out
