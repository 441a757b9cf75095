"""Sentences whose numbers know where they come from. Pure.

A `Text` is a sequence of words and `Number`s. The page makes links of the numbers, the manuscript macros, the terminal and
the alternative texts of figures take the words alone: one sentence, written once, for all of them.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from string import Formatter

from sparkray.analysis.forms import MISSING, shown


@dataclass(frozen=True)
class Number:
    """One number as it is shown, with its evidence.

    Attributes:
        text: As it is shown.
        trace: Id of the evidence: a row of a table, or a tally of rows.
        column: Which value of that row; empty where the number stands inside a sentence of the row's.
        form: How it was formatted (`forms`); empty inside a sentence.
    """

    text: str
    trace: str
    column: str = ""
    form: str = ""


Part = str | Number
Text = tuple[Part, ...]
Say = Part | Text
"""What may be put into a sentence."""


def say(template: str, **values: Say | int) -> Text:
    """A sentence with its values in place: `say("{n} pairs", n=number)`. A plain int is refused: it has no evidence.

    Raises:
        TypeError: A value is a bare number.
        KeyError: The template names a value that is not given.
    """
    return joined(_parts(template, values))


def _parts(template: str, values: dict[str, Say | int]) -> Iterator[Part]:
    for words, name, _, _ in Formatter().parse(template):
        if words:
            yield words
        if name is None:
            continue
        value = values[name]
        if isinstance(value, int | float):
            raise TypeError(f"{name} = {value}: a number in a report needs evidence")
        if isinstance(value, tuple):
            yield from value
        else:
            yield value


def joined(parts: Iterable[Part]) -> Text:
    """Parts as one text, neighbouring words put together."""
    found: list[Part] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        elif part != "":
            found.append(part)
    return tuple(found)


def sentences(*texts: Text) -> Text:
    """Texts one after another with a space between; empty ones are left out."""
    found: list[Part] = []
    for text in filter(None, texts):
        found += [" ", *text] if found else text
    return joined(found)


def enumerated(texts: Iterable[Say], last: str = "and") -> Text:
    """`a, b and c`."""
    items = [text if isinstance(text, tuple) else (text,) for text in texts]
    found: list[Part] = []
    for index, item in enumerate(items):
        if index:
            found.append(f" {last} " if index == len(items) - 1 else ", ")
        found += item
    return joined(found)


def plain(text: Say) -> str:
    """The words alone."""
    if isinstance(text, str):
        return text
    if isinstance(text, Number):
        return text.text
    return "".join(part if isinstance(part, str) else part.text for part in text)


def numbers_of(text: Say) -> list[Number]:
    """The numbers in a text."""
    if isinstance(text, str):
        return []
    return [text] if isinstance(text, Number) else [part for part in text if isinstance(part, Number)]


def number_of(value: object, form: str, *, trace: str, column: str) -> Part:
    """A row's value as a number with evidence; a dash where there is none."""
    text = shown(value, form)
    return MISSING if text == MISSING else Number(text, trace, column, form)


def serialised(text: Text) -> str:
    """A text as JSON: words as strings, numbers as objects with text, trace, column and form."""
    return json.dumps([part if isinstance(part, str) else asdict(part) for part in text], ensure_ascii=False)


def parsed(document: str) -> Text:
    """The text that `serialised` wrote."""
    return tuple(part if isinstance(part, str) else Number(**part) for part in json.loads(document))
