"""Compares what trtllm-bench reported with the model card and the requested options.

Pure: returns one message per mismatch. A value that was not reported is no mismatch, apart from the model's name, which
every version reports.
"""

from collections.abc import Mapping
from typing import Any

from sparkray.config.model import quantisation_mismatch
from sparkray.engines import Job
from sparkray.engines._trtllm.command import model_name
from sparkray.engines._trtllm.features import minor_of
from sparkray.engines._trtllm.messages import note
from sparkray.engines._trtllm.options import TOOL_FRACTION, TrtllmOptions, batch_size, concurrency, tokens_per_step

_MORE = 1.05  # the report's mean concurrency is a quotient of measured times


def identity(
    reported: Mapping[str, Any], job: Job, *, options: TrtllmOptions, model_path: str | None = None
) -> tuple[str, ...]:
    """Where what the tool reports departs from what was asked.

    Args:
        reported: `EngineFacts.reported`.
        job: What was asked; its card describes the model.
        options: The engine's options, with the card's own.
        model_path: What `--model_path` was given; None does not ask.
    """
    load, card = job.workload, job.card
    lengths = load.lengths(job.seed)
    wanted = {
        "model": model_name(job),
        "model_path": model_path,
        "backend": "pytorch",
        "dtype": card.dtype,
        "version": job.tool.get("version"),
        "world_size": options.tp * options.pp,
        "max_batch_size": batch_size(options, card),
        "max_num_tokens": tokens_per_step(options, card, load),
        "kv_fraction": options.kv_fraction or TOOL_FRACTION,
        "num_requests": load.requests,
        "mean_input_tokens": sum(length for length, _ in lengths) / len(lengths),
        "mean_output_tokens": sum(length for _, length in lengths) / len(lengths),
    }
    mismatches = [
        note("mismatch", name=name, wanted=value, reported=reported.get(name))
        for name, value in wanted.items()
        if value is not None and not _same(name, value, reported.get(name))
    ]
    limit, measured = concurrency(options, card, load), reported.get("mean_concurrency")
    if isinstance(measured, float) and measured > _MORE * limit:
        mismatches.append(note("too_concurrent", limit=limit, reported=measured))
    return (*mismatches, *quantisation_mismatch(card, reported.get("quantization")))


def _same(name: str, wanted: object, reported: object) -> bool:
    if reported is None:
        return name != "model"
    if isinstance(wanted, float) or isinstance(reported, float):
        return isinstance(reported, int | float) and isinstance(wanted, int | float) and abs(reported - wanted) < 1e-6  # noqa: PLR2004
    if name == "version":
        return isinstance(reported, str) and minor_of(reported) == minor_of(str(wanted))
    if name in ("dtype", "backend"):
        return str(reported).removeprefix("torch.").casefold() == str(wanted).casefold()
    return reported == wanted
