"""One self-contained HTML page about a finder of spans: its types, its annotated texts, and what it finds in others."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from mapwise.core.format import share
from mapwise.data.annotated.texts import Span
from mapwise.predictors.spans.file import CARD
from mapwise.predictors.spans.predictor import FoundSpan, SpanPredictor
from mapwise.report import html

_COLOURS = 8
"""Of the style sheet."""
_TEXTS = 300
_LETTERS = 300_000
"""Of the texts of a section; a single one may be longer."""
_LONG = 4000
"""Letters of a text that scrolls in itself."""
_WORDS = 4
"""Spans of a type that are named."""
_SHORT = 24
"""Letters of such a span, and of a type that isn't broken."""


class MarkedText(NamedTuple):
    """A text, where it is from, and the spans in it, in order, with probabilities where they were predicted."""

    source: str
    text: str
    spans: Sequence[Span | FoundSpan]


def spans_page(predictor: SpanPredictor, file: str, size: int, answers: Sequence[MarkedText] = ()) -> str:
    """The finder as one HTML page that needs nothing else; the same finder gives the same bytes.

    file:    where it lies, as one would type it.
    size:    of the file, in bytes.
    answers: texts and what it finds in them.
    """
    columns = {name: place for place, name in enumerate(sorted(predictor.types))}
    sources = predictor.sources or [f"text {place + 1}" for place in range(len(predictor.texts))]
    annotated = [
        MarkedText(source, text.text, text.spans) for source, text in zip(sources, predictor.texts, strict=True)
    ]
    parts = [
        _types(predictor, columns),
        _texts("What it finds", answers, columns, "Behind each span are its type and its probability."),
        _texts("The annotated texts", annotated, columns, "All it was fitted to, as they were annotated."),
        _inside(predictor, size),
        _going_on(file),
    ]
    return html.document(
        "mapwise finder of spans",
        file.replace("\\", "/").rpartition("/")[2],
        spans_summary(predictor),
        parts,
        "The annotated texts are all that it was shown: expect it to find less in texts of another kind.",
        sheets=("page.css", "spans.css"),
    )


def spans_summary(predictor: SpanPredictor) -> str:
    """What a finder looks for and what it was fitted to, in one sentence."""
    spans = sum(len(text.spans) for text in predictor.texts)
    types = _counted(len(predictor.types), "type")
    return (
        f"This finder looks for spans of {types}, and was fitted to {_counted(spans, 'span')} in "
        f"{_counted(len(predictor.texts), 'annotated text')}."
    )


def _types(predictor: SpanPredictor, columns: Mapping[str, int]) -> str:
    words: dict[str, Counter[str]] = {name: Counter() for name in columns}
    for text in predictor.texts:
        for span in text.spans:
            words[span.type][" ".join(text.text[span.start : span.end].split())] += 1
    described = any(predictor.sentences.values())
    rows = []
    for name, column in columns.items():
        count = words[name].total()
        common = [_shortened(word) for word, _ in words[name].most_common(_WORDS)]
        cells = [f'<th scope="row">{_swatch(name, column)}</th>', html.cell(f"{count:,}", "n")]
        cells.append(f"<td>{', '.join(_apart(word) for word in common) or 'known by its name alone'}</td>")
        cells += [f"<td>{_apart(predictor.sentences.get(name, ''))}</td>"] if described else []
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = [("type", ""), ("spans", "n"), ("such as", ""), *([("described as", "")] if described else [])]
    return html.section("Types", html.as_table(head, rows, "Types of spans"))


def _texts(title: str, texts: Sequence[MarkedText], columns: Mapping[str, int], intro: str) -> str:
    """A section of texts with marks; "" for none."""
    if not texts:
        return ""
    counts = Counter(span.type for text in texts for span in text.spans)
    legend = "".join(f"<li>{_swatch(name, column)} {counts[name]:,}</li>" for name, column in columns.items())
    shown, letters = list[str](), 0
    for text in texts[:_TEXTS]:
        if shown and letters + len(text.text) > _LETTERS:
            break
        letters += len(text.text)
        shown.append(_text(text, columns))
    left = len(texts) - len(shown)
    rest = f'<p class="quiet">and {_counted(left, "more text")}</p>' if left else ""
    body = f'<p>{escape(intro)}</p><ul class="legend" aria-label="Spans by type">{legend}</ul>'
    return html.section(title, f'{body}<ul class="texts">{"".join(shown)}</ul>{rest}')


def _text(text: MarkedText, columns: Mapping[str, int]) -> str:
    parts, end = list[str](), 0
    for span in text.spans:
        parts.append(escape(text.text[end : span.start]))
        parts.append(_mark(text.text[span.start : span.end], span, columns[span.type]))
        end = span.end
    parts.append(escape(text.text[end:]))
    long = (
        ' class="long" tabindex="0" role="region" aria-label="a long text, scrolls"' if len(text.text) > _LONG else ""
    )
    none = "" if text.spans else '<p class="quiet">no span</p>'
    source = f'<p class="source">{_apart(text.source)}</p>'
    return f'<li>{source}<div{long}><p class="run" dir="auto">{"".join(parts)}</p></div>{none}</li>\n'


def _mark(words: str, span: Span | FoundSpan, column: int) -> str:
    """A span with its type in letters, in parentheses for those who hear it or copy it."""
    chance = f"{share(span.probability)}" if isinstance(span, FoundSpan) else ""
    label = f"{_apart(span.type)}{html.unbroken(f' {chance}') if chance else ''}"
    title = escape(", ".join(filter(None, (span.type, chance))))
    kind = "type short" if len(span.type) <= _SHORT else "type"
    return (
        f'<mark class="t{column % _COLOURS}" title="{title}">{escape(words)}\u00a0<span class="{kind}" dir="auto">'
        f"<i>(</i>{label}<i>)</i></span></mark>"
    )


def _swatch(name: str, column: int) -> str:
    return f'<mark class="t{column % _COLOURS}">{_apart(name)}</mark>'


def _apart(text: str) -> str:
    """A text whose direction changes nothing around it."""
    return f"<bdi>{escape(text)}</bdi>"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."


def _inside(predictor: SpanPredictor, size: int) -> str:
    steps = predictor.settings.fields.get("tune_steps")
    facts = {
        "model": predictor.model.name,
        "learner": predictor.settings.learner,
        **({} if steps is None else {"steps of tuning": f"{steps:,}"}),
        "names of types": "teach too" if predictor.names else "teach nothing",
        "where texts came from": "kept" if any(predictor.sources) else "not kept",
        "size": f"{size:,} bytes",
    }
    rows = [f'<tr><th scope="row">{escape(name)}</th>{html.cell(value, "")}</tr>' for name, value in facts.items()]
    shown = html.as_table([("what", ""), ("value", "")], rows, "What is inside the file")
    card = f'<p class="note">{escape(CARD)} So does this page.</p>'
    return html.section("What is inside the file", f'<div class="settings">{shown}</div>{card}')


def _going_on(file: str) -> str:
    ways = [
        ("What it finds in new texts, a text a line", ["predict", file, "letters.txt"]),
        ("The same as a table with a row for each span", ["predict", file, "letters.txt", "--csv"]),
        ("This page, with what it finds", ["report", file, "letters.txt"]),
        ("With more annotated texts, fit it again", ["fit", "notes.txt", "--spans", "-o", file, "--force"]),
    ]
    shown = [
        f"<figure>{html.code(shlex.join(['mapwise', *words]))}<figcaption>{escape(text)}.</figcaption></figure>"
        for text, words in ways
    ]
    return html.section("How to go on", html.grid(shown))


def _counted(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}"
