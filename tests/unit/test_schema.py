"""Declarations of columns: each has what headings, documents and LaTeX need; a faulty row is refused by its line."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from sparkray.analysis.latex import views
from sparkray.analysis.schema import DERIVED, TABLES, polars_types
from sparkray.errors import ConfigError
from sparkray.report.format import FORMS
from sparkray.schema import FOLDER, OF_METRIC, Column, Table, Tables, label_of
from sparkray.store.tables import TABLES as STORED

HEADER = "name,kind,unit,label,format,head,meaning"


def test_a_column_has_a_label_a_heading_and_a_known_number_format() -> None:
    for column in (column for table in (*TABLES.values(), *DERIVED.values(), *STORED.values()) for column in table):
        assert column.label, column
        assert column.head, column
        assert column.format in {*FORMS, "words"}, column
        assert (column.format == "words") == (column.kind not in ("int", "float")), column


@pytest.mark.parametrize(("folder", "tables"), [("analysis", TABLES), ("derived", DERIVED), ("dataset", STORED)])
def test_every_file_of_a_table_is_listed(folder: str, tables: Tables) -> None:
    assert {*tables} == {path.stem for path in (FOLDER / folder).glob("*.csv")} - {"tables", "shared"}
    assert all(
        table.meaning and len({column.name for column in table}) == len(table.columns) for table in tables.values()
    )


def test_what_is_not_given_follows_from_the_name() -> None:
    column = Column("cluster_low", "float", "lower end", format="ratio")
    assert (column.label, column.head, column.unit) == ("cluster, 95 % CI, low", "Low", "")
    assert Column("gpu_temp_start_c", "float", "").axis == "GPU temperature start (°C)"
    assert Column("mean", "float", "", unit=OF_METRIC).axis == "Mean"
    assert label_of("low") == "95 % CI, low"


def test_headings_of_latex_are_those_of_the_schema() -> None:
    printed = {name: views(name, pl.DataFrame(schema=polars_types(table))) for name, table in TABLES.items()}
    assert sum(map(bool, printed.values())) > 8
    for name, floats in printed.items():
        for view in floats:
            assert [column.head for column in view.columns] == [
                TABLES[name].column(column.name).head for column in view.columns
            ]


def test_an_unknown_table_or_column_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"gap\.nothing"):
        TABLES["gap"].column("nothing")
    assert "nothing" not in TABLES


def declared(folder: Path, rows: str, *, header: str = HEADER) -> Table:
    (folder / "tables.csv").write_text("name,meaning\nt,one thing\n", encoding="utf-8")
    (folder / "shared.csv").write_text(f"{HEADER}\nmodel,string,,,,,its card\n", encoding="utf-8")
    (folder / "t.csv").write_text(f"{header}\n{rows}\n", encoding="utf-8")
    return Tables(folder, {"<more>": lambda: [Column("m_s", "float", "a time")]})["t"]


def test_a_row_is_a_column_a_shared_one_or_a_group_of_generated_ones(tmp_path: Path) -> None:
    table = declared(tmp_path, 'model\nn,int,,pairs,,$n$,"pairs, all of them"\n<more>')
    assert [(column.name, column.label, column.meaning) for column in table] == [
        ("model", "model", "its card"),
        ("n", "pairs", "pairs, all of them"),
        ("m_s", "m", "a time"),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("model\nn,whole,,,,,pairs", r"t\.csv, line 3: kind 'whole' of n is unknown\. Known: string, int"),
        ("n,int,,,percent,,pairs", r"line 2: format 'percent' of n is unknown\. Known: .*per_cent"),
        ("n,float,,,words,,pairs", "line 2: format 'words' of n does not fit kind float"),
        ("n,string,,,ratio,,pairs", "line 2: format 'ratio' of n does not fit kind string"),
        ("n,int,,,,,", "line 2: n has no meaning"),
        ("n,int,,,,,pairs, all", "line 2: 8 fields instead of 7"),
        ("n,int,,,,,pairs\nn,int,,,,,pairs", "line 3: 'n' is a second row"),
        ("N pairs,int,,,,,pairs", "line 2: 'N pairs' is not a name"),
        (",int,,,,,pairs", "line 2: '' is not a name"),
        ("level", r"line 2: 'level' has no kind and meaning, and is not shared\. Shared: model, <more>"),
        ("<less>", "line 2: '<less>' has no kind"),
        ('n,int,,,,,"pairs', r"t\.csv cannot be read: unexpected end of data"),
    ],
)
def test_a_faulty_row_is_refused_by_file_and_line(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        declared(tmp_path, rows)


def test_another_header_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"t\.csv: the header is 'name,type'\. Make it name,kind,unit"):
        declared(tmp_path, "n,int", header="name,type")
    (tmp_path / "t.csv").unlink()
    with pytest.raises(ConfigError, match=r"t\.csv cannot be read: .*No such file"):
        Tables(tmp_path, {})["t"]


def test_nothing_is_read_at_import() -> None:
    rooms = ["store", "analysis", "report", "telemetry._stream", "workflows.options", "sweep.analyze"]
    imports = ", ".join(f"sparkray.{room}" for room in rooms)
    code = f"import {imports}; print([*sparkray.store.TABLES._read, *sparkray.analysis.schema.TABLES._read])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
