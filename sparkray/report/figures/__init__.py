"""One figure a file, found by its name: `ORDER` (unique), the `TABLES` that it draws from, and `draw(data)`.

`draw` returns a figure, or nothing where the data have none. A figure draws what the analysis estimated and estimates
nothing. Its title and caption are blocks of `templates/figures/NAME.j2`. Files come out the same, byte for byte, for the
same data: no dates, no random ids.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
from jinja2 import Environment
from matplotlib.figure import Figure

from sparkray.report.data import ReportData
from sparkray.report.style import RC

FORMATS = ("svg", "pdf", "png")
PNG_DPI, POINTS = 300, 72
# Matplotlib's canvas of each format, imported when it is asked for, and the metadata that would differ from run to run.
_CANVASES: Mapping[str, tuple[str, Mapping[str, None]]] = {
    "svg": ("FigureCanvasSVG", {"Date": None, "Creator": None}),
    "pdf": ("FigureCanvasPdf", {"CreationDate": None, "Creator": None, "Producer": None}),
    "png": ("FigureCanvasAgg", {"Software": None}),
}
_BACKENDS = {"svg": "svg", "pdf": "pdf", "png": "agg"}


@dataclass(frozen=True)
class Saved:
    """A figure on disk. `svg` is its drawing as text; `files` has a path for each format; `tables` it draws from."""

    name: str
    title: str
    caption: str
    svg: str
    files: Mapping[str, Path]
    tables: tuple[str, ...] = ()
    width_in: float = 0.0


def figures() -> Mapping[str, ModuleType]:
    """Every figure's module by its name, in the order in which a reader wants them (`ORDER` of each)."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return dict(sorted(modules.items(), key=lambda item: (item[1].ORDER, item[0])))


def draw(name: str, data: ReportData) -> Figure | None:
    """One figure by its name, in the style of all; None where the data have none."""
    make: Callable[[ReportData], Figure | None] = figures()[name].draw
    with mpl.rc_context(RC):
        return make(data)


def words(made: Environment, name: str, block: str) -> str:
    """The `title` or the `caption` of a figure, of an environment that has the study's variables."""
    template = made.get_template(f"figures/{name}.j2")
    return " ".join("".join(template.blocks[block](template.new_context())).split())


def save_all(data: ReportData, folder: Path, made: Environment, formats: Sequence[str] = ("svg",)) -> Iterator[Saved]:
    """Every figure that the data have, as files in a folder; older files of the others are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in figures().items():
        drawn = draw(name, data)
        contents = {} if drawn is None else rendered(name, drawn, formats)
        for form in FORMATS:
            if form in contents:
                (folder / f"{name}.{form}").write_bytes(contents[form])
            else:
                (folder / f"{name}.{form}").unlink(missing_ok=True)
        if drawn is not None:
            files = {form: folder / f"{name}.{form}" for form in contents}
            title, caption = (words(made, name, block) for block in ("title", "caption"))
            svg = contents["svg"].decode()
            yield Saved(name, title, caption, svg, files, module.TABLES, drawn.get_figwidth())


def rendered(name: str, figure: Figure, formats: Sequence[str] = FORMATS) -> Mapping[str, bytes]:
    """A figure in some formats, the same bytes for the same figure.

    The canvases are asked directly: `Figure.savefig` draws everything twice for each format.
    """
    found: dict[str, bytes] = {}
    with mpl.rc_context({**RC, "svg.hashsalt": name}):
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
        figure.set_layout_engine("none")  # computed once, not once a format
        for form in formats:
            figure.set_dpi(PNG_DPI if form == "png" else POINTS)
            canvas, metadata = _CANVASES[form]
            backend = importlib.import_module(f"matplotlib.backends.backend_{_BACKENDS[form]}")
            sink = BytesIO()
            getattr(getattr(backend, canvas)(figure), f"print_{form}")(sink, metadata=metadata)
            found[form] = sink.getvalue()
    return found
