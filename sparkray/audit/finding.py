"""Results of an audit: findings by gravity, and what could not be judged. Values are here, words in `texts.yaml`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Gravity = Literal["fatal", "grave", "note"]
GRAVITIES: tuple[Gravity, ...] = ("fatal", "grave", "note")
Values = Mapping[str, Any]


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
            values["items"] = [texts["item"].render(item) for item in values["items"]]
        return str(texts[part].render(values))


@dataclass(frozen=True)
class Finding(_Worded):
    """One thing a reviewer would object to; `rows` are the labels of the rows that show it.

    `fatal`: the numbers cannot be what they are claimed to be. `grave`: they may be, but do not support a conclusion.
    `note`: worth knowing.
    """

    gravity: Gravity = "note"
    rows: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """What is wrong, and what follows from it."""
        return self._text("message")

    @property
    def evidence(self) -> str:
        """The values that the finding rests on."""
        return self._text("evidence")

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

    def document(self) -> dict[str, str]:
        """As plain values for JSON."""
        return {"kind": self.kind, "reason": self.reason}


@dataclass(frozen=True)
class Report:
    """Findings, gravest first, and what could not be judged."""

    findings: tuple[Finding, ...]
    not_judged: tuple[NotJudged, ...]

    def document(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {name: [one.document() for one in getattr(self, name)] for name in ("findings", "not_judged")}


def report_of(results: Iterable[Finding | NotJudged]) -> Report:
    """Results in the order a reader needs them: by gravity, then by kind; nothing twice."""
    once = {repr(one): one for one in results}.values()
    findings = [one for one in once if isinstance(one, Finding)]
    findings.sort(key=lambda finding: (GRAVITIES.index(finding.gravity), finding.kind))
    return Report(tuple(findings), tuple(one for one in once if isinstance(one, NotJudged)))


@cache
def _texts() -> Mapping[str, Mapping[str, Any]]:
    """Compiled texts by code."""
    import yaml  # noqa: PLC0415 - only a finding needs words
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415

    made = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701 - plain text; pages escape it
    made.filters["num"] = format
    source = yaml.safe_load((files(__package__) / "texts.yaml").read_text("utf-8"))
    return {
        code: {part: made.from_string(text.strip()) for part, text in parts.items()} for code, parts in source.items()
    }
