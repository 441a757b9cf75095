"""The page of a small study: every number has evidence, it needs no network, and it is sound for whoever reads it how."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from report_page import Page, derived

from sparkray.analysis import Analysis, analyse
from sparkray.analysis.text import plain
from sparkray.report import Written, open_book, write_report
from sparkray.report.appendix import standing
from sparkray.report.book import Book
from sparkray.report.html import template
from sparkray.report.page import page
from sparkray.simulate.study import small_study


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(small_study(tmp_path_factory.mktemp("study"), models=2, runs=5, levels=("",)))


@pytest.fixture(scope="module")
def book(analysis: Analysis) -> Book:
    return open_book(analysis)


@pytest.fixture(scope="module")
def written(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_report(analysis, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def html(written: Written) -> str:
    return written.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parsed(html: str) -> Page:
    return Page(html)


def test_no_number_stands_without_evidence(parsed: Page) -> None:
    assert parsed.loose == []
    assert len(parsed.links) > 500


def test_every_number_is_one_of_its_evidence(parsed: Page, book: Book) -> None:
    assert [link for link in set(parsed.links) if not derived(book, link)] == []


@pytest.mark.parametrize("planted", ["<p>It is 42.7 % faster.</p>", "<ul><li>n = 30</li></ul>", "<td>1.0042</td>"])
def test_a_planted_number_is_found(html: str, planted: str) -> None:
    assert len(Page(html.replace("<main", f"{planted}<main", 1)).loose) == 1


def test_a_changed_number_is_found(html: str, book: Book) -> None:
    ratio = next(row for row in book.rows("comparisons", primary=True))
    shown = f"{ratio['ratio']:.4f}"
    assert f">{shown}</a>" in html
    wrong = Page(html.replace(f">{shown}</a>", ">1.2345</a>", 1))
    assert [link.text for link in wrong.links if not derived(book, link)] == ["1.2345"]


def test_changed_rows_change_the_page(analysis: Analysis) -> None:
    frame = analysis.tables["comparisons"]
    tables = {**analysis.tables, "comparisons": frame.with_columns(ratio=frame["ratio"] + 0.1)}
    changed = page(open_book(replace(analysis, tables=tables)), [])
    links = [link for link in Page(changed).links if link.trace.startswith("comparisons/")]
    shown = {link.text for link in links if (link.column, link.form) == ("ratio", "ratio")}
    ratios = frame.filter("primary")["ratio"].drop_nulls().to_list()
    assert {f"{ratio + 0.1:.4f}" for ratio in ratios} <= shown
    assert not {f"{ratio:.4f}" for ratio in ratios} & shown


def test_every_link_leads_to_its_evidence_once(parsed: Page) -> None:
    counts = Counter(parsed.ids)
    assert [name for name, count in counts.items() if count > 1] == []
    targets = {link.href.removeprefix("#") for link in parsed.links}
    targets |= {given["href"][1:] for tag, given in parsed.tags if tag == "a" and given["href"].startswith("#")}
    assert targets <= set(parsed.ids)


def test_hovering_tells_table_and_rows(parsed: Page, book: Book) -> None:
    link = next(link for link in parsed.links if link.column == "ratio" and link.trace.startswith("comparisons/"))
    row = next(row for row in book.rows("comparisons") if row["trace"] == link.trace)
    assert link.title.startswith("runs: status = 'ok'")
    assert row["metric"] in link.title
    assert link.title.endswith(f"{2 * row['n']} rows")


def test_every_evidence_can_be_opened(parsed: Page, book: Book) -> None:
    for trace in sorted({link.trace for link in parsed.links}):
        evidence, rows = book.open(trace)
        assert evidence.line
        assert len(rows) > 0 or evidence.count == 0, trace


def test_what_is_computed_from_all_runs_says_so_and_not_from_the_pairs_alone(analysis: Analysis) -> None:
    frame = analysis.frames
    assert frame is not None
    trace = "comparisons/Qwen2-1.5B//container_baseline/latency_mean_ms"
    book = open_book(analysis)
    paired, arms = book.evidence(trace, "ratio"), book.evidence(trace, "cohen_d")
    assert (paired.trace, arms.trace) == (trace, f"{trace}#arms")
    assert "block IN" in paired.where
    assert "block IN" not in arms.where
    shares = book.evidence("diagnostics/Qwen2-1.5B//native/latency_mean_ms", "share_within_pct")
    assert (shares.count, book.evidence("diagnostics/Qwen2-1.5B//native/latency_mean_ms", "lag1").count) == (15, 5)
    assert book.open(f"{trace}#arms")[1].height == arms.count


def test_each_evidence_leads_back_to_where_it_is_quoted(parsed: Page) -> None:
    places = {given["id"] for tag, given in parsed.tags if tag == "a" and given.get("class") == "n" and "id" in given}
    back = {given["href"][1:] for tag, given in parsed.tags if tag == "a" and given.get("class") == "back"}
    assert back == places
    assert len(back) > 100


def test_nothing_that_can_be_followed_stands_in_what_folds(html: str) -> None:
    assert [one for one in re.findall(r"<summary>(.*?)</summary>", html, re.DOTALL) if "<a" in one] == []


def test_evidence_is_shown_to_who_moves_by_keyboard() -> None:
    assert re.search(r"a\.n:focus-visible::after \{ content: [^}]*attr\(title\)", template("page.css"))


def test_every_drawing_names_the_rows_that_it_is_drawn_from(html: str, parsed: Page) -> None:
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html, re.DOTALL)
    assert len(captions) > 8
    assert all("Drawn from the table" in caption for caption in captions)


def test_a_derived_row_leads_to_the_rows_behind_it(book: Book) -> None:
    for name in ("decisions", "costs", "memory_split"):
        for row in book.rows(name):
            behind = list(book.behind(row["trace"]))
            assert behind, row["trace"]
            for evidence, rows in behind:
                assert evidence.table == "runs"
                assert len(rows) == evidence.count


def test_files_that_the_page_names_are_there(parsed: Page, written: Written) -> None:
    named = [given["href"] for tag, given in parsed.tags if tag == "a" and not given["href"].startswith("#")]
    assert len(named) > 30
    assert [name for name in named if not (written.page.parent / name).exists()] == []


def test_it_needs_neither_network_nor_script(html: str, parsed: Page) -> None:
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert not re.search(r"@import|url\((?!#)", html)
    outside = [
        value
        for _, given in parsed.tags
        for name, value in given.items()
        if name in ("src", "href", "xlink:href", "srcset") and re.match(r"(?:[a-z]+:)?//", value)
    ]
    assert outside == []
    policy = next(given["content"] for tag, given in parsed.tags if given.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_structure_for_screen_readers(parsed: Page) -> None:
    tags = Counter(tag for tag, _ in parsed.tags)
    assert tags["main"] == tags["h1"] == tags["nav"] == tags["header"] == tags["footer"] == 1
    levels = [level for level, _ in parsed.headings]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert next(given for tag, given in parsed.tags if tag == "html") == {"lang": "en"}
    assert next(given for tag, given in parsed.tags if tag == "a")["class"] == "skip"
    assert tags["caption"] == tags["table"] > 5
    assert {given.get("scope") for tag, given in parsed.tags if tag == "th"} == {"col", "row"}
    assert tags["figcaption"] == tags["figure"] == tags["svg"] > 8
    for tag, given in parsed.tags:
        if tag == "svg":
            assert given["role"] == "img"
            assert set(given["aria-labelledby"].split()) <= set(parsed.ids)
        if given.get("class") in ("scroll", "drawing"):
            assert given["tabindex"] == "0"
            assert given["aria-label"]
    labelled = [given["aria-labelledby"] for _, given in parsed.tags if "aria-labelledby" in given]
    assert {name for names in labelled for name in names.split()} <= set(parsed.ids)


def test_the_answer_comes_first(parsed: Page) -> None:
    second = [text for level, text in parsed.headings if level == 2]
    assert second[0] == "The answer"
    assert second[-1] == "Evidence"


def test_a_simulated_study_says_so_and_another_does_not(html: str, analysis: Analysis) -> None:
    assert "SIMULATED" in html
    measured = replace(analysis, context={**analysis.context, "simulated": False})
    assert "SIMULATED" not in page(open_book(measured), [])


def test_incomplete_data_are_told(analysis: Analysis) -> None:
    comparisons = analysis.tables["comparisons"]
    short = comparisons.with_columns(pairs_planned=comparisons["n"] + 1)
    assert "Not complete" in page(open_book(replace(analysis, tables={**analysis.tables, "comparisons": short})), [])
    assert "Not complete" not in page(open_book(analysis), [])


def trials(rejections: int) -> Mapping[str, object]:
    rate = {"rejections": rejections, "experiments": 20, "low": 0.0, "high": 0.2}
    return {"not_estimable": None, "cause": None, "trials": [{"paired": rate, "blocked": rate}], "reach": {}}


def calibrated(book: Book, *, sound: bool | None, **metrics: object) -> Book:
    """The same numbers from a machine whose calibration found this."""
    told = {"sound": sound, "runs": 120, "model": "m", "environment": "native", "host": "box", "metrics": metrics}
    return Book(replace(book.analysis, context={**book.context, "calibration": told}), book.own)


LOST = {"not_estimable": "no value"}


@pytest.mark.parametrize(
    ("sound", "metrics", "bears", "words"),
    [
        (
            True,
            {"output_throughput_tok_s": trials(1), "host_available_drop_peak_gib": LOST},
            True,
            "calibration held: | in 1 of 20 experiments (output throughput); sound is 5 %; not judged: peak drop of",
        ),
        (
            False,
            {"output_throughput_tok_s": trials(9)},
            False,
            "calibration FAILED, so these verdicts may be wrong more often | in 9 of 20 experiments",
        ),
        (None, {"output_throughput_tok_s": LOST}, False, "calibration could judge nothing: "),
    ],
)
def test_what_the_calibration_found_is_a_sentence(
    book: Book, *, sound: bool | None, metrics: Mapping[str, object], bears: bool, words: str
) -> None:
    found = standing(calibrated(book, sound=sound, **metrics))
    assert found is not None
    assert found[0] is bears
    assert all(part in plain(found[1]) for part in words.split(" | ")), plain(found[1])
    assert standing(book) is None


def test_a_calibration_that_failed_stands_beside_the_verdicts_as_a_notice(book: Book, html: str) -> None:
    failed = page(calibrated(book, sound=False, output_throughput_tok_s=trials(9)), [])
    notice = failed.index('<p class="notice">The machine&#39;s calibration FAILED')
    assert failed.index('class="headlines"') < notice < failed.index('class="cards"')
    assert "The machine&#39;s calibration" not in html


EDGES: Mapping[str, Mapping[str, object]] = {
    "one run": {"models": 1, "runs": 1},
    "two runs": {"models": 1, "runs": 2},
    "no container came up": {"models": 1, "runs": 3, "failing": ("Qwen2-1.5B",)},
    "one environment": {"models": 1, "runs": 3, "environments": ("native",)},
    "no gpu, no requests, no samples": {"models": 1, "runs": 3, "gpu": False, "requests": 0, "samples": 0},
    "levels": {"models": 1, "runs": 3, "levels": ("concurrency=1", "concurrency=4 batch=8")},
    "no noise": {"models": 2, "runs": 3, "cv": 0.0, "block_cv": 0.0},
}


_LONG = ("two runs", "no gpu, no requests, no samples")
"""What the others nearly are."""


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(changes, id=name, marks=[pytest.mark.slow] if name in _LONG else [])
        for name, changes in EDGES.items()
    ],
)
def test_scanty_data_make_a_page_all_the_same(tmp_path: Path, changes: Mapping[str, object]) -> None:
    found = analyse(small_study(tmp_path, **{"flaky": 0, **changes}))  # type: ignore[arg-type]
    book = open_book(found)
    parsed = Page(page(book, []))
    assert parsed.loose == []
    assert [link for link in set(parsed.links) if not derived(book, link)] == []
    words = re.sub(r"<style>.*?</style>|<[^>]*>", "", parsed.source, flags=re.DOTALL)
    assert not re.search(r"\b(nan|None|inf)\b", words)


def test_a_dataset_without_its_experiment_makes_a_page(tmp_path: Path) -> None:
    folder = small_study(tmp_path, models=1, runs=3)
    (folder / "experiment.json").unlink()
    assert Page(page(open_book(analyse(folder)), [])).loose == []


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.1) of `#rrggbb` or `#rgb`."""
    digits = colour.lstrip("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_double_a_by_day_and_by_night() -> None:
    themes = re.findall(r":root \{(.*?)\}", template("page.css"), re.DOTALL)
    assert len(themes) == 3
    for theme in themes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", theme))
        for ink in ("ink", "soft", "link", "equivalent", "different", "undecided"):
            for paper in ("paper", "sheet"):
                assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
        assert contrast(colours["warn-ink"], colours["warn"]) >= 4.5


def test_the_measure_of_contrast_is_the_published_one() -> None:
    assert contrast("#000", "#fff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_a_sequential_study_tells_its_looks_and_is_not_called_incomplete(analysis: Analysis) -> None:
    comparisons = analysis.tables["comparisons"]
    early = comparisons.with_columns(pairs_planned=comparisons["n"] + 25).filter(pl.col("verdict") != "undecided")
    context = {**analysis.context, "sequential": {"looks": [4, 6], "spending": "linear"}}
    book = open_book(replace(analysis, tables={**analysis.tables, "comparisons": early}, context=context))
    parsed = Page(page(book, []))
    assert "Not complete" not in parsed.source
    assert [link.text for link in parsed.links if link.trace.startswith("context/sequential/looks")] == ["4", "6"]


def test_margins_that_were_not_declared_are_told(analysis: Analysis) -> None:
    words = "not those that the experiment declared"
    assert words not in page(open_book(analysis), [])
    other = {**analysis.context, "margins": {**analysis.context["margins"], "latency_mean_ms": 0.2}}
    assert words in page(open_book(replace(analysis, context=other)), [])


def test_answers_in_the_same_words_are_told_once(analysis: Analysis) -> None:
    rows = analysis.tables["questions"]
    alike = rows.with_columns(
        parts=pl.when(pl.col("question") == 1).then(pl.lit('["Nobody knows."]')).otherwise("parts"),
        verdict=pl.when(pl.col("question") == 1).then(pl.lit("unanswered")).otherwise("verdict"),
    )
    text = page(open_book(replace(analysis, tables={**analysis.tables, "questions": alike})), [])
    assert len(rows.filter(pl.col("question") == 1)) > 1
    assert text.count("Nobody knows.") == 1
