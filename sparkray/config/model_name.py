"""What the name of a model holds: parameters, those that are active in a step, and the format of the weights. Pure.

`Qwen3-30B-A3B-FP8` has 30 billion parameters, 3 of them active, 8 bits each. A name is weak evidence: a card is preferred,
and a finding that rests on names alone is a note. Bits of formats are in `weight_formats.csv`, with a source a line.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from sparkray.config.model import SIXTEEN_BITS, Shape

_BEFORE, _AFTER = r"(?<![A-Za-z0-9.])", r"(?![A-Za-z0-9])"
_NUMBER = r"(\d{1,4}(?:\.\d{1,3})?)"
_TOTAL = re.compile(rf"{_BEFORE}(?:(\d{{1,3}})x)?{_NUMBER}\s?([bmt]){_AFTER}", re.IGNORECASE)
_ACTIVE = re.compile(rf"(?<![A-Za-z0-9])[ae]{_NUMBER}b{_AFTER}", re.IGNORECASE)
_EFFECTIVE = re.compile(rf"(?<![A-Za-z0-9])e{_NUMBER}b{_AFTER}", re.IGNORECASE)
_ACTIVE_OF_EXPERTS = re.compile(rf"{_BEFORE}{_NUMBER}b[-_ ]?\d{{1,3}}e{_AFTER}", re.IGNORECASE)
_MIXTURE = re.compile(
    r"(?<![a-z])(moe|mixtral|gpt[-_ ]?oss|scout|maverick|kimi|minimax|mistral[-_ ]?large[-_ ]?3|glm[-_ ]?4\.[5-9]"
    r"|deepseek[-_ ]?(v[23]|r1[-_ ]?671b))(?![a-z])"
)
_BITS = re.compile(rf"{_BEFORE}(\d(?:\.\d{{1,2}})?)[-_ ]?bpw{_AFTER}", re.IGNORECASE)
_FACTORS = {"m": 1e6, "b": 1e9, "t": 1e12}
_FILE = re.compile(r"\.(gguf|safetensors)$", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s_./:-]+")


@dataclass(frozen=True)
class WeightFormat:
    """How weights are stored: mean `bits` of a weight, scales included.

    `rest_16bit`: embedding and output head usually stay at 16 bits (formats of Python engines; GGUF packs them too).
    """

    name: str
    bits: float
    rest_16bit: bool
    source: str


@dataclass(frozen=True)
class NamedModel:
    """What a name holds, each None where it does not. `mixture`: its experts are not all read for a token."""

    params_total: float | None
    params_active: float | None
    mixture: bool
    weights: WeightFormat | None

    @property
    def read_bytes(self) -> float | None:
        """Bytes of weights that one token reads at least, at 16 bits where the format is unknown; None without sizes."""
        params = self.params_active or (None if self.mixture else self.params_total)
        return None if params is None else params * (self.weights.bits if self.weights else SIXTEEN_BITS) / 8


@cache
def parse_name(name: str) -> NamedModel:
    """Parameters and format of a model by its name."""
    active, effective = _ACTIVE.search(name), _EFFECTIVE.search(name)
    of_experts, total = _ACTIVE_OF_EXPERTS.search(name), _TOTAL.search(name)
    params = active_params = None
    mixture = bool(active or of_experts or _MIXTURE.search(name.casefold()))
    if of_experts:  # 17B-16E: the total is not told
        active_params = float(of_experts[1]) * 1e9
    elif total and float(total[2]):
        params = float(total[2]) * float(total[1] or 1) * _FACTORS[total[3].lower()]
        if total[1]:  # 8x7B: at least one expert and what all share
            mixture, active_params = True, params / float(total[1])
    if active and not of_experts:
        active_params = float(active[1]) * 1e9
        params = None if effective else params
    return NamedModel(params, active_params or None, mixture, weight_format(name))


@cache
def weight_format(text: str) -> WeightFormat | None:
    """The format that a name, a file name or the value of a column names, the longest of several; None without one."""
    plain = f" {_SEPARATORS.sub(' ', text.casefold())} "
    bits = _BITS.search(text)
    if bits is not None:
        return WeightFormat(f"{bits[1]} bits", float(bits[1]), True, "its name")
    found = [(key, known) for key, known in _formats() if f" {key} " in plain]
    return max(found, key=lambda pair: len(pair[0]))[1] if found else None


def format_of(text: str) -> WeightFormat | None:
    """The format of exactly this name; None for another word."""
    return dict(_formats()).get(_SEPARATORS.sub(" ", text.casefold()).strip())


def without_format(name: str) -> tuple[str, WeightFormat] | None:
    """A name without the format behind it, and the format: `Llama-3-8B-UD-Q4_K_XL.gguf`; None where it ends in none."""
    stem = _FILE.sub("", name)
    cuts = [match.start() for match in _SEPARATORS.finditer(stem) if match.start()]
    named = ((stem[:cut], format_of(stem[cut:])) for cut in cuts)
    return next(((base, known) for base, known in named if known is not None), None)


def format_names() -> list[str]:
    """Names of the formats that are known."""
    return list(dict.fromkeys(known.name for _, known in _formats()))


def packed(shape: Shape, weights: WeightFormat) -> Shape:
    """A shape with its weights in another format."""
    rest = shape.vocab * shape.hidden * (1 if shape.tied_embeddings else 2) if weights.rest_16bit else 0
    return replace(shape, bits_per_weight=weights.bits, params_16bit=min(rest, shape.params_total), params_8bit=0)


@cache
def _formats() -> tuple[tuple[str, WeightFormat], ...]:
    """Every spelling of every format, in words that one space separates."""
    return tuple(_read_formats())


def _read_formats() -> Iterator[tuple[str, WeightFormat]]:
    text = (files(__package__) / "weight_formats.csv").read_text("utf-8")
    for row in csv.DictReader(text.splitlines()):
        known = WeightFormat(row["name"], float(row["bits"]), row["rest_16bit"] == "1", row["source"])
        for name in (row["name"], *filter(None, row["aliases"].split("|"))):
            yield _SEPARATORS.sub(" ", name.casefold()), known
