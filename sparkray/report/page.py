"""Documents of a study: the page (one HTML file without network or script), the answer for a terminal, a Markdown table.

Templates hold the words and pick rows; every number is a cell of a table of the analysis.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from sparkray import __version__
from sparkray.analysis import Analysis
from sparkray.analysis.knee import about_knees
from sparkray.report import launches, repeat
from sparkray.report.data import ReportData
from sparkray.report.figures import Saved
from sparkray.report.render import environment, inline_svg
from sparkray.report.tables import Recorded, Tables, recorded

_POINT = Markup("<div><dt>{}</dt><dd>{}</dd></div>\n")


def page(data: ReportData, drawn: Sequence[Saved]) -> str:
    """The whole page as HTML."""
    made = environment("html")
    made.globals |= {
        **variables(data),
        "point": lambda name, caller: _POINT.format(name, caller().strip()),
        "pictures": {one.name: one for one in drawn},
        "svg": lambda one, about: inline_svg(one.name, one.svg, one.title, about),
        "style": Markup(template("page.css")),  # noqa: S704 - our own
    }
    return made.get_template("page.html.j2").render()


def html(template_name: str, /, **values: object) -> str:
    """A page of its own in the report's style, from any values: it needs neither network nor script."""
    made = environment("html")
    return made.get_template(template_name).render(style=Markup(template("page.css")), **values)  # noqa: S704 - our own


def variables(data: ReportData, tables: Tables | None = None) -> Mapping[str, Any]:
    """What every template of a study may read."""
    tables = tables or Tables(data)
    simulated = bool(data.context.get("simulated"))
    return {
        "ctx": recorded(data.context),
        "empty": Recorded(),
        "metrics": tables.primary,
        "simulated": simulated or bool(data.rows("flag_facts", name="simulated", text="yes")),
        "version": __version__,
        "about_knees": about_knees,
        "rows": tables.rows,
        "row": tables.row,
        "by_name": tables.by_name,
        "by_model": tables.by_model,
    }


def texts(data: ReportData) -> Environment:
    """The text templates of a study."""
    made = environment("text")
    made.globals |= variables(data)
    return made


def commands(data: ReportData) -> str:
    """Shell lines that measure the same question again, and that start each engine as its first run did."""
    made = environment("text")
    made.globals |= {
        "repeat": repeat.repeat_line(data),
        "open": repeat.left_open(data),
        "commands": launches.by_environment(data),
    }
    return made.get_template("commands.sh.j2").render() + "\n"


def answer_lines(data: ReportData) -> list[str]:
    """The answer for the terminal: the decision, then a line for each model."""
    return texts(data).get_template("answer.txt.j2").render().strip().splitlines()


def markdown(analysis: Analysis) -> str:
    """The comparison table as Markdown, to be pasted into an issue."""
    return texts(ReportData(analysis)).get_template("table.md.j2").render().strip() + "\n"


def template(name: str) -> str:
    """The text of a file that ships beside the templates."""
    return files("sparkray.report").joinpath("templates", name).read_text(encoding="utf-8")
