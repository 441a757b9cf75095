"""One contract for every figure: labelled axes, title and caption, IEEE's widths, the same bytes twice, no blank ones."""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path
from xml.etree import ElementTree as ET

import matplotlib as mpl
import polars as pl
import pytest
from matplotlib.figure import Figure
from optimised_document import document
from PIL import Image
from support.studies import analysed, small_study

from sparkray.analysis import Analysis, analyse
from sparkray.analysis.schema import TABLES, frame_of, polars_types
from sparkray.config.site import ENVIRONMENTS
from sparkray.report import report_data
from sparkray.report.data import ReportData
from sparkray.report.figures import FORMATS, draw, figures, rendered, save_all, words
from sparkray.report.figures._frame import _limits, ratio_axis
from sparkray.report.figures._ticks import ticks_of
from sparkray.report.page import texts
from sparkray.report.style import COLUMN_IN, PAGE_IN, RC, arm_style

NAMES = list(figures())
UNITLESS = re.compile(r"ratio|share|power|pairs|model|environment|kind of memory|run, in the order")


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analysed()


@pytest.fixture(scope="module")
def data(analysis: Analysis) -> ReportData:
    other = analysed(models=1, runs=4, seed=1)
    return report_data(analysis, other, optimised=document())


@pytest.fixture(scope="module")
def loaded() -> ReportData:
    levels = ("concurrency=1", "concurrency=4", "concurrency=16")
    return report_data(analysed(models=1, runs=3, levels=levels))


@pytest.fixture(scope="module")
def drawn(data: ReportData, loaded: ReportData) -> Mapping[str, Figure]:
    found = {name: draw(name, loaded if name == "saturation" else data) for name in NAMES}
    return {name: figure for name, figure in found.items() if figure is not None}


def test_every_module_of_the_folder_is_a_figure_in_a_place_of_its_own() -> None:
    assert len(NAMES) >= 12
    orders = [module.ORDER for module in figures().values()]
    assert len(set(orders)) == len(orders)
    assert orders == sorted(orders)


@pytest.mark.parametrize("name", NAMES)
def test_axes_have_labels_with_units(name: str, drawn: Mapping[str, Figure]) -> None:
    figure = drawn[name]
    assert figure.axes
    labels = {label for axis in figure.axes for label in (axis.get_xlabel(), axis.get_ylabel()) if label}
    labels |= {text for text in (figure.get_supxlabel(), figure.get_supylabel()) if text and not text.startswith("1 ")}
    assert len(labels) >= 2
    for label in labels:
        assert re.search(r"\(.+\)", label) or UNITLESS.search(label), label


@pytest.mark.parametrize("name", NAMES)
def test_width_is_one_of_the_templates(name: str, drawn: Mapping[str, Figure]) -> None:
    assert drawn[name].get_figwidth() in (COLUMN_IN, PAGE_IN)
    assert drawn[name].get_figheight() < 9.3  # of a page of text


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_has_a_title_and_a_caption(name: str, data: ReportData) -> None:
    made = texts(data)
    title, caption = words(made, name, "title"), words(made, name, "caption")
    assert title[0].isupper()
    assert caption.endswith(".")
    assert not re.search(r"\bnan\b|\bNone\b|\bUndefined\b|[.;:][A-Z]", title + caption)
    assert all(len(sentence.split()) <= 45 for sentence in re.split(r"[.;] ", caption)), caption


@pytest.mark.parametrize("name", ["forest", "memory_parts", "raw_points", "size_overhead"])
def test_the_layout_places_labels_where_matplotlib_would(name: str, data: ReportData) -> None:
    figure = draw(name, data)
    assert figure is not None
    rendered(name, figure, ("svg",))
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis) if axis.label.get_text()]
    assert not [axis for axis in axes if axis._autolabelpos], "else every tick label is measured twice more"
    for axis in axes:
        placed = axis.label.get_window_extent().get_points()
        begin = axis.axes.bbox.get_points()[0]
        side = "right" if axis.axis_name == "y" else "center"
        labels = [text for text in axis.axes.texts if text.get_ha() == side]
        extents = [text.get_window_extent().get_points()[0] for text in labels]
        across = 0 if axis.axis_name == "y" else 1
        least = min([begin[across], *(extent[across] for extent in extents)])
        assert placed[1][across] == pytest.approx(least - axis.labelpad, abs=2.0)


@pytest.mark.parametrize("name", NAMES)
def test_ticks_are_found_once_and_drawn_without_artists_of_their_own(
    name: str, data: ReportData, loaded: ReportData
) -> None:
    figure = draw(name, loaded if name == "saturation" else data)
    assert figure is not None
    with mpl.rc_context(RC):  # the number of ticks depends on the size of their labels
        found = [(ticks_of(panel.yaxis), ticks_of(panel.xaxis)) for panel in figure.axes]
    wanted = [[word for ticks in both for word in ticks.words if word] for both in found]
    rendered(name, figure, ("svg", "png"))
    for panel, words_of_panel in zip(figure.axes, wanted, strict=True):
        assert [*panel.xaxis.get_major_ticks(), *panel.yaxis.get_major_ticks()] == []
        shown = [text.get_text() for text in panel.texts]
        assert shown[len(shown) - len(words_of_panel) :] == words_of_panel
    assert sum(map(len, wanted)) >= 4


def test_saturation_has_a_point_for_each_load_and_arm(loaded: ReportData, data: ReportData) -> None:
    [axis] = draw("saturation", loaded).axes
    lines = [line.get_xdata() for line in axis.get_lines() if len(line.get_xdata()) == 3]
    assert len(lines) == len({row["environment"] for row in loaded.rows("runs")})
    assert [round(x) for x in lines[0]] == [1, 4, 16]
    rings = [line for line in axis.get_lines() if line.get_markersize() == 9]
    assert len(rings) == sum(not row["at_largest"] for row in loaded.rows("load"))
    assert draw("saturation", data) is None


def test_saturation_has_the_knee_of_an_arm_with_its_interval_in_place_of_rings(loaded: ReportData) -> None:
    arms = ("native", "container_baseline")
    shared = {"model": "Qwen2-1.5B", "code": "estimated", "load": 5.0, "load_low": 4.0, "capacity_tok_s": 90.0}
    rows = [{**shared, "environment": arm, "load_high": high} for arm, high in zip(arms, (7.0, None), strict=True)]
    tables = {**loaded.analysis.tables, "knee": frame_of(TABLES["knee"], rows)}
    [axis] = draw("saturation", replace(loaded, analysis=replace(loaded.analysis, tables=tables))).axes
    ends = [tuple(line.get_xdata()) for line in axis.get_lines() if len(line.get_xdata()) == 2]
    assert ends.count((5.0, 5.0)) == 2
    assert (4.0, 7.0) in ends
    assert (4.0, axis.get_xlim()[1]) in ends, "an open interval ends in an arrow at the edge"
    assert [line.get_marker() for line in axis.get_lines()].count(">") == 1
    assert not [line for line in axis.get_lines() if line.get_markersize() == 9]


def test_a_caption_follows_the_data(data: ReportData) -> None:
    caption = words(texts(data), "run_order", "caption")
    assert caption.startswith(f"{len(data.rows('order'))} runs in the order")
    verdicts = [row["verdict"] for row in data.rows("comparisons", metric="latency_mean_ms")]
    assert f"{verdicts.count('equivalent')} equivalent" in words(texts(data), "forest", "caption")


@pytest.mark.parametrize("name", ["forest", "size_overhead"])
@pytest.mark.slow
def test_the_same_data_give_the_same_bytes(name: str, data: ReportData) -> None:
    first, second = (draw(name, data) for _ in range(2))
    assert first is not None
    assert second is not None
    assert rendered(name, first) == rendered(name, second)


def test_files_are_what_printers_and_browsers_want(data: ReportData, tmp_path: Path) -> None:
    saved = list(islice(save_all(data, tmp_path, texts(data), FORMATS), 4))
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
def test_without_data_there_is_no_figure(name: str, analysis: Analysis) -> None:
    empty = {table: pl.DataFrame(schema=polars_types(TABLES[table])) for table in TABLES}
    assert draw(name, report_data(Analysis(analysis.path, empty, analysis.context))) is None


def test_what_nobody_asked_for_is_not_written(data: ReportData, tmp_path: Path) -> None:
    (tmp_path / "forest.png").write_bytes(b"of an earlier report")
    first = next(iter(save_all(data, tmp_path, texts(data))))
    assert set(first.files) == {"svg"}
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg"}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"models": 1, "runs": 2}, marks=pytest.mark.slow),
        {"models": 1, "runs": 1},
        {"models": 2, "runs": 3, "failing": ("Qwen2-1.5B",)},
        {"models": 1, "runs": 3, "levels": ("concurrency=1", "concurrency=4"), "gpu": False, "requests": 0},
    ],
    ids=["two runs", "one run", "a failed cell", "levels without a gpu"],
)
@pytest.mark.slow
def test_little_data_make_a_figure_or_none(tmp_path: Path, changes: Mapping[str, object]) -> None:
    data = report_data(analyse(small_study(tmp_path, merged=True, **changes)))  # type: ignore[arg-type]
    made = texts(data)
    for name in NAMES:
        found = draw(name, data)
        if found is not None:
            found.draw_without_rendering()
            assert words(made, name, "caption").endswith(".")


def test_a_figure_that_is_gone_leaves_no_file_behind(analysis: Analysis, tmp_path: Path) -> None:
    (tmp_path / "between_studies.png").write_bytes(b"of a report with another study")
    data = report_data(analysis)
    tables = {name: pl.DataFrame(schema=polars_types(TABLES[name])) for name in TABLES}
    assert list(save_all(ReportData(Analysis(data.analysis.path, tables, {})), tmp_path, texts(data))) == []
    assert list(tmp_path.iterdir()) == []


def lightness(colour: str) -> float:
    """CIE L* of `#rrggbb`, 0 to 100."""
    linear = []
    for i in (1, 3, 5):
        part = int(colour[i : i + 2], 16) / 255
        linear.append(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
    y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_arms_are_distinguished_in_grey_and_without_colour() -> None:
    looks = [arm_style(name) for name in ENVIRONMENTS]
    for one, other in combinations(looks, 2):
        assert abs(lightness(one.colour) - lightness(other.colour)) >= 11
        assert one.marker != other.marker
        assert one.line != other.line
        assert one.hatch != other.hatch


def test_an_unknown_arm_has_a_look_too() -> None:
    assert arm_style("podman") == arm_style("podman")
    assert arm_style("podman") not in [arm_style(name) for name in ENVIRONMENTS]


def test_one_long_interval_does_not_hide_the_others() -> None:
    """Two pairs beside four occasions of six: the axis ends near the usual intervals, with ticks beside 1."""
    usual = [{"ratio": 0.99, "low": 0.98, "high": 1.01} for _ in range(4)]
    ends = _limits([*usual, {"ratio": 0.987, "low": 0.77, "high": 1.27}], 0.01)
    assert ends == pytest.approx((0.917, 1.091), abs=0.002)
    assert _limits(usual[:1], 0.01)[1] == pytest.approx(1.022, abs=0.001), "one row is shown whole"


@pytest.mark.parametrize("reach", [1.05, 1.27, 1.5, 2.0, 4.0])
def test_an_axis_of_ratios_has_ticks_beside_one(reach: float) -> None:
    axis = Figure().add_subplot()
    ratio_axis(axis, 1 / reach, reach)
    assert sum(1 / reach <= tick <= reach for tick in axis.get_xticks()) >= 3
