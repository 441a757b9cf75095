"""Links in the documentation are relative and lead somewhere, and nothing is left open in it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "results" / "README.md"]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
OPEN_ENDS = re.compile(r"\b(TODO|FIXME|XXX|TBD|WIP|coming soon|lorem ipsum)\b")
MAY_LINK_OUT = {"CHANGELOG.md"}  # names the versioning scheme that it follows


def prose_of(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors_of(page: Path) -> set[str]:
    """Headings as a reader of Markdown makes anchors of them: lower case, punctuation gone, spaces to hyphens."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead(page: Path, target: str) -> str | None:
    """Why a link leads nowhere, or None."""
    if re.match(r"[a-z]+:", target):
        return None if page.name in MAY_LINK_OUT else "not relative"
    name, _, anchor = target.partition("#")
    there = (page.parent / name).resolve() if name else page
    if not there.exists():
        return "no such file"
    if not there.is_relative_to(ROOT):
        return "outside the repository"
    if anchor and anchor not in anchors_of(there):
        return "no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    found = {target: why for target in LINK.findall(prose_of(page)) if (why := dead(page, target))}
    assert found == {}


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("../reference/data.md#columns", None),
        ("../../README.md#how-to-read-it", None),
        ("../reference/data.md#rows", "no such heading"),
        ("../reference/datum.md", "no such file"),
        ("https://example.org", "not relative"),
    ],
)
def test_dead_links_are_distinguished_from_live_ones(target: str, why: str | None) -> None:
    assert dead(ROOT / "docs" / "explanation" / "methodology.md", target) == why


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_nothing_is_left_open(page: Path) -> None:
    assert OPEN_ENDS.findall(page.read_text(encoding="utf-8")) == []


def test_every_page_of_docs_is_in_the_menu_once() -> None:
    menu = re.findall(r"^ +- [^:]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))
    assert sorted(menu) == pages
