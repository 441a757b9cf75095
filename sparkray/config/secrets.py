"""Values that must not be shown or stored: of variables and options whose names say so, and passwords in URLs. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MASK = "***"
_NAME = re.compile(
    r"(?:^|[_-])(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|ACCESS_KEY_ID|CREDENTIALS?|AUTHORIZATION)$"
    r"|[_-](?:KEY|PASS|PWD|PAT)$|(?:API_?KEYS?|AUTHTOKEN|ACCESSTOKEN)$",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)(?=@)")
# Shorter values are words of every text.
_LEAST = 6


def is_secret(name: str) -> bool:
    """Whether a variable's or an option's value is a secret, by its name (`HF_TOKEN`, `--api-key`)."""
    return _NAME.search(name.lstrip("-")) is not None


def masked_words(words: Sequence[str]) -> list[str]:
    """The words of a command, secrets hidden.

    `--env=HF_TOKEN=x` becomes `--env=HF_TOKEN`, which takes the value from the caller's shell, as Docker does; what
    follows `--api-key` becomes the mask, and so does a password in a URL (`http://user:password@proxy`).
    """
    found: list[str] = []
    for before, word in zip(("", *words), words, strict=False):
        option, is_set, value = word.partition("=")
        variable, assigned, _ = value.partition("=")
        if option in ("--env", "-e") and assigned and is_secret(variable):
            found.append(f"{option}={variable}")
        elif before in ("--env", "-e") and is_set and is_secret(option):
            found.append(option)
        elif is_set and is_secret(option):
            found.append(f"{option}={MASK}")
        elif before.startswith("--") and "=" not in before and is_secret(before) and not word.startswith("--"):
            found.append(MASK)
        else:
            found.append(_IN_URL.sub(rf"\1:{MASK}", word))
    return found


def masked(value: Any) -> Any:  # noqa: ANN401 - plain values of any shape
    """Plain values (mappings, lists, texts) with those of secret names hidden, and `NAME=VALUE` texts likewise."""
    if isinstance(value, Mapping):
        return {
            key: MASK if isinstance(text, str) and text and is_secret(str(key)) else masked(text)
            for key, text in value.items()
        }
    if isinstance(value, str):
        return _IN_URL.sub(rf"\1:{MASK}", value)
    if isinstance(value, list | tuple):
        texts = all(isinstance(item, str) for item in value)
        return [_variable(item) for item in masked_words(value)] if texts else [masked(item) for item in value]
    return value


def _variable(text: str) -> str:
    name, is_set, _ = text.partition("=")
    return f"{name}={MASK}" if is_set and is_secret(name) else text


def secret_values(variables: Mapping[str, str], words: Iterable[str] = ()) -> tuple[str, ...]:
    """The values to hide in what a run leaves, longest first: of variables, and of a command's options."""
    listed = list(words)
    values = [value for name, value in variables.items() if is_secret(name)]
    values += [match[2] for text in (*variables.values(), *listed) for match in _IN_URL.finditer(text)]
    for before, word in zip(("", *listed), listed, strict=False):
        option, is_set, value = word.partition("=")
        if is_set and is_secret(option):
            values.append(value)
        elif before.startswith("--") and is_secret(before) and not word.startswith("--"):
            values.append(word)
    return tuple(sorted({value for value in values if len(value) >= _LEAST}, key=lambda value: (-len(value), value)))


def hidden(text: str, values: Iterable[str]) -> str:
    """A text without these values."""
    for value in values:
        text = text.replace(value, MASK)
    return text


def hidden_bytes(data: bytes, values: Iterable[str]) -> bytes:
    """As `hidden`, of a log."""
    for value in values:
        data = data.replace(value.encode(), MASK.encode())
    return data
