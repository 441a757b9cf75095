"""The Jinja environments: escaping, delimiters, number formats, and no silence about what is missing."""

import pytest
from jinja2 import UndefinedError

from sparkray.report.format import interval, listed
from sparkray.report.render import environment


def test_html_is_escaped_and_text_is_not() -> None:
    assert environment("html").from_string("{{ x }}").render(x="<b>") == "&lt;b&gt;"
    assert environment("text").from_string("{{ x }}").render(x="<b>") == "<b>"


def test_latex_has_delimiters_of_its_own_and_its_own_escapes() -> None:
    made = environment("latex", finalize=lambda value: str(value).replace("%", r"\%"))
    assert made.from_string("{{ <<x>> }}<% if x %>!<% endif %>").render(x="5 %") == r"{{ 5 \% }}!"


def test_what_is_missing_is_an_error_and_a_null_is_a_dash() -> None:
    with pytest.raises(UndefinedError):
        environment("html").from_string("{{ nobody.there }}").render()
    assert environment("text").from_string("{{ x|num('ratio') }}").render(x=None) == "–"


def test_filters_format_numbers_and_name_things() -> None:
    text = "{{ row|interval('low', 'high', 'ratio') }} {{ 'latency_mean_ms'|metric }} {{ 'container_optimized'|arm }}"
    made = environment("text").from_string(text).render(row={"low": 0.95, "high": 1.05})
    assert made == "0.9500 to 1.0500 mean latency tuned container"


def test_an_interval_with_one_end_keeps_it_and_lists_end_in_and() -> None:
    assert interval(None, 1.0, "ratio") == "– to 1.0000"
    assert interval(None, None, "ratio") == "–"
    assert [listed(names) for names in ([], ["a"], ["a", "b"], "abc")] == ["", "a", "a and b", "a, b and c"]
