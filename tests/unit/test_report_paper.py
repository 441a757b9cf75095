"""The manuscript: every number a macro of the data, and LaTeX takes it."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from support.studies import analysed

from sparkray.analysis.decisions import OUTCOMES
from sparkray.analysis.latex import escape
from sparkray.analysis.provenance_ids import SCOPE, TALLY
from sparkray.report import report_data
from sparkray.report.data import ReportData
from sparkray.report.figures import Saved, draw, rendered, words
from sparkray.report.latex import Macros, body, cited
from sparkray.report.page import texts
from sparkray.report.paper import folded, write_paper

NUMERAL = re.compile(r"(?<![\w.\-/@:=])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w/@]|\.\d|:\d|-\w)")
"""A number that stands alone: not part of a name (`Qwen2-1.5B`), a path, a time or an image's tag."""

DRAWN = ("forest", "run_order")
IN_THE_TEXT = ("forest", "size_overhead", "verdict_by_n", "memory_waterfall", "variance_components")
CONSTANTS = {"95", "90", "80", "5", "10,000"}
"""Of the method, which no data change."""
MOST_PAGES = 10


@pytest.fixture(scope="module")
def data() -> ReportData:
    return report_data(analysed(models=2, runs=5))


@pytest.fixture(scope="module")
def paper(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return write_paper(data, [saved(data, name, folder) for name in DRAWN], folder / "paper")


def of_ten_models(data: ReportData) -> ReportData:
    """The same study with five copies of its two models: as long as the registered study, for a fifth of the analysis."""

    def stacked(frame: pl.DataFrame) -> pl.DataFrame:
        if "model" not in frame.columns:
            return frame
        return pl.concat([frame.with_columns(pl.col("model") + suffix) for suffix in ("", "-B", "-C", "-D", "-E")])

    tables = {name: stacked(frame) for name, frame in data.analysis.tables.items()}
    own = {name: stacked(frame) for name, frame in data.own.items()}
    return ReportData(replace(data.analysis, tables=tables), own)


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
    text = re.sub(r"\\setlength\{[^{}]*\}\{[^{}]*\}|\\parbox\{[^{}]*\}|L\{[^{}]*\}|\\doi\{[^{}]*\}", "", text)
    text = re.sub(r"\\(?:put|vector|framebox|begin\{picture\})\([^()]*\)|\\vector\([^()]*\)\{\d+\}", "", text)
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
        assert evidence.count == rows.height
        assert rows.height > 0 or trace.startswith(TALLY)
    key = next(key for key, trace in traces.items() if trace.startswith("tally/comparisons&metric="))
    assert key.startswith("tally/comparisons-metric-")


def test_effects_have_intervals_and_the_caption_tells_what_is_paired(paper: Path) -> None:
    text = (paper.parent / "tables" / "effects.tex").read_text()
    for column in ("cohen_d", "d_low", "d_high", "hedges_g", "g_low", "g_high"):
        assert f":{column}:effect" in text
    assert "The last two columns are paired" in " ".join(text.split())


def test_figures_and_tables_stand_in_their_places(paper: Path) -> None:
    text = paper.read_text()
    pictures = re.findall(r"\\includegraphics\[[^\]]*\]\{([^{}]*)\}", text)
    assert sorted(pictures) == sorted(DRAWN)
    body, _, appendix = text.partition("\\appendices")
    assert "{run_order}" in appendix
    assert "{forest}" in body
    for name in pictures:
        assert (paper.parent / "figures" / f"{name}.pdf").is_file()
    for name in re.findall(r"\\input\{(tables/[^{}]*)\}", text):
        assert (paper.parent / f"{name}.tex").read_text().count("\\toprule") == 1
    assert "SIMULATED" in text


def test_the_decision_framework_counts_every_comparison_once(paper: Path, data: ReportData) -> None:
    picture = re.search(r"\\begin\{picture\}.*?\\end\{picture\}", paper.read_text(), re.DOTALL)
    assert picture is not None
    values = dict(
        re.findall(r"^\\srdef\{([^{}]*)\}\{\\num\{(\d+)\}\}", (paper.parent / "numbers.tex").read_text(), re.MULTILINE)
    )
    for environment in ("container_baseline", "container_optimized"):
        keys = re.findall(rf"\\sr\{{(tally/decisions-environment--{environment}--outcome[^{{}}]*)\}}", picture[0])
        assert len(keys) == len(OUTCOMES)
        assert sum(int(values[key]) for key in keys) == len(data.rows("decisions", environment=environment))


def test_models_with_one_recommendation_share_a_row(data: ReportData, paper: Path) -> None:
    table = paper.read_text().partition("\\label{tab:recommendations}")[2].partition("\\end{table}")[0]
    rows = [row.split(" & ") for row in re.findall(r"(?m)^.*\\\\(?=\\addlinespace|$)", table)[1:]]
    named = [name for models, *_ in rows for name in models.split(", ")]
    assert sorted(named) == sorted(row["model"] for row in data.rows("recommendations"))
    assert len({tuple(rest) for _, *rest in rows}) == len(rows)


def test_every_reference_is_cited_and_every_citation_has_one(paper: Path) -> None:
    text = paper.read_text()
    cited_keys = {key for group in re.findall(r"\\cite\{([^{}]*)\}", text) for key in group.split(",")}
    listed = re.findall(r"\\bibitem\{([^{}]*)\}", text)
    assert cited_keys == set(listed)
    assert len(listed) == len(set(listed)) >= 20


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine (Debian: texlive-publishers)")
def test_latex_takes_it_on_ten_pages_without_an_overfull_box(data: ReportData, tmp_path: Path) -> None:
    long = of_ten_models(data)
    paper = write_paper(long, [saved(long, name, tmp_path) for name in IN_THE_TEXT], tmp_path / "paper")
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
    assert re.findall(r"Overfull .*", log) == []
    first_of_appendix = re.search(
        r"newlabel\{app:artifact\}\{\{[^{}]*\}\{(\d+)\}", (paper.parent / "main.aux").read_text()
    )
    assert first_of_appendix is not None
    assert int(first_of_appendix[1]) - 1 <= MOST_PAGES
    assert (paper.parent / "main.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    "line",
    [
        "docker run --rm --gpus=all --ipc=host -v /a:/b -e X=1 image@sha256:" + "0" * 64 + " --model a/b throughput",
        "python -m sparkray.sweep validate --models " + ",".join(f"Model-{n}" for n in range(12)) + " --runs 30",
        "sh -c 'one  two, three and many more words that stand in quotes' --and \"a $VALUE in others\" --and a\\ b",
        "  --indented " + "word " * 20,
    ],
    ids=["docker", "models", "quotes", "indented"],
)
def test_a_folded_line_is_the_same_to_a_shell(line: str) -> None:
    lines = folded(line).splitlines()
    assert len(lines) > 1
    assert all(len(one) <= 54 for one in lines if " " in one.rstrip("\\ ") and "'" not in one)
    asked = [
        subprocess.run(["sh", "-c", f"printf '<%s>' {one}"], capture_output=True, check=True)
        for one in (line, folded(line))
    ]
    assert asked[0].stdout == asked[1].stdout


def test_what_cannot_be_folded_stays() -> None:
    comment = folded("# " + "it's a comment of many words " * 4).splitlines()
    assert all(line.startswith("# ") and len(line) <= 54 for line in comment)
    script = "echo 'a quote of many, many words that ends on\nanother line' " + "word " * 20
    assert folded(script) == script
    word = "echo " + '"' + "x" * 60 + '"'
    assert folded(word).splitlines() == ["echo \\", word[5:]]


def test_counts_are_in_words_where_they_are_nought_or_all(data: ReportData) -> None:
    made = Macros().environment("latex", data)
    source = "<% from 'paper/counts.tex.j2' import cases, of, outcomes, shares with context %>"

    def written(call: str) -> str:
        return made.from_string(f"{source}<< {call} >>").render()

    assert written("of(0, 3, 'gap')") == "none of the 3 gaps"
    assert written("of(3, 3, 'gap')") == "all 3 gaps"
    assert written("of(1, 1, 'gap')") == "the one gap"
    assert written("of(2, 3, 'gap')") == "2 of the 3 gaps"
    some, none, every = "[(2, 'equal'), (0, 'unlike'), (1, 'open')]", "[(0, 'equal')]", "[(3, 'equal'), (0, 'open')]"
    assert written(f"outcomes({some}, 3)") == "equal in 2 and open in 1 of 3 comparisons"
    assert written(f"outcomes({every}, 3)") == "equal in all 3 comparisons"
    assert written(f"outcomes({none}, 3)") == "estimated in none of the 3 comparisons"
    assert written(f"shares({some}, 3, 'pairs')") == "2 of 3 pairs are equal and 1 open"
    assert written(f"shares({every}, 3, 'pairs')") == "all 3 pairs are equal"
    assert written(f"cases({some})") == "equal in 2 cases and open in 1"


def test_a_missing_number_stops_the_compiler() -> None:
    assert "PackageError" in Macros().definitions()


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("1.0042", r"\num{1.0042}"),
        ("11,716", r"\num{11716}"),
        ("-3.48 %", r"\qty{-3.48}{\percent}"),
        ("< 0.001", r"\textless{}~0.001"),
        ("= 0.038", r"=~0.038"),
        ("over 99.9 %", r"over 99.9\,\%"),
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
