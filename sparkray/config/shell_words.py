"""Words of a command that a user pasted, as a POSIX shell would split it. Pure.

Nothing is expanded: what a shell would have filled in is refused by name, since a line with `$HOME` left in it means
another thing than the line that the user had in mind.
"""

import re
from collections.abc import Iterator

from sparkray.errors import InputError

_EXPANSION = re.compile(r"\$\([^)]*\)?|`[^`]*`?|\$\{[^}]*\}?|\$[A-Za-z_]\w*|\$['\"]|\$[\d@*#?$!-]")
_TOKEN = re.compile(
    r"""(?P<join>\\[ \t]*\r?\n)|(?P<space>[ \t\r]+)|(?P<line>\n)|(?P<comment>(?<!\S)\#[^\n]*)|(?P<tilde>(?<!\S)~\S*)"""
    r"""|\\(?P<escaped>.)|'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<quote>['"])|(?P<operator>[|&;<>()]+)"""
    r"""|(?P<expansion>\$\([^)]*\)?|`[^`]*`?)|(?P<plain>(?:\$(?!\()|[^ \t\r\n'"\\|&;<>()$`])+)""",
    re.DOTALL,
)
_IN_DOUBLE = re.compile(r'\\(["\\$`\n])')
_TYPESET = {"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "-", "—": "--", "\u00a0": "a plain space"}
_PROMPT = re.compile(r"\s*\$\s+(?=\S)")


def split_words(text: str) -> list[str]:
    """The words of one command. Continued lines are joined, comments left out, quotes taken off.

    Raises:
        InputError: A quote that is not closed, an operator of the shell, a second command, an expansion that nobody
            made, or a character that a word processor put in place of one of the shell's.
    """
    prompt = _PROMPT.match(text)
    words: list[str] = []
    word: str | None = None
    ended = False
    for kind, value in _tokens(text[prompt.end() :].rstrip() if prompt else text.strip()):
        if kind in ("space", "line"):
            words += [] if word is None else [word]
            word, ended = None, ended or (kind == "line" and bool(words))
        elif ended:
            raise InputError(
                f"more than one command: {value!r} stands on a line of its own",
                "End every line but the last with a backslash",
            )
        else:
            word = (word or "") + value
    return words if word is None else [*words, word]


def _tokens(body: str) -> Iterator[tuple[str, str]]:
    """Kind and value of each part of the text, without comments and continuations, quotes and escapes resolved."""
    place = 0
    while place < len(body):
        match = _TOKEN.match(body, place)
        if match is None:
            raise InputError("the command ends with a lone backslash", "Paste the lines that follow it as well")
        place = match.end()
        kind = str(match.lastgroup)
        value = match[kind]
        if kind in ("join", "comment"):
            continue
        if kind == "double":
            refuse_expansion(re.sub(r"\\.", "", value, flags=re.DOTALL))
            value = _IN_DOUBLE.sub(lambda found: "" if found[1] == "\n" else found[1], value)
        _refuse(kind, value, body[match.start() :])
        yield kind, value


def _refuse(kind: str, value: str, rest: str) -> None:
    """Refuse what a plain command has not."""
    if kind == "quote":
        raise InputError(f"a quote {value} is not closed: {rest[:40]!r}", "Close it")
    if kind == "operator":
        raise InputError(f"{value!r} is an operator of the shell", "Give the one `docker run` command alone")
    if kind == "tilde":
        raise InputError(f"~ in {value!r} was not filled in by a shell", "Write the folder out: /home/...")
    if kind in ("plain", "expansion"):
        refuse_expansion(value)
        wrong = next((letter for letter in value if letter in _TYPESET), None)
        if wrong is not None:
            raise InputError(
                f"{wrong!r} in {value!r} belongs to typeset text, not to a command", f"Write {_TYPESET[wrong]} there"
            )


def refuse_expansion(text: str) -> None:
    """Refuse what a shell would have filled in.

    Raises:
        InputError: It names it.
    """
    found = _EXPANSION.search(text)
    if found is not None:
        raise InputError(
            f"{found[0]} in {text!r} was not filled in by a shell",
            "Write its value out, or give the line as words that your shell expands: sparkray compare -- docker run ...",
        )
