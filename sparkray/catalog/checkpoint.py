"""Hugging Face checkpoints: identity of `config.json` against a model card, hash, and files without weights.

Pure and the same for every engine that reads such a folder.
"""

import hashlib
import json
from typing import Any

from sparkray.config.model import ModelCard, quantisation_mismatch
from sparkray.errors import ModelFileError

_CONFIG_KEYS = (
    ("num_hidden_layers", "layers"),
    ("hidden_size", "hidden"),
    ("num_attention_heads", "heads"),
    ("num_key_value_heads", "kv_heads"),
    ("vocab_size", "vocab"),
    ("num_local_experts", "experts"),
    ("num_experts_per_tok", "experts_per_token"),
)


def checkpoint_identity(config: bytes, card: ModelCard) -> tuple[str, ...]:
    """Mismatches between a checkpoint's `config.json` and its card: architecture, dtype, shape, quantisation.

    Raises:
        ModelFileError: `config.json` is not a JSON object.
    """
    document = _json_object(config)
    mismatches = []
    architectures = document.get("architectures")
    if card.engine_architecture and architectures != [card.engine_architecture]:
        mismatches.append(f"architectures: card says {card.engine_architecture}, config.json says {architectures!r}")
    for theirs, ours in _CONFIG_KEYS:
        value = document.get(theirs)
        if card.shape is not None and value is not None and value != getattr(card.shape, ours):
            mismatches.append(f"{theirs}: card says {getattr(card.shape, ours)}, config.json says {value!r}")
    dtype = document.get("torch_dtype", document.get("dtype"))
    if dtype is not None and str(dtype).removeprefix("torch.").casefold() != card.dtype.casefold():
        mismatches.append(f"dtype: card says {card.dtype}, config.json says {dtype!r}")
    packed = document.get("quantization_config")
    method = packed.get("quant_method") if isinstance(packed, dict) else None
    if card.quantisation is not None and method is None:
        mismatches.append(f"quantisation: card says {card.quantisation}, config.json has no quantization_config")
    return (*mismatches, *quantisation_mismatch(card, method))


def _json_object(config: bytes) -> dict[str, Any]:
    """`config.json`, parsed. Raises ModelFileError."""
    try:
        document = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"config.json is not valid JSON ({len(config)} bytes): {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise ModelFileError(f"config.json must hold a JSON object, not {type(document).__name__}")
    return document


def checkpoint_sha256(config: bytes, index: bytes | None) -> str:
    """One hash of `config.json` and, where there is one, the index of the weights."""
    parts = {"config": config, "index": index or b""}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def checkpoint_files(card: ModelCard) -> dict[str, bytes]:
    """A checkpoint without weights, for simulated sites: `config.json`, and an index with the size of the card's weights.

    Raises:
        ValueError: The card has no shape.
    """
    shape = card.shape
    if shape is None:
        raise ValueError(f"model card {card.name} has no shape")
    moe = {"num_local_experts": shape.experts, "num_experts_per_tok": shape.experts_per_token}
    config = {
        "architectures": [card.engine_architecture],
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": shape.tied_embeddings,
        "torch_dtype": card.dtype,
        **(moe if shape.experts > 1 else {}),
        **({"quantization_config": {"quant_method": card.quantisation.lower()}} if card.quantisation else {}),
    }
    index = {"metadata": {"total_size": shape.weight_bytes}, "weight_map": {}}
    return {
        "config.json": json.dumps(config, indent=2).encode(),
        "model.safetensors.index.json": json.dumps(index, indent=2).encode(),
    }
