"""Models that the machine cannot hold, with results all the same."""

from collections.abc import Iterator

import polars as pl

from sparkray.audit.case import Case, devices_of, labels
from sparkray.audit.finding import Finding, NotJudged
from sparkray.checks.roofline import MEMORY_TOLERANCE, machine_of
from sparkray.config.model import RESERVE_GIB, ModelCard, needed_gib
from sparkray.config.site import Site


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Fatal when the weights alone exceed the memory of the devices that were used; a note when they leave no reserve."""
    if case.site is None or case.site.memory_gib is None:
        yield NotJudged("beyond_memory", "no machine of known memory: name one with --site, or its GPU with --gpu")
        return
    for (name, told), group in case.ok.group_by("model_name", "devices", maintain_order=True):
        card = case.card(str(name))
        needed = None if card is None else needed_gib(card)
        if card is None or needed is None:
            yield NotJudged("beyond_memory", f"{name}: no model card tells its size: name one with --models-as")
        else:
            yield from _judge_one(group, card, needed, machine_of(case.site, (), devices_of(told)))


def _judge_one(group: pl.DataFrame, card: ModelCard, needed: float, machine: Site) -> Iterator[Finding]:
    name, memory = group["model_name"][0], machine.memory_gib or 0.0
    if needed > memory * MEMORY_TOLERANCE:
        yield Finding(
            "beyond_memory",
            "fatal",
            f"{name} has results on a machine that cannot hold it: either another model ran, or another checkpoint than "
            f"the {card.quantisation or card.dtype} one of the card {card.name}; its numbers belong to something else",
            f"weights {needed:.1f} GiB, memory {memory:.1f} GiB; {len(group)} runs are said to have succeeded",
            labels(group),
        )
    elif needed + RESERVE_GIB > memory:
        yield Finding(
            "beyond_memory",
            "note",
            f"{name} fills the machine: little is left for KV cache, and swapping is near",
            f"weights {needed:.1f} GiB, memory {memory:.1f} GiB, {RESERVE_GIB:.0f} GiB should stay free",
            labels(group),
        )
