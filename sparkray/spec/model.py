"""Model cards: what a model is, as far as a benchmark must know. Sizes are computed from the shape, never typed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from sparkray.spec.boundary import STRICT
from sparkray.units import gib

Architecture = Literal["decoder", "moe", "efficient", "reasoning"]
Positive = Annotated[int, Gt(0)]
SIXTEEN_BITS = 16.0
RESERVE_GIB = 12.0
"""Memory that no model may count on: 8 GiB that keep the host alive, 4 for CUDA context, graphs and activations."""


@dataclass(frozen=True)
class Weights:
    """Where a model's weights are found.

    `wheel`: `member` of the Python package `package==version`, kept in the user's cache. `file`: `path`.
    `checkpoint`: the folder `path` under the site's models root.
    """

    __pydantic_config__ = STRICT

    kind: Literal["wheel", "file", "checkpoint"]
    path: str = ""
    package: str = ""
    version: str = ""
    member: str = ""
    sha256: str | None = None


@dataclass(frozen=True)
class Shape:
    """The numbers that fix how much memory a model needs and how much of it one decode step reads.

    Counts are of parameters; `bits_per_weight` is the mean over all weights but the `params_16bit` (embeddings, head,
    norms, attention) that a quantised checkpoint leaves at 16 bits. `params_active` counts the input embedding, as
    `params_total` does. `experts` is 1 for a dense model.

    Raises:
        ValueError: More active, 16-bit or sliding parts than there are parts at all.
    """

    __pydantic_config__ = STRICT

    params_total: Positive
    layers: Positive
    hidden: Positive
    heads: Positive
    kv_heads: Positive
    head_dim: Positive
    intermediate: Positive
    vocab: Positive
    context: Positive
    bits_per_weight: Annotated[float, Gt(0)] = 16.0
    params_active: int | None = None
    tied_embeddings: bool = False
    experts: Positive = 1
    experts_per_token: Positive = 1
    sliding_window: int | None = None
    sliding_layers: Annotated[int, Ge(0)] = 0
    params_16bit: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        parts = (
            ("params_active", self.params_active or 0, self.params_total),
            ("params_16bit", self.params_16bit, self.params_total),
            ("experts_per_token", self.experts_per_token, self.experts),
            ("sliding_layers", self.sliding_layers, self.layers),
        )
        for name, part, whole in parts:
            if part > whole:
                raise ValueError(f"{name} is {part}, more than the {whole} there are")

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights as they lie in memory."""
        packed = self.params_total - self.params_16bit
        return round((packed * self.bits_per_weight + self.params_16bit * SIXTEEN_BITS) / 8)

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of KV cache that one token adds, 16-bit keys and values in every layer."""
        return self.layers * self._kv_bytes_per_token_and_layer

    @property
    def _kv_bytes_per_token_and_layer(self) -> int:
        return 2 * self.kv_heads * self.head_dim * 2

    def kv_bytes(self, tokens: int) -> int:
        """Bytes of KV cache of one sequence of `tokens`; a layer with a sliding window keeps no more than that."""
        seen = tokens if self.sliding_window is None else min(tokens, self.sliding_window)
        rows = (self.layers - self.sliding_layers) * tokens + self.sliding_layers * seen
        return rows * self._kv_bytes_per_token_and_layer

    @property
    def expert_params(self) -> int:
        """Parameters of all experts together (gate, up and down projections); 0 for a dense model."""
        return 3 * self.hidden * self.intermediate * self.experts * self.layers if self.experts > 1 else 0

    def step_bytes(self, batch: int, context: float) -> float:
        """Bytes that one decode step reads: weights once, experts as the batch routes to them, KV cache by context.

        The input embedding is gathered and does not count. `batch` tokens that each choose k of E experts at random
        reach E (1 - (1 - k/E)^batch) of them on average.
        """
        dense = self.params_total - self.expert_params - self.embedding_params
        reached = 1 - (1 - self.experts_per_token / self.experts) ** batch
        share = (dense + self.expert_params * reached) / self.params_total
        return self.weight_bytes * share + batch * self.kv_bytes(round(context))

    @property
    def embedding_params(self) -> int:
        """Parameters of the input embedding: gathered row by row, never streamed whole. 0 when tied to the output."""
        return 0 if self.tied_embeddings else self.vocab * self.hidden


@dataclass(frozen=True)
class ModelCard:
    """One model of the suite.

    `engine_options` holds, by engine, the options that this model needs wherever it runs; what the user sets wins.
    `unsupported` says why the checkpoint cannot run as named, `instead` is the nearest one that can.
    """

    __pydantic_config__ = STRICT

    name: str
    architecture: Architecture
    licence: str
    why: str
    weights: Weights
    shape: Shape | None = None
    hf_id: str | None = None
    aliases: tuple[str, ...] = ()
    tier: Annotated[int, Ge(0)] = 0
    dtype: str = "bfloat16"
    quantisation: str | None = None
    max_batch_size: Positive = 1
    size: Literal["small", "medium", "large"] = "small"
    engine_architecture: str | None = None
    unsupported: str | None = None
    instead: str | None = None
    engine_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())

    def answers_to(self, name: str) -> bool:
        """Whether this card is meant by a name, an alias or a Hugging Face id, in any case."""
        names = {self.name, *self.aliases, *([self.hf_id] if self.hf_id else [])}
        return name.casefold() in {known.casefold() for known in names}


def needed_gib(card: ModelCard, *, sequences: int = 1, tokens: int = 0) -> float | None:
    """Memory for weights and the KV cache of `sequences` of `tokens` each, GiB; None when the card tells no shape."""
    if card.shape is None:
        return None
    return gib(card.shape.weight_bytes + sequences * card.shape.kv_bytes(tokens))


def refusal(card: ModelCard, memory_gib: float | None, *, sequences: int = 1, tokens: int = 0) -> str | None:
    """Why this card cannot run on a machine of that memory, in words with values; None when nothing stands against it.

    Args:
        card: The model.
        memory_gib: MemTotal of the machine; None asks no question of size.
        sequences: Sequences in flight at once.
        tokens: Length of each, prompt and output together.
    """
    reason = card.unsupported
    needed = needed_gib(card, sequences=sequences, tokens=tokens)
    if reason is None and memory_gib is not None and needed is not None and needed + RESERVE_GIB > memory_gib:
        reason = (
            f"needs {needed:.1f} GiB for weights and KV cache, and {RESERVE_GIB:.0f} GiB must stay free, "
            f"of {memory_gib:.1f} GiB"
        )
    if reason is None:
        return None
    hint = f"; nearest checkpoint that can run: {card.instead}" if card.instead else ""
    return f"{card.name}: {reason}{hint}"
