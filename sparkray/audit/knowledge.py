"""From results to a case: the model card of each name, and the machine. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sparkray.audit.case import Case
from sparkray.audit.results import Results, Role
from sparkray.audit.roles import columns_of, with_roles
from sparkray.config.model import ModelCard
from sparkray.config.model_name import WeightFormat, packed, weight_format, without_format
from sparkray.config.site import Site
from sparkray.errors import UnknownNameError

_TELLS_FORMAT = re.compile(r"quant|dtype|precision|format|weight|bits|model_?(type|file)")


def case_of(
    results: Results,
    cards: Sequence[ModelCard],
    site: Site | None = None,
    *,
    named: Mapping[str, ModelCard] | None = None,
    batch: int | None = None,
    roles: Mapping[str, Role] | None = None,
) -> Case:
    """A case, its models joined to cards by what the user named, by id, by name, or by the last part of an id.

    A site that leaves the kind of GPU open gets the data sheet of the GPU that the results name. A card whose weights have
    more bits than names or columns tell gets those of that format. Columns get the roles that `roles` infers.

    Raises:
        UnknownNameError: `named` holds a model, or `roles` a column, that the results do not.
    """
    results = with_roles(results, columns_of(results, roles))
    chosen, ids = named or {}, _names_and_ids(results)
    for name in chosen:
        if name not in ids:
            raise UnknownNameError("model in the results", name, list(ids))
    matched = {name: chosen.get(name) or _match(cards, (*known, name)) for name, known in ids.items()}
    machine = None if site is None else site.with_gpus(results.gpus)
    formats = _formats(results)
    cards_of = {name: _in_format(card, formats.get(name)) for name, card in matched.items() if card is not None}
    return Case(results, cards_of, machine, batch)


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


def _formats(results: Results) -> Mapping[str, WeightFormat]:
    """The smallest format of weights that the rows of each model tell: by name, path, or a column such as `quantization`."""
    telling = [
        name for name, role in results.roles.items() if role == "identity" and _TELLS_FORMAT.search(name.casefold())
    ]
    columns = ["model_name", "model_id", "model_path", *(name for name in telling if name in results.ok.columns)]
    found: dict[str, WeightFormat] = {}
    for row in results.ok.select(columns).unique(maintain_order=True).iter_rows(named=True):
        for value in row.values():
            named = weight_format(str(value)) if isinstance(value, str) else None
            if named is not None and (row["model_name"] not in found or named.bits < found[row["model_name"]].bits):
                found[row["model_name"]] = named
    return found


def _in_format(card: ModelCard, named: WeightFormat | None) -> ModelCard:
    """The card in the format that the results tell, where that is smaller: no bound is ever too low by it."""
    if named is None or card.shape is None or named.bits >= card.shape.bits_per_weight:
        return card
    return replace(card, shape=packed(card.shape, named), quantisation=named.name)


def _names_and_ids(results: Results) -> dict[str, tuple[str, ...]]:
    ids: dict[str, tuple[str, ...]] = {}
    rows = results.ok.select("model_name", "model_id").unique(maintain_order=True)
    for name, identity in rows.iter_rows():
        ids[name] = (*ids.get(name, ()), *([identity] if identity else []))
    return ids


def _match(cards: Sequence[ModelCard], names: Sequence[str]) -> ModelCard | None:
    """The card of a name or id, else of one without the format of weights behind it."""
    bases = [parts[0] for name in names if (parts := without_format(name)) is not None]
    for name in (*names, *bases):
        for card in cards:
            tail = (card.hf_id or "").rpartition("/")[2]
            if card.answers_to(name) or (tail and tail.casefold() == name.rpartition("/")[2].casefold()):
                return card
    return None
