"""`roofline`: is this throughput physically possible?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from sparkray.catalog import Catalog, data_root
from sparkray.checks.roofline import Judgement, Load, Roof, judge, machine_of
from sparkray.config.model import SIXTEEN_BITS, ModelCard, Shape
from sparkray.config.model_name import WeightFormat, format_names, format_of, packed, weight_format, without_format
from sparkray.config.site import Site
from sparkray.errors import InputError
from sparkray.machine.fingerprint import fingerprint, recognised_site
from sparkray.sweep.common_options import json_option, setting_option
from sparkray.sweep.named_gpu import site_settings, site_with_gpu
from sparkray.sweep.show import console, print_json, show

# Above any batch, context or throughput there is; below where floating point gives up.
_MOST = 10**9
_LEAST_BITS, _MOST_BITS = 1.0, 32.0


@dataclass(frozen=True)
class Question:
    """Everything that was asked, and the answer."""

    card: ModelCard
    shape: Shape
    site: Site
    load: Load
    answer: Judgement
    devices: int = 1
    weights: WeightFormat | None = None


def _finite(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    """A range check lets NaN through, since it compares with nothing."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not finite")
    return value


@click.command()
@click.option("--model", required=True, metavar="CARD", help="A model card by name, alias, id or file.")
@click.option("--batch", required=True, type=click.IntRange(1, _MOST), help="Sequences decoded at once.")
@click.option(
    "--throughput",
    required=True,
    type=click.FloatRange(0, _MOST, min_open=True),
    callback=_finite,
    metavar="TOK_S",
    help="Generated tokens per second, over all sequences.",
)
@click.option("--site", metavar="NAME|FILE", help="The machine; default: that of --gpu, else this one.")
@click.option("--gpu", metavar="NAME", help="The machine's GPU, such as 'NVIDIA H200' or 'RTX 4090'.")
@click.option("--weights", metavar="FORMAT|BITS", help="Weights other than the card's: q4_k_m, fp8, nvfp4, awq, 4.9.")
@click.option(
    "--devices", type=click.IntRange(1, 1024), default=1, show_default=True, help="GPUs that share the model."
)
@click.option(
    "--context",
    type=click.IntRange(0, _MOST),
    default=0,
    show_default=True,
    help="Tokens that each sequence attends to.",
)
@click.option(
    "--kv-bits",
    type=click.FloatRange(1, 32),
    callback=_finite,
    default=SIXTEEN_BITS,
    show_default=True,
    help="Bits of a number in the KV cache.",
)
@click.option(
    "--tokens-per-step",
    type=click.FloatRange(1, 1024),
    callback=_finite,
    default=1.0,
    show_default=True,
    help="Above 1 only with speculative decoding.",
)
@setting_option("Override one value of the site: site.bandwidth_gb_s=3350.")
@json_option
def roofline(**asked: Any) -> int:  # noqa: ANN401 - click's own keyword arguments
    """Check whether a throughput is physically possible, and show the arithmetic. Exit status 1 when it is doubtful."""
    question = _asked(asked)
    if asked["as_json"]:
        print_json(document(question))
    else:
        show(console(to_stderr=False), "roofline.txt.j2", q=question)
    return 0 if question.answer.verdict == "plausible" else 1


def _asked(asked: dict[str, Any]) -> Question:
    """Card and site looked up, the question answered. Raises InputError."""
    catalog = Catalog(data_root())
    card, named = _card(catalog, asked["model"])
    if card.shape is None:
        raise InputError(
            f"the card of {card.name} has no shape, so its bytes cannot be counted", "Name a model card that has one"
        )
    weights = named if asked["weights"] is None else _weights(asked["weights"])
    shape = card.shape if weights is None or _is_of(card, weights) else packed(card.shape, weights)
    site = _machine(catalog, asked, site_settings(asked["settings"]))
    load = Load(asked["batch"], asked["context"], asked["tokens_per_step"], asked["kv_bits"])
    answer = judge(shape, site, load=load, throughput_tok_s=asked["throughput"])
    return Question(card, shape, site, load, answer, asked["devices"], weights)


def _card(catalog: Catalog, name: str) -> tuple[ModelCard, WeightFormat | None]:
    """A card by its name, also with a format of weights behind it, which is then that of the weights. Raises InputError."""
    parts = without_format(name)
    if parts is not None and not name.endswith(".gguf"):
        base, weights = parts
        cards = catalog.cards()
        if not any(card.answers_to(name) for card in cards):
            return next(((card, weights) for card in cards if card.answers_to(base)), None) or (
                catalog.card(name),
                None,
            )
    return catalog.card(name), None


def _weights(text: str) -> WeightFormat:
    """A format by name, or mean bits of a weight. Raises InputError."""
    known = format_of(text)
    if known is not None:
        return known
    try:
        bits = float(text)
    except ValueError:
        bits = math.nan
    if not _LEAST_BITS <= bits <= _MOST_BITS:
        raise InputError(
            f"--weights {text!r} is neither a format of weights nor a number of bits",
            f"Give bits from {_LEAST_BITS:g} to {_MOST_BITS:g}, or a format: {', '.join(format_names())}",
        )
    return WeightFormat(f"{bits:g} bits", bits, rest_16bit=False, source="as given")


def _is_of(card: ModelCard, weights: WeightFormat) -> bool:
    """Whether the card already has its weights in this format."""
    own = weight_format(card.quantisation or card.dtype)
    return own is not None and own.name == weights.name


def _machine(catalog: Catalog, asked: Mapping[str, Any], settings: Mapping[str, Any]) -> Site:
    """The data sheet of so many devices. Raises InputError, or HostError where this machine cannot be recognised."""
    gpu: str | None = asked["gpu"]
    if gpu is not None:
        site, gpu = site_with_gpu(catalog, gpu, asked["site"], settings)
        return machine_of(site, (gpu,), asked["devices"])
    here = fingerprint()
    site = catalog.site(asked["site"] or recognised_site(here), settings)
    return machine_of(site, here.gpus, asked["devices"])


def document(question: Question) -> dict[str, Any]:
    """The answer as one JSON document; `share` is of `terms.expected.tok_s`, which for dense 16-bit models is the bound."""
    answer, load, site = question.answer, question.load, question.site
    return {
        "verdict": answer.verdict,
        "bound_tok_s": answer.bound_tok_s,
        "share": answer.share,
        "reasons": list(answer.reasons),
        "terms": {
            "model": question.card.name,
            "weights": question.weights.name if question.weights else question.card.quantisation or question.card.dtype,
            "bits_per_weight": question.shape.bits_per_weight,
            "unverified": list(question.card.unverified),
            "site": site.name,
            "devices": question.devices,
            "batch": load.batch,
            "context_tokens": load.context,
            "kv_bits": load.kv_bits,
            "tokens_per_step": load.tokens_per_step,
            "throughput_tok_s": answer.throughput_tok_s,
            "steps_per_s": answer.throughput_tok_s / answer.bound.tokens,
            "share_of_bound": answer.throughput_tok_s / answer.bound_tok_s,
            "bandwidth_gb_s": site.bandwidth_gb_s,
            "compute_tflops": site.compute_tflops,
            "memory_gib": site.memory_gib,
            "needed_gib": answer.needed_gib,
            "bound": _roof_document(answer.bound),
            "expected": _roof_document(answer.expected),
        },
    }


def _roof_document(roof: Roof) -> dict[str, Any]:
    return {
        "tok_s": roof.tok_s,
        "limit": roof.limit,
        "dense_gb": roof.read.dense / 1e9,
        "experts_gb": roof.read.experts / 1e9,
        "kv_gb": roof.read.kv / 1e9,
        "state_gb": roof.read.state / 1e9,
        "step_gb": roof.read.total / 1e9,
        "bandwidth_s": roof.memory_s,
        "compute_s": roof.compute_s,
    }
