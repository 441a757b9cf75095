"""From results to a case: the model card of each name, and the machine. Pure."""

from collections.abc import Mapping, Sequence

from sparkray.audit.case import Case
from sparkray.audit.results import Results
from sparkray.config.model import ModelCard
from sparkray.config.site import Site
from sparkray.errors import UnknownNameError


def case_of(
    results: Results,
    cards: Sequence[ModelCard],
    site: Site | None = None,
    *,
    named: Mapping[str, ModelCard] | None = None,
    batch: int | None = None,
) -> Case:
    """A case, its models joined to cards by what the user named, by id, by name, or by the last part of an id.

    A site that leaves the kind of GPU open gets the data sheet of the GPU that the results name.

    Raises:
        UnknownNameError: `named` holds a model that the results do not.
    """
    chosen, ids = named or {}, _names_and_ids(results)
    for name in chosen:
        if name not in ids:
            raise UnknownNameError("model in the results", name, list(ids))
    matched = {name: chosen.get(name) or _match(cards, (*known, name)) for name, known in ids.items()}
    machine = None if site is None else site.with_gpus(results.gpus)
    return Case(results, {name: card for name, card in matched.items() if card is not None}, machine, batch)


def machine_words(site: Site | None, gpus: Sequence[str]) -> str:
    """Which machine results are judged by, for people.

    Args:
        site: Its kind.
        gpus: Its GPUs, by name.
    """
    if site is None:
        return "from an unknown machine"
    with_gpus = f" ({', '.join(gpus)})" if gpus else ""
    return f"judged as from {site.name}{with_gpus}"


def _names_and_ids(results: Results) -> dict[str, tuple[str, ...]]:
    ids: dict[str, tuple[str, ...]] = {}
    rows = results.ok.select("model_name", "model_id").unique(maintain_order=True)
    for name, identity in rows.iter_rows():
        ids[name] = (*ids.get(name, ()), *([identity] if identity else []))
    return ids


def _match(cards: Sequence[ModelCard], names: Sequence[str]) -> ModelCard | None:
    for name in names:
        for card in cards:
            tail = (card.hf_id or "").rpartition("/")[2]
            if card.answers_to(name) or (tail and tail.casefold() == name.rpartition("/")[2].casefold()):
                return card
    return None
