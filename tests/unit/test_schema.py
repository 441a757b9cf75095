"""The rows that say what a column is: every column of every table has all that headings, documents and LaTeX ask for."""

import polars as pl
import pytest

from sparkray.analysis.columns import polars_types
from sparkray.analysis.latex import col, views
from sparkray.analysis.schema import TABLES
from sparkray.report.format import FORMS
from sparkray.schema import OF_METRIC, Column, label_of, number
from sparkray.store import TABLES as STORED

COLUMNS = [column for table in (*TABLES.values(), *STORED.values()) for column in table]


@pytest.mark.parametrize("column", {column.name: column for column in COLUMNS}.values(), ids=lambda column: column.name)
def test_a_column_has_a_label_a_heading_and_a_known_number_format(column: Column) -> None:
    assert column.label
    assert column.head
    assert column.format in {*FORMS, "words"}
    assert (column.format == "words") == (column.kind not in ("int", "float"))


def test_what_is_not_given_follows_from_the_name() -> None:
    column = number("cluster_low", "lower end", format="ratio")
    assert (column.label, column.head, column.unit) == ("cluster, 95 % CI, low", "Low", "")
    assert number("gpu_temp_start_c", "").axis == "GPU temperature start (°C)"
    assert number("mean", "", unit=OF_METRIC).axis == "Mean"
    assert label_of("low") == "95 % CI, low"


def test_headings_of_latex_are_those_of_the_schema() -> None:
    printed = {name: views(name, pl.DataFrame(schema=polars_types(table))) for name, table in TABLES.items()}
    assert sum(map(bool, printed.values())) > 8
    for name, floats in printed.items():
        for view in floats:
            assert [column.head for column in view.columns] == [
                col(TABLES[name].column(column.name)).head for column in view.columns
            ]


def test_an_unknown_column_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"gap\.nothing"):
        TABLES["gap"].column("nothing")
