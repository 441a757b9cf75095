"""Would these results survive a reviewer? Frames in, findings out.

`readers.read` makes the normal form of `results` out of a dataset of sparkray's, the JSON of the study before it, or a
table; `knowledge.case_of` adds what is known beside it (model cards, the machine); `audit` asks every question. A question
is a file in `findings/` with one function, `judge(case)`, which yields a `Finding` for what it objects to and a
`NotJudged` for what the input leaves open, as a code with values; `texts.yaml` has the words of each code. Everything but
the reader is pure.

A question never fails on dirty data: the normal form holds typed values or null, and each question looks at what is
there.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping

from sparkray.audit import findings
from sparkray.audit.case import Case, labels, status_counts
from sparkray.audit.finding import Finding, NotJudged, Report, report_of

Judge = Callable[[Case], Iterator[Finding | NotJudged]]


def questions() -> Mapping[str, Judge]:
    """Every question by the name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(findings.__path__))
    return {name: importlib.import_module(f"{findings.__name__}.{name}").judge for name in names}


def audit(case: Case) -> Report:
    """Ask every question of a case."""

    def results() -> Iterator[Finding | NotJudged]:
        yield from case.results.remarks
        if len(case.ok):
            for judge in questions().values():
                yield from judge(case)
            return
        yield NotJudged("everything")
        frame = case.results.frame
        if len(frame):
            yield Finding("no_results", {"statuses": status_counts(frame)}, "grave", labels(frame))

    return report_of(results())
