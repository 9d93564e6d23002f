"""How every figure looks, and how it becomes one SVG that can stand inside a page.

The SVGs carry no namespace, no date and no reference to anything outside them, and the same numbers
give the same bytes. Text stays text, so that it can be searched, and takes the font of the page.
"""

import io
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2329"
SOFT = "#5b6470"
FAINT = "#e6e3dc"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b5568f", "#b97700", "#3f9fd8", "#4b4b4b")
"""Okabe and Ito's colours, which people with any colour vision tell apart, darkened where paper needs it."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

RIGHT, WRONG = "#00694d", "#c24e00"

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$x$"
    "axes.edgecolor": "#a9aaa8",
    "axes.linewidth": 0.8,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": "#a9aaa8",
    "ytick.color": "#a9aaa8",
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "legend.handlelength": 1.6,
    "lines.linewidth": 2,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "mapwise",
}


def short(name: str, width: int) -> str:
    """The name in at most `width` characters, its middle left out: the end tells look-alikes apart."""
    name = " ".join(name.split())
    if len(name) <= width:
        return name
    tail = 3 * (width - 1) // 5
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def xml_text(text: str) -> str:
    """Without the control characters that XML forbids."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


def standalone(svg: str) -> str:
    """A figure as a file of its own, on white, the same on every machine.

    Numbers are rounded to tenths of a pixel, since how wide a text is depends on the version of the font's library.
    """
    svg = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", svg)
    svg = re.sub(r'(id="|#)f[0-9a-f]{8}-', r"\1", svg)  # it is alone, so its ids need no prefix
    named = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" style="background:#fff" ', 1)
    return named.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif") + "\n"


def one_axes(width: float = 460, height: float = 300) -> "tuple[Figure, Axes]":
    """A figure of so many pixels; the page shows them one to one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
    return figure, figure.add_subplot()


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's settings for figures of a page."""
    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The page's fonts draw the letters that matplotlib's own one lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def add_legend(figure: "Figure", axes: "Axes", always: bool = False) -> None:
    """A legend above the axes, where there are several lines; always: also for one."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1 or (always and labels):
        columns = 1 if max(len(label) for label in labels) > 32 else min(len(labels), 2 + (len(labels) < 5))
        if sum(len(label) for label in labels) > 42:
            columns = min(columns, 2)
        figure.legend(handles, labels, loc="outside upper left", ncols=columns, columnspacing=1.4)


def percent_axis(axes: "Axes") -> None:
    """Shares of 0..1 on the y axis, labelled in per cent."""
    from matplotlib.ticker import MaxNLocator

    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0.0), min(high, 1.005) if high > 1 else high)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))

    def in_percent(value: float, place: float) -> str:
        return f"{100 * value:.4g}"

    axes.yaxis.set_major_formatter(in_percent)


def whole_numbers(axes: "Axes") -> None:
    """Whole numbers on the x axis."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def thousands(value: float, place: float) -> str:
    """The label of a place: 12,000."""
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def plain_tick(value: float, place: float) -> str:
    """For logarithmic axes, whose own labels are mathematics, which the style switches off."""
    return f"{value:g}"


def no_tick(value: float, place: float) -> str:
    """No label."""
    return ""


def to_svg(figure: "Figure") -> str:
    """The figure as one SVG without namespaces, dates or references."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(xml_text(buffer.getvalue()))
    # Several figures stand in one page, so their ids must differ: each takes a prefix from its content.
    prefix = f"f{zlib.crc32(buffer.getvalue().encode('utf-8')):08x}"
    used = set(re.findall(r"""(?:url\(|href=")#([^)"]+)""", buffer.getvalue()))
    _bare(root, prefix, used)
    width, height = (float(value) for value in root.attrib["viewBox"].split()[2:])
    root.attrib.pop("version", None)
    root.attrib.update(width=f"{width:g}", height=f"{height:g}")
    root.attrib.update({"stroke-linejoin": "round", "stroke-linecap": "butt"})
    return ElementTree.tostring(root, encoding="unicode")


def _bare(node: ElementTree.Element, prefix: str, used: set[str]) -> None:
    """Without namespaces, metadata and style sheets, which would reach out of the figure into the page."""
    for child in list(node):
        if child.tag.rpartition("}")[2] in ("metadata", "style"):
            node.remove(child)
    node.tag = node.tag.rpartition("}")[2]
    for name in list(node.attrib):
        value = node.attrib.pop(name).replace("url(#", f"url(#{prefix}-")
        name = name.rpartition("}")[2]
        if name == "href" and value.startswith("#"):
            value = f"#{prefix}-{value[1:]}"
        if name == "id":
            if value not in used:
                continue
            value = f"{prefix}-{value}"
        node.attrib[name] = value
    for child in node:
        _bare(child, prefix, used)
