"""Tables of words that ship with the audit as YAML files."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any


def word_list(name: str) -> Any:  # noqa: ANN401 - as the file has it
    """The content of one of the audit's YAML files."""
    return parsed_yaml(files("sparkray.audit") / name)


def parsed_yaml(path: Traversable) -> Any:  # noqa: ANN401
    """The content of a packaged YAML file, by libyaml where PyYAML was built with it: a tenth of the time."""
    import yaml  # noqa: PLC0415 - only results of others need it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text("utf-8"), Loader=loader)  # noqa: S506 - both are safe loaders
