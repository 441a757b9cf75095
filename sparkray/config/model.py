"""Model cards: what a model is, as far as a benchmark must know. Sizes are computed from the shape, never typed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from sparkray.config.boundary import STRICT
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
class StepRead:
    """Bytes that one decode step reads: what every step streams, the experts it routes to, the KV cache."""

    dense: float
    experts: float
    kv: float

    @property
    def total(self) -> float:
        """All of it, bytes."""
        return self.dense + self.experts + self.kv


@dataclass(frozen=True)
class Shape:
    """The numbers that fix how much memory a model needs and how much of it one decode step reads.

    Counts are of parameters; `bits_per_weight` is the mean over all weights but the `params_16bit` (embeddings, head,
    norms, attention) that a quantised checkpoint leaves at 16 bits. `params_active` counts the input embedding, as
    `params_total` does. `experts` is 1 for a dense model.

    Raises:
        ValueError: More active, 16-bit or sliding parts than there are parts at all, or active parts without experts.
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
            ("experts and embedding", self.expert_params + self.embedding_params, self.params_total),
        )
        for name, part, whole in parts:
            if part > whole:
                raise ValueError(f"{name} is {part}, more than the {whole} there are")
        if self.experts == 1 and self.params_active not in (None, self.params_total):
            raise ValueError(f"params_active is {self.params_active}, but experts and experts_per_token are not given")

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
        """Parameters of all experts together; 0 for a dense model.

        From active = rest + experts k/E and total = rest + experts where the card tells `params_active`; else the gate,
        up and down projections of experts in every layer.
        """
        idle = 1 - self.experts_per_token / self.experts
        if self.params_active is not None and idle > 0:
            return round((self.params_total - self.params_active) / idle)
        return 3 * self.hidden * self.intermediate * self.experts * self.layers if self.experts > 1 else 0

    @property
    def used_params(self) -> float:
        """Parameters that one token is multiplied with: all but the input embedding and the experts not routed to."""
        idle = self.expert_params * (1 - self.experts_per_token / self.experts)
        return self.params_total - self.embedding_params - idle

    @property
    def least_bits(self) -> float:
        """Bits that no weight lies below.

        An engine may pack at loading what the checkpoint left at 16 bits (llama.cpp's files of gpt-oss hold it at 8.5
        bits, builds of vLLM at MXFP4); no finer than the checkpoint's own format.
        """
        return min(self.bits_per_weight, SIXTEEN_BITS) if self.params_16bit else self.bits_per_weight

    def experts_reached(self, tokens: float) -> float:
        """Experts of a layer that `tokens` route to on average if each chooses its k of E at random: E(1 - (1 - k/E)^n).

        Random routing reaches the most (the expression is concave in each expert's probability): real routing is uneven.
        """
        missed: float = (1 - self.experts_per_token / self.experts) ** tokens
        return self.experts * (1 - missed)

    def step_read(self, batch: int, context: float, *, tokens_per_sequence: float = 1.0) -> StepRead:
        """What one decode step of `batch` sequences of `context` tokens reads, the weights as the card has them.

        Weights are read once a step whatever the batch; the input embedding is gathered and does not count; experts as
        random routing reaches them; 16-bit KV cache of every sequence. Speculative decoding puts more than one token of
        a sequence through a step.
        """
        rest = self.params_total - self.expert_params
        experts_16bit = max(0, self.params_16bit - rest)
        dense_16bit = max(0, self.params_16bit - experts_16bit - self.embedding_params)
        reached = self.experts_reached(batch * tokens_per_sequence) / self.experts
        return StepRead(
            dense=self._bytes(rest - self.embedding_params, dense_16bit),
            experts=self._bytes(self.expert_params, experts_16bit) * reached,
            kv=float(batch * self.kv_bytes(round(context))),
        )

    def least_step_read(self, batch: int, context: float) -> StepRead:
        """The least that the same step can read: every token routed to the same experts, every weight at `least_bits`."""
        rest = self.params_total - self.expert_params - self.embedding_params
        routed = self.expert_params * self.experts_per_token / self.experts
        kv = float(batch * self.kv_bytes(round(context)))
        return StepRead(rest * self.least_bits / 8, routed * self.least_bits / 8, kv)

    def step_bytes(self, batch: int, context: float) -> float:
        """Bytes that `step_read` comes to."""
        return self.step_read(batch, context).total

    def _bytes(self, params: int, sixteen: int) -> float:
        """Bytes of some parameters, `sixteen` of them at 16 bits."""
        return ((params - sixteen) * self.bits_per_weight + sixteen * SIXTEEN_BITS) / 8

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


_NO_QUANTISATION = ("", "no_quant", "none")


def quantisation_mismatch(card: ModelCard, reported: object) -> tuple[str, ...]:
    """The mismatch between a card's quantisation and a reported one; a report may add to the card's family name."""
    name = str(reported or "").casefold()
    if name in _NO_QUANTISATION or (card.quantisation is not None and card.quantisation.casefold() in name):
        return ()
    return (f"quantisation: card says {card.quantisation or 'none'}, found {reported!r}",)


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
