"""The tables in `docs` that repeat files are the generated ones, and the prose beside them speaks of the same things."""

import re
import runpy
from pathlib import Path

import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.config.docker import flag_words
from sparkray.config.site import CONTAINER_BASELINE

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "doc_tables.py"))
METHODOLOGY = (ROOT / "docs" / "explanation" / "methodology.md").read_text(encoding="utf-8")
QUICKSTART = (ROOT / "docs" / "tutorials" / "day-with-a-spark.md").read_text(encoding="utf-8")
CATALOG = Catalog(data_root())


@pytest.mark.parametrize("page", SCRIPT["PAGES"], ids=lambda page: page.name)
def test_the_committed_tables_are_the_generated_ones(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert SCRIPT["filled"](text) == text, f"run: {SCRIPT['COMMAND']}"


def test_every_table_that_is_made_stands_in_a_page() -> None:
    placed = [name for text in (METHODOLOGY, QUICKSTART) for _, name, _ in SCRIPT["BLOCK"].findall(text)]
    assert sorted(placed) == sorted(SCRIPT["tables"]())


def test_a_changed_figure_is_seen() -> None:
    changed = METHODOLOGY.replace("| 1.5 | bfloat16 | 2.9 |", "| 1.5 | bfloat16 | 3.9 |")
    assert changed != METHODOLOGY
    assert SCRIPT["filled"](changed) == METHODOLOGY


def test_the_suite_is_ten_models_and_the_refused_are_of_it() -> None:
    rows = SCRIPT["tables"]()
    assert len(rows["suite"]) == 2 + 10
    refused = [row.split(" | ")[0].removeprefix("| ") for row in rows["refused"][2:]]
    assert refused == ["Llama-3-70B", "Qwen2.5-72B", "Gemma-2B"]
    able = [row.split(" | ")[0].removeprefix("| ") for row in rows["checkpoints"][2:-1]]
    assert sorted([*refused, *able]) == sorted(row.split(" | ")[1] for row in rows["suite"][2:])


def test_every_flag_of_the_baseline_has_its_reason_and_source() -> None:
    options = CATALOG.site("dgx-spark").environments[CONTAINER_BASELINE].options
    reasons = dict(re.findall(r"^\| `(--[^`]+)` \| (.+ \| .+) \|$", METHODOLOGY, re.MULTILINE))
    assert {flag for flag in reasons if flag != "--rm"} == set(flag_words(options))


def test_the_quickstart_pulls_the_image_of_the_site() -> None:
    image = CATALOG.site("dgx-spark").image
    assert f"docker pull {image}\n" in QUICKSTART
    assert set(re.findall(r"nvcr\.io/\S+", QUICKSTART)) == {image}


def test_the_quickstart_downloads_to_where_the_card_looks() -> None:
    card, root = CATALOG.card("Qwen2-1.5B"), CATALOG.site("dgx-spark").models_root
    assert f"hf download {card.hf_id} --local-dir /models/{card.weights.path}\n" in QUICKSTART
    assert f"-v {root}:/models " in QUICKSTART
    assert f"ls {root}/{card.weights.path}/config.json\n" in QUICKSTART


def test_the_quickstart_says_at_its_top_that_nobody_walked_it() -> None:
    assert "Nobody has walked this page on a real Spark yet" in QUICKSTART[:200]


def test_the_thermal_section_says_what_the_experiment_says() -> None:
    protocol = CATALOG.experiment("phase2a").protocol
    heat = METHODOLOGY.partition("## Heat")[2].partition("\n## ")[0]
    assert f"below {protocol.start_below_c:g} °C" in heat
    assert f"within {protocol.start_within_c:g} degrees" in heat
    assert f"{protocol.cooldown_s / 60:g} minutes" in heat
    assert f"after {protocol.cooldown_limit_s / 60:g} minutes" in heat
    assert f"`{protocol.cooldown}` is the default" in heat
