"""What every page is made of: the document, its sections, figures and tables."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from mapwise.report import plots

_MARK = '<meta name="generator" content="mapwise">'
_HEAD = 1000  # bytes of a page, among which the mark is


def document(
    kicker: str, title: str, lede: str, parts: Sequence[str], foot: str, sheets: Sequence[str] = ("page.css",)
) -> str:
    """A whole page around its parts, in the style of these sheets; parts that are empty are left out."""
    css = "".join(files("mapwise.report").joinpath(sheet).read_text("utf-8") for sheet in sheets)
    body = "\n".join(part for part in parts if part)
    whole = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{_MARK}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{escape(title)}</title>
<style>
{css}</style>
</head>
<body>
<header>
<p class="kicker">{escape(kicker)}</p>
<h1>{escape(title)}</h1>
<p class="lede">{unbroken(escape(lede))}</p>
</header>
<main>
{body}
</main>
<footer>{escape(foot)}</footer>
</body>
</html>
"""
    # A lone surrogate, as from an odd file name, could not be written to a file.
    return plots.xml_text(whole)


def is_page(path: Path) -> bool:
    """Whether this file is a page that mapwise wrote, which can be written again at any time."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK.encode() in file.read(_HEAD)


def section(title: str, body: str) -> str:
    """A part of the page under its title."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def side_by_side(left: str, right: str) -> str:
    """Both in a row where there is room; one alone is as it was."""
    return f'<div class="figures">{left}{right}</div>' if left and right else left or right


def grid(figures: Sequence[str]) -> str:
    """Figures in as many columns as there is room for."""
    return f'<div class="figures">{"".join(figures)}</div>' if len(figures) > 1 else figures[0]


def figure(svg: str, alt: str, caption: str, numbers: str, *, wide: bool = False) -> str:
    """A figure with its text for those who can't see it, and its numbers for those who want them."""
    drawn = spoken(svg, alt)
    if wide:
        drawn = f'<div class="scroll" tabindex="0" role="region" aria-label="figure, scrolls sideways">{drawn}</div>'
    extra = f"<details><summary>The numbers</summary>{numbers}</details>" if numbers else ""
    kind = ' class="wide"' if wide else ""
    return f"<figure{kind}>{drawn}<figcaption>{escape(caption)}</figcaption>{extra}</figure>"


def spoken(svg: str, alt: str) -> str:
    """A drawing, and what is said of it to those who can't see it."""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt.strip())}" ', 1)


def as_table(head: Sequence[tuple[str, str]], rows: Sequence[str], name: str) -> str:
    """A table that scrolls in itself where it is wider than the page.

    head: titles and the kind of each column: "n" for numbers, "" for words.
    rows: of cells, ready made.
    name: said to those who can't see it.
    """
    titles = "".join(f'<th scope="col"{classed(kind)}>{escape(title)}</th>' for title, kind in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}"><table>'
        f"<thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def cell(text: str, kind: str) -> str:
    """A table's cell; kind as of its column."""
    return f"<td{classed(kind)}>{escape(text)}</td>"


def classed(kind: str) -> str:
    """An attribute for the style sheet, or nothing."""
    return f' class="{kind}"' if kind else ""


def code(command: str) -> str:
    """A command, to be copied."""
    return f"<pre><code>{escape(command)}</code></pre>"


def capital(text: str) -> str:
    """With its first letter large, and all others as they are."""
    return text[:1].upper() + text[1:]


def unbroken(text: str) -> str:
    """With a number and its sign kept on one line."""
    return text.replace("± ", "±\u00a0").replace(" %", "\u00a0%")
