"""Names that the shell completes: models, sites, experiments. `docs/how-to/terminal.md` says how it is switched on."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from sparkray.catalog import Catalog


def _catalog() -> "Catalog":
    from sparkray.catalog import Catalog, data_root  # noqa: PLC0415 - only the shell asks for names

    return Catalog(data_root())


def _starting(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Names that go on from what was typed; after a comma, the last of several."""
    before, comma, last = incomplete.rpartition(",")
    found = [f"{before}{comma}{name}" for name in names if name.casefold().startswith(last.casefold())]
    return [CompletionItem(text) for text in found]


def complete_experiment(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of experiments, for the shell."""
    return _starting(_catalog().experiment_names(), incomplete)


def complete_site(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of sites, for the shell."""
    return _starting(_catalog().site_names(), incomplete)


def complete_models(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of models, for the shell."""
    from sparkray.catalog import TIERS  # noqa: PLC0415 - as above

    return _starting([*(card.name for card in _catalog().cards()), "all", *TIERS], incomplete)
