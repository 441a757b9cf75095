"""The ten model cards against published figures: what a card computes must be what the world measured."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sparkray.config.boundary import parse
from sparkray.config.model import RESERVE_GIB, Host, ModelCard, Shape, needed_gib, refusal
from sparkray.errors import ConfigError
from sparkray.units import GIB, KIB

FOLDER = Path(__file__).parents[2] / "conf" / "models"
CARDS = {
    path.stem: parse(ModelCard, yaml.safe_load(path.read_text()), path.name)
    for path in sorted(FOLDER.glob("*.yaml"))
    if yaml.safe_load(path.read_text())["weights"]["kind"] == "checkpoint"
}
SPARK_GIB = (119.64, 121.69)

# name: parameters in billions, weights GiB, KV KiB a token, largest batch, tier
PUBLISHED = {
    "Qwen2-1.5B": (1.544, 2.88, 28, 16, 3),
    "Gemma-2B": (2.506, 4.67, 18, 16, 2),
    "Phi-3-mini": (3.821, 7.12, 384, 12, 2),
    "Mistral-7B-v0.3": (7.248, 13.50, 128, 8, 1),
    "DeepSeek-R1-7B": (7.616, 14.19, 56, 8, 1),
    "Llama-3-8B": (8.030, 14.96, 128, 8, 1),
    "Mixtral-8x7B": (46.70, 86.99, 128, 4, 2),
    "Llama-3-70B": (70.55, 37.0, 320, 4, 1),
    "Qwen2.5-72B": (72.71, 135.4, 320, 4, 1),
    "GPT-OSS-120B": (116.83, 60.8, 72, 8, 3),
}
RUNNABLE = set(PUBLISHED) - {"Gemma-2B", "Llama-3-70B", "Qwen2.5-72B"}


def spark(memory=SPARK_GIB[0]):
    return Host("trtllm", memory, "site dgx-spark")


def shape(name):
    found = CARDS[name].shape
    assert found is not None
    return found


def counted_params(s: Shape, name: str) -> int:
    """Parameters from the dimensions: attention, gated MLP, norms, embeddings, and each family's extras."""
    q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
    attention = 2 * s.hidden * q + 2 * s.hidden * kv
    mlp = 3 * s.hidden * s.intermediate * s.experts
    router = s.hidden * s.experts if s.experts > 1 else 0
    extra = 0
    if name in ("Qwen2-1.5B", "Qwen2.5-72B", "DeepSeek-R1-7B"):
        extra = q + 2 * kv
    if name == "GPT-OSS-120B":  # biases everywhere, and one sink a head
        extra = q + 2 * kv + s.hidden + s.heads + s.experts + s.experts * (2 * s.intermediate + s.hidden)
    tables = s.vocab * s.hidden * (1 if s.tied_embeddings else 2)
    return s.layers * (attention + mlp + router + extra + 2 * s.hidden) + s.hidden + tables


def test_the_suite_is_the_ten_models():
    assert set(PUBLISHED) <= set(CARDS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_figures_match_what_is_published(name):
    params, weights, kv, batch, tier = PUBLISHED[name]
    card = CARDS[name]
    assert shape(name).params_total / 1e9 == pytest.approx(params, abs=0.006)
    assert shape(name).weight_bytes / GIB == pytest.approx(weights, abs=0.06)
    assert shape(name).kv_bytes_per_token == kv * KIB
    assert (card.max_batch_size, card.tier) == (batch, tier)


@pytest.mark.parametrize("name", PUBLISHED)
def test_dimensions_and_parameters_agree(name):
    assert counted_params(shape(name), name) == shape(name).params_total


def test_quantised_sizes_in_decimal_gigabytes():
    assert shape("Llama-3-70B").weight_bytes / 1e9 == pytest.approx(39.8, abs=0.1)
    assert shape("GPT-OSS-120B").weight_bytes / 1e9 == pytest.approx(65.2, abs=0.1)


def test_active_parameters_of_the_mixtures():
    oss, mixtral = shape("GPT-OSS-120B"), shape("Mixtral-8x7B")
    assert oss.params_active is not None
    assert mixtral.params_active is not None
    assert (oss.params_active - oss.embedding_params) / 1e9 == pytest.approx(5.13, abs=0.005)
    assert mixtral.params_active / 1e9 == pytest.approx(12.88, abs=0.005)


def test_sliding_layers_keep_no_more_than_their_window():
    oss = shape("GPT-OSS-120B")
    assert oss.kv_bytes(100) == 100 * 72 * KIB
    assert oss.kv_bytes(1128) == (1128 + 128) * 36 * KIB


@pytest.mark.parametrize("memory", SPARK_GIB)
@pytest.mark.parametrize("name", PUBLISHED)
def test_what_a_spark_can_run(name, memory):
    said = refusal(CARDS[name], spark(memory), sequences=CARDS[name].max_batch_size, tokens=640)
    assert (said is None) == (name in RUNNABLE)


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - RUNNABLE))
def test_a_refusal_names_the_nearest_checkpoint(name):
    said = refusal(CARDS[name], spark())
    assert said is not None
    assert name in said
    assert str(CARDS[name].instead) in said


@pytest.mark.parametrize("memory", SPARK_GIB)
@pytest.mark.parametrize("name", ["Qwen2.5-72B", "Llama-3-70B"])
def test_bf16_of_the_large_ones_is_refused_by_size_alone(name, memory):
    card = CARDS[name]
    assert card.shape is not None
    plain = replace(card, unsupported={}, instead=None, shape=replace(card.shape, bits_per_weight=16.0))
    said = refusal(plain, spark(memory))
    assert said is not None
    assert "must stay free" in said


def test_size_alone_decides_without_unsupported():
    card = replace(CARDS["Llama-3-8B"], instead="something smaller")
    needed = needed_gib(card, sequences=8, tokens=640)
    assert needed is not None
    assert refusal(card, spark(needed + RESERVE_GIB + 0.01), sequences=8, tokens=640) is None
    assert "something smaller" in str(refusal(card, spark(needed + RESERVE_GIB - 0.01), sequences=8, tokens=640))


@pytest.mark.parametrize("name", sorted(RUNNABLE))
def test_a_kv_cache_of_the_default_size_leaves_the_host_its_floor(name):
    """Fraction of what weights and 3 GiB of overhead leave, on the smaller Spark: 8 GiB must stay free."""
    fraction = CARDS[name].engine_options.get("trtllm", {}).get("kv_fraction", 0.9)
    left = 119.64 - 3.0 - shape(name).weight_bytes / GIB
    assert (1 - fraction) * left >= 8


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("DeepSeek-R1-Distill-Qwen-7B", "DeepSeek-R1-7B"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "DeepSeek-R1-7B"),
        ("Qwen2.5-72B-Instruct", "Qwen2.5-72B"),
        ("qwen/qwen2.5-72b-instruct", "Qwen2.5-72B"),
        ("openai/gpt-oss-120b", "GPT-OSS-120B"),
        ("gpt-oss-120b", "GPT-OSS-120B"),
        ("microsoft/Phi-3-mini-4k-instruct", "Phi-3-mini"),
        ("meta-llama/Meta-Llama-3-70B", "Llama-3-70B"),
        ("google/gemma-2b", "Gemma-2B"),
    ],
)
def test_aliases(asked, name):
    assert [card.name for card in CARDS.values() if card.answers_to(asked)] == [name]


def test_no_two_cards_answer_to_one_name():
    names = [name for card in CARDS.values() for name in card.names]
    assert len(names) == len(set(names))


def test_a_file_is_named_after_its_card():
    assert {stem: card.name for stem, card in CARDS.items()} == {stem: stem for stem in CARDS}


@pytest.mark.parametrize(
    "wrong",
    [
        {"params_active": 10**12},
        {"params_16bit": 10**12},
        {"experts_per_token": 2},
        {"sliding_layers": 99},
        {"attention_layers": 33},
    ],
)
def test_a_part_above_its_whole_is_refused(wrong):
    mapping = yaml.safe_load((FOLDER / "Llama-3-8B.yaml").read_text())
    mapping["shape"].update(wrong)
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        parse(ModelCard, mapping, "test")
