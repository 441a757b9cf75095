"""What a reader gives, and readers that are a table of keys: `readers/NAME.yaml`.

A key is a path into a JSON object, `a.b.c`; a list of paths is tried in turn. `{path: p, times: 1000}` converts, and
other paths in `times` multiply (`name|1`: 1 where it is missing). `{path: p, zero: [a], above_zero: [b]}` is the value
at `p` where a is 0 and b is above. `{path: p, unless: [c]}` is none where c has the same value (a default).
`{present: p}` is whether there is anything at `p`; `{constant: 1}` is that.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from sparkray.audit.content import Content
from sparkray.audit.finding import Finding, NotJudged
from sparkray.audit.results import Role
from sparkray.audit.rows import Row, Table
from sparkray.audit.values import number
from sparkray.errors import UnknownNameError

_DEEPEST = 6
_SHOWN = 30
_SAMPLE = 50
# Keys of an object around a result that name its arm.
_ARM_KEYS = ("environment", "arm", "env", "condition", "variant", "runtime", "deployment")
_SCALARS = (str, int, float, bool)


@dataclass(frozen=True)
class Asked:
    """What the user says of a file: its columns by sparkray's names, and columns to leave out."""

    columns: Mapping[str, str] = field(default_factory=dict)
    ignored: Collection[str] = ()


@dataclass(frozen=True)
class Reading:
    """Rows of one file under the names of `results`, roles of their columns, and further fields of `Results`.

    Of the files of one `family` in a folder that show the same runs, the one of the smallest `rank` counts.
    """

    label: str
    rows: Sequence[Row]
    roles: Mapping[str, Role] = field(default_factory=dict)
    known: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[Finding | NotJudged, ...] = ()
    family: str = ""
    rank: int = 0


@dataclass(frozen=True)
class KeyReader:
    """A format by its keys.

    Attributes:
        label: Its name for people.
        requires: Keys that an object of this format has; each may be a list of alternatives.
        forbids: Keys that it does not have.
        each: Where its runs are listed, if it holds several; paths in `columns` begin in a run, `/a.b` at the top.
        columns: Keys by sparkray's name.
        parameters: Keys that make cells, by their own last name.
        identities: Keys of what ran, by name.
        ignore: Patterns of top-level keys that are left out; every other scalar is kept under its own name.
        inside: A key whose object holds keys of the format as if they stood beside it.
        family: Formats of one tool that show the same runs; `rank` orders them.
        tried: What it was tried on, for the documentation.
    """

    label: str
    requires: Sequence[Any]
    columns: Mapping[str, Any]
    tried: str
    forbids: Sequence[str] = ()
    each: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    identities: Mapping[str, Any] = field(default_factory=dict)
    ignore: Sequence[str] = ()
    inside: str = ""
    family: str = ""
    rank: int = 0

    def read(self, content: Content, asked: Asked) -> Reading | None:
        """The rows of every object of this format, at whatever depth; None without one.

        Raises:
            UnknownNameError: A column is asked for that no object has.
        """
        found = list(self._objects(content.tree, {}, 0)) if self._may_be(content) else []
        if not found:
            return None
        rows = [row for item, outer in found for row in self._rows(item, outer, asked)]
        for ours, theirs in asked.columns.items():
            if rows and all(row.get(ours) is None for row in rows):
                keys = list(dict.fromkeys(key for item, outer in found for key in (*item, *outer)))
                raise UnknownNameError(f"column in {content.path.name}", theirs, keys[:_SHOWN])
        roles: dict[str, Role] = dict.fromkeys(self.parameters, "parameter")
        roles |= dict.fromkeys((*self.identities, "gpu"), "identity")
        listed = len(content.tree) if isinstance(content.tree, list | Table) else 0
        remarks: tuple[NotJudged, ...] = ()
        if listed > len(found):
            values = {"count": listed - len(found), "total": listed, "format": self.label}
            remarks = (NotJudged("foreign_records", values),)
        return Reading(self.label, rows, roles, {}, remarks, self.family, self.rank)

    def _may_be(self, content: Content) -> bool:
        """Whether a long list has an object of this format near its beginning: not every reader reads all of it."""
        if not isinstance(content.tree, list | Table) or len(content.tree) <= _SAMPLE:
            return True
        return next(self._objects(content.tree[:_SAMPLE], {}, 0), None) is not None

    def _matches(self, item: Mapping[str, Any]) -> bool:
        return all(_first(item, keys) is not None for keys in self.requires) and not any(
            _at(item, key) is not None for key in self.forbids
        )

    def _objects(self, tree: Any, outer: Row, depth: int) -> Iterator[tuple[Mapping[str, Any], Row]]:  # noqa: ANN401
        """Objects of this format, and the scalars that stand around each."""
        if isinstance(tree, Mapping):
            if self.inside and isinstance(inner := tree.get(self.inside), Mapping):
                tree = {**tree, **inner}
            if self._matches(tree):
                yield tree, outer
            elif depth < _DEEPEST and (
                nested := [key for key, inner in tree.items() if isinstance(inner, dict | list)]
            ):
                around = {**outer, **_scalars(tree)}
                for key in nested:
                    yield from self._objects(tree[key], {**around, "group": str(key)}, depth + 1)
        elif isinstance(tree, list | Table) and depth < _DEEPEST:
            for inner in tree:
                if isinstance(inner, Mapping | list):
                    yield from self._objects(inner, outer, depth + 1)

    def _rows(self, item: Mapping[str, Any], outer: Row, asked: Asked) -> Iterator[Row]:
        listed = _at(item, self.each) if self.each else [item]
        for run in listed if isinstance(listed, list) else []:
            if isinstance(run, Mapping):
                yield self._row(run, item, (outer, asked))

    def _row(self, run: Mapping[str, Any], top: Mapping[str, Any], around: tuple[Row, Asked]) -> Row:
        """A run under sparkray's names, with every other scalar under its own.

        What the user names comes first, except for what a format reports as one of several kinds by other columns: there
        the kind that it is of is known.
        """
        outer, asked = around
        flat = {**outer, **_scalars(top), **_scalars(run)}
        kept = {key: value for key, value in flat.items() if key not in asked.ignored and not self._drops(key)}
        named = {name: _value(run, top, rule) for name, rule in self._named.items() if name not in asked.ignored}
        if named.get("environment") is None:
            named["environment"] = next((flat[key] for key in _ARM_KEYS if flat.get(key)), None)
        mine = {ours: key for ours, key in asked.columns.items() if not (ours in named and key in self._conditional)}
        given = {ours: _first({**outer, **run}, key, top) for ours, key in mine.items()}
        return {**kept, **named, **given}

    @cached_property
    def _named(self) -> Mapping[str, Any]:
        return {**self.parameters, **self.identities, **self.columns}

    @cached_property
    def _conditional(self) -> frozenset[str]:
        """Keys whose value is of one kind or another, as other keys show."""
        return frozenset(
            rule["path"] for rule in self.columns.values() if isinstance(rule, Mapping) and "above_zero" in rule
        )

    @cached_property
    def _dropped(self) -> dict[str, bool]:
        used = [path.lstrip("/") for rule in self._named.values() for path in _paths(rule)]
        return dict.fromkeys(used, True)

    def _drops(self, key: str) -> bool:
        """Whether a top-level key is in a column already, or is to be left out."""
        if key not in self._dropped:
            self._dropped[key] = any(fnmatchcase(key, pattern) for pattern in self.ignore)
        return self._dropped[key]


def _paths(rule: Any) -> list[str]:  # noqa: ANN401 - as the file has it
    if isinstance(rule, Mapping):
        return [*_paths(rule.get("path", [])), *_paths(rule.get("present", []))]
    return [rule] if isinstance(rule, str) else list(rule)


def _value(run: Mapping[str, Any], top: Mapping[str, Any], rule: Any) -> Any:  # noqa: ANN401
    if isinstance(rule, Mapping):
        return _ruled(run, top, rule)
    value = _first(run, _paths(rule), top)
    if isinstance(value, list):
        return ", ".join(dict.fromkeys(str(one) for one in value if isinstance(one, _SCALARS))) or None
    return None if isinstance(value, Mapping) else value


def _ruled(run: Mapping[str, Any], top: Mapping[str, Any], rule: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if "constant" in rule:
        return rule["constant"]
    if "present" in rule:
        return _first(run, rule["present"], top) is not None
    zero = all((number(_at(run, key)) or 0) == 0 for key in rule.get("zero", ()))
    above = all((number(_at(run, key)) or 0) > 0 for key in rule.get("above_zero", ()))
    value = _first(run, rule["path"], top)
    if value is None or not (zero and above) or value in [_at(run, key) for key in rule.get("unless", ())]:
        return None
    return _product(value, rule["times"], run, top) if "times" in rule else value


def _product(value: Any, times: Any, run: Mapping[str, Any], top: Mapping[str, Any]) -> float | None:  # noqa: ANN401
    product = number(value)
    for factor in times if isinstance(times, list) else [times]:
        if isinstance(factor, str):
            path, _, default = factor.partition("|")
            by = number(_first(run, path, top)) if _first(run, path, top) is not None else number(default)
        else:
            by = float(factor)
        product = None if product is None or by is None else product * by
    return product


def _first(item: Mapping[str, Any], keys: Any, top: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
    """The value at the first of several paths that has one; a path with `/` begins at the top."""
    for key in [keys] if isinstance(keys, str) else keys:
        value = _at(top or item, key[1:]) if key.startswith("/") else _at(item, key)
        if value is not None and value != "":
            return value
    return None


def _at(item: Any, path: str) -> Any:  # noqa: ANN401
    """The value at `a.b.c`; None where there is none."""
    if isinstance(item, dict | Mapping) and path in item:
        return item[path]
    if "." not in path and isinstance(item, dict):
        return None
    for key in path.split("."):
        if isinstance(item, list) and key.isdigit() and int(key) < len(item):
            item = item[int(key)]
        elif isinstance(item, Mapping):
            item = item.get(key)
        else:
            return None
    return item


def _scalars(item: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in item.items() if isinstance(value, _SCALARS)}
