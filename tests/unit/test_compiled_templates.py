"""Compiled templates are kept between processes, and never taken for another text's."""

from pathlib import Path

from jinja2 import DictLoader, Environment

from sparkray.report import compiled
from sparkray.report.compiled import Compiled


def rendered(text: str) -> str:
    made = Environment(
        loader=DictLoader({"greeting": text}), bytecode_cache=Compiled("test", keep=True), autoescape=True
    )
    return made.get_template("greeting").render(name="A & B")


def kept() -> list[Path]:
    return list((Path(compiled.__file__).parent / "__pycache__").glob("*.test"))


def test_a_kept_template_is_the_texts_own_and_a_damaged_one_is_compiled_again() -> None:
    try:
        assert rendered("Hello {{ name }}") == rendered("Hello {{ name }}") == "Hello A &amp; B"
        assert rendered("Bye {{ name }}") == "Bye A &amp; B", "the text has changed since"
        (file,) = kept()
        whole = file.read_bytes()
        for damaged in (b"", whole[:40], whole[: len(whole) // 2], b"\x00" * 100, whole.split(b"\n")[0] + b"\nj2"):
            file.write_bytes(damaged)
            assert rendered("Bye {{ name }}") == "Bye A &amp; B"
            assert file.read_bytes() == whole
    finally:
        for file in kept():
            file.unlink()
