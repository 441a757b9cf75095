"""The verb `roofline`: could this throughput be true? Every number of the arithmetic is shown."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click

from sparkray.catalog import Catalog, data_root, parse_settings
from sparkray.checks.roofline import Judgement, Load, Roof, judge, machine_of
from sparkray.config.model import SIXTEEN_BITS, ModelCard, Shape
from sparkray.config.site import Site
from sparkray.errors import InputError
from sparkray.machine.fingerprint import fingerprint, recognised_site
from sparkray.sweep.named_gpu import site_with_gpu
from sparkray.units import gib

_MOST = 10**9
"""Above any batch, context or throughput there is; below where floating point gives up."""


@dataclass(frozen=True)
class Question:
    """Everything that was asked, and the answer."""

    card: ModelCard
    shape: Shape
    site: Site
    load: Load
    answer: Judgement
    devices: int = 1


def _finite(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    """A range check lets NaN through, since it compares with nothing."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number to compute with")
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
@click.option("--site", metavar="NAME|FILE", help="The machine; that of --gpu, or this one, when not given.")
@click.option(
    "--gpu", metavar="NAME", help="The machine's GPU as NVML names it, such as 'NVIDIA H200'; else this one's."
)
@click.option(
    "--devices",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="GPUs that the engine shards the model over.",
)
@click.option(
    "--context",
    type=click.IntRange(0, _MOST),
    default=0,
    show_default=True,
    help="Tokens that each sequence attends to, its own; 0 counts no KV cache.",
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
    help="Tokens that a sequence gains in one step; above 1 only with speculative decoding.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="site.bandwidth_gb_s=3350 and the like.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def roofline(**asked: Any) -> int:  # noqa: ANN401 - click's own keyword arguments
    """Could this throughput be true? The arithmetic, for any model card and site. Exit status 1 when it is doubtful."""
    question = _asked(asked)
    if asked["as_json"]:
        click.echo(json.dumps(document(question), indent=1, allow_nan=False))
    else:
        for line in lines(question):
            click.echo(line)
    return 0 if question.answer.verdict == "plausible" else 1


def _asked(asked: dict[str, Any]) -> Question:
    """Card and site looked up, the question answered. Raises InputError."""
    catalog = Catalog(data_root())
    card = catalog.card(asked["model"])
    if card.shape is None:
        raise InputError(
            f"the card of {card.name} tells no shape, so its bytes cannot be counted",
            "Name a model card (a YAML file) that has one",
        )
    settings = parse_settings(list(asked["settings"]))
    if others := [room for room, values in settings.items() if values and room != "site"]:
        raise InputError(f"--set {others[0]}: this question is about a model and a site alone", "Set site.KEY=VALUE")
    site = _machine(catalog, asked, settings["site"])
    load = Load(asked["batch"], asked["context"], asked["tokens_per_step"], asked["kv_bits"])
    answer = judge(card.shape, site, load=load, throughput_tok_s=asked["throughput"])
    return Question(card, card.shape, site, load, answer, asked["devices"])


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


def lines(question: Question) -> Iterator[str]:
    """The arithmetic, line by line."""
    answer, load, site = question.answer, question.load, question.site
    yield from _about(question)
    fits = "no memory size is known" if site.memory_gib is None else f"of {site.memory_gib:.1f} GiB"
    yield f"memory     weights and KV cache need at least {answer.needed_gib:.1f} GiB {fits}"
    yield from _roof_lines("fewest", answer.bound, question)
    yield from _roof_lines("expected", answer.expected, question)
    steps = answer.throughput_tok_s / answer.bound.tokens
    made = f"{load.batch} sequences" + (f" x {load.tokens_per_step:g} tokens" if load.tokens_per_step > 1 else "")
    yield (
        f"asked      {answer.throughput_tok_s:.4g} tok/s / {made} = {steps:.4g} steps/s, "
        f"x {answer.expected.read.total / 1e9:.4g} GB expected = {steps * answer.expected.read.total / 1e9:.4g} GB/s"
    )
    yield f"bound      {answer.bound_tok_s:.4g} tok/s; asked is {answer.throughput_tok_s / answer.bound_tok_s:.1%} of it"
    yield f"share      {answer.share:.1%} of the expected {answer.expected.tok_s:.4g} tok/s (sound runs: 60 to 90 %)"
    if answer.share > 1 and answer.verdict == "plausible":
        yield "           above 100 %: routing that is uneven, or an engine that packs the 16-bit parts, reads less"
    yield f"verdict    {answer.verdict}"
    for reason in answer.reasons:
        yield f"           {reason}"


def _about(question: Question) -> Iterator[str]:
    shape, site, load = question.shape, question.site, question.load
    embedding = (
        "embedding tied to the output head, which is streamed"
        if shape.tied_embeddings
        else f"input embedding of {shape.embedding_params / 1e9:.3f} billion gathered, not streamed"
    )
    size = f"{shape.params_total / 1e9:.2f} billion parameters, {gib(shape.weight_bytes):.2f} GiB"
    yield f"model      {question.card.name}: {size}; {embedding}"
    for fact in question.card.unverified:
        yield f"unverified {fact}"
    if shape.params_unread:
        yield f"           {shape.params_unread / 1e9:.2f} billion of them in no decode step"
    if shape.experts > 1:
        tokens = load.batch * load.tokens_per_step
        yield (
            f"routing    {shape.experts_per_token} of {shape.experts} experts a token and layer; {tokens:g} tokens reach "
            f"at least {shape.experts_per_token}, at random {shape.experts_reached(tokens):.1f}"
        )
    compute = "compute unknown" if site.compute_tflops is None else f"{site.compute_tflops:g} TFLOPS at 16 bits"
    sheet = "the data sheet" if question.devices == 1 else f"{question.devices} times the data sheet"
    yield f"site       {site.name}: {site.bandwidth_gb_s:g} GB/s, {compute}, by {sheet}"
    kv = shape.kv_bytes(round(load.context)) * load.kv_bits / SIXTEEN_BITS
    yield (
        f"KV cache   {load.batch} x {load.context:g} tokens at {load.kv_bits:g} bits = {load.batch} x {kv / 1e6:.4g} MB"
        + ("" if load.context else ": none counted, say --context")
    )
    if shape.state_bytes:
        yield f"state      {load.batch} x {shape.state_bytes / 1e6:.4g} MB of recurrent state, whatever the context"


def _roof_lines(name: str, roof: Roof, question: Question) -> Iterator[str]:
    read = roof.read
    experts = f" + experts {read.experts / 1e9:.4g}" if question.shape.experts > 1 else ""
    compute = "" if roof.compute_s is None else f", computing {roof.compute_s * 1e3:.4g} ms"
    state = f" + state {read.state / 1e9:.4g}" if read.state else ""
    yield (
        f"{name:<10} a step reads weights {read.dense / 1e9:.4g}{experts} + KV {read.kv / 1e9:.4g}{state} = "
        f"{read.total / 1e9:.4g} GB"
    )
    yield (
        f"           / {question.site.bandwidth_gb_s:g} GB/s = {roof.memory_s * 1e3:.4g} ms{compute}: "
        f"{roof.tokens:g} tokens in {roof.step_s * 1e3:.4g} ms = {roof.tok_s:.4g} tok/s, held by {roof.limit}"
    )
