"""Models of random weights: configuration and tokenizer, made from the card."""

import json
from dataclasses import replace

import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.catalog.random_weights import random_files
from sparkray.catalog.weights import locate, wrong_checkpoint
from sparkray.config.boundary import parse
from sparkray.config.model import Host, ModelCard, Weights, refusal
from sparkray.errors import ConfigError

CARD = Catalog(data_root()).card("Qwen2-1.5B-random")


def test_the_folder_has_the_shape_of_the_card_and_every_word(tmp_path):
    found = locate(CARD, tmp_path / "none", tmp_path)
    config = json.loads((found.path / "config.json").read_bytes())
    assert (config["model_type"], config["hidden_size"], config["tie_word_embeddings"]) == ("qwen2", 1536, True)
    words = json.loads((found.path / "tokenizer" / "tokenizer.json").read_bytes())["model"]["vocab"]
    assert sorted(words.values()) == list(range(151936))
    assert not (found.path / "tokenizer" / "config.json").exists(), "beside it another class of tokenizer is taken"
    assert wrong_checkpoint(CARD, found.path) == ()
    assert locate(CARD, tmp_path / "none", tmp_path) == found


def test_a_damaged_folder_is_made_again(tmp_path):
    found = locate(CARD, tmp_path, tmp_path)
    (found.path / "config.json").write_text("{}")
    assert locate(CARD, tmp_path, tmp_path) == found
    assert wrong_checkpoint(CARD, found.path) == ()


def test_an_engine_that_makes_no_weights_refuses_them():
    assert refusal(CARD, Host("vllm", 140.0, "here")) is None
    assert "engine trtllm cannot make random weights; vllm can" in str(refusal(CARD, Host("trtllm", 140.0, "here")))


def test_what_cannot_be_written_is_refused():
    with pytest.raises(ConfigError, match="not MixtralForCausalLM"):
        random_files(replace(CARD, engine_architecture="MixtralForCausalLM"))
    bare = {"name": "x", "architecture": "decoder", "licence": "none", "why": "test", "weights": {"kind": "random"}}
    with pytest.raises(ConfigError, match=r"needs weights\.path and a shape"):
        parse(ModelCard, bare, "x.yaml")
    assert Weights(kind="random", path="x").path == "x"
