"""One self-contained HTML page about a finder of spans: its types, its annotated texts, and what it finds in others."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from mapwise.core.format import share
from mapwise.data.annotated.texts import Span
from mapwise.predictors.spans.evidence.threshold import FEWEST_SPANS
from mapwise.predictors.spans.file import CARD
from mapwise.predictors.spans.predictor import FoundSpan, SpanPredictor
from mapwise.predictors.spans.report import WIDEST, FittedSpans, SpanReport
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
_DOUBTFUL = 20
"""Annotations to look at again that are listed."""
_AROUND = 40
"""Letters of a text that are shown on either side of such a one."""


class MarkedText(NamedTuple):
    """A text, where it is from, and the spans in it, in order, with probabilities where they were predicted."""

    source: str
    text: str
    spans: Sequence[Span | FoundSpan]


def spans_page(fitted: FittedSpans, file: str, size: int, answers: Sequence[MarkedText] = ()) -> str:
    """The finder as one HTML page that needs nothing else; the same finder gives the same bytes.

    file:    where it lies, as one would type it.
    size:    of the file, in bytes.
    answers: texts and what it finds in them.
    """
    predictor = fitted.predictor
    columns = {name: place for place, name in enumerate(sorted(predictor.types))}
    sources = _sources(predictor)
    annotated = [
        MarkedText(source, text.text, text.spans) for source, text in zip(sources, predictor.texts, strict=True)
    ]
    parts = [
        _headline(fitted, file),
        _types(predictor, columns, fitted.report),
        _doubtful(predictor, columns, fitted.report),
        _texts("What it finds", answers, columns, "Behind each span are its type and its probability."),
        _texts("The annotated texts", annotated, columns, "All it was fitted to, as they were annotated."),
        _inside(fitted, size),
        _going_on(file),
    ]
    return html.document(
        "mapwise finder of spans",
        file.replace("\\", "/").rpartition("/")[2],
        spans_summary(fitted),
        parts,
        "The annotated texts are all that it was shown: expect it to find less in texts of another kind.",
        sheets=("page.css", "spans.css"),
    )


def spans_summary(fitted: FittedSpans) -> str:
    """What a finder looks for, what it was fitted to, and how much it finds, in two sentences."""
    predictor, report = fitted.predictor, fitted.report
    if report is None:
        score = f" How much it finds is unknown: {fitted.why.removeprefix('too few to tell: ')}."
    elif report.too_few:
        score = " So few spans don't say how much it finds."
    else:
        score = (
            f" Of the spans in texts that it didn't see it found {share(report.scores.all.recall, 0)}, and "
            f"{share(report.scores.all.precision, 0)} of what it found was right."
        )
    spans = sum(len(text.spans) for text in predictor.texts)
    types = _counted(len(predictor.types), "type")
    return (
        f"This finder looks for spans of {types}, and was fitted to {_counted(spans, 'span')} in "
        f"{_counted(len(predictor.texts), 'annotated text')}.{score}"
    )


def _sources(predictor: SpanPredictor) -> Sequence[str]:
    return predictor.sources or [f"text {place + 1}" for place in range(len(predictor.texts))]


def _headline(fitted: FittedSpans, file: str) -> str:
    """The F1 with its interval, or why there is none."""
    report = fitted.report
    if report is None:
        number, over = "<small>unknown</small>", html.capital(fitted.why)
        about = (
            "mapwise fit cross-validates a finder unless its budget is too short; mw.FewShotTagger does for report_."
        )
    else:
        between = f"{100 * report.low:.0f} to {100 * report.high:.0f} %"
        over = "entity F1, and its 95 % interval, cross-validated"
        if report.too_few:
            number = "<small>too few to tell</small>"
            over = (
                f"the 95 % interval of the entity F1 is {between}; {FEWEST_SPANS} spans and an interval within "
                f"{100 * WIDEST:.0f} points are needed"
            )
        else:
            number = f"{share(report.scores.all.f1, 0)} <small>{between}</small>"
        about = (
            f"{_counted(report.texts, 'text')} with {_counted(report.scores.all.true, 'span')}, each held out once, in "
            f"{_counted(report.folds, 'part')}, by finders fitted to the rest. A span is right if its start, end and "
            "type are. This finder saw all texts, and is a little better."
        )
        about += f" {html.capital(report.refusal)}." if report.refusal else ""
        about += " In each part the threshold was one chosen on the others." if report.auto and report.threshold else ""
    shown = f"<strong>{html.unbroken(number)}</strong><p>{escape(html.unbroken(over))}</p>"
    how = f"<p>{escape(html.unbroken(about))}</p>{html.code(shlex.join(['mapwise', 'report', file]))}"
    return f'<div class="headline"><div>{shown}</div><div class="how">{how}</div></div>'


def _types(predictor: SpanPredictor, columns: Mapping[str, int], report: SpanReport | None) -> str:
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
        cells += [html.cell(share(value, 0), "n") for value in _scores(name, report)]
        cells.append(
            f'<td class="words">{", ".join(_apart(word) for word in common) or "known by its name alone"}</td>'
        )
        cells += [f"<td>{_apart(predictor.sentences.get(name, ''))}</td>"] if described else []
        rows.append(f"<tr>{''.join(cells)}</tr>")
    scores = [("F1", "n"), ("precision", "n"), ("recall", "n")] if report else []
    head = [("type", ""), ("spans", "n"), *scores, ("such as", ""), *([("described as", "")] if described else [])]
    note = (
        '<p class="quiet">Precision is the share of the found spans that are right, recall the share of the annotated '
        "ones that are found, F1 their harmonic mean, all cross-validated. Of few spans they say little.</p>"
        if report
        else ""
    )
    return html.section("Types", html.as_table(head, rows, "Types of spans") + note)


def _scores(name: str, report: SpanReport | None) -> list[float | None]:
    """F1, precision and recall of a type; dashes where none of its spans was looked for."""
    if report is None:
        return []
    scores = report.scores.types.get(name)
    return [None] * 3 if scores is None else [scores.f1, scores.precision, scores.recall]


def _doubtful(predictor: SpanPredictor, columns: Mapping[str, int], report: SpanReport | None) -> str:
    """Annotated spans where another was found; those where nothing was are counted."""
    if report is None:
        return ""
    title, sources = "Annotations to look at again", _sources(predictor)
    others = [(place, span, instead) for place, span, instead in report.doubtful if instead is not None]
    missed = len(report.doubtful) - len(others)
    rest = (
        _counted(missed, "annotated span") + f" {'was' if missed == 1 else 'were'} not found at all. " if missed else ""
    )
    if not others:
        return html.section(title, f"<p>Nothing else was found in the place of an annotated span. {rest}</p>")
    rows = []
    for place, span, instead in others[:_DOUBTFUL]:
        text = predictor.texts[place].text
        marked = "".join(f'<td class="words">{_in_place(text, one, columns)}</td>' for one in (span, instead))
        chance = html.cell(share(instead.probability), "n")
        rows.append(f'<tr><th scope="row">{_apart(sources[place])}</th>{marked}{chance}</tr>')
    intro = (
        "<p>Finders that didn't see the text found another span in their place; the surest first. An annotation may be "
        "wrong here, and then repairing it is worth more than another text. Or the finder is wrong.</p>"
    )
    left = len(others) - len(rows)
    rest += f"And {left:,} less sure {'one' if left == 1 else 'ones'}." if left else ""
    head = [("text", ""), ("annotated", ""), ("found", ""), ("probability", "n")]
    table = html.as_table(head, rows, title)
    return html.section(title, intro + table + (f'<p class="quiet">{rest}</p>' if rest else ""))


def _in_place(text: str, span: Span | FoundSpan, columns: Mapping[str, int]) -> str:
    """A span with a few letters around it."""
    first, last = max(0, span.start - _AROUND), min(len(text), span.end + _AROUND)
    before = ("..." if first else "") + text[first : span.start]
    after = text[span.end : last] + ("..." if last < len(text) else "")
    mark = _mark(text[span.start : span.end], Span(*span[:3]), columns[span.type])
    return f'<bdi dir="auto">{escape(before)}{mark}{escape(after)}</bdi>'


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


def _inside(fitted: FittedSpans, size: int) -> str:
    predictor = fitted.predictor
    steps = predictor.settings.fields.get("tune_steps")
    facts = {
        "model": predictor.model.name,
        "learner": predictor.settings.learner,
        **({} if steps is None else {"steps of tuning": f"{steps:,}"}),
        "names of types": "teach too" if predictor.names else "teach nothing",
        "spans below": f"{predictor.threshold:.2f}{', chosen by cross-validation,' if fitted.auto else ''} are left out"
        if predictor.threshold
        else "no probability are left out",
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
