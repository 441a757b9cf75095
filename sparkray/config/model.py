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
EIGHT_BITS = 8.0
# Memory that no model may count on: 8 GiB that keep the host alive, 4 for CUDA context, graphs and activations.
RESERVE_GIB = 12.0
# Engines that fill a model of a given shape with random numbers.
RANDOM_WEIGHTS = ("vllm",)


@dataclass(frozen=True)
class Weights:
    """Where a model's weights are found.

    `wheel`: `member` of the Python package `package==version`, kept in the user's cache. `file`: `path`.
    `checkpoint`: the folder `path` under the site's models root. `server`: the server finds them itself, in its image or in
    a folder that is mounted for it, by the name `path`; nobody checks them. `random`: the engine makes them; sparkray makes
    the folder `path` with a configuration of the card's shape and a tokenizer.
    """

    __pydantic_config__ = STRICT

    kind: Literal["wheel", "file", "checkpoint", "server", "random"]
    path: str = ""
    package: str = ""
    version: str = ""
    member: str = ""
    sha256: str | None = None


@dataclass(frozen=True)
class StepRead:
    """Bytes that one decode step moves: weights of every step, the experts it routes to, KV cache, recurrent state."""

    dense: float
    experts: float
    kv: float
    state: float = 0.0

    @property
    def total(self) -> float:
        """All of it, bytes."""
        return self.dense + self.experts + self.kv + self.state


@dataclass(frozen=True)
class Shape:
    """The numbers that fix how much memory a model needs and how much of it one decode step reads.

    Counts are of parameters; `bits_per_weight` is the mean, scales included, over all weights but the `params_16bit`
    (embeddings, head, norms, attention) that a quantised checkpoint leaves at 16 bits and the `params_8bit` that a mixed
    one holds at 8. `params_unread` are in memory but in no decode step (vision encoder, a head for speculative decoding);
    they are 16-bit ones first. `params_active` counts the input embedding, as `params_total` does. `experts` is 1 for a
    dense model.

    `attention_layers` is how many layers keep keys and values (None: all); of those, `sliding_layers` keep no more than
    `sliding_window` tokens (attention in chunks of that size keeps no more either). `state_bytes` is the recurrent state of
    one sequence over all state-space layers, the same at every length.

    Raises:
        ValueError: A part that is larger than the whole, or active parts without experts.
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
    params_8bit: Annotated[int, Ge(0)] = 0
    params_unread: Annotated[int, Ge(0)] = 0
    attention_layers: Annotated[int, Ge(0)] | None = None
    state_bytes: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        text = self.params_total - self.params_unread
        parts = (
            ("params_unread", self.params_unread, self.params_total),
            ("params_active", self.params_active or 0, text),
            ("params_16bit", self.params_16bit, self.params_total),
            ("params_8bit", self.params_8bit, self.params_total - self.params_16bit),
            ("experts_per_token", self.experts_per_token, self.experts),
            ("attention_layers", self.kv_layers, self.layers),
            ("sliding_layers", self.sliding_layers, self.kv_layers),
            ("experts and embedding", self.expert_params + self.embedding_params, text),
        )
        for name, part, whole in parts:
            if part > whole:
                raise ValueError(f"{name} is {part}, more than the {whole} there are")
        if self.experts == 1 and self.params_active not in (None, text):
            raise ValueError(f"params_active is {self.params_active}, but experts and experts_per_token are not given")

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights as they lie in memory."""
        return round(self._bytes(self.params_total, self.params_16bit, self.params_8bit))

    @property
    def kv_layers(self) -> int:
        """Layers that keep keys and values."""
        return self.layers if self.attention_layers is None else self.attention_layers

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of KV cache that one token adds, 16-bit keys and values in every layer that keeps any."""
        return self.kv_layers * self._kv_bytes_per_token_and_layer

    @property
    def _kv_bytes_per_token_and_layer(self) -> int:
        return 2 * self.kv_heads * self.head_dim * 2

    def kv_bytes(self, tokens: int) -> int:
        """Bytes of KV cache of one sequence of `tokens`; a layer with a sliding window keeps no more than that."""
        seen = tokens if self.sliding_window is None else min(tokens, self.sliding_window)
        rows = (self.kv_layers - self.sliding_layers) * tokens + self.sliding_layers * seen
        return rows * self._kv_bytes_per_token_and_layer

    def sequence_bytes(self, tokens: int) -> int:
        """Bytes of memory that one sequence of `tokens` takes: its KV cache and its recurrent state."""
        return self.kv_bytes(tokens) + self.state_bytes

    @property
    def expert_params(self) -> int:
        """Parameters of all experts together; 0 for a dense model.

        From active = rest + experts k/E and total = rest + experts, without what no step reads, where the card gives
        `params_active`; else the gate, up and down projections of experts in every layer.
        """
        idle = 1 - self.experts_per_token / self.experts
        if self.params_active is not None and idle > 0:
            return round((self.params_total - self.params_unread - self.params_active) / idle)
        return 3 * self.hidden * self.intermediate * self.experts * self.layers if self.experts > 1 else 0

    @property
    def used_params(self) -> float:
        """Parameters that one token is multiplied with: all that is read but the embedding and experts not routed to."""
        idle = self.expert_params * (1 - self.experts_per_token / self.experts)
        return self.params_total - self.params_unread - self.embedding_params - idle

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
        random routing reaches them; 16-bit KV cache of every sequence; a recurrent state is read and written back.
        Speculative decoding puts more than one token of a sequence through a step.
        """
        rest = self.params_total - self.expert_params
        streamed = rest - self.params_unread - self.embedding_params
        experts_16bit = max(0, self.params_16bit - rest)
        dense_16bit = max(0, self.params_16bit - experts_16bit - self.params_unread - self.embedding_params)
        dense_8bit = min(self.params_8bit, streamed - dense_16bit)
        experts_8bit = self.params_8bit - dense_8bit
        reached = self.experts_reached(batch * tokens_per_sequence) / self.experts
        return StepRead(
            dense=self._bytes(streamed, dense_16bit, dense_8bit),
            experts=self._bytes(self.expert_params, experts_16bit, experts_8bit) * reached,
            kv=float(batch * self.kv_bytes(round(context))),
            state=2.0 * batch * self.state_bytes,
        )

    def least_step_read(self, batch: int, context: float) -> StepRead:
        """The least that the same step can move: every token routed to the same experts, every weight at `least_bits`.

        A recurrent state counts once: an engine that keeps it at half the bits moves as much by reading and writing it.
        """
        rest = self.params_total - self.params_unread - self.expert_params - self.embedding_params
        routed = self.expert_params * self.experts_per_token / self.experts
        kv, state = batch * self.kv_bytes(round(context)), batch * self.state_bytes
        return StepRead(rest * self.least_bits / 8, routed * self.least_bits / 8, float(kv), float(state))

    def step_bytes(self, batch: int, context: float) -> float:
        """Bytes that `step_read` comes to."""
        return self.step_read(batch, context).total

    def _bytes(self, params: int, sixteen: int, eight: int) -> float:
        """Bytes of some parameters, `sixteen` of them at 16 bits and `eight` at 8."""
        packed = params - sixteen - eight
        return (packed * self.bits_per_weight + eight * EIGHT_BITS + sixteen * SIXTEEN_BITS) / 8

    @property
    def embedding_params(self) -> int:
        """Parameters of the input embedding: gathered row by row, never streamed whole. 0 when tied to the output."""
        return 0 if self.tied_embeddings else self.vocab * self.hidden


@dataclass(frozen=True)
class ModelCard:
    """One model of the suite.

    `engine_options` holds, by engine, the options that this model needs wherever it runs; what the user sets wins.
    `unsupported` is, by engine (or for all of them), why it cannot run the checkpoint as named. `instead` is the nearest
    checkpoint that NVIDIA publishes. `unverified` names the facts of this card that were derived or assumed,
    not read in the checkpoint's own files; `roofline` and `doctor` show them.
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
    unsupported: Mapping[str, str] | str | None = None
    instead: str | None = None
    engine_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())
    unverified: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.weights.kind == "random" and (self.shape is None or not self.weights.path):
            raise ValueError("weights.kind random needs weights.path and a shape")

    @property
    def names(self) -> frozenset[str]:
        """Every name of this card, case folded: name, aliases, Hugging Face id with and without its owner."""
        of_hub = (self.hf_id, self.hf_id.rpartition("/")[2]) if self.hf_id else ()
        return frozenset(name.casefold() for name in (self.name, *self.aliases, *of_hub))

    def answers_to(self, name: str) -> bool:
        """Whether this card is meant by a name, an alias or a Hugging Face id, in any case."""
        return name.casefold() in self.names


_NO_QUANTISATION = ("", "no_quant", "none")


def quantisation_mismatch(card: ModelCard, reported: object) -> tuple[str, ...]:
    """The mismatch between a card's quantisation and a reported one.

    A report may add to the card's family name (`W4A8_MXFP4_MXFP8` for `MXFP4`), and ModelOpt calls a mix `MIXED_PRECISION`.
    """
    name = str(reported or "").casefold()
    mixed = name == "mixed_precision" and card.shape is not None and card.shape.params_8bit > 0
    if mixed or name in _NO_QUANTISATION or (card.quantisation is not None and card.quantisation.casefold() in name):
        return ()
    return (f"quantisation: {card.quantisation or 'none'} in the card, reported is {reported!r}",)


def needed_gib(card: ModelCard, *, sequences: int = 1, tokens: int = 0) -> float | None:
    """Memory for weights and `sequences` of `tokens` each, GiB; None when the card gives no shape."""
    if card.shape is None:
        return None
    return gib(card.shape.weight_bytes + sequences * card.shape.sequence_bytes(tokens))


@dataclass(frozen=True)
class Host:
    """What a model is to run on: the engine, the memory in GiB (None asks no question of size), and whose memory it is."""

    engine: str
    memory_gib: float | None
    name: str


def refusal(card: ModelCard, host: Host, *, sequences: int = 1, tokens: int = 0) -> str | None:
    """Why this card cannot run there, in words with values; None when nothing stands against it.

    Args:
        card: The model.
        host: Engine and memory.
        sequences: Sequences in flight at once.
        tokens: Length of each, prompt and output together.
    """
    reason = card.unsupported.get(host.engine) if isinstance(card.unsupported, Mapping) else card.unsupported
    if reason is None and card.weights.kind == "random" and host.engine not in RANDOM_WEIGHTS:
        reason = f"engine {host.engine} cannot make random weights; {', '.join(RANDOM_WEIGHTS)} can"
    needed = needed_gib(card, sequences=sequences, tokens=tokens)
    if reason is None and host.memory_gib is not None and needed is not None:
        if needed + RESERVE_GIB <= host.memory_gib:
            return None
        reason = (
            f"needs {needed:.1f} GiB for weights and KV cache, and {RESERVE_GIB:.0f} GiB must stay free, "
            f"of {host.memory_gib:.1f} GiB ({host.name})"
        )
    if reason is None:
        return None
    hint = f"; nearest checkpoint that NVIDIA publishes: {card.instead}" if card.instead else ""
    return f"{card.name}: {reason}{hint}"
