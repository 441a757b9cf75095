"""What there is to choose from is listed with its file, and completed by the shell."""

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from builders import Ended

from sparkray.catalog import Catalog, data_root
from sparkray.config.docker import option_names
from sparkray.sweep.completion import complete_experiment, complete_models, complete_site

Call = Callable[..., Ended]
OPTION = click.Option(["--x"])


@pytest.mark.parametrize("what", ["models", "sites", "experiments", "flags"])
def test_a_list_has_everything_with_its_file(command_line: Call, what: str) -> None:
    catalog = Catalog(data_root())
    there = {
        "models": [card.name for card in catalog.cards()],
        "sites": catalog.site_names(),
        "experiments": catalog.experiment_names(),
        "flags": option_names(),
    }[what]
    listed = json.loads(command_line(what, "--json").out)[what]
    assert sorted(row["name"] for row in listed) == sorted(there)
    assert all(Path(row["file"]).is_file() for row in listed)
    text = command_line(what)
    assert text.status == 0
    assert all(name in text.out for name in there)


def completed(function: Callable[..., list[click.shell_completion.CompletionItem]], typed: str) -> list[str]:
    return [item.value for item in function(click.Context(click.Command("x")), OPTION, typed)]


def test_names_are_completed_and_the_last_of_several() -> None:
    assert completed(complete_site, "dgx-spark-s") == ["dgx-spark-simulated"]
    assert completed(complete_experiment, "phase2b") == ["phase2b"]
    assert completed(complete_models, "smol") == ["SmolLM2-135M"]
    assert completed(complete_models, "all,mixtral") == ["all,Mixtral-8x7B"]
    assert completed(complete_models, "no-such") == []


def test_the_old_name_of_the_simulated_site_keeps_working() -> None:
    old, new = (Catalog(data_root()).site(f"dgx-spark-{name}") for name in ("double", "simulated"))
    assert (old.name, new.name) == ("dgx-spark-double", "dgx-spark-simulated")  # old datasets go on under the old name
    assert (old.image, old.environments, old.protocol, old.simulated) == (
        new.image,
        new.environments,
        new.protocol,
        True,
    )
