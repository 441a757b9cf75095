"""One contract for every figure: labelled axes, a caption from data, IEEE's widths, the same bytes twice, no blank ones."""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from optimised_document import document
from PIL import Image

from sparkray.analysis import Analysis, analyse
from sparkray.analysis.columns import polars_types
from sparkray.analysis.schema import TABLES
from sparkray.analysis.text import numbers_of, plain
from sparkray.config.site import ENVIRONMENTS
from sparkray.report import open_book
from sparkray.report.book import Book
from sparkray.report.figures import Drawn, NoFigure, draw, figures, rendered, save_all
from sparkray.report.style import COLUMN_IN, PAGE_IN, look
from sparkray.simulate.study import small_study

NAMES = list(figures())
UNITLESS = re.compile(r"ratio|share|power|pairs|model|environment|kind of memory|run, in the order")


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(small_study(tmp_path_factory.mktemp("study"), models=3, runs=6))


@pytest.fixture(scope="module")
def book(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Book:
    other = analyse(small_study(tmp_path_factory.mktemp("other"), models=3, runs=6, seed=1))
    return open_book(analysis, other, optimised=document())


@pytest.fixture(scope="module")
def drawn(book: Book) -> Mapping[str, Drawn]:
    found = {name: draw(name, book) for name in NAMES}
    return {name: figure for name, figure in found.items() if isinstance(figure, Drawn)}


def test_every_module_of_the_folder_is_a_figure_in_a_place_of_its_own() -> None:
    assert len(NAMES) >= 12
    orders = [module.ORDER for module in figures().values()]
    assert len(set(orders)) == len(orders)
    assert orders == sorted(orders)


def test_under_looks_pairs_are_not_said_to_be_all_that_are_drawn(book: Book) -> None:
    context = {**book.context, "sequential": {"looks": [4, 6], "spending": "linear"}}
    looked, fixed = (
        draw("paired_slopes", open_book(replace(book.analysis, context=context))),
        draw("paired_slopes", book),
    )
    assert isinstance(looked, Drawn)
    assert isinstance(fixed, Drawn)
    assert "all blocks are drawn, pairs of the last look: " in plain(looked.caption)
    assert "complete pairs: " in plain(fixed.caption)


@pytest.mark.parametrize("name", NAMES)
def test_axes_have_labels_with_units(name: str, drawn: Mapping[str, Drawn]) -> None:
    figure = drawn[name].figure
    assert figure.axes
    labels = {label for axis in figure.axes for label in (axis.get_xlabel(), axis.get_ylabel()) if label}
    labels |= {text for text in (figure.get_supxlabel(), figure.get_supylabel()) if text and not text.startswith("1 ")}
    assert len(labels) >= 2
    for label in labels:
        assert re.search(r"\(.+\)", label) or UNITLESS.search(label), label


@pytest.mark.parametrize("name", NAMES)
def test_width_is_one_of_the_templates(name: str, drawn: Mapping[str, Drawn]) -> None:
    assert drawn[name].figure.get_figwidth() in (COLUMN_IN, PAGE_IN)
    assert drawn[name].figure.get_figheight() < 9.3  # of a page of text


@pytest.mark.parametrize("name", NAMES)
def test_caption_and_alternative_text_come_from_the_data(name: str, drawn: Mapping[str, Drawn], book: Book) -> None:
    numbers = numbers_of(drawn[name].caption)
    assert numbers
    for number in numbers:
        assert book.evidence(number.trace).line
    assert plain(drawn[name].caption).endswith(".")
    assert len(drawn[name].alt) > 40
    assert not re.search(r"\bnan\b|\bNone\b", plain(drawn[name].caption) + drawn[name].alt)


@pytest.mark.parametrize("name", ["forest", "size_overhead"])
def test_the_same_data_give_the_same_bytes(name: str, book: Book) -> None:
    first, second = (draw(name, book) for _ in range(2))
    assert isinstance(first, Drawn)
    assert isinstance(second, Drawn)
    assert rendered(name, first.figure) == rendered(name, second.figure)


def test_files_are_what_printers_and_browsers_want(book: Book, tmp_path: Path) -> None:
    saved = [one for one in save_all(book, tmp_path) if not isinstance(one, tuple)]
    assert {path.suffix for one in saved for path in one.files.values()} == {".pdf", ".svg", ".png"}
    for one in saved:
        assert b"/Type3" not in one.files["pdf"].read_bytes()
        assert b"CreationDate" not in one.files["pdf"].read_bytes()
        assert ET.fromstring(one.svg).tag.endswith("svg")
        assert "nan" not in re.findall(r"[a-z]+", re.sub(r"<style.*?</style>", "", one.svg, flags=re.DOTALL))
        with Image.open(one.files["png"]) as image:
            inches = image.width / 300
        assert min(abs(inches - width) for width in (COLUMN_IN, PAGE_IN)) < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_without_data_there_is_a_reason_and_no_blank(name: str, analysis: Analysis) -> None:
    empty = {table: pl.DataFrame(schema=polars_types(TABLES[table])) for table in TABLES}
    found = draw(name, open_book(Analysis(analysis.path, empty, analysis.context)))
    assert isinstance(found, NoFigure)
    assert len(found.reason) > 15


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"models": 1, "runs": 2}, marks=pytest.mark.slow),
        {"models": 1, "runs": 1},
        {"models": 2, "runs": 3, "failing": ("Qwen2-1.5B",)},
        {"models": 1, "runs": 5, "environments": ("native", "container_baseline"), "gpu": False, "requests": 0},
        {"models": 1, "runs": 3, "levels": ("concurrency=1", "concurrency=4")},
    ],
    ids=["two runs", "one run", "a failed cell", "no gpu", "levels"],
)
def test_little_data_make_a_figure_or_a_reason(tmp_path: Path, changes: Mapping[str, object]) -> None:
    book = open_book(analyse(small_study(tmp_path, **changes)))  # type: ignore[arg-type]
    for name in NAMES:
        found = draw(name, book)
        if isinstance(found, Drawn):
            found.figure.draw_without_rendering()
            assert numbers_of(found.caption)
        else:
            assert found.reason


def test_a_figure_that_is_gone_leaves_no_file_behind(analysis: Analysis, tmp_path: Path) -> None:
    (tmp_path / "between_studies.png").write_bytes(b"of a report with another study")
    book = open_book(analysis)
    tables = {name: pl.DataFrame(schema=polars_types(TABLES[name])) for name in TABLES}
    assert all(isinstance(one, tuple) for one in save_all(Book(Analysis(book.analysis.path, tables, {})), tmp_path))
    assert list(tmp_path.iterdir()) == []


def lightness(colour: str) -> float:
    """CIE L* of `#rrggbb`, 0 to 100."""
    linear = []
    for i in (1, 3, 5):
        part = int(colour[i : i + 2], 16) / 255
        linear.append(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
    y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_arms_are_told_apart_in_grey_and_without_colour() -> None:
    looks = [look(name) for name in ENVIRONMENTS]
    for one, other in combinations(looks, 2):
        assert abs(lightness(one.colour) - lightness(other.colour)) >= 11
        assert one.marker != other.marker
        assert one.line != other.line
        assert one.hatch != other.hatch


def test_an_unknown_arm_has_a_look_too() -> None:
    assert look("podman") == look("podman")
    assert look("podman") not in [look(name) for name in ENVIRONMENTS]
