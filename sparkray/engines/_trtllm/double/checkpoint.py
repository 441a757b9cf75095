"""A checkpoint as far as the simulated tool reads it: `config.json`, and the sizes of its weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .versions import table, text

_PACKED_BITS = {"mxfp4": 4.25, "awq": 4.15625, "gptq": 4.15625, "fp8": 8.0, "nvfp4": 4.5}


@dataclass(frozen=True)
class Checkpoint:
    """Sizes in bytes. `dense` is read in every step, `experts` is all of them together, `embedding` never streamed."""

    architecture: str
    dtype: str
    quantization: str | None
    method: str | None
    vocab: int
    layers: int
    dense: float
    experts: float
    embedding: float
    expert_count: int
    experts_per_token: int
    kv_per_token: int

    @property
    def resident(self) -> float:
        """All of the weights."""
        return self.dense + self.experts + self.embedding

    def read_per_step(self, batch: int) -> float:
        """Bytes of weights that one decode step reads: of the experts, those that a batch is expected to route to."""
        share = 1.0
        if self.expert_count > 1:
            share = 1 - (1 - self.experts_per_token / self.expert_count) ** batch
        return self.dense + self.experts * share


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder.

    Raises:
        OSError: There is no config.json.
        ValueError: It cannot be read, or the PyTorch backend does not run the model.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise OSError(text("no_config", folder=folder))
    config = json.loads(path.read_text())
    architecture = (config.get("architectures") or ["?"])[0]
    if architecture not in table()["architectures"]:
        raise ValueError(text("unknown_architecture", architecture=architecture))
    method = _method(folder, config)
    if method in ("awq", "gptq"):
        raise ValueError(text("no_exported_quantization", method=method))
    return _sized(folder, config, architecture=architecture, method=method)


def _method(folder: Path, config: dict[str, Any]) -> str | None:
    exported = folder / "hf_quant_config.json"
    if exported.is_file():
        algorithm = json.loads(exported.read_text()).get("quantization", {}).get("quant_algo")
        return str(algorithm).lower() if algorithm else None
    method = (config.get("quantization_config") or {}).get("quant_method")
    return str(method).lower() if method else None


def _sized(folder: Path, config: dict[str, Any], *, architecture: str, method: str | None) -> Checkpoint:
    layers, hidden, heads = config["num_hidden_layers"], config["hidden_size"], config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads", heads)
    head_dim = config.get("head_dim") or hidden // heads
    count = config.get("num_local_experts", 1)
    embeddings = config["vocab_size"] * hidden
    attention = layers * hidden * head_dim * (2 * heads + 2 * kv_heads)
    blocks = layers * 3 * hidden * config["intermediate_size"] * count
    tied = bool(config.get("tie_word_embeddings", False))
    bits = _PACKED_BITS.get(method or "", 16.0)
    experts = blocks * bits / 8 if count > 1 else 0.0
    packed = attention * (2.0 if method == "mxfp4" else bits / 8)
    other = packed + (blocks * bits / 8 if count == 1 else 0.0) + embeddings * 2.0
    embedding = 0.0 if tied else embeddings * 2.0
    scale = (_weights_on_disk(folder) or 0.0) / (other + experts + embedding) or 1.0
    return Checkpoint(
        architecture=architecture,
        dtype=config.get("torch_dtype", config.get("dtype", "bfloat16")),
        quantization=table()["reported_quantization"].get(method, method.upper()) if method else None,
        method=method,
        vocab=config["vocab_size"],
        layers=layers,
        dense=other * scale,
        experts=experts * scale,
        embedding=embedding * scale,
        expert_count=count,
        experts_per_token=config.get("num_experts_per_tok", 1),
        kv_per_token=2 * layers * kv_heads * head_dim * 2,
    )


def _weights_on_disk(folder: Path) -> float | None:
    """Bytes by the index, else by the files."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return float(json.loads(index.read_text())["metadata"]["total_size"])
    return float(sum(path.stat().st_size for path in folder.glob("*.safetensors"))) or None
