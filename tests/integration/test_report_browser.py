"""The page in a real browser: Chromium without a screen and without a network, at a desk, on a phone, on paper.

The page itself runs no script. What is measured is measured from outside: a second page holds it in a frame of a given
width, looks into it, and leaves what it saw in its own document.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from support.studies import small_study

from sparkray.analysis import analyse
from sparkray.report import write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (Debian: chromium)")
DESK, PHONE = 1280, 390
PROBE = """<!DOCTYPE html><title>probe</title>
<iframe id="it" src="index.html" style="width: {width}px; height: 900px; border: 0"></iframe><pre id="seen"></pre>
<script>
document.getElementById("it").onload = (event) => {{
  const page = event.target.contentDocument, view = event.target.contentWindow;
  const all = (query) => [...page.querySelectorAll(query)];
  const box = (one) => one.getBoundingClientRect();
  page.querySelector(".skip").focus();
  const skip = box(page.querySelector(".skip"));
  const first = (query) => box(page.querySelector(query));
  document.getElementById("seen").textContent = JSON.stringify({{
    title: page.title,
    scrolls_by: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    rows: all("#table-decision tbody tr").length,
    decision_ends: first(".decision").bottom,
    recommended_ends: first("#table-decision tbody td").right,
    forest_begins: first("#figure-forest").top,
    drawings: all("figure svg").map((one) => [box(one).width, box(one).height]),
    small_text: all("p, li, td, dd").filter((one) => parseFloat(view.getComputedStyle(one).fontSize) < 12).length,
    reached: all("a[href], summary, [tabindex='0']").every((one) => one.tabIndex >= 0),
    skip_seen: skip.left >= 0 && skip.top >= 0,
    focus: view.getComputedStyle(page.querySelector(".skip")).outlineStyle,
  }});
}};
</script>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    analysis = analyse(small_study(tmp_path_factory.mktemp("study"), models=3, runs=5, merged=True))
    return write_report(analysis, tmp_path_factory.mktemp("report")).page


def chromium(profile: Path, *words: str) -> str:
    """Chromium's standard output. No name resolves, so nothing outside can be reached."""
    assert BROWSER is not None
    flags = (
        "--headless=new",
        "--no-sandbox",  # tests run as root, where the sandbox cannot
        "--disable-gpu",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=10000",
        f"--user-data-dir={profile}",
    )
    done = subprocess.run([BROWSER, *flags, *words], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def seen(report: Path, profile: Path, width: int) -> Mapping[str, Any]:
    """What is seen of the page in a frame of that width."""
    probe = report.parent / f"probe-{width}.html"
    probe.write_text(PROBE.format(width=width))
    dom = chromium(profile, "--allow-file-access-from-files", "--dump-dom", probe.as_uri())
    found = re.search(r'<pre id="seen">(.+?)</pre>', dom, re.DOTALL)
    assert found is not None, "the page did not load"
    told: Mapping[str, Any] = json.loads(unescape(found[1]))
    return told


@pytest.fixture(scope="module", params=[DESK, PHONE], ids=["desk", "phone"])
def view(
    request: pytest.FixtureRequest, report: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Mapping[str, Any]]:
    return request.param, seen(report, tmp_path_factory.mktemp("profile"), request.param)


def test_the_first_screen_holds_the_decision_and_the_recommendations(view: tuple[int, Mapping[str, Any]]) -> None:
    width, told = view
    assert told["title"].startswith("What does a container cost?")
    assert told["rows"] == 3
    assert told["decision_ends"] < 500
    assert told["recommended_ends"] <= width
    assert told["forest_begins"] < (700 if width == DESK else 1100)


def test_only_tables_and_drawings_scroll_sideways(view: tuple[int, Mapping[str, Any]]) -> None:
    assert view[1]["scrolls_by"] <= 0


def test_drawings_have_a_size(view: tuple[int, Mapping[str, Any]]) -> None:
    width, told = view
    shown = [(across, down) for across, down in told["drawings"] if across]  # the others are folded
    assert shown
    for across, down in shown:
        assert across >= 300
        assert across <= max(width, 710)
        assert 90 <= down <= 2500


def test_text_can_be_read_and_reached(view: tuple[int, Mapping[str, Any]]) -> None:
    _, told = view
    assert told["small_text"] == 0
    assert told["reached"]
    assert told["skip_seen"]
    assert told["focus"] not in ("", "none")


def test_a_page_that_is_too_wide_is_found(report: Path, tmp_path: Path) -> None:
    broken = tmp_path / "index.html"
    broken.write_text(report.read_text().replace("<main", '<p style="width: 3000px; max-width: none">wide</p><main', 1))
    assert seen(broken, tmp_path / "profile", PHONE)["scrolls_by"] > 2000


def test_screenshots_at_both_widths(report: Path, tmp_path: Path) -> None:
    for width in (DESK, PHONE):
        shot = tmp_path / f"{width}.png"
        chromium(tmp_path / "profile", f"--screenshot={shot}", f"--window-size={width},2000", report.as_uri())
        assert shot.read_bytes().startswith(b"\x89PNG")
        assert shot.stat().st_size > 50_000


def test_in_print_it_takes_few_pages(report: Path, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    chromium(tmp_path / "profile", f"--print-to-pdf={paper}", "--no-pdf-header-footer", report.as_uri())
    content = paper.read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b", content))
    assert content.startswith(b"%PDF")
    assert 3 <= pages <= 12
