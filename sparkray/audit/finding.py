"""Results of an audit: findings by gravity, and what it could not judge."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Gravity = Literal["fatal", "grave", "note"]
GRAVITIES: tuple[Gravity, ...] = ("fatal", "grave", "note")


@dataclass(frozen=True)
class Finding:
    """One thing a reviewer would object to.

    `fatal`: the numbers cannot be what they are said to be. `grave`: they may be, but do not support a conclusion.
    `note`: worth knowing. `message` says what is wrong and what follows from it, `evidence` the values it rests on,
    `rows` the labels of the rows that show it.
    """

    kind: str
    gravity: Gravity
    message: str
    evidence: str
    rows: tuple[str, ...] = ()

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
class NotJudged:
    """A question that the input leaves open, and what is missing to answer it."""

    kind: str
    reason: str

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
        return {
            "findings": [finding.document() for finding in self.findings],
            "not_judged": [open_question.document() for open_question in self.not_judged],
        }


def report_of(said: Iterable[Finding | NotJudged]) -> Report:
    """What was said in the order a reader needs it: by gravity, then by kind; nothing twice."""
    once = list(dict.fromkeys(said))
    findings = [one for one in once if isinstance(one, Finding)]
    findings.sort(key=lambda finding: (GRAVITIES.index(finding.gravity), finding.kind))
    return Report(tuple(findings), tuple(one for one in once if isinstance(one, NotJudged)))
