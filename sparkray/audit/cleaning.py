"""What people write among the rows of a table: lines of sums, merged cells, words of failure, `41/50`. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from sparkray.audit import statuses, values
from sparkray.audit.quantities import plain_numbers
from sparkray.audit.wide import named_arm

Columns = Mapping[str, Sequence[Any]]
# What a line of sums or means has in place of a model or a run's number.
_SUMMARY = re.compile(
    r"((grand |sub-?)?totals?|sum|avg\.?|averages?|(arithmetic )?mean|median|geo(metric)?[ -]?mean|std(ev|[. ]*dev)?"
    r"|overall|summary"
    r"|gesamt|summe|mittel(wert)?|durchschnitt|moyenne|médiane|promedio|media|mediana|合計|平均|平均値|平均值|总计|итого|среднее|[øØ⌀])"
    r"( overhead)?(\s*\(.*\))?(\s*(±|\+/-).*)?|s\.?d\.?",
    re.IGNORECASE,
)
# The same, where it is not an arm's name, nor that of a model with several rows in an arm.
_EXTREME = re.compile(r"min|max|p\d\d|cv", re.IGNORECASE)
_PREFILL = re.compile(r"prefill(ing)?|prompt([ _-]?(processing|eval))?|pp[ _-]?\d*|input", re.IGNORECASE)
_DECODE = re.compile(
    r"decod(e|ing)|gen(eration)?|(text|token)[ _-]?gen(eration)?|tg[ _-]?\d*|eval|output|completion", re.IGNORECASE
)
_WARM_UP = re.compile(r"warm[ _-]?up[ _-]?(runs?|\d+)?|dry[ _-]?run")
# A column that marks rows; one of `warmup_runs` counts what came before each.
_MARKS_WARM_UPS = re.compile(r"(is_)?(warm[ _-]?up|dry[ _-]?run)")
# Columns that name the better of two arms.
_COMPARES = re.compile(r"winner|wins|fast|slow|best|better|reference|baseline|versus|(^|[^a-z])vs([^a-z]|$)")
_DITTO = frozenset(("〃", "″", "''", '"', "ditto", "idem", "do."))
# The same number in per cent, beside `41/50`.
_SHARE = re.compile(r"^\s*[\d.,]+\s*%\s*\(?(?=\d)|\s*\(?[\d.,]+\s*%\s*\)?\s*$|(?<=\d)\)\s*$")
_OF = re.compile(r"\s*(\d+)\s*(?:/|of|von|sur|de)\s*(\d+)\s*")


def summary_lines(models: Sequence[Any], arms: Sequence[Any], numbers: Sequence[Sequence[Any]]) -> list[int]:
    """Places of lines that sum up the others, by a word in one of the columns, with those that a merged word stands for.

    None where half of all would be such, unless they all are below two models or more.

    Args:
        models: Names of the models; empty where no column has them, as for the others.
        arms: Names of the arms.
        numbers: Columns that number the runs.
    """
    in_models = _sums(models) | _sums(models, _EXTREME)
    in_models -= _names_of_models(in_models, models, arms, numbers) if in_models else set()
    found = [(models, in_models), (arms, _sums(arms))]
    found += [(column, _sums(column) | _sums(column, _EXTREME)) for column in numbers]
    places = {at for cells, words in found if words for at, cell in enumerate(cells) if cell in words}
    total = max(len(cells) for cells, _ in found)
    first = total - len(places)
    below = min(places, default=0) == first and len({*models[:first]} - {None, ""}) > 1
    if not places or (2 * len(places) >= total and not below):
        return []
    places |= _of_merged_sums(places, in_models, models, arms, numbers)
    return sorted(places) if len(places) < total else []


def _of_merged_sums(
    places: Collection[int],
    words: Collection[str],
    models: Sequence[Any],
    arms: Sequence[Any],
    numbers: Sequence[Sequence[Any]],
) -> set[int]:
    """Rows of other arms below a merged word of sums; a row with a number of a run is none where the word has none."""
    if not words or not arms or filled_down([cell for at, cell in enumerate(models) if at not in places]) is None:
        return set()
    more, above = set(), None
    for at, cell in enumerate(models):
        if cell not in (None, "", *_DITTO):
            above = at if cell in words and not values.missing(arms[at]) else None
        elif (
            above is not None
            and not values.missing(arms[at])
            and not any(values.missing(column[above]) and not values.missing(column[at]) for column in numbers)
        ):
            more.add(at)
    return more


def _sums(cells: Sequence[Any], words: re.Pattern[str] = _SUMMARY) -> set[str]:
    """The cells of a column that have a word of sums."""
    return {cell for cell in _words(cells) if words.fullmatch(cell.strip().strip("*_:. "))}


def _names_of_models(
    words: Collection[str], models: Sequence[Any], arms: Sequence[Any], numbers: Sequence[Sequence[Any]]
) -> set[str]:
    """Words that are names of models: with several numbers of runs in an arm, or extremes in several rows of one.

    A word in a row that lacks the number of a run is not one.
    """
    bare = {cell for at, cell in enumerate(models) if cell in words and any(values.missing(c[at]) for c in numbers)}
    of_arms = (filled_down(arms) or arms) if arms else [""] * len(models)
    rows: dict[tuple[str, Any], list[int]] = {}
    for at, cell in enumerate(filled_down(models) or models):
        if cell in words and cell not in bare and not (arms and values.missing(of_arms[at])):
            rows.setdefault((cell, of_arms[at]), []).append(at)
    numbered = {key for key, places in rows.items() if any(len(_numbers(column, places)) > 1 for column in numbers)}
    extremes = _sums([*words], _EXTREME)
    return {key[0] for key, places in rows.items() if key in numbered or (key[0] in extremes and len(places) > 1)}


def _numbers(cells: Sequence[Any], places: Sequence[int]) -> set[float]:
    return {number for at in places if (number := values.number(cells[at])) is not None}


def filled_down(cells: Sequence[Any]) -> Sequence[Any] | None:
    """A column of merged cells, each value in all the rows that it stands for; None where cells are not merged.

    Merged cells leave at least half of a column empty, begin with a value, and no value follows itself. A ditto mark stands
    for the value above it in any column.
    """
    empty = (None, "") if not set(map(str, cells)) & _DITTO else (None, "", *_DITTO)
    given = [cell for cell in cells if cell not in empty]
    merged = 2 * len(given) <= len(cells) and all(a != b for a, b in pairwise(given))
    if not given or cells[0] in empty or not (merged or len(empty) > 2):  # noqa: PLR2004 - ditto marks
        return None
    filled, last = [], None
    for cell in cells:
        last = last if cell in empty else cell
        filled.append(last)
    return filled


def failures(cells: Sequence[Any]) -> list[str | None] | None:
    """Words of failure that stand in a column of measured values (`OOM`); None where there are none."""
    words = {cell: word for cell in _words(cells) if (word := statuses.failure_in(cell)) is not None}
    return [words.get(cell) if isinstance(cell, str) else None for cell in cells] if words else None


def prefill_rows(cells: Sequence[Any]) -> list[bool] | None:
    """Which rows measure prefill, by a column that has nothing but words for prefill and decoding, of both."""
    first = str(next(iter(cells), "")).strip()
    if not (_PREFILL.fullmatch(first) or _DECODE.fullmatch(first)):  # most columns are long and no such
        return None
    words = {cell: cell.strip() for cell in set(map(str, cells))}
    prefill = {cell for cell, word in words.items() if _PREFILL.fullmatch(word)}
    decode = {cell for cell, word in words.items() if _DECODE.fullmatch(word)}
    if not prefill or not decode or prefill | decode != set(words):
        return None
    return [str(cell) in prefill for cell in cells]


def warm_ups(header: str, cells: Sequence[Any], arms: Sequence[Any]) -> list[bool] | None:
    """Which rows warm up, by a column `warmup` of yes and no, or by the word in place of a number; None without any.

    Args:
        header: Of the column.
        cells: Of the column.
        arms: The arm of each row. A column of yes alone in one of them is a setting, and so are 0 and 1 that only differ
            between arms.
    """
    words = {cell for cell in _words(cells) if _WARM_UP.fullmatch(cell.strip().casefold())}
    if words:
        found = [cell in words for cell in cells]
    elif _MARKS_WARM_UPS.fullmatch(header.strip().casefold()):
        flags = {cell: values.flag(cell) for cell in set(cells) if not values.missing(cell)}
        found = [flags.get(cell) is True for cell in cells]
        marked = {arm for arm, warm in zip(arms, found, strict=True) if warm and not values.missing(arm)}
        measured = {arm for arm, warm in zip(arms, found, strict=True) if not warm}
        if None in flags.values() or not marked <= measured:
            return None
    else:
        return None
    return found if any(found) and not all(found) else None


def of_whole(cells: Sequence[Any]) -> tuple[list[int | None], list[int | None]] | None:
    """Parts and wholes of a column such as `41/50`; None where any cell is of another form."""
    given = [cell for cell in cells if not values.missing(cell)]
    matches = [_OF.fullmatch(cell) if isinstance(cell, str) else None for cell in given]
    if not given or any(match is None or int(match[1]) > int(match[2]) for match in matches):
        return None
    both = [None if values.missing(cell) else _OF.fullmatch(cell) for cell in cells]
    return [match and int(match[1]) for match in both], [match and int(match[2]) for match in both]


def shares(cells: Sequence[Any]) -> list[float | None] | None:
    """Scores such as `31/164` or `31 of 164 (18.9 %)` as shares of 1.

    None where any cell is of another form, and where they count on from 1, as numbers of runs do: `1/3`, `2/3`, `3/3`.
    """
    whole = of_whole([_SHARE.sub("", cell) if isinstance(cell, str) else cell for cell in cells])
    if whole is None or set(whole[0]) - {None} == {*range(1, len(set(whole[0]) - {None}) + 1)}:
        return None
    return [None if part is None or not of else part / of for part, of in zip(*whole, strict=True)]


def arm_cells(header: str, cells: Sequence[Any]) -> Sequence[Any] | None:
    """A column of arms by its cells, whatever its header: words for arms alone, or yes and no below one; else None."""
    if _COMPARES.search(header.casefold()):
        return None
    first = next((cell for cell in cells if not values.missing(cell)), None)
    if values.flag(first) is None and not named_arm(str(first).strip()):
        return None
    given = {cell if isinstance(cell, bool) else str(cell).strip() for cell in cells if not values.missing(cell)}
    if len(given) < 2:  # noqa: PLR2004 - a comparison
        return None
    if all(isinstance(cell, str) and named_arm(cell) for cell in given):
        return cells
    flags = {cell: values.flag(cell) for cell in given}
    arm = named_arm(header)
    if arm is None or set(flags.values()) != {True, False}:
        return None
    return [None if values.missing(cell) else arm if values.flag(cell) else f"no {arm}" for cell in cells]


def _words(cells: Sequence[Any]) -> set[str]:
    """Texts of a column that do not begin as a number, each once."""
    if plain_numbers(cells) is not None:  # most columns, at a tenth of the time
        return set()
    return {cell for cell in cells if isinstance(cell, str) and not cell[:1].isdigit()}
