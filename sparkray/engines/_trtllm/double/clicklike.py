"""Option parsing as click does it: same grammar, same messages, status 2."""

from collections.abc import Sequence
from pathlib import Path

from .options import Option

_METAVARS = {"int": "INTEGER", "float": "FLOAT", "text": "TEXT", "path": "PATH", "file": "FILE"}
PLAIN = ("--streaming",)
"""Declared outside of the option groups, so it is not indented with them."""
Values = dict[str, object]


class UsageError(Exception):
    """What click answers with status 2."""


class HelpAsked(Exception):  # noqa: N818 - no error
    """`--help` stood among the options."""


def parse(options: Sequence[Option], words: Sequence[str], *, group: bool) -> tuple[Values, list[str]]:
    """Values by name, and what is left: of a group, the subcommand and its words.

    Raises:
        UsageError: An option that is not known, lacks its value, or has a bad one; one that is required is missing.
        HelpAsked: `--help` came first.
    """
    names = {name: (option, True) for option in options for name in option.names}
    names |= {name: (option, False) for option in options for name in option.off}
    given: Values = {}
    seen: list[str] = []
    left = list(words)
    extra: list[str] = []
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word == "-":
            if group:
                extra = [word, *left]
                break
            extra.append(word)
            continue
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name == "--help":
            raise HelpAsked
        if name not in names:
            raise UsageError(_unknown(name, list(names)))
        option, on = names[name]
        seen.append(option.names[0])
        if option.kind == "flag":
            if equals:
                raise UsageError(f"Option '{name}' does not take a value.")
            given[option.dest] = on
            continue
        if not equals and not left:
            raise UsageError(f"Option '{name}' requires an argument.")
        converted = _convert(option, value if equals else left.pop(0))
        before = given.get(option.dest, ())
        given[option.dest] = (*(before if isinstance(before, tuple) else ()), converted) if option.many else converted
    if extra and not group:
        raise UsageError(f"Got unexpected extra argument{'s' * (len(extra) > 1)} ({' '.join(extra)})")
    _check_alone(options, seen)
    return _filled(options, given), extra


def usage(error: UsageError, program: str, arguments: str) -> str:
    """The page that click prints for it."""
    return f"Usage: {program} {arguments}\nTry '{program} --help' for help.\n\nError: {error}\n"


def help_page(usage_line: str, options: Sequence[Option], *, indent: int, commands: Sequence[str] = ()) -> str:
    """The help page. Options of an option group are indented by 4, as click-option-group does it."""
    lines = [f"Usage: {usage_line}", "", "  Played by sparkray's double.", "", "Options:"]
    lines += ["  Options of this command:" + " " * 8] if indent > 2 else []  # noqa: PLR2004 - click's own indent
    for option in options:
        column = " " * (2 if option.names[0] in PLAIN else indent) + _names(option)
        gap = " " * max(2, 34 - len(column))
        lines.append(f"{column}{gap if len(column) < 32 else chr(10) + ' ' * 34}{_told(option)}")  # noqa: PLR2004 - as click wraps
    lines.append("  --help" + " " * 26 + "Show this message and exit.")
    if commands:
        lines += ["", "Commands:", *(f"  {name}" for name in commands)]
    return "\n".join(lines) + "\n"


def _convert(option: Option, text: str) -> object:
    shown = " / ".join(f"'{name}'" for name in option.names)
    try:
        return _value(option, text)
    except ValueError as error:
        raise UsageError(f"Invalid value for {shown}: {error}") from None


def _value(option: Option, text: str) -> object:
    if option.kind in ("int", "positive"):
        number = _number(int, text, "integer range" if option.kind == "positive" else "integer")
        if option.kind == "positive" and number < 1:
            raise ValueError(f"{int(number)} is not in the range x>=1.")
        return number
    if option.kind == "float":
        return _number(float, text, "float")
    if option.kind == "choice" and text not in option.choices:
        raise ValueError(f"{text!r} is not one of {', '.join(map(repr, option.choices))}.")
    if option.kind == "path" and not Path(text).exists():
        raise ValueError(f"Path {text!r} does not exist.")
    if option.kind == "file" and Path(text).is_dir():
        raise ValueError(f"File {text!r} is a directory.")
    return text


def _number(kind: type[int] | type[float], text: str, name: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a valid {name}.") from None


def _unknown(name: str, known: Sequence[str]) -> str:
    near = [other for other in known if other.startswith(name)]
    return f"No such option: {name}" + (f" Did you mean {near[0]}?" if len(near) == 1 else "")


def _check_alone(options: Sequence[Option], seen: Sequence[str]) -> None:
    both = [option.names[0] for option in options if option.alone and option.names[0] in seen]
    if len(both) > 1:
        raise UsageError(
            "Mutually exclusive options from 'Request Load Control Options' option group "
            "cannot be used at the same time:\n" + "\n".join(f"  '{name}'" for name in both)
        )


def _filled(options: Sequence[Option], given: Values) -> Values:
    for option in options:
        if option.required and option.dest not in given:
            raise UsageError(f"Missing option {' / '.join(repr(name) for name in option.names)}.")
    defaults = {option.dest: () if option.many else option.default for option in options}
    return {**defaults, **given, "explicit": tuple(given)}


def _names(option: Option) -> str:
    shorts_first = ", ".join(sorted(option.names, key=lambda name: name.startswith("--")))
    if option.off:
        return f"{shorts_first} / {', '.join(option.off)}"
    if option.kind == "flag":
        return shorts_first
    if option.kind == "choice":
        return f"{shorts_first} [{'|'.join(option.choices)}]"
    return f"{shorts_first} {_METAVARS.get(option.kind, 'INTEGER RANGE')}"


def _told(option: Option) -> str:
    if option.required:
        return "[required]"
    return "" if option.default is None else f"[default: {option.default}]"
