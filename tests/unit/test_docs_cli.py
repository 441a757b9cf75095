"""The command line's reference is the program's own help."""

import runpy
from pathlib import Path

from sparkray.sweep.verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "cli_reference.py"))


def test_the_committed_page_is_the_generated_one() -> None:
    assert SCRIPT["PAGE"].read_text(encoding="utf-8") == SCRIPT["page"](), f"run: {SCRIPT['COMMAND']}"


def test_check_tells_a_fresh_page_from_a_stale_one(tmp_path: Path) -> None:
    main, target = SCRIPT["main"], tmp_path / "cli.md"
    assert main(["--check"], target) == 1
    assert main(["--write"], target) == 0
    assert main(["--check"], target) == 0
    target.write_text(target.read_text() + "more\n")
    assert main(["--check"], target) == 1
    assert main(["--wrote"], target) == 2


def test_every_verb_has_its_help_there() -> None:
    text = SCRIPT["PAGE"].read_text(encoding="utf-8")
    assert [name for name in VERBS if f"\n### {name}\n" not in text or f"Usage: sparkray {name} " not in text] == []
