"""A model folder without weights, for an engine that fills a model with random numbers: configuration and tokenizer.

Both are made from the model card, so that no download is needed and the same card gives the same bytes. The tokenizer lies
in a folder of its own: beside a configuration of `model_type: qwen2`, Transformers 5 takes its own tokenizer class whatever
`tokenizer_config.json` names, and every prompt becomes empty.
"""

import json
from collections.abc import Mapping
from typing import Any

from sparkray.catalog.checkpoint import config_of
from sparkray.config.model import ModelCard
from sparkray.errors import ConfigError

TOKENIZER = "tokenizer"
"""Name of the tokenizer's folder inside the model's."""
_SPECIAL = ("<s>", "</s>", "<unk>")
# What the Transformers library must know of each architecture beside its sizes.
_ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "LlamaForCausalLM": {
        "model_type": "llama",
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "attention_bias": False,
        "mlp_bias": False,
    },
    "Qwen2ForCausalLM": {
        "model_type": "qwen2",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "use_sliding_window": False,
        "sliding_window": None,
    },
}


def random_files(card: ModelCard) -> dict[str, bytes]:
    """The files of the folder, by path relative to it.

    Raises:
        ConfigError: The card's architecture is not among those that can be written.
    """
    own = _ARCHITECTURES.get(card.engine_architecture or "")
    if own is None or card.shape is None:
        raise ConfigError(
            f"model card {card.name}: random weights need engine_architecture {' or '.join(_ARCHITECTURES)}, "
            f"not {card.engine_architecture}",
            "Use a checkpoint: weights: {kind: checkpoint, path: FOLDER}",
        )
    ids = {"bos_token_id": 0, "eos_token_id": 1}
    config = {**config_of(card), **own, "hidden_act": "silu", "initializer_range": 0.02, "use_cache": True, **ids}
    return {
        "config.json": _json(config),
        "generation_config.json": _json(ids),
        f"{TOKENIZER}/tokenizer.json": _json(_tokenizer(card.shape.vocab)),
        f"{TOKENIZER}/tokenizer_config.json": _json(_tokenizer_config(card.shape.context)),
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _tokenizer(vocabulary: int) -> dict[str, Any]:
    """One word for each id of the whole vocabulary, split at spaces, in the format of the tokenizers library."""
    words = dict(zip(_SPECIAL, range(len(_SPECIAL)), strict=True))
    words |= {f"w{number}": number for number in range(len(_SPECIAL), vocabulary)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": word, **flags} for number, word in enumerate(_SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"},
    }


def _tokenizer_config(context: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "chat_template": "{% for m in messages %}{{ m['content'] }} {% endfor %}",
    }
