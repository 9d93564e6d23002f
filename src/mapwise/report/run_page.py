"""One self-contained HTML page: what was found, how it was measured, and what it looks like."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from mapwise.core.format import ABSENT, plain, share
from mapwise.core.problem import Summary
from mapwise.engine.results import Findings, FunctionFit, Paired, Protocol, Report
from mapwise.problems.classification import ClassFigures
from mapwise.report import html, plots, table
from mapwise.report.curve_sections import training_section, with_more_section


def run_page(findings: Findings) -> str:
    """The findings as one HTML page that needs nothing else: no script, no file, no network.

    What is None or empty in the findings is left out. The same findings give the same bytes.

    Raises ValueError when there is no report among the findings.
    """
    if not findings.reports:
        raise ValueError("the findings hold no report: evaluate the learner first and hand its Report over")
    own = findings.reports[0]
    sections = [
        _comparison(findings.reports),
        _sights(findings.reports),
        training_section(findings.training),
        with_more_section(findings, own),
        _mistakes(own),
        html.side_by_side(_calibration(own), _embedding(findings)),
        _episode(findings),
        _fits(findings),
        _memory(findings),
        _settings(findings.settings),
    ]
    return html.document(
        "mapwise report",
        findings.title,
        run_summary(findings.reports),
        [_headline(own), *sections],
        "Every ± is the half-width of a 95 % interval over episodes (Student's t).",
    )


def run_summary(reports: Sequence[Report]) -> str:
    """The main result in one plain sentence, beside what other learners got on the same episodes, and chance."""
    own, p = reports[0], reports[0].protocol
    seen = "it was trained on" if p.split in ("train", "trainval") else "it has never seen"
    # The same learner may stand here twice, evaluated otherwise: that is no other learner.
    others = [report for report in reports[1:] if _same_episodes(own, report) and report.protocol.learner != p.learner]
    sentence = p.problem.opening(Summary(p.learner, p.ways, p.shots, seen, _loose(own), own.figures, own.values))
    beside = [f"{report.protocol.learner} gets {_loose(report)}" for report in others[:3]]
    if own.chance is not None:
        shown = f"{100 * own.chance:.3g} %" if own.problem.metric.percent else plain(own.chance)
        beside.append(f"chance is {shown}")
    return sentence + (f"; {', '.join(beside)}" if beside else "") + "."


def _loose(report: Report) -> str:
    """ "94.4 ± 0.5 %" as a sentence says it: "94.4 % (± 0.5)"."""
    shown = table.headline(report)
    mean, sign, ci = shown.partition(" ± ")
    if not sign:
        return shown
    return f"{mean} % (± {ci.removesuffix(' %')})" if ci.endswith(" %") else f"{mean} (± {ci})"


def _headline(own: Report) -> str:
    mean, sign, ci = table.headline(own).partition(" ± ")
    number = f"{escape(mean)} <small>± {escape(ci)}</small>" if sign else f"<small>{escape(mean)}</small>"
    what = own.problem.metric.title
    p = own.protocol
    note = (
        '<p class="note"><b>Transductive.</b> Each prediction depended on the other queries of its task; '
        "asked about one row alone, this learner answers differently.</p>"
        if p.transductive
        else ""
    )
    over = f"{what} of {escape(p.learner)}, mean over {own.estimate.episodes:,} episodes"
    how = f'<div class="how"><p>{escape(p.line())}</p>{_command(p)}</div>'
    return f'<div class="headline"><div><strong>{number}</strong><p>{over}</p></div>{how}</div>{note}'


def _sights(reports: Sequence[Report]) -> str:
    """Accuracy by how often a class has come, where the tasks are streams."""
    head, cells = table.sights_rows(reports)
    if not cells:
        return ""
    rows = [
        f"<tr>{''.join(html.cell(cell, 'n' if place else '') for place, cell in enumerate(row))}</tr>" for row in cells
    ]
    title = "Accuracy by instance of a class"
    shown = html.as_table([(name, "n" if place else "") for place, name in enumerate(head)], rows, title)
    return html.section(title, f"{shown}<p class='quiet'>{escape(table.SIGHTS_RULE)}</p>")


def _comparison(reports: Sequence[Report]) -> str:
    own = reports[0]
    several = len({table.task_name(report.protocol) for report in reports}) > 1
    pairs = [
        Paired.of(own, report, without_digest=True)
        if i and len(own.values) == len(report.values) and _same_episodes(own, report)
        else None
        for i, report in enumerate(reports)
    ]
    paired = any(pair is not None for pair in pairs)
    timed = any(report.adapt_ms is not None for report in reports)
    end = _reach(reports)
    head = [("learner", ""), (own.metric.replace("_", " "), "n")]
    head.append((f"0 to {100 * end:.3g} %" if own.problem.metric.percent else f"0 to {end:.3g}", ""))
    head += [(f"{plots.short(own.protocol.learner, 24)} minus this", "n word")] if paired else []
    names = table.figure_names(reports)
    head += [(name, "n") for name in names]
    head += [("ms a task", "n")] if timed else []
    rows = []
    for i, (report, pair) in enumerate(zip(reports, pairs, strict=True)):
        estimate, p = report.estimate, report.protocol
        low, high = estimate.mean - estimate.ci95, estimate.mean + estimate.ci95
        how = f"{table.task_name(p)}, {table.normalisation(p)}" if several else table.normalisation(p)
        cells = [f'<th scope="row" class="word">{escape(p.learner)}<span>{escape(how)}</span></th>']
        cells.append(html.cell(table.headline(report), "n"))
        drawn = html.spoken(plots.interval(low, estimate.mean, high, report.chance, end), table.headline(report))
        cells.append(f'<td class="draw">{drawn}</td>')
        if paired:
            text = "" if pair is None else escape(table.difference(pair, own.metric))
            text += "" if pair is None else f"<span>{escape(_describe(pair, own.metric))}</span>"
            cells.append(f'<td class="n word plain">{text}</td>')
        stated = table.figures_of(report)
        figures = [stated.get(name, ABSENT) for name in names]
        figures += [plain(report.adapt_ms, 1)] if timed else []
        rows.append(
            f"<tr{'' if i else html.classed('own')}>{''.join(cells + [html.cell(f, 'n plain') for f in figures])}</tr>"
        )
    for task, chance in table.chances(reports):
        shown = share(chance) if own.problem.metric.percent else plain(chance)
        cells = [f'<th scope="row" class="word">chance<span>{escape(task)}</span></th>', html.cell(shown, "n")]
        rows.append(f"<tr>{''.join(cells)}{'<td></td>' * (len(head) - len(cells))}</tr>")
    shown_table = html.as_table(head, rows, "Learners beside each other")
    legend = "".join(own.problem.legends.get(name, "") for name in names)
    rule = table.VERDICT_RULE if paired else ""
    text = f'<p class="quiet">{legend}{rule}</p>' if legend or rule else ""
    return html.section(
        "Beside the others" if len(reports) > 1 else "In numbers", shown_table + text + _provenance(reports[1:], own)
    )


def _describe(pair: Paired, metric: str) -> str:
    """The verdict with its subject: "protonet better"."""
    word = table.verdict(pair, metric)
    return f"{plots.short(pair.first, 20)} {word}" if word in ("better", "worse") else word


def _provenance(others: Sequence[Report], own: Report) -> str:
    """How the other numbers were made, where that differs from the headline's."""
    items = []
    for report in others:
        p = report.protocol
        if p.line() != own.protocol.line() or (p.command and p.command != own.protocol.command):
            items.append(f"<p class='quiet'>{escape(p.learner)}: {escape(p.line())}</p>{_command(p)}")
    if not items:
        return ""
    return f"<details><summary>How the other numbers were made</summary>{''.join(items)}</details>"


def _mistakes(own: Report) -> str:
    if own.classes is None or not len(own.classes.names):
        return ""
    body = _confusions(own.classes) + _class_figures(own.classes)
    return html.section("Where it goes wrong", body)


def _confusions(figures: ClassFigures) -> str:
    names = plots.confused(figures)
    if not names:
        return f"<p>None of the {figures.counted} was taken for another class.</p>"
    wrong = sorted(
        ((count, pair) for pair, count in figures.confusions.items() if pair[0] != pair[1] and count > 0),
        key=lambda entry: (-entry[0], entry[1]),
    )
    count, (true, named) = wrong[0]
    alt = (
        f"Confusion matrix of {len(names)} classes. Most frequent mistake: {true} named {named}, {count:,} "
        f"{figures.counted}."
    )
    taking_part = int(np.sum(np.asarray(figures.rows) > 0))
    which = f"The {len(names)} most confused of {taking_part:,} classes" if len(names) < taking_part else "All classes"
    caption = (
        f"{which}, in per cent of each true class's {figures.counted}. Grey: right; colour: mistaken. "
        "What is missing to 100 went to other classes."
    )
    rows = [
        f"<tr>{html.cell(pair[0], '')}{html.cell(pair[1], '')}{html.cell(f'{count:,}', 'n')}</tr>"
        for count, pair in wrong[:20]
    ]
    more = f"<p class='quiet'>and {len(wrong) - 20:,} rarer kinds of mistake</p>" if len(wrong) > 20 else ""
    numbers = (
        html.as_table([("really is", ""), ("named as", ""), (figures.counted, "n")], rows, "Most frequent mistakes")
        + more
    )
    return html.figure(plots.confusion_matrix(figures), alt, caption, numbers, wide=True)


def _class_figures(figures: ClassFigures) -> str:
    places = table.worst_classes(figures)
    rows = []
    for i in places:
        shares = [share(float(column[i])) for column in (figures.precision, figures.recall, figures.f1)]
        cells = "".join(html.cell(value, "n") for value in [*shares, f"{int(figures.rows[i]):,}"])
        rows.append(f'<tr><th scope="row">{escape(figures.names[i])}</th>{cells}</tr>')
    head = [("class", ""), ("precision", "n"), ("recall", "n"), ("F1", "n"), (figures.counted, "n")]
    more = table.classes_left_out(figures, len(places))
    title = f"The {len(places)} classes with the lowest F1" if more else "Every class, the lowest F1 first"
    note = f"{more:,} more {'class has' if more == 1 else 'classes have'} an F1 at least as high." if more else ""
    rest = f'<p class="quiet">{note}</p>' if more else ""
    return f"<h3>{title}</h3>{html.as_table(head, rows, title)}{rest}"


def _calibration(own: Report) -> str:
    if own.coverage is not None:
        return html.section("Is its confidence right?", _coverage(own.coverage))
    if own.reliability is None or not len(own.reliability):
        return ""
    bins = np.asarray(own.reliability, dtype=float)
    error = f"The expected calibration error is {share(own.ece)}. " if own.ece is not None else ""
    after = own.calibrated
    if after is not None:
        error += (
            f"With scores divided by {after.temperature:.3g}, a temperature that validation episodes chose, it is "
            f"{share(after.ece)}, and the NLL {plain(after.nll)} instead of {plain(own.nll)}. "
        )
    alt = f"Reliability diagram with {len(bins)} bins. {error}"
    caption = (
        f"{error}Points on the line: of the answers given with 80 % confidence, 80 % are right. "
        "A point's area is its share of the query rows."
    )
    rows = [f"<tr>{''.join(html.cell(share(float(value)), 'n') for value in row)}</tr>" for row in bins]
    numbers = html.as_table([("confidence", "n"), ("right", "n"), ("share of rows", "n")], rows, "Calibration bins")
    svg = plots.reliability(bins, None if after is None else after.reliability)
    return html.section("Is its confidence right?", html.figure(svg, alt, caption, numbers))


def _coverage(coverage: dict[str, float]) -> str:
    """How many targets lie in intervals of each level, as a reliability diagram of three points."""
    text = ", ".join(f"{share(part)} in their {level} % intervals" for level, part in coverage.items())
    bins = np.array([[float(level) / 100, part, 1 / len(coverage)] for level, part in coverage.items()])
    rows = [f"<tr>{html.cell(f'{level} %', 'n')}{html.cell(share(part), 'n')}</tr>" for level, part in coverage.items()]
    numbers = html.as_table([("interval", "n"), ("targets in it", "n")], rows, "Coverage of central intervals")
    alt = f"Coverage of central predictive intervals: {text}."
    caption = f"Where the targets lie: {text}. Points on the line: as many as should."
    return html.figure(plots.reliability(bins), alt, caption, numbers)


def _embedding(findings: Findings) -> str:
    embedding_map = findings.embedding
    if embedding_map is None or not len(embedding_map.points):
        return ""
    names = list(dict.fromkeys(embedding_map.names))
    support = int(np.sum(embedding_map.support))
    alt = (
        f"Map of one unseen task: {support} support rows and {len(embedding_map.points) - support} query rows "
        f"of {len(names)} classes: {', '.join(names[:24])}."
    )
    caption = "Large and outlined: the support. Small: queries. Only nearness means something here."
    return html.section("How it sees one unseen task", html.figure(plots.embedding(embedding_map), alt, caption, ""))


def _episode(findings: Findings) -> str:
    task = findings.episode
    if task is None or not (len(task.support_names) or len(task.query_names)):
        return ""
    right = sum(answer == true for answer, true in zip(task.predicted, task.query_names, strict=True))
    classes, of_classes, queries, of_queries = plots.drawn_out(task)
    alt = f"One task with its support and queries: {right} of {of_queries} queries were named rightly."
    caption = f"{right} of this task's {of_queries} queries were named rightly. "
    if classes < of_classes or queries < of_queries:
        caption += f"Drawn: {queries} queries, the first ones of each class, in {classes} of {of_classes} classes. "
    caption += "Tick: right. Cross and heavy frame: wrong. The number is the confidence."
    return html.section("One task, drawn out", html.figure(plots.episode(task), alt, caption, "", wide=True))


def _fits(findings: Findings) -> str:
    drawn = [_fit(fit) for fit in findings.fits if np.size(fit.query_x)]
    title = "One task, drawn out" if len(drawn) == 1 else "Some tasks, drawn out"
    return html.section(title, html.grid(drawn)) if drawn else ""


def _fit(fit: FunctionFit) -> str:
    points = np.size(fit.support_x)
    error = float(np.mean((np.ravel(fit.predicted) - np.ravel(fit.query_y)) ** 2))
    alt = f"One unseen function, its prediction from {points} support points, and the truth."
    caption = f"Predicted from {points} point{'' if points == 1 else 's'}; mean squared error on this task {error:.3g}."
    if fit.scale is not None:
        caption += " Bands: the central 50, 80 and 95 % of what it thinks possible."
    return html.figure(plots.function_fit(fit), alt, caption, "")


def _memory(findings: Findings) -> str:
    use = findings.memory
    if use is None or not len(use.inputs):
        return ""
    answers = np.isfinite(use.targets).all(1)
    wrong = int(np.sum((use.outputs > 0.5)[answers] != (use.targets > 0.5)[answers]))
    mistakes = f"{wrong:,} of {use.targets[answers].size:,} bits {'is' if wrong == 1 else 'are'} wrong"
    rows, further = len(use.inputs), "".join(f"the {name}, " for name in (*use.gates, *use.slots))
    alt = f"One sequence of {rows} rows and where the heads wrote and read while it was gone through; {mistakes}."
    caption = (
        f"From the top: what was shown, what was due, what was said, and {further}where each head wrote and read; the "
        f"line is where reading ends and answering begins. Here {mistakes}{' (crosses)' if wrong else ''}. "
        f"Drawn: {len(plots.slots_used(use))} of {use.reads.shape[2]} slots, the others being hardly touched."
    )
    figures = html.figure(plots.memory_map(use), alt, caption, "", wide=True)
    for name in use.links:
        alt = f"How far each slot was {name} each other one, after the last row."
        caption = f"Which slot was {name} which, after the last row: a dark square is a slot {name} that of its column."
        figures += html.figure(plots.memory_links(use, name), alt, caption, "")
    return html.section("What its memory did", figures)


def _settings(settings: dict[str, Any]) -> str:
    if not settings:
        return ""
    rows = [f'<tr><th scope="row">{escape(name)}</th>{html.cell(value, "")}</tr>' for name, value in _flat(settings)]
    shown = html.as_table([("setting", ""), ("value", "")], rows, "Settings of the run")
    return html.section("Settings", f'<div class="settings">{shown}</div>')


def _flat(settings: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Nested settings by their dotted names."""
    pairs: list[tuple[str, str]] = []
    for name, value in settings.items():
        path = f"{above}.{name}" if above else str(name)
        pairs += _flat(value, path) if isinstance(value, dict) and value else [(path, str(value))]
    return pairs


def _same_episodes(a: Report, b: Report) -> bool:
    """Whether two reports can be paired: the same episodes of the same source."""
    names = ("source", "split", "problem", "ways", "shots", "queries", "episodes", "seed")
    return a.digest == b.digest and all(getattr(a.protocol, name) == getattr(b.protocol, name) for name in names)


def _reach(reports: Sequence[Report]) -> float:
    """The end of the comparison's small axes: 1 for accuracies, the largest error's upper end otherwise."""
    if not reports[0].problem.metric.lower_is_better:
        return 1.0
    highs = [report.estimate.mean + np.nan_to_num(report.estimate.ci95) for report in reports]
    return max([float(high) for high in highs if math.isfinite(high) and high > 0], default=1.0)


def _command(protocol: Protocol) -> str:
    return html.code(protocol.command) if protocol.command else ""
