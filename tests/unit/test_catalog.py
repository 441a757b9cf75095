"""What ships parses, what is named is found, and what is not found says what is there."""

from pathlib import Path

import pytest
import yaml

from sparkray.catalog import Catalog, card_of_file, data_root, override, parse_settings
from sparkray.config.boundary import read_yaml
from sparkray.config.site import CONTAINER_ENVIRONMENTS, ENVIRONMENTS
from sparkray.engines import engine_names, load_engine
from sparkray.errors import ConfigError, UnknownNameError
from sparkray.metrics import BY_NAME

SHIPPED = Catalog(data_root())
SITE = """
name: {name}
description: d
engine: double
image: venv
experiment: q
validation: q
environments: {{container_baseline: {{options: {{ipc: host}}}}}}
"""


def catalog_of(tmp_path: Path, **files: str) -> Catalog:
    """A catalog of sites by name."""
    folder = tmp_path / "conf" / "sites"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return Catalog(tmp_path)


def test_everything_ships() -> None:
    assert {"cpu", "dgx-spark", "discrete-gpu"} <= set(SHIPPED.site_names())
    assert {"local", "phase2a"} <= set(SHIPPED.experiment_names())
    assert len([card for card in SHIPPED.cards() if card.tier > 0]) == 10


@pytest.mark.parametrize("name", SHIPPED.experiment_names())
def test_every_experiment_asks_for_what_there_is(name: str) -> None:
    experiment = SHIPPED.experiment(name)
    assert experiment.name == name
    assert set(experiment.environments) <= {*ENVIRONMENTS, *experiment.containers}
    assert set(experiment.margins) | set(experiment.primary_metrics) <= set(BY_NAME)
    assert SHIPPED.select(experiment.models)


@pytest.mark.parametrize("name", SHIPPED.site_names())
def test_every_site_is_whole(name: str) -> None:
    site = SHIPPED.site(name)
    assert site.name == name
    assert site.engine in engine_names()
    assert {site.experiment, site.validation} <= set(SHIPPED.experiment_names())
    assert set(site.environments) == set(CONTAINER_ENVIRONMENTS)
    assert {"baseline", "shm-32g", "host-network", "cpu-pinning", "privileged", "best"} <= set(site.modes)
    assert load_engine(site.engine).options(site.engine_options, name) is not None
    for environment in site.environments.values():
        assert all(getattr(environment.options, option) is not None for option in environment.adapt)


@pytest.mark.parametrize("path", sorted((data_root() / "conf" / "models").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_card_is_found_by_every_name_it_answers_to(path: Path) -> None:
    card = next(card for card in SHIPPED.cards() if card.name == path.stem)
    for name in (card.name, card.name.upper(), *card.aliases, *([card.hf_id] if card.hf_id else [])):
        assert SHIPPED.card(name) == card


def test_no_name_is_answered_to_by_two_cards() -> None:
    names = [n.casefold() for card in SHIPPED.cards() for n in {card.name, *card.aliases, card.hf_id or card.name}]
    assert sorted(names) == sorted(set(names))


def test_a_site_that_inherits_has_what_it_does_not_say_itself() -> None:
    spark, parent = SHIPPED.site("dgx-spark"), SHIPPED.site("discrete-gpu")
    assert spark.environments == parent.environments
    assert spark.modes["cpu-pinning"].cpuset_cpus == "5-9,15-19"
    assert spark.modes["shm-8g"] == parent.modes["shm-8g"]


def test_sites_do_not_inherit_in_a_circle(tmp_path: Path) -> None:
    sites = catalog_of(tmp_path, a="name: a\ninherits: b\n", b="name: b\ninherits: a\n")
    with pytest.raises(ConfigError, match=r"in a circle: .*[ab] > "):
        sites.site("a")


def test_an_unknown_parent_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown site 'gone'"):
        catalog_of(tmp_path, a="name: a\ninherits: gone\n").site("a")


@pytest.mark.parametrize("text", ["modes: 5", "modes:", "environments: [1]"])
def test_a_part_that_cannot_be_merged_is_reported_as_any_wrong_value(tmp_path: Path, text: str) -> None:
    sites = catalog_of(tmp_path, parent=SITE.format(name="parent"), child=f"name: child\ninherits: parent\n{text}\n")
    with pytest.raises(ConfigError, match=text.partition(":")[0]):
        sites.site("child")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("smollm2-135m",), ["SmolLM2-135M"]),
        (("SmolLM2-135M", "SmolLM2-135M"), ["SmolLM2-135M"]),
        (("tier1", "Llama-3-8B"), None),
    ],
)
def test_models_are_chosen_once_each(names: tuple[str, ...], found: list[str] | None) -> None:
    chosen = [card.name for card in SHIPPED.select(names)]
    assert chosen == (found or [card.name for card in SHIPPED.cards() if card.tier == 1])


def test_the_tiers_are_parts_of_all() -> None:
    parts = [card.name for tier in ("tier1", "tier2", "TIER3") for card in SHIPPED.select((tier,))]
    assert sorted(parts) == sorted(card.name for card in SHIPPED.select(("all",)))
    assert "SmolLM2-135M" not in parts


def test_any_gguf_file_is_a_model(tmp_path: Path) -> None:
    card = SHIPPED.card(str(tmp_path / "mine.gguf"))
    assert (card.name, card.weights.path) == ("mine", str(tmp_path / "mine.gguf"))
    assert card == card_of_file(tmp_path / "mine.gguf")


def test_a_card_and_an_experiment_are_found_by_path(tmp_path: Path) -> None:
    source = data_root() / "conf" / "models" / "SmolLM2-135M.yaml"
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(dict(read_yaml(source)) | {"name": "Other"}))
    assert SHIPPED.card(str(other)).name == "Other"
    assert SHIPPED.experiment(str(data_root() / "experiments" / "local.yaml")) == SHIPPED.experiment("local")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a: [1", "is not valid YAML"), (b"- 1", "got list"), (b"", "got NoneType"), (b"\xff\xfe\x00", "cannot be read")],
)
def test_files_that_are_no_mapping_are_refused_with_their_name(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as error:
        read_yaml(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_yaml(path)


def test_overrides_reach_inside_and_leave_the_original_alone() -> None:
    before = {"a": 1, "b": {"c": 2, "d": 3}}
    assert override(before, {"b.c": 5, "e.f": 6, "a": 0}) == {"a": 0, "b": {"c": 5, "d": 3}, "e": {"f": 6}}
    assert before == {"a": 1, "b": {"c": 2, "d": 3}}
    with pytest.raises(ConfigError, match="'a' has no keys below it, it is 1"):
        override(before, {"a.b": 1})


def test_settings_are_sorted_by_room_and_read_as_yaml() -> None:
    said = parse_settings(["site.image=venv", "experiment.workload.requests=3", "engine.x=[1, 2]", "docker.c.cpus=0.5"])
    assert said == {
        "site": {"image": "venv"},
        "experiment": {"workload.requests": 3},
        "engine": {"x": [1, 2]},
        "docker": {"c.cpus": 0.5},
    }
    assert parse_settings(["site.a=b=c"])["site"] == {"a": "b=c"}


@pytest.mark.parametrize("setting", ["", "x", "site", "site=1", "site.=1", ".a=1", "=", "site.a"])
def test_a_setting_of_another_form_is_refused_with_the_form(setting: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_settings([setting])
    assert repr(setting) in error.value.message
    assert "Rooms: site, experiment, engine, docker" in error.value.remedy


def test_a_setting_in_an_unknown_room_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="there is no room 'engin'") as error:
        parse_settings(["engin.threads=1"])
    assert "Did you mean 'engine'?" in error.value.remedy
    with pytest.raises(ConfigError, match="the value is not valid YAML"):
        parse_settings(["site.a=[1"])
