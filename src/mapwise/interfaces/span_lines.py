"""What a finder of spans was fitted to, and what it finds, for a person or as a CSV table."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mapwise.core.format import share
from mapwise.data.sheets import Sheet, spreadsheet_cell

if TYPE_CHECKING:
    from rich.text import Text

    from mapwise.workflows.spans.fit import SpanFitResult
    from mapwise.workflows.spans.predict import TextWithSpans

_COLOURS = ("cyan", "yellow", "green", "magenta", "bright_blue", "bright_red", "bright_green", "bright_magenta")
"""Behind black letters, one after another, by type: those that every terminal has, as its theme shows them."""


def finder_lines(result: "SpanFitResult", out: Path) -> list[str]:
    """A fit, whose finder is in this file."""
    counts = result.to_json()
    types = [f"{name} {count:,}" if count else f"{name} (by its name alone)" for name, count in counts["types"].items()]
    texts, spans = counts["annotated_texts"], sum(counts["types"].values())
    return [
        f"{out}: {_counted(spans, 'span')} in {_counted(texts, 'text')}, {out.stat().st_size:,} bytes",
        f"types: {', '.join(types)}",
        str(result.fitted.report or result.fitted.why),
        f"next: mapwise predict {shlex.quote(str(out))} 'a new text', or with letters/*.txt, a text a line",
    ]


def unread_line(cut: int, texts: int) -> str:
    """In how many texts the end of a word isn't read; "" for none."""
    if not cut:
        return ""
    return f"{cut:,} of {texts:,} texts {'has' if cut == 1 else 'have'} a word so long that its end isn't read"


def span_lines(answers: "Sequence[TextWithSpans]") -> list[str]:
    """Answers without colours: every text with marks, and below it a line for each span."""
    from mapwise.data.annotated.marks import marked
    from mapwise.data.annotated.texts import AnnotatedText, Span

    several, lines = len(answers) > 1, list[str]()
    for one in answers:
        lines += [f"{one.source}:"] if several else []
        lines.append(marked(AnnotatedText(one.text, tuple(Span(*span[:3]) for span in one.spans))))
        width = max((len(span.type) for span in one.spans), default=0)
        lines += [
            f"  {span.type:{width}}  {share(span.probability):>7}  {_one_line(one.text[span.start : span.end])}"
            for span in one.spans
        ] or ["  no span"]
        lines += [""] if several else []
    return [*lines, *([_summary(answers)] if several else [])]


def span_colours(answers: "Sequence[TextWithSpans]", types: Sequence[str]) -> "list[Text]":
    """Answers for a terminal: every text with its spans coloured by type, and the types behind them."""
    from rich.text import Text

    colours = {name: f"black on {_COLOURS[place % len(_COLOURS)]}" for place, name in enumerate(types)}
    several, shown = len(answers) > 1, list[Text]()
    for one in answers:
        shown += [Text(one.source, style="dim")] if several else []
        text, end = Text(), 0
        for span in one.spans:
            text.append(one.text[end : span.start])
            text.append(one.text[span.start : span.end], style=colours[span.type])  # bold black is grey in many
            text.append(f" {span.type} {share(span.probability, 0)} ", style=f"italic {colours[span.type]}")
            end = span.end
        text.append(one.text[end:])
        shown += [text, Text()]
    counts = _counts(answers)
    legend = Text("types: ")
    for name in types:
        legend.append(f" {name} ", style=colours[name])
        legend.append(f" {counts[name]:,}  ")
    return [*shown, legend]


def span_sheet(answers: "Sequence[TextWithSpans]") -> Sheet:
    """A row for every span."""
    rows = [
        [
            *(spreadsheet_cell(one.source), str(span.start), str(span.end)),
            *(spreadsheet_cell(one.text[span.start : span.end]), spreadsheet_cell(span.type), str(span.probability)),
        ]
        for one in answers
        for span in one.spans
    ]
    return Sheet(("source", "start", "end", "text", "type", "probability"), rows)


def _summary(answers: "Sequence[TextWithSpans]") -> str:
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(_counts(answers).items()))
    return f"{_counted(len(answers), 'text')}: {counts or 'no span'}"


def _counts(answers: "Sequence[TextWithSpans]") -> Counter[str]:
    return Counter(_types(answers))


def _types(answers: "Sequence[TextWithSpans]") -> Iterator[str]:
    return (span.type for one in answers for span in one.spans)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _counted(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}"
