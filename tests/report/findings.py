"""Findings to be drawn, made up."""

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
from rich.console import Console

from mapwise.engine.results import (
    ClassFigures,
    Curve,
    EmbeddingMap,
    Episode,
    Findings,
    FunctionFit,
    Protocol,
    Report,
)
from mapwise.problems import PROBLEMS

NASTY = "<script>alert(1)</script>"
CLASSES = [f"Alphabet/letter{n:02d}" for n in range(27)] + [NASTY, "a $x^2$ & \"b\" 'c'", "ひらがな [bold]\x00"]


def protocol(learner="protonet", **changes):
    known = Protocol(
        learner, "glyphs", "test", PROBLEMS["classification"], "5", "1", 15, 200, 7, False, f"mapwise eval {learner}"
    )
    return replace(known, **changes)


def report(learner="protonet", mean=0.9, seed=0, **changes):
    values = np.clip(np.random.default_rng(seed).normal(mean, 0.05, 200), 0, 1)
    return Report(protocol(learner, **changes), values, {"chance": 0.2}, digest="0")


def with_figures(report, **figures):
    return replace(report, figures={**report.figures, **figures})


def regression(learner="maml", mean=0.4, seed=0):
    values = np.random.default_rng(seed).gamma(2, mean / 2, 200)
    values[:3] = 1000
    problem = PROBLEMS["regression"]
    return Report(protocol(learner, source="sinusoid", problem=problem, ways="1", shots="10"), values, digest="0")


def figures():
    rng = np.random.default_rng(1)
    precision, recall = rng.uniform(0.6, 0.99, (2, len(CLASSES)))
    rows = rng.integers(100, 2000, len(CLASSES))
    confusions = {(name, name): 90 for name in CLASSES}
    confusions |= {(a, b): 2 * i + 1 for i, (a, b) in enumerate(pairwise(CLASSES))}
    return ClassFigures(CLASSES, precision, recall, 2 * precision * recall / (precision + recall), rows, confusions)


def episode(shape, names=("a", "b", "c"), shots=2, queries=4):
    rng = np.random.default_rng(2)
    support, query = [name for name in names for _ in range(shots)], [name for name in names for _ in range(queries)]
    results = [names[0] for _ in query]
    x = rng.random((len(support) + len(query), *shape)).astype(np.float32)
    sure = rng.random(len(query)).astype(np.float32)
    return Episode(x[: len(support)], support, x[len(support) :], query, results, sure)


def classification_findings():
    own = with_figures(
        replace(report(), adapt_ms=3.25), nll=0.1834, ece=0.0217, auc=0.9913, classes=figures(),
        reliability=np.array([[0.3512, 0.3123, 0.25], [0.6234, 0.5921, 0.25], [0.9876, 0.9612, 0.5]]),
    )  # fmt: skip
    steps, shots = np.arange(1, 301), np.array([1, 2, 5, 10])
    rng = np.random.default_rng(3)
    return Findings(
        f"protonet & {NASTY}",
        [own, with_figures(report("nearest_mean", 0.5, 1), nll=1.234), report("protonet", 0.95, 2, shots="5")],
        training=[
            Curve("training loss", steps, 2 * np.exp(-steps / 90) + rng.random(300)),
            Curve("validation accuracy", steps[99::100], np.array([0.7012, 0.8034, 0.8876]), np.full(3, 0.0123)),
        ],
        against_shots=[Curve("protonet", shots, np.array([0.8765, 0.9123, 0.9456, 0.9789]), np.full(4, 0.0101))],
        against_steps=[Curve("maml", np.array([0, 1, 5]), np.array([0.2034, 0.7067, 0.8345]), np.full(3, 0.0087))],
        episode=episode((1, 8, 8), (CLASSES[0], NASTY, CLASSES[-2])),
        embedding=EmbeddingMap(rng.normal(size=(24, 2)), [CLASSES[0], NASTY, CLASSES[-1]] * 8, np.arange(24) < 3),
        settings={"steps": 2000, "net": {"norm": "frozen", "filters": 64}, NASTY: "<b>bold</b>"},
    )


def regression_findings():
    x = np.linspace(-5, 5, 30)
    return Findings(
        "maml on sinusoid",
        [regression(), regression("nearest_mean", 3.0, 1)],
        against_steps=[Curve("maml", np.array([0, 1, 5]), np.array([3.91, 0.672, 0.381]), np.full(3, 0.031))],
        fits=[FunctionFit(x[::6, None], np.sin(x[::6, None]), x, np.sin(x), np.sin(x) + 0.5)],
    )


def words(html):
    """What a reader sees, all space as one kind."""
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))


def render(renderable):
    console = Console(width=160)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def distribution_findings():
    x = np.linspace(-2, 2, 40)
    own = with_figures(regression("cnp"), nll=0.4321, coverage={"50": 0.4871, "80": 0.8123, "95": 0.9345})
    fits = [FunctionFit(x[::9], np.sin(x[::9]), x, np.sin(x), np.cos(x), np.full(40, s)) for s in (0.1, 0.2, 0.3)]
    return Findings("cnp on gp", [own, regression("maml", 2.0, 1)], fits=fits)


class Elements(HTMLParser):
    """Every opened element with its attributes, and whether all were closed in order."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.crossed = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            self.crossed.append(tag)
