"""German and French with a few examples: the encoder languages beside text-hash, words and minilm, ten draws, paired.

    apt-get install manpages-de manpages-fr
    python -m benchmarks.few_examples.languages [--pages /usr/share/man] [--quick] [--json FILE]

Paragraphs of translated manual pages. Which of 20 pages is one from, and which of the sections 1, 4, 5, 7 and 8 of the
manual, of pages that no example is from? Five examples of each. And which page is a French paragraph from, where the
examples are German? Paragraphs that stand in several pages are left out; so are short ones.
"""

import argparse
import gzip
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import row
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.catalog.encoders import encoder_named
from mapwise.encoders.encoder import Encoder
from mapwise.predictors.choose import USUAL, choose
from mapwise.predictors.classes import Predictor

ENCODERS = ("text-hash", "words", "minilm", "languages")
"""The first is what the others are compared to."""
LANGUAGES = {"de": "German", "fr": "French"}
SECTIONS = ("1", "4", "5", "7", "8")
PAGES, WAYS, SHOTS, QUERIES = 60, 20, 5, 15
"""Pages that are drawn from, pages of a draw, and paragraphs of each that are given and that are asked."""
OF_SECTION, OF_PAGE = 20, 3
"""Pages of a section, and paragraphs of each, that are drawn from."""
SHORTEST, LONGEST = 80, 600
"""Characters of a paragraph."""
Manual = dict[tuple[str, str], list[str]]
"""Paragraphs by section and name of a page."""


class Draw(NamedTuple):
    """Texts and the class of each, from 0."""

    examples: list[str]
    columns: np.ndarray
    queries: list[str]
    answers: np.ndarray


def manual(folder: Path) -> Manual:
    """The pages of one language; a paragraph that several pages have is in none."""
    pages = {
        (file.parent.name[3:], file.name.removesuffix(".gz")): list(dict.fromkeys(paragraphs(file)))
        for file in sorted(folder.glob("man[145678]/*.gz"))
        if not file.is_symlink()
    }
    counts = Counter(text for texts in pages.values() for text in texts)
    return {page: [text for text in texts if counts[text] == 1] for page, texts in pages.items()}


def paragraphs(file: Path) -> Iterator[str]:
    """Of a page, without macros, without examples in a fixed font, and without what stands behind SEE ALSO."""
    content = gzip.decompress(file.read_bytes()).decode("utf-8", "replace")
    words, fixed = list[str](), False
    for line in [*_LAST.split(content)[0].splitlines(), ".PP"]:
        fixed = line.startswith((".nf", ".EX")) or (fixed and not line.startswith((".fi", ".EE")))
        if line.startswith((".PP", ".P ", ".LP", ".TP", ".IP", ".SH", ".SS", ".nf", ".EX", ".RS", ".RE")):
            text = plain(" ".join(words))
            if SHORTEST <= len(text) <= LONGEST:
                yield text
            words = []
        elif not fixed and not line.startswith((".", "'")):
            words.append(line)


_LAST = re.compile(r"^\.SH .*(?:SIEHE AUCH|VOIR AUSSI|COPYRIGHT|AUTEUR|AUTOR|ÜBERSETZUNG|TRADUCTION)", re.MULTILINE)


def plain(text: str) -> str:
    """Without the marks of fonts and the names of characters."""
    text = re.sub(r"\\f(\[\w*\]|\(..|.)|\\s[+-]?\d|\\[&:/,|^]", "", text)
    text = re.sub(r"\\[ ~0]", " ", re.sub(r"\\-", "-", re.sub(r"\\\(..|\\\[\w+\]|\\\*\(..", "'", text)))
    return " ".join(text.replace("\\", "").split())


def pages_in_all(manuals: Sequence[Manual]) -> list[tuple[str, str]]:
    """Pages that each manual has enough paragraphs of; the same for every draw."""
    many = [{page for page, texts in one.items() if len(texts) >= SHOTS + QUERIES} for one in manuals]
    names = sorted(set.intersection(*many))
    return [names[place] for place in np.random.default_rng(0).permutation(len(names))[:PAGES]]


def of_pages(given: Manual, others: Manual, names: Sequence[tuple[str, str]], seed: int) -> Draw:
    """Examples of some pages from one manual and queries from another, or other paragraphs of the same."""
    random = np.random.default_rng(seed)
    chosen = [names[place] for place in random.choice(len(names), min(WAYS, len(names)), replace=False)]
    examples, queries = list[str](), list[str]()
    for name in chosen:
        # The first paragraphs of a page, shuffled: as many as may be encoded for all draws.
        places = random.permutation(SHOTS + QUERIES)
        examples += [given[name][place] for place in places[:SHOTS]]
        queries += [others[name][place] for place in places[SHOTS:]]
    ways = np.arange(len(chosen))
    return Draw(examples, np.repeat(ways, SHOTS), queries, np.repeat(ways, QUERIES))


def of_sections(given: Manual, seed: int) -> Draw:
    """Examples of each section from as many pages, and queries from its other pages."""
    random = np.random.default_rng(seed)
    examples, columns, queries, answers = list[str](), list[int](), list[str](), list[int]()
    for column, section in enumerate(SECTIONS):
        names = sorted(name for name, texts in given.items() if name[0] == section and len(texts) >= OF_PAGE)
        pool = [names[place] for place in np.random.default_rng(0).permutation(len(names))[:OF_SECTION]]
        for number, place in enumerate(random.permutation(len(pool))):
            texts = given[pool[place]][:OF_PAGE]
            if number < SHOTS:
                examples.append(texts[int(random.integers(OF_PAGE))])
                columns.append(column)
            else:
                queries += texts
                answers += [column] * len(texts)
    return Draw(examples, np.array(columns), queries, np.array(answers))


def accuracies(draws: Sequence[Draw]) -> np.ndarray:
    """Per cent of queries that are right, [draws, encoders]."""
    encoders = [encoder_named(name, fetch=False) for name in ENCODERS]
    return 100 * np.array([[accuracy(encoder, draw) for encoder in encoders] for draw in draws])


def accuracy(encoder: Encoder, draw: Draw) -> float:
    """The share of queries that is right, behind the learner of the best cross-validation."""
    names = tuple(map(str, np.unique(draw.columns)))
    weight = np.ones(len(draw.examples))
    first = Predictor(encoder, Predictor.head_of(USUAL), encoder(draw.examples), draw.columns, weight, names)
    predictor = choose(first, draw.examples)[0]
    return float((predictor.scores_of(encoder(draw.queries)).argmax(1) == draw.answers).mean())


def benchmark(options: argparse.Namespace) -> Row:
    seeds = range(2 if options.quick else options.seeds)
    manuals = {language: manual(options.pages / language) for language in LANGUAGES}
    names = pages_in_all(list(manuals.values()))[: 5 if options.quick else None]
    if not names:
        raise RuntimeError(
            f"there are no translated manual pages in {options.pages}: install manpages-de and manpages-fr"
        )
    ways = min(WAYS, len(names))
    tasks = {
        f"{title} paragraphs, {ways} pages": [of_pages(manuals[one], manuals[one], names, seed) for seed in seeds]
        for one, title in LANGUAGES.items()
    }
    tasks |= {
        f"{title} paragraphs, {len(SECTIONS)} sections": [of_sections(manuals[one], seed) for seed in seeds]
        for one, title in LANGUAGES.items()
    }
    crossed = [of_pages(manuals["de"], manuals["fr"], names, seed) for seed in seeds]
    tasks |= {f"German examples, French queries, {ways} pages": crossed}
    result = Row(
        "languages",
        "translated manual pages of Debian",
        f"{SHOTS} paragraphs of each class, the learner by cross-validation; accuracy in per cent over {len(seeds)} "
        "draws, the same for all encoders, with the 95 % interval over draws by Student's t, and paired differences",
        learner="none: texts",
    )
    lines = list[Line]()
    for title, draws in tasks.items():
        shares = accuracies(draws)
        line: Line = {"task": title, "queries": len(draws[0].queries)}
        line |= {f"{name}, %": with_interval(shares[:, place], 1) for place, name in enumerate(ENCODERS)}
        ahead = shares[:, -1] - shares[:, 0]
        lines.append(line | {f"{ENCODERS[-1]} minus {ENCODERS[0]}": with_interval(ahead, 1)})
        result.targets.append(Target(f"points ahead of {ENCODERS[0]}, {title}", float(ahead.mean()), 0.0))
    result.tables.append(("accuracy", lines))
    options.rounds = None
    return result


def main(words: Sequence[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--pages", type=Path, default=Path("/usr/share/man"), help="the folder that holds de/ and fr/")
    parser.add_argument("--seeds", type=int, default=10)
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
