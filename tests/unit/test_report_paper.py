"""The manuscript: every number a macro of the data, and LaTeX takes it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.studies import small_study

from sparkray.analysis import analyse
from sparkray.analysis.latex import escape
from sparkray.analysis.provenance_ids import SCOPE
from sparkray.report import report_data
from sparkray.report.data import ReportData
from sparkray.report.figures import Saved, draw, rendered, words
from sparkray.report.latex import Macros, body, cited
from sparkray.report.page import texts
from sparkray.report.paper import write_paper

NUMERAL = re.compile(r"(?<![\w.\-/@:=])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w/@]|\.\d|:\d|-\w)")
"""A number that stands alone: not part of a name (`Qwen2-1.5B`), a path, a time or an image's tag."""

DRAWN = ("forest", "size_overhead")
CONSTANTS = {"95", "90", "80", "5", "10,000"}
"""Of the method, which no data change."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return report_data(analyse(small_study(tmp_path_factory.mktemp("study"), models=2, runs=5)))


@pytest.fixture(scope="module")
def paper(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return write_paper(data, [saved(data, name, folder) for name in DRAWN], folder / "paper")


def saved(data: ReportData, name: str, folder: Path) -> Saved:
    """One figure on disk."""
    figure = draw(name, data)
    assert figure is not None
    contents = rendered(name, figure, ("svg", "pdf"))
    (folder / f"{name}.pdf").write_bytes(contents["pdf"])
    made = texts(data)
    return Saved(
        name,
        words(made, name, "title"),
        words(made, name, "caption"),
        contents["svg"].decode(),
        {"pdf": folder / f"{name}.pdf"},
        width_in=figure.get_figwidth(),
    )


def sources(paper: Path) -> str:
    """The text of the manuscript and of its tables."""
    return "\n".join(path.read_text() for path in [paper, *sorted((paper.parent / "tables").glob("*.tex"))])


def loose(text: str) -> set[str]:
    """Numbers of a source that are no macro; verbatim text, references and sizes apart."""
    text = re.sub(r"(?m)^%.*$|\\begin\{lstlisting\}.*?\\end\{lstlisting\}", "", text, flags=re.DOTALL)
    text = re.sub(r"\\begin\{thebibliography\}.*?\\end\{thebibliography\}", "", text, flags=re.DOTALL)
    text = re.sub(r"\\sr\{[^{}]*\}|\\(?:includegraphics|label|ref|input|cite|begin)(?:\[[^\]]*\])?\{[^{}]*\}", "", text)
    text = re.sub(r"\\setlength\{[^{}]*\}\{[^{}]*\}|\\parbox\{[^{}]*\}", "", text)
    return set(NUMERAL.findall(text))


def test_every_number_of_the_data_is_a_macro(paper: Path) -> None:
    for path in (paper.parent / "tables").glob("*.tex"):
        assert loose(path.read_text()) == set(), path.name
    assert loose(paper.read_text().partition("\\begin{document}")[2]) <= CONSTANTS


def test_a_number_keeps_its_provenance_through_filters(data: ReportData) -> None:
    macros = Macros()
    made = macros.environment("text", data)
    least = "(rows('comparisons')|rejectattr('ratio', 'none')|map(attribute='ratio')|min)|num('ratio')"
    source = f"{{{{ {least} }}}} {{{{ rows('runs', level='')|length }}}}"
    text = macros.tex(made.from_string(source).render())
    keys = re.findall(r"\\sr\{([^{}]*)\}", text)
    assert [key.partition("/")[0] for key in keys] == ["comparisons", "tally"]
    smallest = min(row["ratio"] for row in data.rows("comparisons") if row["ratio"] is not None)
    assert macros.values[keys[0]] == f"\\num{{{smallest:.4f}}}"
    assert macros.values[keys[1]] == f"\\num{{{len(data.rows('runs'))}}}"
    assert macros.tex(made.from_string("{{ ctx.runs_used }} {{ 1 + 1 }}").render()).endswith("} 2")


def traces_of(numbers: str) -> dict[str, str]:
    """The traces of a `numbers.tex` by its macros' keys."""
    return dict(re.findall(r"^\\srdef\{([^{}]*)\}\{.*\} % (.*)$", numbers, re.MULTILINE))


def test_every_macro_is_defined_and_used(paper: Path) -> None:
    used = set(re.findall(r"\\sr\{([^{}]*)\}", sources(paper)))
    assert used == set(traces_of((paper.parent / "numbers.tex").read_text()))
    assert len(used) > 100


def test_beside_every_macro_stands_a_trace_that_opens(paper: Path, data: ReportData) -> None:
    traces = traces_of((paper.parent / "numbers.tex").read_text())
    kinds = {trace.partition("/")[0]: trace for trace in traces.values() if SCOPE not in trace}
    assert {"tally", "context", "comparisons", "descriptive", "study"} <= set(kinds)
    scoped = [trace for trace in traces.values() if SCOPE in trace][:1]
    for trace in (*kinds.values(), *scoped):
        evidence, rows = data.open(trace)
        assert evidence.count == rows.height > 0
    key = next(key for key, trace in traces.items() if trace.startswith("tally/comparisons&metric="))
    assert key.startswith("tally/comparisons-metric-")


def test_effects_have_intervals_and_the_caption_tells_what_is_paired(paper: Path) -> None:
    text = (paper.parent / "tables" / "effects.tex").read_text()
    for column in ("cohen_d", "d_low", "d_high", "hedges_g", "g_low", "g_high"):
        assert f":{column}:effect" in text
    assert "The last two columns are paired" in " ".join(text.split())


def test_figures_and_tables_stand_in_their_places(paper: Path) -> None:
    text = paper.read_text()
    for name in re.findall(r"\\includegraphics\[[^\]]*\]\{([^{}]*)\}", text):
        assert (paper.parent / "figures" / f"{name}.pdf").is_file()
    for name in re.findall(r"\\input\{(tables/[^{}]*)\}", text):
        assert (paper.parent / f"{name}.tex").read_text().count("\\toprule") == 1
    assert re.findall(r"\\begin\{(figure\*?)\}", text) == ["figure", "figure"]
    assert "SIMULATED" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine (Debian: texlive-publishers)")
def test_latex_takes_it(paper: Path) -> None:
    for _ in range(2):
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", paper.name],
            cwd=paper.parent,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=120,
        )
        if "IEEEtran.cls' not found" in done.stdout or "siunitx.sty' not found" in done.stdout:
            pytest.skip("pdflatex lacks IEEEtran or siunitx (Debian: texlive-publishers, texlive-science)")
        assert done.returncode == 0, done.stdout[-3000:]
    log = (paper.parent / "main.log").read_text(errors="replace")
    assert "undefined references" not in log
    wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)]
    assert [points for points in wide if points > 15] == []
    assert (paper.parent / "main.pdf").read_bytes().startswith(b"%PDF")


def test_a_missing_number_stops_the_compiler() -> None:
    assert "PackageError" in Macros().definitions()


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("1.0042", r"\num{1.0042}"),
        ("11,716", r"\num{11716}"),
        ("-3.48 %", r"\qty{-3.48}{\percent}"),
        ("< 0.001", r"\textless{} 0.001"),
        ("1.0.0", "1.0.0"),
        ("yes", "yes"),
        ("a" * 26, r"aaaaaaaa\allowbreak aaaaaaaa\allowbreak aaaaaaaa\allowbreak aa"),
    ],
)
def test_what_a_macro_expands_to(text: str, tex: str) -> None:
    assert body(text) == tex


def test_words_are_escaped() -> None:
    assert escape("50 % of a_b & {c} – 45 °C…") == r"50 \% of a\_b \& \{c\} -- 45 \textdegree{}C\ldots{}"
    assert escape("naïve 数") == "naive "


def test_two_values_never_share_a_key() -> None:
    macros = Macros()
    first, second = (macros.tex(macros.num(cited(value, "a b", "x"), "ratio")) for value in (1.1, 2.2))
    assert first != second
    assert set(macros.values.values()) == {r"\num{1.1000}", r"\num{2.2000}"}
    assert macros.tex(macros.num(cited(1.1, "a b", "x"), "ratio")) == first
    assert macros.tex(macros.num(cited(1.1, "a&b", "x"), "ratio")) not in (first, second)
    assert set(traces_of(macros.definitions()).values()) == {"a b", "a&b"}
