"""What is written can be read back the same, by any tool; LaTeX has what siunitx and booktabs want."""

import json
import re
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from support.studies import small_study

from sparkray.analysis import Analysis, analyse, write
from sparkray.analysis.latex import escape, latex
from sparkray.analysis.outputs import document
from sparkray.analysis.schema import TABLES
from sparkray.errors import StorageError, UnknownNameError

PRINTED = (
    "descriptive",
    "comparisons",
    "diagnostics",
    "verdict_by_n",
    "power_curve",
    "size",
    "contrasts",
    "gap",
    "memory",
    "checks",
)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(small_study(tmp_path_factory.mktemp("small"), models=3, failing=("Mistral-7B-v0.3",), merged=True))


@pytest.fixture(scope="module")
def folder(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("out") / "deep" / "analysis"
    written = write(analysis, target)
    assert sorted(written) == sorted(target.iterdir())
    return target


def test_every_table_is_there_in_every_form_that_it_has(folder: Path) -> None:
    for name in TABLES:
        assert (folder / f"{name}.parquet").is_file()
        assert (folder / f"{name}.csv").is_file()
        assert (folder / f"{name}.tex").is_file() == (name in PRINTED)
    assert (folder / "analysis.json").is_file()


def test_parquet_holds_the_very_tables(analysis: Analysis, folder: Path) -> None:
    for name, frame in analysis.tables.items():
        assert_frame_equal(pl.read_parquet(folder / f"{name}.parquet"), frame)
        assert pq.read_schema(folder / f"{name}.parquet").names == frame.columns


def test_csv_holds_the_same_values(analysis: Analysis, folder: Path) -> None:
    for name in ("comparisons", "descriptive", "size"):
        frame = analysis.tables[name]
        found = pl.read_csv(folder / f"{name}.csv", schema=frame.schema)
        floats = frame.select(pl.selectors.float()).columns
        assert_frame_equal(found.select(floats), frame.select(floats), check_exact=True)


def test_json_is_one_document_with_everything_and_without_nan(analysis: Analysis, folder: Path) -> None:
    found = json.loads((folder / "analysis.json").read_text(), parse_constant=pytest.fail)
    assert found["format"] == "sparkray-analysis/1"
    assert list(found["tables"]) == list(TABLES)
    for name, frame in analysis.tables.items():
        assert len(found["tables"][name]) == frame.height
    [row] = [r for r in found["tables"]["comparisons"] if r["trace"] == analysis.tables["comparisons"]["trace"][0]]
    assert row["ratio"] == analysis.tables["comparisons"]["ratio"][0]
    assert re.fullmatch(r"2026-01-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", found["tables"]["order"][0]["started_at"])
    assert found["context"]["runs_used"] == analysis.context["runs_used"]
    assert found == json.loads(document(analysis))


def test_a_single_format_can_be_asked_for(analysis: Analysis, tmp_path: Path) -> None:
    assert {path.suffix for path in write(analysis, tmp_path, ["csv"])} == {".csv"}
    with pytest.raises(UnknownNameError, match="parquet"):
        write(analysis, tmp_path, ["parket"])


def test_a_folder_that_cannot_be_made_is_reported(analysis: Analysis, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        write(analysis, tmp_path / "file" / "analysis")


def floats(text: str) -> list[str]:
    return re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.DOTALL)


def spec_of(table: str) -> list[str]:
    """Column types of a tabular."""
    found = re.search(r"\\begin\{tabular\}\{@\{\}(.*)@\{\}\}", table)
    assert found
    return re.findall(r"l|S\[table-format=-?\d+\.\d+\]", found[1])


@pytest.mark.parametrize("name", PRINTED)
def test_every_line_has_a_cell_for_every_column(name: str, folder: Path) -> None:
    tables = floats((folder / f"{name}.tex").read_text())
    assert tables
    for table in tables:
        columns = spec_of(table)
        lines = [line.strip() for line in table.splitlines() if line.strip().endswith("\\\\")]
        assert len(lines) > 1
        assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {len(columns)}
        for line in lines[1:]:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix("\\\\"))]
            for cell, kind in zip(cells, columns, strict=True):
                if kind != "l" and not cell.startswith("{"):
                    digits, decimals = map(int, re.findall(r"\d+", kind))
                    whole, _, rest = cell.lstrip("-").partition(".")
                    assert len(whole) <= digits
                    assert len(rest) == decimals
                    assert "-" not in cell or "-" in kind.removeprefix("S[table-format")


def test_labels_are_unique_and_rules_are_booktabs(folder: Path) -> None:
    text = "".join(path.read_text() for path in sorted(folder.glob("*.tex")))
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(labels) == len(set(labels)) > len(PRINTED)
    for table in floats(text):
        assert [table.count(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule", "\\caption")] == [1] * 4
        assert "\\hline" not in table


def test_what_is_not_estimable_is_a_dash_with_a_note(folder: Path) -> None:
    [table] = [t for t in floats((folder / "comparisons.tex").read_text()) if "latency" in t and "Verdict" in t]
    [line] = [line for line in table.splitlines() if "Mistral" in line and "baseline" in line]
    assert line.count("{--}") == 4
    assert "--: not estimable" in table


def test_names_are_escaped_for_latex() -> None:
    assert escape("a_b & 50 % #1 {x} ~^\\") == (
        r"a\_b \& 50 \% \#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )


def test_an_empty_table_is_a_remark_and_raw_points_have_no_latex(analysis: Analysis) -> None:
    assert latex("comparisons", analysis.tables["comparisons"].clear(), ["latency_mean_ms"]) == (
        "% needs \\usepackage{booktabs,siunitx}; one IEEE column wide\n% nothing to print\n"
    )
    assert latex("runs", analysis.tables["runs"], []) is None


def test_a_level_of_the_load_gets_a_column_of_its_own(tmp_path: Path) -> None:
    found = analyse(small_study(tmp_path, models=1, runs=2, levels=("concurrency=1", "concurrency=8"), merged=True))
    text = latex("comparisons", found.tables["comparisons"], ["latency_mean_ms"])
    assert text is not None
    assert "{Model} & {Level} & {Env.}" in text
    assert text.count("concurrency=8") == 6
