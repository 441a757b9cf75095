"""A table with one row a run: CSV and its dialects, Markdown, Parquet, or a list of objects."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sparkray.audit import names, statuses, values, wide
from sparkray.audit.cleaning import (
    arm_cells,
    failures,
    filled_down,
    of_whole,
    prefill_rows,
    shares,
    summary_lines,
    warm_ups,
)
from sparkray.audit.content import Content
from sparkray.audit.finding import NotJudged
from sparkray.audit.metric_rows import run_rows
from sparkray.audit.reading import Asked, Reading
from sparkray.audit.results import COLUMNS, REQUESTS, THROUGHPUT, Role
from sparkray.audit.roles import is_run_number, is_score
from sparkray.audit.rows import Row, Table, as_columns
from sparkray.errors import DatasetError, UnknownNameError
from sparkray.metrics import BY_NAME
from sparkray.records import WARMUP
from sparkray.units import did_you_mean, shorten, some

LABEL = "table"
TRIED = "tables of this project and made-up ones in every dialect"
_MORE = (
    "gpu",
    "prefill_throughput_tok_s",
    "total_throughput_tok_s",
    "num_speculative_tokens",
    "draft_acceptance_rate",
    "mean_acceptance_length",
)
_HIDDEN = ("row", "model_name", "stated_model", "stated_level")
MAPPABLE = (*(name for name in COLUMNS if name not in _HIDDEN), *BY_NAME, *_MORE)
_DEEPEST = 3
# Names of columns in a message, and characters of one.
_MOST_NAMES, _LONGEST = 30, 60
_PREFILL = "prefill_throughput_tok_s"
# Requests as `41/50`, by a name that says so or by one word: tokens and tasks of a test are counted so too.
_COUNTED = re.compile(
    r"request|^(ok|success(ful)?|succeeded|completed|answered|done|erfolg(reich)?|reussi(e?s)?|succes|exitos?)$"
)
_TOKENS = re.compile(r"^(completion|output|generated|gen)_tokens$")
_NO_REQUESTS = re.compile(r"token|test|task|problem|question|accura|pass|score")
Columns = Mapping[str, Sequence[Any]]


def read(content: Content, asked: Asked) -> Reading | None:
    """The rows of the table; None where there is no list of objects.

    What is mapped comes first: a mapped column stands in the place of one that has sparkray's name by itself, and is kept
    whatever it is called. Other columns are taken by names that people use for sparkray's (`aliases.yaml`).

    Raises:
        DatasetError: No column is known: neither a model nor a metric.
        UnknownNameError: The map, or what is to be ignored, names a column that there is not, here or there.
    """
    rows = content.tree if content.table else list(_objects(content.tree))
    if not rows:
        return None
    every = content.columns if content.table else list(dict.fromkeys(name for row in rows for name in row))
    derived: list[str] = []
    if not asked.columns and not asked.ignored and (runs := run_rows(rows, every)) is not None:
        rows = runs
        every = list(dict.fromkeys(name for row in rows for name in row))
    if not _names_arms(rows, every, asked) and (long := wide.by_arm(rows, every, asked.columns)) is not None:
        rows, derived = long
        every = list(dict.fromkeys(name for row in rows for name in row))
    ignored = _checked(asked, every, content.path.name)
    columns, there = _with_counts(as_columns(rows), [name for name in every if name not in ignored])
    columns, scores = _with_scores(columns, there)
    chosen = _chosen(columns, there, asked)
    if not {"model", *BY_NAME} & set(chosen.values()):
        _refuse(content, there)
    taken = {theirs: ours for theirs, ours in chosen.items() if theirs != ours and ours not in asked.columns}
    remarks = [NotJudged("taken_as", {"items": [{"theirs": a, "ours": b} for a, b in taken.items()]})] if taken else []
    remarks += [NotJudged("derived", {"columns": derived})] if derived else []
    columns, cleaned = _cleaned(columns, chosen, there)
    remarks += cleaned
    columns, words = _without_failures(columns, chosen)
    columns, chosen = _by_phase(columns, chosen, there)
    words = _with_warm_ups(columns, chosen, there, words)
    ends, stating = _statuses(columns, [name for name in there if name not in chosen], asked)
    others = [name for name in there if name not in (*chosen, *chosen.values(), *stating)]
    ours_by_theirs = {**chosen, **{name: name for name in others}}
    typed = _typed(columns, ours_by_theirs)
    if ends is not None or words is not None:
        typed["status"] = [_worst([*filter(None, pair)]) for pair in _pairs(ends, words, len(typed["model"]))]
    numbering = [name for name in others if is_run_number(name)]
    roles: dict[str, Role] = {**dict.fromkeys(numbering, "identity"), **{n: "metric" for n in scores if n in others}}
    return Reading(LABEL, Table(typed), roles, {}, tuple(remarks))


def _names_arms(rows: Sequence[Row], columns: Sequence[str], asked: Asked) -> bool:
    """Whether a column has the arms, so that none is one."""
    if "environment" in asked.columns or "environment" in columns:
        return True
    cells = as_columns(rows)
    return any(names.known_as(name, cells[name]) == "environment" or arm_cells(name, cells[name]) for name in columns)


def _with_counts(columns: Columns, there: Sequence[str]) -> tuple[Columns, Sequence[str]]:
    """Columns with the counts of one that has requests as `41/50`, in place of it, and tokens without their limit."""
    counts = {name: of_whole(columns[name]) for name in there if _TOKENS.search(names.plain(name))}
    columns = {**columns, **{name: both[0] for name, both in counts.items() if both is not None}}
    if {*REQUESTS} & set(there):
        return columns, there
    for name in there:
        words = names.plain(name)
        is_counted = _COUNTED.search(words) and not _NO_REQUESTS.search(words)
        if is_counted and (both := of_whole(columns[name])) is not None:
            done, asked = both
            rest = [other for other in there if other != name]
            return {**columns, "requests_completed": done, "requests_asked": asked}, [*rest, *REQUESTS[1::-1]]
    return columns, there


def _with_scores(columns: Columns, there: Sequence[str]) -> tuple[Columns, list[str]]:
    """Columns with scores such as `31/164` as shares, which are outcomes and no settings, and the names of these."""
    scores = {name: found for name in there if is_score(name, of_whole=True) and (found := shares(columns[name]))}
    return {**columns, **scores}, [*scores]


def _cleaned(columns: Columns, chosen: Mapping[str, str], there: Sequence[str]) -> tuple[Columns, list[NotJudged]]:
    """Columns without lines of sums, and with merged cells filled in; remarks on both."""
    remarks: list[NotJudged] = []
    labels = {ours: theirs for theirs, ours in chosen.items() if ours in ("model", "environment")}
    numbering = [columns[name] for name in there if is_run_number(name) or chosen.get(name) == "iteration"]
    models, arms = (columns[labels[ours]] if ours in labels else () for ours in ("model", "environment"))
    if lines := summary_lines(models, arms, numbering):
        left = set(lines)
        columns = {name: [cell for at, cell in enumerate(cells) if at not in left] for name, cells in columns.items()}
        remarks.append(NotJudged("summary_lines", {"count": len(lines)}))
    for name in labels.values():
        if (cells := filled_down(columns[name])) is not None:
            columns = {**columns, name: cells}
            remarks.append(NotJudged("merged_cells", {"column": name}))
    return columns, remarks


def _without_failures(columns: Columns, chosen: Mapping[str, str]) -> tuple[Columns, Sequence[str | None] | None]:
    """Columns without words of failure in place of measured values, and these words by row; None where there are none."""
    words = {
        theirs: found
        for theirs, ours in chosen.items()
        if wide.is_metric(ours) and (found := failures(columns[theirs])) is not None
    }
    if not words:
        return columns, None
    kept = {
        name: [None if word else cell for cell, word in zip(columns[name], found, strict=True)]
        for name, found in words.items()
    }
    return {**columns, **kept}, [next(filter(None, row), None) for row in zip(*words.values(), strict=True)]


def _by_phase(columns: Columns, chosen: dict[str, str], there: Sequence[str]) -> tuple[Columns, dict[str, str]]:
    """Speeds of prefill in a column of their own, where a word names what each row measures (`phase`: prefill, decode)."""
    speed = next((theirs for theirs, ours in chosen.items() if ours == THROUGHPUT), None)
    marks = (prefill_rows(columns[name]) for name in there if name not in chosen)
    prefill = next((found for found in marks if found is not None), None)
    if speed is None or prefill is None or _PREFILL in {*chosen.values(), *there}:
        return columns, chosen
    pairs = list(zip(columns[speed], prefill, strict=True))
    split = {
        speed: [None if is_prefill else cell for cell, is_prefill in pairs],
        _PREFILL: [cell if is_prefill else None for cell, is_prefill in pairs],
    }
    return {**columns, **split}, {**chosen, _PREFILL: _PREFILL}


def _with_warm_ups(
    columns: Columns, chosen: Mapping[str, str], there: Sequence[str], words: Sequence[str | None] | None
) -> Sequence[str | None] | None:
    """How rows ended, with those that warm up as such."""
    arms = next((columns[theirs] for theirs, ours in chosen.items() if ours == "environment"), None)
    for name in there:
        if not (is_run_number(name) or "warm" in name.casefold()):
            continue
        cells = columns[name]
        if (found := warm_ups(name, cells, arms or [None] * len(cells))) is not None:
            ended = words or [None] * len(found)
            return [WARMUP if warm else word for warm, word in zip(found, ended, strict=True)]
    return words


def _pairs(
    ends: Sequence[str | None] | None, words: Sequence[str | None] | None, rows: int
) -> Iterator[tuple[str | None, str | None]]:
    """How each row ended, by the columns that show it and by a word in place of a value."""
    return zip(ends or [statuses.OK] * rows, words or [None] * rows, strict=True)


def _objects(tree: Any, depth: int = 0) -> Iterator[Row]:  # noqa: ANN401
    """Flat rows: those of a list, or of the only list of objects in an object, with the scalars around it."""
    if isinstance(tree, list):
        yield from (dict(_flat(item)) for item in tree if isinstance(item, Mapping))
    elif isinstance(tree, Mapping) and depth < _DEEPEST:
        lists = {key: inner for key, inner in tree.items() if isinstance(inner, list) and _is_rows(inner)}
        around = {str(key): value for key, value in tree.items() if isinstance(value, str | int | float)}
        for key, inner in lists.items():
            more = {"group": str(key)}
            yield from ({**around, **more, **row} for row in _objects(inner, depth + 1))


def _is_rows(inner: Sequence[Any]) -> bool:
    return bool(inner) and all(isinstance(item, Mapping) for item in inner)


def _flat(item: Mapping[Any, Any], before: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for key, value in item.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and depth < _DEEPEST:
            yield from _flat(value, f"{name}.", depth + 1)
        elif not isinstance(value, Mapping | list):
            yield name, value


def _checked(asked: Asked, every: Sequence[str], where: str) -> Sequence[str]:
    """The columns to leave out, after a check of every name."""
    for name in asked.ignored:
        if name not in every:
            raise UnknownNameError(f"column in {where}", name, list(every))
    there = [name for name in every if name not in asked.ignored]
    for ours, theirs in asked.columns.items():
        if ours not in MAPPABLE:
            raise UnknownNameError("column of sparkray", ours, list(MAPPABLE))
        if theirs not in there:
            raise UnknownNameError(f"column in {where}", theirs, list(there))
    if len(set(asked.columns.values())) < len(asked.columns):
        raise DatasetError("one column is mapped to two names", "Map every column once: --map ours=theirs,...")
    return list(asked.ignored)


def _chosen(columns: Columns, there: Sequence[str], asked: Asked) -> dict[str, str]:
    """Sparkray's name of each column that has one: mapped, else its own name, else one that people use."""
    chosen = {theirs: ours for ours, theirs in asked.columns.items()}
    for name in there:
        if name in MAPPABLE and name not in chosen and name not in chosen.values():
            chosen[name] = name
    for name in there:
        if name not in chosen and name not in chosen.values():
            ours = names.known_as(name, columns[name])
            if ours is not None and ours not in chosen.values():
                chosen[name] = ours
    if "environment" not in chosen.values():
        arms = [name for name in there if name not in chosen and arm_cells(name, columns[name])]
        chosen |= {name: "environment" for name in arms if len(arms) == 1}
    return chosen


def _refuse(content: Content, there: Sequence[str]) -> None:
    near = did_you_mean("model", list(there))
    raise DatasetError(
        f"{content.path} has no column 'model', and no column with the name of a metric",
        f"Say which they are: --map model={near or 'COLUMN'},output_throughput_tok_s=COLUMN. "
        f"There are: {some([shorten(name, _LONGEST) for name in there], _MOST_NAMES)}",
    )


def _typed(columns: Columns, ours_by_theirs: Mapping[str, str]) -> dict[str, Sequence[Any]]:
    """Columns under sparkray's names; nothing else is taken."""
    ours = {name: names.with_unit(theirs, name, columns[theirs]) for theirs, name in ours_by_theirs.items()}
    theirs = next((theirs for theirs, name in ours_by_theirs.items() if name == "environment"), "")
    if theirs and (arms := arm_cells(theirs, columns[theirs])) is not None:  # `yes` below `Docker`
        ours["environment"] = arms
    models = ours.get("model", [None] * len(next(iter(columns.values()))))
    return ours | {"model": models, "model_name": models}


def _statuses(columns: Columns, there: Sequence[str], asked: Asked) -> tuple[list[str | None] | None, Sequence[str]]:
    """How each row ended, by every column that shows it, and those columns; None where none does.

    An empty word in a column where others have one is unknown.
    """
    mapped = asked.columns.get("status")
    kinds = {name: statuses.kind_of(name) for name in there}
    if mapped is not None:
        kind = statuses.kind_of(mapped) or "words"
        kinds[mapped] = "words" if kind == "outcomes" else kind
    read = {
        name: ends for name, kind in kinds.items() if kind and (ends := _ends(columns[name], kind, name)) is not None
    }
    if not read:
        return None, ()
    return [_worst(ends) for ends in zip(*read.values(), strict=True)], list(read)


def _ends(cells: Sequence[Any], kind: str, name: str) -> list[str] | None:
    """Statuses of a column; None where it holds nothing, counts, mostly numbers, or words of which none is a status."""
    given = [cell for cell in cells if not values.missing(cell)]
    if not given or (kind in ("flags", "inverse") and not _are_flags(given)):
        return None
    if kind == "outcomes":
        numbers = sum(values.number(cell) is not None for cell in given)
        known = (statuses.is_known(statuses.status_of(cell, kind) or "") for cell in dict.fromkeys(map(str, given)))
        if numbers > len(given) / 2 or not any(known):
            return None
    if kind == "errors" and any(
        isinstance(cell, float) and not cell.is_integer() for cell in map(values.number, given)
    ):
        return None
    empty = statuses.UNKNOWN if kind in ("words", "outcomes") else statuses.OK
    ends = [statuses.status_of(cell, kind) or empty for cell in cells]
    failed = name.casefold() if kind == "inverse" and statuses.is_known(name) else statuses.FAILED
    return [failed if end == statuses.FAILED else end for end in ends]


def _are_flags(given: Sequence[Any]) -> bool:
    """Whether cells are yes and no, other words among them; of numbers all must be 0 or 1."""
    if any(values.number(cell) is not None for cell in given):
        return all(values.flag(cell) is not None for cell in given)
    return any(values.flag(cell) is not None for cell in given)


def _worst(ends: Sequence[str]) -> str:
    """A failure before what is unknown, and that before a good end."""
    bad = [end for end in ends if end not in (statuses.OK, statuses.UNKNOWN)]
    return bad[0] if bad else statuses.UNKNOWN if statuses.UNKNOWN in ends else statuses.OK
