"""Could this throughput be true? From the bytes that a decode step must read, and the operations it must do.

A decode step makes one token for each of B sequences. It takes at least as long as reading its bytes at the memory's
bandwidth, and as doing its operations at full speed (roofline: Williams, Waterman & Patterson 2009, CACM 52(4)):

    tok/s <= B / max(bytes / bandwidth, 2 * used parameters * B / compute)

Two read sets are needed, since what a step reads is not known to the byte:

- the *fewest* bytes (`Shape.least_step_read`) give the bound. Above it no machine of that data sheet can be: impossible.
- the *expected* bytes (`Shape.step_read`) give the roof that `share` is taken of. Sound dense runs land at 60 to 90 %.

For a dense 16-bit model the two are one. They part for mixtures of experts, where random routing reaches the most
experts and measured routing fewer (gpt-oss-120b on a DGX Spark at batch 32 has been measured at 1.5 times this roof),
and for packed checkpoints, whose 16-bit parts an engine may pack as well. Both directions are lenient so: the bound is
never below what is possible, and the roof is low, so that few runs are far below it.

Bandwidth and compute are those of the data sheet, never measured ones, which sound runs pass. Not modelled: caches (tens
of MB are nothing to a model of GB), a prompt's KV cache shared between sequences (`context` is what each has of its own).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from sparkray.checks import Evidence, Row
from sparkray.config.experiment import Policy
from sparkray.config.model import SIXTEEN_BITS, ModelCard, Shape, StepRead
from sparkray.config.site import Site
from sparkray.errors import InputError
from sparkray.metrics import BY_NAME, RunData, counted
from sparkray.records import Verdict
from sparkray.units import gib

Answer = Literal["impossible", "suspicious", "plausible"]
_VERDICTS: Mapping[Answer, Literal["invalid", "warn", "pass"]] = {
    "impossible": "invalid",
    "suspicious": "warn",
    "plausible": "pass",
}
FAR_BELOW = 0.3
"""Of the expected roof. Sound dense decoding lands at 0.6 to 0.9."""
FAR_ABOVE = 2.0
"""Times the expected roof: routing would have to reach less than half of the experts that random routing does, and read
them at the data sheet's full speed. Copies of one prompt can do that, requests of their own hardly."""
MEMORY_TOLERANCE = 1.02
"""Firmware changes how much memory the system sees; on a DGX Spark from 119.6 to 121.7 GiB."""
_ROUNDING = 1 + 1e-9
_FOUR_BITS, _EIGHT_BITS = 4.5, 9.0
"""Weight formats with their scales: up to here matrix units take them 4 and 2 times as fast as 16-bit ones."""


@dataclass(frozen=True)
class Load:
    """What a throughput was reached with.

    `batch` sequences in a step, `context` tokens of its own that each attends to (mean over the decode),
    `tokens_per_step` tokens that a sequence gains in a step (above 1 only with speculative decoding), `kv_bits` of a
    number in the KV cache, `prompt_tokens` prefilled per generated token (which only the expected roof counts).
    """

    batch: int
    context: float = 0.0
    tokens_per_step: float = 1.0
    kv_bits: float = SIXTEEN_BITS
    prompt_tokens: float = 0.0


@dataclass(frozen=True)
class Roof:
    """The highest throughput at one read set. `compute_s` is None where the site tells no compute."""

    read: StepRead
    tokens: float
    memory_s: float
    compute_s: float | None
    prompt_s: float = 0.0

    @property
    def step_s(self) -> float:
        """Time of one step, s: reading and computing overlap, prefilling does not."""
        return max(self.memory_s, self.compute_s or 0.0) + self.prompt_s

    @property
    def tok_s(self) -> float:
        """Tokens per second."""
        return self.tokens / self.step_s

    @property
    def limit(self) -> Literal["bandwidth", "compute"]:
        """What holds it down."""
        return "bandwidth" if self.memory_s >= (self.compute_s or 0.0) else "compute"


@dataclass(frozen=True)
class Judgement:
    """The answer with everything it was reached by. `needed_gib` is the least memory for weights and KV cache."""

    verdict: Answer
    throughput_tok_s: float
    bound: Roof
    expected: Roof
    needed_gib: float
    reasons: tuple[str, ...]

    @property
    def bound_tok_s(self) -> float:
        """No machine of that data sheet gets above this, tok/s."""
        return self.bound.tok_s

    @property
    def share(self) -> float:
        """Throughput as a part of the expected roof; 1 is all of it, and uneven routing can pass that."""
        return self.throughput_tok_s / self.expected.tok_s


def judge(shape: Shape, site: Site, *, load: Load, throughput_tok_s: float) -> Judgement:
    """Whether a model can generate that many tokens per second on a site under a load.

    Args:
        shape: The model's.
        site: Its data sheet; without `compute_tflops` or `memory_gib` that question is not asked.
        load: Batch, context and formats.
        throughput_tok_s: Generated tokens per second over all sequences, above 0.

    Raises:
        InputError: The site does not tell its bandwidth.
    """
    bound, expected = bound_of(shape, site, load), expected_of(shape, site, load)
    needed = gib(shape.params_total * shape.least_bits / 8 + bound.read.kv + bound.read.state)
    impossible = (*_beyond_memory(needed, site), *_beyond_bound(throughput_tok_s, bound))
    doubtful = _far_off(throughput_tok_s / expected.tok_s, expected)
    verdict: Answer = "impossible" if impossible else "suspicious" if doubtful else "plausible"
    return Judgement(verdict, throughput_tok_s, bound, expected, needed, impossible or doubtful)


def bound_of(shape: Shape, site: Site, load: Load) -> Roof:
    """The roof over the fewest bytes and the fastest arithmetic that the weights' format allows.

    Raises:
        InputError: The site does not tell its bandwidth.
    """
    bits = shape.least_bits
    speedup = 4.0 if bits <= _FOUR_BITS else 2.0 if bits <= _EIGHT_BITS else 1.0
    read = _kv_packed(shape.least_step_read(load.batch, load.context), load)
    return _roof(shape, site, load=load, read=read, speedup=speedup)


def expected_of(shape: Shape, site: Site, load: Load) -> Roof:
    """The roof over the bytes expected of the weights as the card has them, 16-bit arithmetic, prefilling counted.

    Raises:
        InputError: The site does not tell its bandwidth.
    """
    read = shape.step_read(load.batch, load.context, tokens_per_sequence=load.tokens_per_step)
    roof = _roof(shape, site, load=load, read=_kv_packed(read, load), speedup=1.0)
    return replace(roof, prompt_s=load.prompt_tokens * (roof.compute_s or 0.0))


def _kv_packed(read: StepRead, load: Load) -> StepRead:
    return replace(read, kv=read.kv * load.kv_bits / SIXTEEN_BITS)


def _roof(shape: Shape, site: Site, *, load: Load, read: StepRead, speedup: float) -> Roof:
    if site.bandwidth_gb_s is None:
        raise InputError(
            f"site {site.name} does not tell its memory bandwidth, so there is no bound",
            "Name a site or a GPU (--gpu) that does, or give it: --set site.bandwidth_gb_s=3350",
        )
    tokens = load.batch * load.tokens_per_step
    compute_s = None
    if site.compute_tflops is not None:
        compute_s = 2 * shape.used_params * tokens / (site.compute_tflops * 1e12 * speedup)
    return Roof(read, tokens, read.total / (site.bandwidth_gb_s * 1e9), compute_s)


def _beyond_memory(needed_gib: float, site: Site) -> tuple[str, ...]:
    if site.memory_gib is None or needed_gib <= site.memory_gib * MEMORY_TOLERANCE:
        return ()
    return (f"weights and KV cache of {needed_gib:.1f} GiB do not fit in {site.memory_gib:.1f} GiB",)


def _beyond_bound(throughput: float, bound: Roof) -> tuple[str, ...]:
    if throughput <= bound.tok_s * _ROUNDING:
        return ()
    times = f"{throughput / bound.tok_s:.3g} times"
    return (f"{throughput:.4g} tok/s is {times} the {bound.limit} bound of {bound.tok_s:.4g} tok/s",)


def _far_off(share: float, expected: Roof) -> tuple[str, ...]:
    if share > FAR_ABOVE:
        said = f"{share:.3g} times the expected roof of {expected.tok_s:.4g} tok/s"
        ask = "are the requests copies of one another, or is decoding speculative?"
        return (f"{said}, more than uneven routing explains: {ask}",)
    if share < FAR_BELOW:
        said = f"{share:.1%} of the expected roof of {expected.tok_s:.4g} tok/s, where sound runs land at 60 to 90 %"
        return (f"{said}: is the batch as large as said, and the machine idle, cool and at full clock?",)
    return ()


class Check:
    """The roofline of each run where site or GPU tell a bandwidth: `impossible` is invalid, `suspicious` a warning."""

    name = "roofline"
    policy: Policy = "invalid"
    remedy = "Check the model card, the site's data sheet and the batch: the verb roofline shows the arithmetic"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None without a bandwidth, a shape or a throughput, or when decoding is speculative.

        Under speculation a step yields tokens as often as the draft is right, which is not known here.
        """
        study, planned, measurement = evidence.study, evidence.planned, evidence.measurement
        card = study.card(planned.model)
        data = RunData(counted(measurement.requests), (), measurement.facts, {})
        throughput = BY_NAME["output_throughput_tok_s"].compute(data)
        options = study.options_of(planned)
        site = machine_of(study.site, gpus_of(evidence.row), measurement.facts.reported.get("world_size") or 1)
        if card.shape is None or site.bandwidth_gb_s is None or not throughput or speculates(options):
            return None
        found = judge(card.shape, site, load=_load(evidence, card), throughput_tok_s=throughput)
        said = "; ".join(found.reasons) or (
            f"{throughput:.4g} tok/s, {found.share:.1%} of the expected roof of {found.expected.tok_s:.4g}, "
            f"bound {found.bound_tok_s:.4g}"
        )
        return Verdict(self.name, _VERDICTS[found.verdict], said)


def _load(evidence: Evidence, card: ModelCard) -> Load:
    """What the run was made under; the batch is never above the requests in flight."""
    study, planned = evidence.study, evidence.planned
    workload, options = study.experiment.workload, study.options_of(planned)
    reported = evidence.measurement.facts.reported
    in_flight = study.concurrency(planned)
    largest = reported.get("max_batch_size") or options.get("max_batch_size") or in_flight
    return Load(
        batch=min(in_flight, largest, max(1, len(evidence.measurement.requests))),
        context=workload.input_tokens + workload.output_tokens / 2,
        kv_bits=kv_bits(reported.get("kv_cache_dtype") or options.get("kv_cache_dtype"), card),
        prompt_tokens=workload.input_tokens / workload.output_tokens,
    )


def kv_bits(dtype: str | None, card: ModelCard) -> float:
    """Bits of a number in the KV cache by the name of its format.

    Left to the engine, a packed checkpoint may ask for a packed cache: 8 bits are taken then, so as to refuse no run.
    """
    name = (dtype or "auto").lower()
    if "fp4" in name:
        return 4.0
    if any(part in name for part in ("fp8", "int8", "e4m3", "e5m2")):
        return 8.0
    return 8.0 if name == "auto" and card.quantisation is not None else SIXTEEN_BITS


def gpus_of(row: Row) -> tuple[str, ...]:
    """The GPUs of the machine of a row of `runs`, by their names."""
    told = json.loads(row.get("machine") or "{}").get("gpus")
    return tuple(map(str, told)) if isinstance(told, list) else ()


def machine_of(site: Site, gpus: Iterable[str], count: int) -> Site:
    """The data sheet that bounds a run, with the GPU's own where the site leaves it open.

    Args:
        site: Its data sheet is of one device.
        gpus: The machine's, by the names that NVML tells.
        count: Devices that the engine shards the model over.
    """
    sheet = site.with_gpus(gpus)

    def all_of(value: float | None) -> float | None:
        return None if value is None else value * count

    return replace(
        sheet,
        bandwidth_gb_s=all_of(sheet.bandwidth_gb_s),
        compute_tflops=all_of(sheet.compute_tflops),
        memory_gib=all_of(sheet.memory_gib),
    )


def speculates(options: Mapping[str, Any]) -> bool:
    """Whether an engine's options ask for speculative decoding: then nobody knows what a step yields."""
    extra = options.get("extra")
    return any("speculative" in str(key) for key in (*options, *(extra if isinstance(extra, Mapping) else ())))
