"""Jinja environments: templates hold the words, these filters hold the number formats and labels.

`{{ row.ratio|num("ratio") }}` formats a number, `{{ row.metric|metric }}` and `{{ row.environment|arm }}` name things for a
reader. HTML is escaped by Jinja, LaTeX by `finalize`, whose delimiters are `<< >>` and `<% %>`; Markdown and the terminal
take plain text.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args
from xml.etree import ElementTree as ET

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sparkray.analysis.decisions import is_memory
from sparkray.report.compiled import Compiled
from sparkray.report.format import grouped, interval, listed, shown
from sparkray.report.labels import arm, arm_in_full, axis_label, better, cell, metric_name, readable
from sparkray.schema import capital, unit_of
from sparkray.stats.reasons import worded

SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"
# Drawings up to this width are a column's, wider ones a page's (252 and 516 points).
_WIDE_PT = 400
Kind = Literal["html", "latex", "text"]
_LATEX_DELIMITERS = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


# By kind, and by whether values are finalized, which changes what is compiled.
_COMPILED: Mapping[tuple[str, bool], Compiled] = {
    (kind, finalized): Compiled(f"{kind}-finalized" if finalized else kind)
    for kind in get_args(Kind)
    for finalized in (False, True)
}


def environment(kind: Kind, *, finalize: Callable[[Any], Any] | None = None) -> Environment:
    """An environment over `report/templates`, strict about what is missing.

    Args:
        kind: What is written: HTML (escaped), LaTeX (other delimiters), or text.
        finalize: What becomes of a value before it is written, such as LaTeX's escapes.
    """
    delimiters: dict[str, Any] = dict(_LATEX_DELIMITERS) if kind == "latex" else {}
    made = Environment(
        loader=PackageLoader("sparkray.report"),
        undefined=StrictUndefined,
        autoescape=kind == "html",  # noqa: S701 - LaTeX is escaped by `finalize`; text needs no escapes
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
        bytecode_cache=_COMPILED[kind, finalize is not None],
        **delimiters,
    )
    made.filters |= {
        "num": shown,
        "interval": lambda row, low, high, form: interval(row[low], row[high], form),
        "listed": listed,
        "metric": metric_name,
        "axis": axis_label,
        "unit": unit_of,
        "better": better,
        "arm": arm,
        "arm_in_full": arm_in_full,
        "cell": lambda row: cell(row["model"], row["level"]),
        "capital": capital,
        "lower_first": lambda text: text[:1].lower() + text[1:],
        "readable": readable,
        "reason": worded,
        "grouped": grouped,
        "json": json.loads,
        "quote": shlex.quote,
        "shell": shlex.join,
        "words": lambda code: str(code).replace("_", " "),
    }
    made.tests["memory"] = is_memory
    return made


def inline_svg(name: str, svg: str, title: str, alt: str) -> Markup:
    """A drawing to stand inside a page: ids of its own, sized by the page, a title and a description to be read out."""
    for prefix, uri in (("", SVG), ("xlink", _XLINK)):
        ET.register_namespace(prefix, uri)
    root = ET.fromstring(svg)  # noqa: S314 - drawn a moment ago by matplotlib
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    _rename(root, name)
    width = float(re.sub(r"[a-z]+$", "", root.attrib.pop("width")))
    root.attrib.pop("height")
    root.attrib |= {
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
        "class": "wide" if width > _WIDE_PT else "narrow",
    }
    for index, (tag, words) in enumerate((("title", title), ("desc", alt))):
        element = ET.Element(f"{{{SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = words
        root.insert(index, element)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - serialised, so escaped


def _rename(root: ET.Element, name: str) -> None:
    """Ids get the figure's name in front, since a page holds many figures and ids must be one's own."""
    for element in root.iter():
        if "id" in element.attrib:
            element.attrib["id"] = f"{name}-{element.attrib['id']}"
        if element.attrib.get(_HREF, "").startswith("#"):
            element.attrib["href"] = f"#{name}-{element.attrib.pop(_HREF)[1:]}"
        for key, value in element.attrib.items():
            if "url(#" in value:
                element.attrib[key] = value.replace("url(#", f"url(#{name}-")
