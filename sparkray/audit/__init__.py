"""Would these results survive a reviewer? Frames in, findings out.

`readers.read` makes the normal form of `results` out of a dataset of sparkray's, the JSON of the study before it, or a
table; `knowledge.case_of` adds what is known beside it (model cards, the machine); `audit` asks every question. A question
is a file in `findings/` with one function, `judge(case)`, which yields a `Finding` for what it objects to and a
`NotJudged` for what the input leaves open; a new question is a new file there. Everything but the reader is pure.

A question never fails on dirty data: the normal form holds typed values or null, and each question looks at what is
there.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping

from sparkray.audit import findings
from sparkray.audit.case import Case
from sparkray.audit.finding import Finding, NotJudged, Report, report_of

Judge = Callable[[Case], Iterator[Finding | NotJudged]]


def questions() -> Mapping[str, Judge]:
    """Every question by the name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(findings.__path__))
    return {name: importlib.import_module(f"{findings.__name__}.{name}").judge for name in names}


def audit(case: Case) -> Report:
    """Ask every question of a case."""

    def said() -> Iterator[Finding | NotJudged]:
        yield from case.results.remarks
        if case.ok.is_empty():
            yield NotJudged("everything", "no row with status ok, a model and an environment is left")
            if len(case.results.frame):
                yield _nothing_counts(case)
            return
        for judge in questions().values():
            yield from judge(case)

    return report_of(said())


def _nothing_counts(case: Case) -> Finding:
    statuses = case.results.frame["status"].value_counts().sort("status").iter_rows()
    return Finding(
        "no_results",
        "grave",
        "no run counts: there is nothing to conclude from",
        ", ".join(f"{count} {status}" for status, count in statuses),
        tuple(case.results.frame["row"].to_list()),
    )
