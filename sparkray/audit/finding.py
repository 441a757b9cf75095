"""Results of an audit: findings by gravity, and what could not be judged. Values are here, words in `texts.yaml`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from sparkray.audit.wordlists import word_list

if TYPE_CHECKING:
    from jinja2 import Environment, Template

Gravity = Literal["fatal", "grave", "note"]
GRAVITIES: tuple[Gravity, ...] = ("fatal", "grave", "note")
Values = Mapping[str, Any]
_MOST_NAMES, _MOST_EVIDENCE, _MOST_ITEMS = 4, 6, 12


@dataclass(frozen=True)
class _Worded:
    """A code (`kind`, or `kind/case` where a kind has several texts) with the values that its texts show."""

    code: str
    values: Values = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The code without its case."""
        return self.code.partition("/")[0]

    def _text(self, part: str) -> str:
        """A text of the code; each of `items` is worded first where the code has a text for an `item`."""
        texts, values = _texts()[self.code], dict(self.values)
        if "item" in texts:
            worded = [_template(texts["item"]).render(item) for item in values["items"][:_MOST_ITEMS]]
            more = len(values["items"]) - len(worded)
            values["items"] = [*worded, *([f"and {more} more"] if more else [])]
        return _template(texts[part]).render(values)

    @property
    def subject(self) -> str:
        """What of several of this code it is about, such as a model or a metric; empty where the code needs none."""
        return self._text("subject") if "subject" in _texts()[self.code] else ""


@dataclass(frozen=True)
class Finding(_Worded):
    """One thing a reviewer would object to; `rows` are the labels of the rows that show it.

    `fatal`: the numbers cannot be what they are claimed to be. `grave`: they may be, but do not support a conclusion.
    `note`: worth knowing.
    """

    gravity: Gravity = "note"
    rows: tuple[str, ...] = ()
    parts: tuple["Finding", ...] = ()

    @property
    def message(self) -> str:
        """What is wrong, and what follows from it."""
        return self._text("message")

    @property
    def evidence(self) -> str:
        """The values that the finding rests on; of a finding with parts, those of each."""
        if not self.parts:
            return self._text("evidence")
        texts = [f"{part.subject}: {part.evidence}" if part.subject else part.evidence for part in self.parts]
        return shortened(texts, _MOST_EVIDENCE, "; ")

    def document(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "kind": self.kind,
            "gravity": self.gravity,
            "message": self.message,
            "evidence": self.evidence,
            "rows": list(self.rows),
        }


@dataclass(frozen=True)
class NotJudged(_Worded):
    """A question that the input leaves open."""

    @property
    def reason(self) -> str:
        """What is missing to answer it."""
        return self._text("reason")

    @property
    def about(self) -> str | None:
        """The model, cell or arms that it is about; None where it is about the whole input."""
        return next(
            (
                str(self.values[name])
                for name in ("model", "cell", "environments", "environment")
                if name in self.values
            ),
            None,
        )

    def document(self) -> dict[str, str]:
        """As plain values for JSON."""
        return {"kind": self.kind, "reason": self.reason}


@dataclass(frozen=True)
class Question:
    """A question with its answer: whether it was judged at all, and what it left open."""

    name: str
    judged: bool
    open: tuple[NotJudged, ...] = ()

    def document(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {"name": self.name, "judged": self.judged, "reasons": [one.reason for one in self.open]}


@dataclass(frozen=True)
class Report:
    """Findings, gravest first, what could not be judged, and the questions that were asked."""

    findings: tuple[Finding, ...]
    not_judged: tuple[NotJudged, ...]
    questions: tuple[Question, ...] = ()

    @property
    def judged(self) -> int:
        """How many questions were judged, at least for some model."""
        return sum(question.judged for question in self.questions)

    @property
    def unjudged(self) -> list[str]:
        """Questions that could not be judged, `names because reason`, for people."""
        names: dict[str, list[str]] = {}
        for question in self.questions:
            if question.open and not question.judged:
                names.setdefault(self._reason(question), []).append(question.name)
        return [f"{', '.join(listed)} because {reason}" for reason, listed in names.items()]

    def _reason(self, question: Question) -> str:
        """Why a question was not judged, over all models."""
        code = question.open[0].code
        return next((one.reason for one in self.not_judged if one.code == code), question.open[0].reason)

    @property
    def remarks(self) -> tuple[NotJudged, ...]:
        """What could not be judged beside the reasons of `unjudged`."""
        named = {question.open[0].code for question in self.questions if question.open and not question.judged}
        return tuple(one for one in self.not_judged if one.code not in named)

    def document(self) -> dict[str, Any]:
        """As plain values for JSON."""
        lists = {name: [one.document() for one in getattr(self, name)] for name in ("findings", "not_judged")}
        return {**lists, "judged": self.judged, "questions": [question.document() for question in self.questions]}


def report_of(results: Iterable[Finding | NotJudged], questions: Iterable[Question] = ()) -> Report:
    """Results in the order a reader needs them: by gravity, then by kind; one finding for each kind and case of it."""
    findings: dict[tuple[str, str], list[Finding]] = {}
    left: dict[tuple[str, str], list[NotJudged]] = {}
    for one in {repr(one): one for one in results}.values():
        if isinstance(one, Finding):
            findings.setdefault((one.code, one.gravity), []).append(one)
        else:
            numbers = {name: value for name, value in one.values.items() if not isinstance(value, str | list)}
            left.setdefault((one.code, repr(numbers)), []).append(one)
    merged = [_merged(alike) for alike in findings.values()]
    merged.sort(key=lambda finding: (GRAVITIES.index(finding.gravity), finding.kind))
    left_open = tuple(NotJudged(alike[0].code, _joined(alike)) for alike in left.values())
    return Report(tuple(merged), left_open, tuple(questions))


def _merged(alike: list[Finding]) -> Finding:
    """One finding of several of one code and gravity: it names what each is about, and has the rows of all."""
    if len(alike) == 1:
        return alike[0]
    rows = tuple(dict.fromkeys(chain.from_iterable(finding.rows for finding in alike)))
    return Finding(alike[0].code, _joined(alike), alike[0].gravity, rows, tuple(alike))


def _joined(alike: Sequence[_Worded]) -> Values:
    """The values of several texts as those of one: names are listed, lists joined; a number is that of the first."""
    first = alike[0].values
    if len(alike) == 1:
        return first
    values: dict[str, Any] = {}
    for name, value in first.items():
        every = [one.values[name] for one in alike]
        if isinstance(value, str):
            values[name] = shortened(list(dict.fromkeys(every)), _MOST_NAMES, ", ")
        elif isinstance(value, list):
            values[name] = list({repr(item): item for item in chain.from_iterable(every)}.values())
        else:
            values[name] = value
    return values


def shortened(texts: Sequence[str], most: int = _MOST_ITEMS, between: str = ", ") -> str:
    """Texts in one, the first few in full and the others counted."""
    more = len(texts) - most
    return between.join(texts[:most]) + (f"{between}and {more} more" if more > 0 else "")


@cache
def _texts() -> Mapping[str, Mapping[str, str]]:
    """Texts by code."""
    texts: Mapping[str, Mapping[str, str]] = word_list("texts.yaml")
    return texts


@cache
def _template(text: str) -> "Template":
    """A compiled text: those that are shown, since compiling all takes half a second."""
    return _environment().from_string(text.strip())


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only a finding needs words

    made = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701 - plain text; pages escape it
    made.filters["num"] = format
    made.filters["listed"] = shortened
    return made
