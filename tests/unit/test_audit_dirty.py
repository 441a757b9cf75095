"""Dirty and partial data: never a crash, always said."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_cases import judged, kinds, of_kind, shipped
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audit_study import previous_study

from sparkray.audit import audit, values
from sparkray.audit.content import load
from sparkray.audit.knowledge import case_of
from sparkray.audit.readers.study import study_results
from sparkray.errors import DatasetError

STUDY = previous_study()
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            10**400,
            -1,
            0,
            1e308,
            5e-324,
            "nan",
            "20251110_090000",
            "99999999_999999",
            "1_0",
            "\ud800",
            [],
            {},
            "inf",
            1e14,
        ]
    ),
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner)
)


def _spots(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document: container and key."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    for key in keys:
        yield node, key
        yield from _spots(node[key])


@st.composite
def corrupted(draw: st.DrawFn) -> Any:
    """The previous study with arms cut short, keys gone, columns overwritten and values replaced by anything."""
    document = copy.deepcopy(STUDY)
    for arms in document["models"].values():
        for arm, runs in arms.items():
            arms[arm] = runs[: draw(st.integers(0, len(runs)))]
            key, value = (
                draw(st.sampled_from(["timestamp", "iteration", "output_throughput", "kv_cache", ""])),
                draw(SCALARS),
            )
            for run in arms[arm] if key else []:
                run[key] = value
    for _ in range(draw(st.integers(0, 12))):
        spots = list(_spots(document))
        if not spots:
            break
        node, key = draw(st.sampled_from(spots))
        if draw(st.booleans()) and isinstance(node, dict):
            node.pop(key, None)
        elif not isinstance(node, dict) or key in node:
            node[key] = draw(SCALARS)
    return document


def _report_or_refusal(document: Any) -> str:
    cards, site = shipped()
    try:
        report = audit(case_of(study_results(document), cards, site))
    except DatasetError as refused:
        return str(refused)
    return json.dumps(report.document(), allow_nan=False).encode().decode()


@settings(max_examples=15)
@given(corrupted())
def test_a_corrupted_study_is_judged_or_refused(document: Any) -> None:
    assert _report_or_refusal(document)


@given(st.fixed_dictionaries({"models": DOCUMENTS}, optional={"claims": DOCUMENTS}) | DOCUMENTS)
def test_any_document_is_judged_or_refused(document: Any) -> None:
    assert _report_or_refusal(document)


@given(SCALARS)
def test_parsers_answer_or_say_none(value: Any) -> None:
    for parse in (values.number, values.integer, values.text, values.flag, values.seconds):
        assert parse(value) is None or parse(parse(value)) in (parse(value), None)


def test_dirty_values_are_counted_and_left_out() -> None:
    document = copy.deepcopy(STUDY)
    for index, value in enumerate(["n/a", float("nan"), -3, 10**400]):
        document["models"]["gpt-oss-120b"]["native"][index]["output_throughput"] = value
    report = judged(document)
    (lost,) = of_kind(report, "lost_values")
    assert (lost.gravity, lost.evidence) == ("grave", "2 of 63 values, such as an integer beyond 1e15")
    (gaps,) = (gap for gap in of_kind(report, "missing_values") if "output_throughput" in gap.evidence)
    assert "4 of 63 rows" in gaps.evidence
    assert "beyond_memory" in kinds(report)


def test_names_of_columns_have_a_bound_in_messages(command_line: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    path.write_text(json.dumps([{"x" * 100_000: 1, **{f"y{n}": 1 for n in range(500)}}] * 3))
    ended = command_line("audit", str(path))
    assert ended.status == 2
    assert "and 471 more" in ended.err
    assert len(ended.err) < 2000


@pytest.mark.parametrize("name", ["^.*$", "", "\ud800"])
def test_any_name_of_a_metric_will_do(name: str) -> None:
    document = copy.deepcopy(STUDY)
    for runs in document["models"]["gpt-oss-120b"].values():
        for index, run in enumerate(runs[1:]):
            run[name] = index % 3
    assert "missing_values" in kinds(judged(document))


def test_nothing_left_is_said() -> None:
    report = judged({"models": {"gpt-oss-120b": {"native": []}}})
    assert report.findings == ()
    assert "everything" in {left.kind for left in report.not_judged}


def test_no_run_that_counts_is_a_finding() -> None:
    failed = {"models": {"gpt-oss-120b": {"native": [{"exit_code": 137, "output_throughput": 1.0}]}}}
    report = judged(failed)
    assert [(finding.kind, finding.evidence) for finding in report.findings] == [("no_results", "1 failed")]


def test_a_study_without_times_says_what_is_open() -> None:
    document = copy.deepcopy(STUDY)
    for arms in document["models"].values():
        for runs in arms.values():
            for run in runs:
                del run["timestamp"]
    report = judged(document)
    assert "blocked_order" not in kinds(report)
    assert {left.kind for left in report.not_judged} >= {"blocked_order"}
    assert kinds(report) >= {"beyond_memory", "redundant_metrics"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("20251110_090000", 1762765200.0),
        ("2025-11-10T09:00:00+00:00", 1762765200.0),
        ("2025-11-10 10:00:00+01:00", 1762765200.0),
        (1762765200, 1762765200.0),
        ("1762765200.5", 1762765200.5),
        ("yesterday", None),
        (3, None),
    ],
)
def test_moments(written: Any, expected: float | None) -> None:
    assert values.seconds(written) == expected


def test_numbers_as_text() -> None:
    assert [values.number(value) for value in ("1.5", " 2 ", "1_0", "inf", True)] == [1.5, 2.0, None, None, None]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("model,run,tok_s\n1,m,1,9.5\n2,m,2,9.6\n", ["row", "model", "run", "tok_s"]),
        ("model,run,tok_s\nm,1,9.5,\nm,2,9.6,\n", ["model", "run", "tok_s", "column 4"]),
        ("My results,2026\nmodel,run,tok_s\nm,1,9.5\nm,2,9.6\n", ["model", "run", "tok_s"]),
        ("model,tok_s\nm,1,9.5\nm,2,9.6\n", None),
    ],
)
def test_a_header_that_is_short_costs_no_row(tmp_path: Path, text: str, names: list[str] | None) -> None:
    (path := tmp_path / "t.csv").write_text(text)
    if names is None:
        with pytest.raises(DatasetError, match="the header has 2 names, the lines below it have 3 fields"):
            load(path)
        return
    content = load(path)
    assert (content.columns, len(content.tree)) == (names, 2)


def test_many_lines_that_could_be_titles_are_read_without_recursion(tmp_path: Path) -> None:
    (path := tmp_path / "t.csv").write_text("\n" * 100_000 + "title,,\n" * 50_000 + "model,run,tok_s\nm,1,9.5\n")
    assert load(path).columns[0] == "title"  # so many titles are none
    path.write_text("title,,\n" * 20 + "model,run,tok_s\nm,1,9.5\n")
    assert load(path).columns == ["model", "run", "tok_s"]
