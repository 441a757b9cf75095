"""One figure a file, found by its name: `TITLE`, `TABLES` that it draws from, and `draw(book)`, which may say why not.

A figure draws what the analysis estimated and estimates nothing. Its caption is a sentence from the data whose numbers have
evidence; its alternative text says in words what an eye would see. Files come out the same, byte for byte, for the same
data: no dates, no random ids.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from sparkray.analysis.text import Text
from sparkray.report.book import Book
from sparkray.report.style import RC

FORMATS = ("pdf", "svg", "png")
PNG_DPI, POINTS = 300, 72
_METADATA: Mapping[str, Mapping[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


@dataclass(frozen=True)
class Drawn:
    """A figure, its caption and what it shows in words for those who do not see it."""

    figure: Figure
    caption: Text
    alt: str


@dataclass(frozen=True)
class NoFigure:
    """Why there is none: what the data lack, in words."""

    reason: str


@dataclass(frozen=True)
class Saved:
    """A figure on disk. `svg` is its drawing as text; `files` has a path for each of `FORMATS`; `tables` it draws."""

    name: str
    title: str
    caption: Text
    alt: str
    svg: str
    files: Mapping[str, Path]
    tables: tuple[str, ...] = ()


def figures() -> Mapping[str, ModuleType]:
    """Every figure's module by its name, in the order in which a reader wants them (`ORDER` of each)."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return dict(sorted(modules.items(), key=lambda item: (item[1].ORDER, item[0])))


def draw(name: str, book: Book) -> Drawn | NoFigure:
    """One figure by its name, in the style of all."""
    make: Callable[[Book], Drawn | NoFigure] = figures()[name].draw
    with mpl.rc_context(RC):
        return make(book)


def save_all(book: Book, folder: Path) -> Iterator[Saved | tuple[str, NoFigure]]:
    """Every figure that the data have, as files in a folder; for the others their title and why not."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in figures().items():
        drawn = draw(name, book)
        if isinstance(drawn, NoFigure):
            for form in FORMATS:
                (folder / f"{name}.{form}").unlink(missing_ok=True)
            yield module.TITLE, drawn
        else:
            files = {form: folder / f"{name}.{form}" for form in FORMATS}
            contents = rendered(name, drawn.figure)
            for form, path in files.items():
                path.write_bytes(contents[form])
            svg = contents["svg"].decode()
            yield Saved(name, module.TITLE, drawn.caption, drawn.alt, svg, files, module.TABLES)


def rendered(name: str, figure: Figure) -> Mapping[str, bytes]:
    """A figure in every format, the same bytes for the same figure.

    The canvases are asked directly: `Figure.savefig` draws everything twice for each format.
    """
    printers: Mapping[str, Callable[..., None]] = {
        "pdf": FigureCanvasPdf(figure).print_pdf,
        "svg": FigureCanvasSVG(figure).print_svg,
        "png": FigureCanvasAgg(figure).print_png,
    }
    found: dict[str, bytes] = {}
    with mpl.rc_context({**RC, "svg.hashsalt": name}):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the layout is found once, not once a format
        for form in FORMATS:
            figure.set_dpi(PNG_DPI if form == "png" else POINTS)
            sink = BytesIO()
            printers[form](sink, metadata=_METADATA[form])
            found[form] = sink.getvalue()
    return found
