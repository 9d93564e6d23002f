"""One self-contained HTML page about a predictor: what its few examples say of it, what it holds, how to go on."""

import shlex
from html import escape

import numpy as np

from mapwise.core.format import share
from mapwise.data.digests import together
from mapwise.predictors.advice import steps_from
from mapwise.predictors.classes import Predictor
from mapwise.predictors.evidence.held_out import Expected, HeldOut
from mapwise.predictors.evidence.novelty import Detection
from mapwise.predictors.predictor import CARD
from mapwise.report import html, plots

_SHOWN = 20
"""Rows of a table."""
_NAMED = 60
"""Classes in a line."""
_WIDE = 0.2
"""An interval that is wider says more than the accuracy in it."""


def predictor_page(
    predictor: Predictor, report: HeldOut, file: str, size: int, detection: Detection | None = None
) -> str:
    """The predictor as one HTML page that needs nothing else; the same predictor gives the same bytes.

    report: what its examples say of it.
    file:   where it lies, as one would type it.
    size:   of the file, in bytes.
    detection: how many rows of other classes it rejects.

    What can't be estimated from so few examples is left out, and a sentence says how many are needed.
    """
    sections = [
        _headline(predictor, report, file),
        _other_encoder(predictor, report),
        html.side_by_side(_more(report), _refusing(predictor, report, file, detection)),
        html.side_by_side(_classes(predictor, report), _confusions(report)),
        _doubtful(predictor, report),
        _inside(predictor, size),
        _going_on(predictor, file),
    ]
    return html.document(
        "mapwise predictor",
        file.replace("\\", "/").rpartition("/")[2],
        predictor_summary(predictor, report),
        sections,
        "All of this comes from the examples alone, which know of what is like them and of nothing else: expect the "
        f"predictor to do worse on what was {_MADE[predictor.encoder.reads]}.",
    )


_ONE = {"pictures": "picture", "texts": "text", "table": "row"}
_MADE = {"pictures": "taken with another camera", "texts": "written by others", "table": "measured in another way"}


def predictor_summary(predictor: Predictor, report: HeldOut) -> str:
    """How good a predictor is, in plain sentences."""
    expected = _expected(report)
    if expected is None:
        return f"How often this predictor is right can't be estimated from its examples: {_why(report)}."
    one, count = _ONE[predictor.encoder.reads], report.rows
    sentence = (
        f"Given a new {one} of one of {len(report.classes)} classes, this predictor names the right one "
        f"{_percent(expected.accuracy)} of the time, as far as {count:,} examples can tell: the 95 % interval is "
        f"{_between(expected)}."
    )
    if report.guesses:
        advice = steps_from(predictor.encoder.name)
        sentence += f" That is no better than guessing ({_percent(_chance(report))})."
        sentence += f" {html.capital(advice[0])}." if advice else ""
    sentence += f" {uneven}." if (uneven := _uneven(report)) else ""
    wide = expected.high - expected.low > _WIDE
    return sentence + (" So few examples leave the interval that wide; more narrow it." if wide else "")


def _other_encoder(predictor: Predictor, report: HeldOut) -> str:
    """How to get the encoder that would likely do better."""
    steps = steps_from(predictor.encoder.name)[1:] if report.guesses else ()
    return html.section("Another encoder", "".join(f"<p>{escape(step)}</p>" for step in steps)) if steps else ""


def _expected(report: HeldOut) -> Expected | None:
    if report.accuracy is None or report.low is None or report.high is None:
        return None
    return Expected(report.accuracy, report.low, report.high)


def _chance(report: HeldOut) -> float:
    return 1 / len(report.classes) if report.chance is None else report.chance


def _uneven(report: HeldOut) -> str:
    """The balanced accuracy, where classes have more rows than others."""
    if report.balanced is None or not report.uneven:
        return ""
    return f"Its balanced accuracy, with every class weighed alike, is {_percent(report.balanced.accuracy)}"


def _why(report: HeldOut) -> str:
    """Why there is no accuracy, without the words that the headline has said."""
    return report.why.partition(": ")[2]


def _headline(predictor: Predictor, report: HeldOut, file: str) -> str:
    expected = _expected(report)
    if expected is None:
        number, over = f"<small>{escape(report.why.partition(': ')[0])}</small>", _why(report)
    else:
        number = f"{_percent(expected.accuracy)} <small>{_between(expected)}</small>"
        over = f"accuracy, and its 95 % interval, cross-validated; by guessing {_percent(_chance(report))}"
    held = f"{_counted(sum(predictor.counts.values()), 'example')} of {_counted(len(predictor.counts), 'class')}"
    share = report.training_share
    how = "" if share is None else f"; the accuracy is that of predictors trained on {_percent(share)} of them"
    command = html.code(shlex.join(["mapwise", "report", file]))
    about = f'<div class="how"><p>{escape(held + how)}</p>{command}</div>'
    shown = f"<strong>{html.unbroken(number)}</strong><p>{escape(over)}</p>"
    return f'<div class="headline"><div>{shown}</div>{about}</div>'


def _more(report: HeldOut) -> str:
    current = _expected(report)
    if current is None or not report.more:
        return ""
    expected = {0: current, **report.more}
    shown = ", ".join(f"{_percent(one.accuracy)} with {more} more" for more, one in report.more.items())
    svg = plots.with_more_examples(list(expected), list(expected.values()), chance=_chance(report))
    rows = [
        f'<tr><th scope="row">{f"{more} more" if more else "as it is"}</th>'
        f"{html.cell(_percent(one.accuracy), 'n')}{html.cell(_between(one), 'n')}</tr>"
        for more, one in expected.items()
    ]
    head = [("examples of each class", ""), ("accuracy", "n"), ("95 % interval", "n")]
    caption = (
        f"{_percent(current.accuracy)} as it is, and to be expected: {shown} of each class. The band is the 95 % "
        "interval. This supposes that new examples are like those that are there."
    )
    alt = f"Accuracy to expect with more examples of each class: {_percent(current.accuracy)} as it is, {shown}."
    numbers = html.as_table(head, rows, "Accuracy to expect with more examples")
    return html.section("How many more?", html.figure(svg, alt, html.unbroken(caption), numbers))


def _refusing(predictor: Predictor, report: HeldOut, file: str, detection: Detection | None) -> str:
    coverage = report.by_coverage
    if not coverage:
        return ""
    shares, accuracies = np.array(coverage).T
    svg = plots.against_coverage(shares, accuracies)
    text = ", ".join(f"{_percent(right)} of the {_percent(share)} it answers" for share, right in coverage)
    rows = [
        f"<tr>{''.join(html.cell(_percent(value), 'n') for value in (share, 1 - share, right))}</tr>"
        for share, right in coverage
    ]
    head = [("answered", "n"), ("refused", "n"), ("right of those answered", "n")]
    gain = accuracies[-1] - accuracies[0]
    verdict = (
        "All were right here, so that only what is none of the classes is worth refusing."
        if accuracies.min() == 1
        else "What is left is right more often."
        if gain > 0
        else "On these examples what is left is right no more often."
    )
    caption = (
        f"Answers that are right, where those farthest from every class are refused. {verdict} "
        "Cross-validated with fewer examples, so that of all answered a little fewer are right than above."
    )
    alt = f"Accuracy against the share answered: right are {text}."
    numbers = html.as_table(head, rows, "Accuracy against the share answered")
    command = html.code(shlex.join(["mapwise", "predict", file, _INPUTS[predictor.encoder.reads], "--refuse", "10"]))
    others = "" if detection is None else f"<p>As none of these it {_detected(detection)}.</p>"
    return html.section("When it may refuse", html.figure(svg, alt, html.unbroken(caption), numbers) + others + command)


def _detected(detection: Detection) -> str:
    if detection.rate is None:
        return escape(f"rejects an unknown share of what is of other classes: {detection.why}")
    return escape(str(detection))


def _classes(predictor: Predictor, report: HeldOut) -> str:
    classes = report.classes
    if not classes:
        return ""
    order = sorted(classes, key=lambda name: (classes[name][0], name))
    rows = [
        f'<tr><th scope="row">{escape(name)}</th>{html.cell(_percent(classes[name][0]), "n")}'
        f"{html.cell(f'{classes[name][1]:,}', 'n')}{html.cell(f'{predictor.counts.get(name, 0):,}', 'n')}</tr>"
        for name in order[:_SHOWN]
    ]
    head = [("class", ""), ("accuracy", "n"), ("rows asked", "n"), ("examples", "n")]
    left = len(order) - len(rows)
    rest = f"{left:,} more {'class is' if left == 1 else 'classes are'} at least as often right. " if left else ""
    note = (
        "Equal examples of a class are asked once, and of a large number some. Where few were asked, differences say "
        "little."
    )
    shown = html.as_table(head, rows, "Accuracy of each class, the lowest first")
    return html.section("Class by class", f'{shown}<p class="quiet">{rest}{note}</p>')


def _confusions(report: HeldOut) -> str:
    if _expected(report) is None:
        return ""
    title = "What is taken for what"
    if not report.confusions:
        return html.section(title, "<p>No example was taken for another class.</p>")
    rows = [
        f"<tr>{html.cell(name, '')}{html.cell(taken, '')}{html.cell(_percent(share), 'n')}</tr>"
        for name, taken, share in report.confusions[:_SHOWN]
    ]
    head = [("really is", ""), ("named as", ""), ("share of its answers", "n")]
    rest = _rest(len(report.confusions) - len(rows), "rarer kind of mistake", "rarer kinds of mistake")
    return html.section(title, html.as_table(head, rows, title) + rest)


def _doubtful(predictor: Predictor, report: HeldOut) -> str:
    if _expected(report) is None:
        return ""
    title = "Examples to look at again"
    if report.guesses and not report.doubtful:
        return html.section(
            title, "<p>None is listed: where a predictor guesses, a mistake is no sign of a wrong label.</p>"
        )
    if not report.doubtful:
        return html.section(title, "<p>None was taken for another class every time it was asked.</p>")
    rows = [
        f'<tr><th scope="row">{escape(predictor.source_of(row))}</th>{html.cell(name, "")}{html.cell(taken, "")}</tr>'
        for row, name, taken in report.doubtful[:_SHOWN]
    ]
    intro = (
        "<p>Taken for another class every time, by predictors that didn't see them; the surest first. A label may be "
        "wrong here, and then repairing it is worth more than another example. Or the example is only hard.</p>"
    )
    head = [("example", ""), ("labelled", ""), ("taken for", "")]
    rest = _rest(len(report.doubtful) - len(rows), "less sure one", "less sure ones")
    return html.section(title, intro + html.as_table(head, rows, title) + rest)


def _inside(predictor: Predictor, size: int) -> str:
    names = [f"{name} ({count:,})" for name, count in list(predictor.counts.items())[:_NAMED]]
    left = len(predictor.counts) - len(names)
    listed = ", ".join(names) + (f" and {left:,} more" if left else "")
    facts = {
        "encoder": predictor.encoder.name,
        "learner": predictor.head.name,
        "asked about": {"table": "rows of a table"}.get(predictor.encoder.reads, predictor.encoder.reads),
        "examples": f"{sum(predictor.counts.values()):,}, as the encoder made arrays of them",
        f"{len(predictor.counts):,} {'class' if len(predictor.counts) == 1 else 'classes'}": listed,
        **_descriptions(predictor),
        "where they came from": "kept" if any(predictor.sources) else "not kept",
        "their digest": f"{together(predictor.digests)}; another predictor that has it was fitted on the same",
        "size": f"{size:,} bytes",
    }
    rows = [f'<tr><th scope="row">{escape(name)}</th>{html.cell(value, "")}</tr>' for name, value in facts.items()]
    shown = html.as_table([("what", ""), ("value", "")], rows, "What is inside the file")
    card = f'<p class="note">{escape(CARD)} This page names the classes, and the examples that look doubtful.</p>'
    return html.section("What is inside the file", f'<div class="settings">{shown}</div>{card}')


def _descriptions(predictor: Predictor) -> dict[str, str]:
    """What the names and descriptions of classes are worth, where there are some."""
    known = predictor.descriptions
    if known is None or not known.texts:
        return {}
    what, _, worth = str(known).partition(": ")
    return {what: worth}


_INPUTS = {"pictures": "new/", "texts": "new.txt", "table": "new.csv"}
"""What new rows might be called."""


def _going_on(predictor: Predictor, file: str) -> str:
    inputs = _INPUTS[predictor.encoder.reads]
    ways = [
        ("What new ones are, and how surely", ["predict", inputs]),
        ("Why: the examples that voted for an answer", ["explain", inputs]),
        ("Which of those without a label would teach it most", ["which-next", inputs]),
    ]
    if predictor.encoder.reads != "table":  # whose classes stand in a column, so that it is fitted again
        new = "newt/" if predictor.encoder.reads == "pictures" else "newt.txt"
        ways.append(("One more class, without the examples of the others", ["add-class", "newt", new]))
    shown = [
        f"<figure>{html.code(shlex.join(['mapwise', words[0], file, *words[1:]]))}"
        f"<figcaption>{escape(text)}.</figcaption></figure>"
        for text, words in ways
    ]
    return html.section("How to go on", html.grid(shown))


def _percent(part: float) -> str:
    return share(part, 0)


def _between(expected: Expected) -> str:
    return f"{100 * expected.low:.0f} to {100 * expected.high:.0f} %"


def _counted(count: int, one: str) -> str:
    return f"{count:,} {one if count == 1 else one + ('es' if one.endswith('s') else 's')}"


def _rest(left: int, one: str, several: str) -> str:
    return f'<p class="quiet">and {left:,} {one if left == 1 else several}</p>' if left else ""
