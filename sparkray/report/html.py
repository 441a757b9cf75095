"""Content to markup: numbers become links to their evidence, everything else is escaped."""

import re
from importlib.resources import files
from xml.etree import ElementTree as ET

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from sparkray.analysis.text import Number, Part, Say
from sparkray.report.book import Book

_LINK = Markup(
    '<a class="n"{place} href="#{anchor}" data-trace="{trace}" data-column="{column}" data-form="{form}" title="{line}">'
    "{text}</a>"
)
_PLACE = Markup(' id="{place}"')
SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"


def markup(book: Book, text: Say) -> Markup:
    """A text as HTML; the evidence of its numbers is looked up and remembered in the book."""
    parts: tuple[Part, ...] = text if isinstance(text, tuple) else (text,)
    return Markup("").join(_part(book, part) for part in parts)


def _part(book: Book, part: Part) -> Markup:
    if not isinstance(part, Number):
        return escape(part)
    evidence = book.evidence(part.trace, part.column)
    place = book.first_place(evidence)
    return _LINK.format(
        place=_PLACE.format(place=place) if place else "",
        anchor=evidence.anchor,
        trace=part.trace,
        column=part.column,
        form=part.form,
        line=evidence.line,
        text=part.text,
    )


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
        "class": "wide" if width > 400 else "narrow",  # noqa: PLR2004 - points; a column is 252, a page 516
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


def environment(book: Book) -> Environment:
    """Jinja with autoescape, strict about what is missing, and a filter that makes links of numbers."""
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["say"] = lambda text: markup(book, text)
    return made


def template(name: str) -> str:
    """The text of a template that ships with this package."""
    return files("sparkray.report").joinpath("templates", name).read_text(encoding="utf-8")
