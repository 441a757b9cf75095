"""Models that the machine cannot hold, with results all the same."""

from collections.abc import Iterator

from sparkray.audit.case import Case, devices_of, labels
from sparkray.audit.finding import Finding, NotJudged
from sparkray.checks.roofline import MEMORY_TOLERANCE, machine_of
from sparkray.config.model import RESERVE_GIB, needed_gib
from sparkray.config.site import SPARK


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Fatal when the weights alone exceed the memory of the devices that were used; a note when they leave no reserve.

    The reserve is that of memory which the GPU shares with the host: a card with memory of its own does not swap.
    """
    if case.site is None or case.site.memory_gib is None:
        yield NotJudged("beyond_memory/machine")
        return
    for (name, devices), group in case.ok.group_by("model_name", "devices", maintain_order=True):
        card = case.card(str(name))
        needed = None if card is None else needed_gib(card)
        if card is None or needed is None:
            yield NotJudged("beyond_memory/card", {"model": name})
            continue
        memory = machine_of(case.site, (), devices_of(devices)).memory_gib or 0.0
        values = {"model": name, "needed": needed, "memory": memory, "runs": len(group), "card": card.name}
        values |= {"format": card.quantisation or card.dtype, "reserve": RESERVE_GIB}
        if needed > memory * MEMORY_TOLERANCE:
            yield Finding("beyond_memory", values, "fatal", labels(group))
        elif SPARK in (case.site.name, case.site.inherits) and needed + RESERVE_GIB > memory:
            yield Finding("beyond_memory/reserve", values, "note", labels(group))
