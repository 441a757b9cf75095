"""Option parsing as click 8.2 does it: same grammar, same order of checks, same messages, status 2."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

from .versions import Option, text

_METAVARS = {"int": "INTEGER", "float": "FLOAT", "text": "TEXT", "path": "PATH", "file": "FILE"}
PLAIN = ("--streaming",)  # declared outside of the option groups, so it is not indented with them
_INDENT = 2
Values = dict[str, object]
Given = list[tuple[Option, bool | str]]


class UsageError(Exception):
    """What click answers with status 2. `with_usage` is false where click leaves the usage line out."""

    def __init__(self, message: str, *, with_usage: bool = True) -> None:
        super().__init__(message)
        self.with_usage = with_usage


class HelpAsked(Exception):  # noqa: N818 - no error
    """`--help` is among the options."""


class NoArguments(Exception):  # noqa: N818 - click's own name is NoArgsIsHelp
    """A group was called with nothing at all: its help page goes to standard error, with status 2."""


HELP = Option(("--help",), "flag")


def parse(options: Sequence[Option], words: Sequence[str], *, group: bool) -> tuple[Values, list[str]]:
    """Values by name, and the rest: of a group, the subcommand and its words.

    As click does it, all words are split before any value is converted, and values are converted in the order given.

    Raises:
        UsageError: An option that is not known, lacks its value, or has a bad one; one that is required is missing.
        HelpAsked: `--help` is among the options.
        NoArguments: A group without a word.
    """
    if group and not words:
        raise NoArguments
    given, extra = _split((*options, HELP), words, group=group)
    if any(option is HELP for option, _ in given):
        raise HelpAsked
    values: Values = {}
    seen = list(dict.fromkeys(option for option, _ in given))
    for option in seen:
        _check_alone(option, options, seen)
        raw = [value for one, value in given if one == option][0 if option.many else -1 :]  # the last one counts
        converted = raw if option.kind == "flag" else [_convert(option, str(value)) for value in raw]
        values[option.dest] = tuple(converted) if option.many else converted[-1]
    for option in options:
        if option.required and option not in seen:
            raise UsageError(text("missing_option", hint=_hint(option)))
    if extra and not group:
        raise UsageError(text("extra_arguments", s="s" * (len(extra) > 1), words=" ".join(extra)))
    defaults = {option.dest: () if option.many else option.default for option in options}
    return {**defaults, **values, "explicit": tuple(values)}, extra


def _split(options: Sequence[Option], words: Sequence[str], *, group: bool) -> tuple[Given, list[str]]:
    """Options with their raw values in the order given, and the words that are no options. A group stops at the first."""
    names = {name: (option, True) for option in options for name in option.names}
    names |= {name: (option, False) for option in options for name in option.off}
    given: Given = []
    extra: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            extra += left
            break
        if not word.startswith("-") or word == "-":
            extra += [word, *left] if group else [word]
            if group:
                break
            continue
        name, attached = _name_and_value(word)
        if name not in names:
            raise UsageError(_unknown(name, list(names)))
        option, on = names[name]
        given.append((option, _raw(option, name, on=on, attached=attached, pop=lambda: left.pop(0) if left else None)))
    return given, extra


def _name_and_value(word: str) -> tuple[str, str | None]:
    """`--name=value` and `-nvalue` hold their value."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    return word[:2], word[2:] or None


def _raw(option: Option, name: str, *, on: bool, attached: str | None, pop: Callable[[], str | None]) -> bool | str:
    if option.kind == "flag":
        if attached is not None:
            raise UsageError(text("no_value_allowed", name=name), with_usage=False)
        return on
    value = attached if attached is not None else pop()
    if value is None:
        raise UsageError(text("value_missing", name=name), with_usage=False)
    return value


def usage(error: UsageError, program: str, arguments: str) -> str:
    """The text that click prints for it."""
    form = "usage_error" if error.with_usage else "error"
    return text(form, program=program, arguments=arguments, error=error) + "\n"


def help_page(usage_line: str, options: Sequence[Option], *, indent: int, commands: Sequence[str] = ()) -> str:
    """The help page. Options of an option group are indented by 4, as click-option-group does it."""
    lines = [text("help_group")] if indent > _INDENT else []
    for option in options:
        column = " " * (_INDENT if option.names[0] in PLAIN else indent) + _names(option)
        gap = " " * max(2, 34 - len(column))
        lines.append(f"{column}{gap if len(column) < 32 else chr(10) + ' ' * 34}{_default(option)}")  # noqa: PLR2004 - as click wraps
    listed = text("help_commands", names="\n".join(f"  {name}" for name in commands)) if commands else ""
    return text("help", usage=usage_line, options="\n".join(lines) + "\n", commands=listed) + "\n"


def _convert(option: Option, value: str) -> object:
    try:
        return _value(option, value)
    except ValueError as error:
        raise UsageError(text("bad_value", hint=_hint(option), error=error)) from None


def _value(option: Option, value: str) -> object:
    if option.kind in ("int", "positive"):
        number = _number(int, value, "integer range" if option.kind == "positive" else "integer")
        if option.kind == "positive" and number < 1:
            raise ValueError(text("out_of_range", number=int(number)))
        return number
    if option.kind == "float":
        return _number(float, value, "float")
    if option.kind == "choice" and value not in option.choices:
        raise ValueError(text("no_choice", value=value, choices=", ".join(map(repr, option.choices))))
    if option.kind == "path" and not Path(value).exists():
        raise ValueError(text("no_path", value=value))
    if option.kind == "file" and Path(value).is_dir():
        raise ValueError(text("is_folder", value=value))
    return str(Path(value).resolve()) if option.kind in ("path", "file") else value


def _number(kind: type[int] | type[float], value: str, name: str) -> int | float:
    try:
        return kind(value)
    except ValueError:
        raise ValueError(text("bad_number", value=value, kind=name)) from None


def _hint(option: Option) -> str:
    return " / ".join(f"'{name}'" for name in option.names)


def _unknown(name: str, known: Sequence[str]) -> str:
    """The message, with the nearest names in the words of click 8.2: one by name, several as a list."""
    long = [other for other in known if other.startswith("--")]
    near = sorted(get_close_matches(name, long)) if name.startswith("--") else []
    form = ("unknown_option", "unknown_option_one", "unknown_option_many")[min(len(near), 2)]
    return text(form, name=name, near=", ".join(near))


def _check_alone(option: Option, options: Sequence[Option], seen: Sequence[Option]) -> None:
    both = [other.names[0] for other in options if other.alone and other in seen]
    if option.alone and len(both) > 1:
        raise UsageError(text("not_together", names="\n".join(f"  '{name}'" for name in both)))


def _names(option: Option) -> str:
    shorts_first = ", ".join(sorted(option.names, key=lambda name: name.startswith("--")))
    if option.off:
        return f"{shorts_first} / {', '.join(option.off)}"
    if option.kind == "flag":
        return shorts_first
    if option.kind == "choice":
        return f"{shorts_first} [{'|'.join(option.choices)}]"
    return f"{shorts_first} {_METAVARS.get(option.kind, 'INTEGER RANGE')}"


def _default(option: Option) -> str:
    if option.required:
        return "[required]"
    return "" if option.default is None else f"[default: {option.default}]"
