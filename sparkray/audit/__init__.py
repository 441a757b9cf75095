"""Would these results survive a reviewer? Frames in, findings out.

`readers` make the normal form of `results` out of what people publish; `knowledge.case_of` adds what is known beside it
(model cards, the machine); `audit` asks every question. A question is a file in `findings/` with one function,
`judge(case)`, which yields a `Finding` for what it objects to and a `NotJudged` for what the input leaves open, as a code
with values; `texts.yaml` has the words of each code. Everything but the readers is pure.

A question never fails on dirty data: the normal form holds typed values or null, and each question looks at what is
there.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence

import polars as pl

from sparkray.audit import findings
from sparkray.audit.case import Case, labels, status_counts
from sparkray.audit.finding import Finding, NotJudged, Question, Report, report_of

Judge = Callable[[Case], Iterator[Finding | NotJudged]]
# Questions about a difference between arms: with one arm there is nothing to judge.
_ABOUT_ARMS = frozenset(("ambiguous_memory", "arm_state", "blocked_order", "confounded_arms", "different_files"))
# What is judged on an assumption is judged, and so is a question of which another part was.
_IN_PART = (
    "beyond_roofline/batch", "pseudo_replication/unknown", "missing_cells/refused", "missing_values/one",
    "missing_values/rarely", "arms/no_values",
)  # fmt: skip
_HALVES = frozenset(("arm_state/temperature", "arm_state/memory"))


def questions() -> Mapping[str, Judge]:
    """Every question by the name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(findings.__path__))
    return {name: importlib.import_module(f"{findings.__name__}.{name}").judge for name in names}


def audit(case: Case, begins: Callable[[str], None] = lambda _: None) -> Report:
    """Ask every question of a case. `begins` gets the name of each before it is asked."""
    results: list[Finding | NotJudged] = list(case.results.remarks)
    if not len(case.ok):
        results.append(NotJudged("everything"))
        frame = case.results.frame
        if len(frame):
            results.append(Finding("no_results", {"statuses": status_counts(frame)}, "grave", labels(frame)))
        return report_of(results, [Question(name, False, (NotJudged("everything"),)) for name in questions()])
    results += _unread(case)
    asked: list[Question] = []
    arms = case.ok["environment"].unique().to_list()
    for name, judge in questions().items():
        if len(arms) == 1 and name in _ABOUT_ARMS:
            asked.append(Question(name, False, (NotJudged("arms/one", {"environment": arms[0]}),)))
            continue
        begins(name)
        answer = list(judge(case))
        results += answer
        asked.append(_question(case, name, answer))
    return report_of(results, asked)


def _unread(case: Case) -> Iterator[Finding]:
    """Runs that count without the metric that the study is about, where a whole arm of a model lacks it.

    A test of something else, with a throughput of its own, does not lack it.
    """
    primary = case.results.primary
    if primary is None:
        yield Finding("no_metric", {"columns": case.metrics}, "grave")
        return
    speeds = [name for name in case.metrics if name == primary or name.endswith("_throughput_tok_s")]
    lacking = case.ok.filter(pl.all_horizontal(pl.col(speeds).count().over("model_name", "environment") == 0))
    if len(lacking):
        arms, models = (sorted(set(lacking[name])) for name in ("environment", "model_name"))
        values = {
            "metric": primary, "count": len(lacking), "total": len(case.ok), "environments": arms, "models": models,
        }  # fmt: skip
        yield Finding("no_metric/arm", values, "grave", labels(lacking))


def _question(case: Case, name: str, answer: Sequence[Finding | NotJudged]) -> Question:
    """Whether a question was judged: with a finding, or for all that it does not name as open."""
    left = tuple(one for one in answer if isinstance(one, NotJudged))
    codes = {one.code for one in left}
    if codes < _HALVES or codes <= set(_IN_PART):
        return Question(name, True, left)
    subjects = {one.about for one in left}
    whole = None in subjects or any(every <= subjects for every in case.subjects)
    return Question(name, len(answer) > len(left) or not whole, left)
