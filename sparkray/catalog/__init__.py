"""What lies in files: experiments, sites, model cards, and the weights themselves. Frozen values.

`config` is pure; this room opens the files for it.
"""

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from sparkray.config.boundary import load_yaml, parse, read_yaml
from sparkray.config.experiment import Experiment
from sparkray.config.gpu import Gpu, find, gpu_of
from sparkray.config.model import ModelCard, Weights
from sparkray.config.recipe import Recipe, recipe_of
from sparkray.config.site import Site
from sparkray.config.space import Space
from sparkray.errors import ConfigError, UnknownNameError
from sparkray.units import did_you_mean, short

_PACKAGE = Path(__file__).resolve().parent.parent
_DEEPEST = 20
MERGED_KEYS = ("environments", "modes", "engine_options", "protocol")
TIERS = {"tier1": 1, "tier2": 2, "tier3": 3}


def data_root() -> Path:
    """The folder that holds `conf/` and `experiments/`: inside an installed package, else the checkout."""
    installed = _PACKAGE / "_data"
    return installed if installed.is_dir() else _PACKAGE.parent


@dataclass(frozen=True)
class Catalog:
    """The files below one folder (`data_root()` unless a test says otherwise)."""

    root: Path

    def _names(self, folder: str) -> dict[str, Path]:
        return {path.stem: path for path in sorted((self.root / folder).glob("*.yaml"))}

    def _mapping(self, folder: str, kind: str, name: str) -> tuple[Mapping[str, Any], str]:
        """A file by its name in a folder, or by its path when the name looks like one."""
        if name.endswith((".yaml", ".yml")) or "/" in name:
            path = Path(name).expanduser()
        else:
            known = self._names(folder)
            if name not in known:
                raise UnknownNameError(kind, name, list(known))
            path = known[name]
        return read_yaml(path), str(path)

    def experiment_names(self) -> list[str]:
        """The experiments that ship."""
        return list(self._names("experiments"))

    def experiment(self, name: str, overrides: Mapping[str, Any] | None = None) -> Experiment:
        """An experiment by name or file, with keys overridden (`workload.requests` reaches inside).

        Raises:
            UnknownNameError, ConfigError: No such experiment, or it is malformed.
        """
        mapping, source = self._mapping("experiments", "experiment", name)
        return parse(Experiment, override(mapping, overrides or {}), source)

    def experiment_files(self) -> dict[str, Path]:
        """The file of each experiment, by the name that selects it."""
        return self._names("experiments")

    def site_files(self) -> dict[str, Path]:
        """The file of each site, by the name that selects it."""
        return self._names("conf/sites")

    def model_files(self) -> dict[str, Path]:
        """The file of each model card, by the model's name."""
        paths = self._names("conf/models").values()
        return {str(read_yaml(path)["name"]): path for path in paths}

    def site_names(self) -> list[str]:
        """The sites that ship."""
        return list(self._names("conf/sites"))

    def site(self, name: str, overrides: Mapping[str, Any] | None = None) -> Site:
        """A site by name or file, with what it inherits filled in and keys overridden.

        Raises:
            UnknownNameError, ConfigError: No such site, or it is malformed.
        """
        mapping, source = self._site_mapping(name, ())
        if mapping.get("devices"):
            mapping = {**mapping, "devices": self._with_data_sheets(mapping["devices"])}
        return parse(Site, override(mapping, overrides or {}), source)

    def gpus(self) -> list[Gpu]:
        """The data sheets of `conf/gpus.csv`.

        Raises:
            ConfigError: The file cannot be read, or a row of it is malformed.
        """
        path = self.root / "conf/gpus.csv"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return [gpu_of(row) for row in csv.DictReader(file)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from None

    def _with_data_sheets(self, devices: object) -> object:
        """Devices of a site; what an entry leaves out is taken from the data sheet of that name."""
        if not isinstance(devices, Mapping):
            return devices
        gpus = self.gpus()

        def filled(name: str, own: object) -> object:
            sheet = find(gpus, name)
            if sheet is None or not isinstance(own, Mapping) or "bandwidth_gb_s" in own:
                return own
            return {**{key: value for key, value in asdict(sheet.device).items() if value is not None}, **own}

        return {name: filled(str(name), own) for name, own in devices.items()}

    def _site_mapping(self, name: str, seen: tuple[str, ...]) -> tuple[Mapping[str, Any], str]:
        mapping, source = self._mapping("conf/sites", "site", name)
        parent = mapping.get("inherits")
        if parent is None:
            return mapping, source
        if parent in seen:
            raise ConfigError(f"{source}: sites inherit in a circle: {' > '.join([*seen, str(parent)])}")
        inherited, _ = self._site_mapping(str(parent), (*seen, str(parent)))
        merged = {**inherited, **mapping}
        for key in MERGED_KEYS:
            parts = [site[key] for site in (inherited, mapping) if key in site]
            if all(isinstance(part, Mapping) for part in parts):
                merged[key] = {name: value for part in parts for name, value in part.items()}
        return merged, source

    def space(self, name: str) -> Space:
        """What may be searched, by name or file.

        Raises:
            UnknownNameError, ConfigError: No such space, or it is malformed.
        """
        mapping, source = self._mapping("conf/spaces", "space", name)
        return parse(Space, mapping, source)

    def recipe_files(self) -> dict[str, Path]:
        """The file of each server's recipe, by the engine's name."""
        return self._names("conf/engines")

    def recipe(self, name: str) -> Recipe:
        """A server's recipe, by name or file.

        Raises:
            UnknownNameError, ConfigError: No such recipe, or it is not well-formed.
        """
        return recipe_of(*self._mapping("conf/engines", "recipe", name))

    def cards(self) -> list[ModelCard]:
        """Every model card that ships.

        Raises:
            ConfigError: One is not well-formed.
        """
        return [parse(ModelCard, read_yaml(path), str(path)) for path in self._names("conf/models").values()]

    def card(self, name: str) -> ModelCard:
        """A card by name, alias, Hugging Face id, or the path of a GGUF file or of a card.

        Raises:
            UnknownNameError: Nothing answers to it.
        """
        if name.endswith(".gguf"):
            return card_of_file(Path(name).expanduser())
        if name.endswith((".yaml", ".yml")):
            return parse(ModelCard, read_yaml(Path(name).expanduser()), name)
        cards = self.cards()
        for card in cards:
            if card.answers_to(name):
                return card
        raise UnknownNameError("model", name, [card.name for card in cards])

    def select(self, names: tuple[str, ...]) -> list[ModelCard]:
        """Cards by names; `all` is every model of the suite and `tier1` to `tier3` its parts, in the order of the cards.

        Raises:
            UnknownNameError: Nothing answers to one of them.
        """
        chosen: dict[str, ModelCard] = {}
        for name in names:
            if name.casefold() == "all":
                cards = [card for card in self.cards() if card.tier > 0]
            elif name.casefold() in TIERS:
                cards = [card for card in self.cards() if card.tier == TIERS[name.casefold()]]
            else:
                cards = [self.card(name)]
            chosen.update({card.name: card for card in cards})
        return list(chosen.values())


def card_of_file(path: Path) -> ModelCard:
    """A card for any other GGUF file. The engine reads what the file is."""
    return ModelCard(
        name=path.stem,
        architecture="decoder",
        licence="unknown: a file of the user's",
        why="named on the command line",
        weights=Weights(kind="file", path=str(path.resolve())),
        dtype="gguf",
    )


def override(mapping: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with dotted keys set; the boundary refuses unknown keys.

    Raises:
        ConfigError: A key goes through a value that is no mapping.
    """
    changed = dict(mapping)
    for key, value in overrides.items():
        head, _, rest = key.partition(".")
        if not rest:
            changed[head] = value
            continue
        inner = changed.get(head, {})
        if not isinstance(inner, Mapping):
            raise ConfigError(f"--set {key}: {head!r} has no keys below it, it is {short(inner)}")
        changed[head] = override(inner, {rest: value})
    return changed


def parse_settings(settings: list[str]) -> dict[str, dict[str, Any]]:
    """`--set room.key=value` by room: `site`, `experiment`, `engine`, `docker`; values are read as YAML.

    Raises:
        ConfigError: No `=`, no such room, or a value that is not valid YAML.
    """
    rooms: dict[str, dict[str, Any]] = {"site": {}, "experiment": {}, "engine": {}, "docker": {}}
    for setting in settings:
        key, equals, text = setting.partition("=")
        room, dot, rest = key.strip().partition(".")
        if not equals or not dot or not rest:
            raise ConfigError(f"--set {short(setting)} is not of the form room.key=value", f"Rooms: {', '.join(rooms)}")
        if rest.count(".") >= _DEEPEST:
            raise ConfigError(f"--set {short(setting)}: no key is more than {_DEEPEST} deep")
        if room not in rooms:
            near = did_you_mean(room, rooms)
            hint = f"Did you mean {near!r}? " if near else ""
            raise ConfigError(f"--set {short(setting)}: there is no room {room!r}", f"{hint}Rooms: {', '.join(rooms)}")
        try:
            rooms[room][rest] = load_yaml(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {short(setting)}: the value is not valid YAML") from None
        except ValueError as error:
            raise ConfigError(f"--set {short(setting)}: {error}") from None
    return rooms
