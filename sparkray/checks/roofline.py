"""Is this throughput possible? Roofline model of a decode step.

A decode step makes one token for each of B sequences. It takes at least as long as reading its bytes at the memory's
bandwidth, and as doing its operations at full speed (Williams, Waterman & Patterson 2009, CACM 52(4)):

    tok/s <= B / max(bytes / bandwidth, 2 * used parameters * B / compute)

The bytes of a step are not known exactly, so there are two read sets:

- the *fewest* bytes (`Shape.least_step_read`) give the bound: no machine with that data sheet exceeds it.
- the *expected* bytes (`Shape.step_read`) give the roof that `share` refers to. Sound dense runs reach 60 to 90 %.

They are equal for a dense 16-bit model. They differ for mixtures of experts, where random routing reaches more experts
than measured routing (gpt-oss-120b on a DGX Spark at batch 32 reached 1.5 times this roof), and for packed checkpoints,
whose 16-bit parts an engine may pack too. Both are lenient: the bound is never below what is possible, and the roof is
low.

Bandwidth and compute come from the data sheet, never from measurements, which sound runs exceed. Not modelled: caches
(tens of MB, negligible for GB of weights) and a prompt's KV cache shared between sequences (`context` is what each has
of its own).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence, Row
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
# Of the expected roof. Sound dense decoding reaches 0.6 to 0.9.
FAR_BELOW = 0.3
# Times the expected roof: routing would have to reach less than half of the experts of random routing, at the data
# sheet's full bandwidth. Copies of one prompt can do that, distinct requests hardly.
FAR_ABOVE = 2.0
# Firmware changes how much memory the system sees; on a DGX Spark from 119.6 to 121.7 GiB.
MEMORY_TOLERANCE = 1.02
_ROUNDING = 1 + 1e-9
# Bits with scales: up to here matrix units run 4 and 2 times as fast as with 16-bit weights.
_FOUR_BITS, _EIGHT_BITS = 4.5, 9.0


@dataclass(frozen=True)
class Load:
    """The load that a throughput was reached with.

    `batch` sequences per step; `context` tokens that each attends to (mean over the decode); `tokens_per_step` tokens
    that a sequence gains per step (above 1 only with speculative decoding); `kv_bits` per number in the KV cache;
    `prompt_tokens` prefilled per generated token (only the expected roof counts them).
    """

    batch: int
    context: float = 0.0
    tokens_per_step: float = 1.0
    kv_bits: float = SIXTEEN_BITS
    prompt_tokens: float = 0.0


@dataclass(frozen=True)
class Roof:
    """The highest throughput for one read set. `compute_s` is None where the site has no compute figure."""

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
        """The limiting resource."""
        return "bandwidth" if self.memory_s >= (self.compute_s or 0.0) else "compute"


@dataclass(frozen=True)
class Judgement:
    """The verdict with its inputs. `needed_gib` is the least memory for weights and KV cache."""

    verdict: Answer
    throughput_tok_s: float
    bound: Roof
    expected: Roof
    needed_gib: float
    reasons: tuple[str, ...]

    @property
    def bound_tok_s(self) -> float:
        """Upper bound for the data sheet, tok/s."""
        return self.bound.tok_s

    @property
    def share(self) -> float:
        """Throughput over the expected roof; uneven routing can exceed 1."""
        return self.throughput_tok_s / self.expected.tok_s


def judge(shape: Shape, site: Site, *, load: Load, throughput_tok_s: float) -> Judgement:
    """Whether a model can generate that many tokens per second on a site under a load.

    Args:
        shape: The model's shape.
        site: Its data sheet; without `compute_tflops` or `memory_gib` that bound is skipped.
        load: Batch, context and formats.
        throughput_tok_s: Generated tokens per second over all sequences, above 0.

    Raises:
        InputError: The site has no memory bandwidth.
    """
    bound, expected = bound_of(shape, site, load), expected_of(shape, site, load)
    needed = gib(shape.params_total * shape.least_bits / 8 + bound.read.kv + bound.read.state)
    impossible = (*_beyond_memory(needed, site), *_beyond_bound(throughput_tok_s, bound))
    doubtful = _far_off(throughput_tok_s / expected.tok_s, expected)
    verdict: Answer = "impossible" if impossible else "suspicious" if doubtful else "plausible"
    return Judgement(verdict, throughput_tok_s, bound, expected, needed, impossible or doubtful)


def bound_of(shape: Shape, site: Site, load: Load) -> Roof:
    """The roof for the fewest bytes and the fastest arithmetic of the weights' format.

    Raises:
        InputError: The site has no memory bandwidth.
    """
    bits = shape.least_bits
    speedup = 4.0 if bits <= _FOUR_BITS else 2.0 if bits <= _EIGHT_BITS else 1.0
    read = _kv_packed(shape.least_step_read(load.batch, load.context), load)
    return _roof(shape, site, load=load, read=read, speedup=speedup)


def expected_of(shape: Shape, site: Site, load: Load) -> Roof:
    """The roof for the expected bytes, with 16-bit arithmetic and prefill.

    Raises:
        InputError: The site has no memory bandwidth.
    """
    read = shape.step_read(load.batch, load.context, tokens_per_sequence=load.tokens_per_step)
    roof = _roof(shape, site, load=load, read=_kv_packed(read, load), speedup=1.0)
    return replace(roof, prompt_s=load.prompt_tokens * (roof.compute_s or 0.0))


def _kv_packed(read: StepRead, load: Load) -> StepRead:
    return replace(read, kv=read.kv * load.kv_bits / SIXTEEN_BITS)


def _roof(shape: Shape, site: Site, *, load: Load, read: StepRead, speedup: float) -> Roof:
    if site.bandwidth_gb_s is None:
        raise InputError(
            f"site {site.name} has no memory bandwidth, so there is no bound",
            "Name a site or a GPU (--gpu) that has one, or set it: --set site.bandwidth_gb_s=3350",
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
        text = f"{share:.3g} times the expected roof of {expected.tok_s:.4g} tok/s"
        ask = "check for identical requests or speculative decoding"
        return (f"{text}, more than uneven routing explains: {ask}",)
    if share < FAR_BELOW:
        text = f"{share:.1%} of the expected roof of {expected.tok_s:.4g} tok/s; sound runs reach 60 to 90 %"
        return (f"{text}: check the batch size, other load, temperature and clock",)
    return ()


class Check(BaseCheck):
    """Roofline of each run where site or GPU have a bandwidth: `impossible` is invalid, `suspicious` a warning."""

    name = "roofline"
    remedy = "Check model card, data sheet and batch: `sparkray roofline` shows the arithmetic"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None without a bandwidth, a shape or a throughput, or with speculative decoding.

        Tokens per speculative step depend on the draft's acceptance rate, which is unknown here.
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
        text = "; ".join(found.reasons) or (
            f"{throughput:.4g} tok/s, {found.share:.1%} of the expected roof of {found.expected.tok_s:.4g}, "
            f"bound {found.bound_tok_s:.4g}"
        )
        return Verdict(self.name, _VERDICTS[found.verdict], text)


def _load(evidence: Evidence, card: ModelCard) -> Load:
    """The load of the run; the batch is at most the requests in flight."""
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
    """Bits per number in the KV cache, from the name of its format.

    On `auto`, a packed checkpoint may use a packed cache: 8 bits are assumed, so that no run is refused wrongly.
    """
    name = (dtype or "auto").lower()
    if "fp4" in name:
        return 4.0
    if any(part in name for part in ("fp8", "int8", "e4m3", "e5m2")):
        return 8.0
    return 8.0 if name == "auto" and card.quantisation is not None else SIXTEEN_BITS


def gpus_of(row: Row) -> tuple[str, ...]:
    """GPU names of the machine of a row of `runs`."""
    names = json.loads(row.get("machine") or "{}").get("gpus")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def machine_of(site: Site, gpus: Iterable[str], count: int) -> Site:
    """The data sheet that bounds a run, completed from the GPU's own.

    Args:
        site: Its data sheet is of one device.
        gpus: GPU names as NVML reports them.
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
    """Whether an engine's options enable speculative decoding."""
    extra = options.get("extra")
    return any("speculative" in str(key) for key in (*options, *(extra if isinstance(extra, Mapping) else ())))
