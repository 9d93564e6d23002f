"""Finders of names for benchmarks: what they are trained on, what examples are drawn, and a floor of frozen words."""

import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from mapwise.core.tags import allowed
from mapwise.data.annotated.conll import read_conll
from mapwise.data.annotated.json_lines import write_json_lines
from mapwise.data.annotated.texts import AnnotatedText, Span, type_names
from mapwise.encoders.token_model import TokenNetwork, token_model
from mapwise.predictors.spans.fit import fit_spans
from mapwise.predictors.spans.predictor import SpanPredictor
from mapwise.predictors.spans.windows import Windows

WAYS = ("finder", "untrained", "words")
STEPS, BATCH = 2400, 16
"""Of a finder's training."""
CORPORA = {
    "conll2003": {"train": "eng.train.gz", "dev": "eng.testa.gz"},
    "wnut17": {"train": "wnut17train.conll", "dev": "emerging.dev.conll"},
}
"""What finders are trained on: corpus -> part -> its file."""
WORDS = {
    "PER": "person",
    "LOC": "location",
    "ORG": "organization",
    "MISC": "nationality, event or other name",
    "creative-work": "creative work",
    "politicalparty": "political party",
    "musicgenre": "music genre",
    "musicalartist": "musical artist",
    "musicalinstrument": "musical instrument",
    "literarygenre": "literary genre",
    "programlang": "programming language",
    "academicjournal": "academic journal",
    "astronomicalobject": "astronomical object",
    "chemicalcompound": "chemical compound",
    "chemicalelement": "chemical element",
    "misc": "miscellaneous",
    "metrics": "metric",
}
"""Names of types that are no words."""
Finder = Callable[[Sequence[str]], list[list[tuple[int, int, str]]]]
"""Texts -> of each its spans: start, end, type."""


def few(texts: Sequence[AnnotatedText], shots: int, seed: int) -> list[AnnotatedText]:
    """Sentences in which each type has `shots` to twice as many spans, or all texts for 0 shots."""
    if not shots:
        return list(texts)
    counts = [Counter(span.type for span in text.spans) for text in texts]
    order = random.Random(seed).sample(range(len(texts)), len(texts))
    taken, total = list[int](), Counter[str]()
    for place in order:
        here = counts[place]
        if any(total[kind] < shots for kind in here) and all(total[k] + n <= 2 * shots for k, n in here.items()):
            taken.append(place)
            total += here
    for place in order:  # of a type that stands beside frequent ones alone
        if place not in taken and any(total[kind] < shots for kind in counts[place]):
            taken.append(place)
            total += counts[place]
    return [texts[place] for place in taken]


def few_sentences(texts: Sequence[AnnotatedText], shots: int, seed: int) -> list[AnnotatedText]:
    """So many sentences for each type that have a span of it, whatever else they have."""
    order, chosen = random.Random(seed), set[int]()
    for name in type_names(texts):
        holding = [place for place, text in enumerate(texts) if any(span.type == name for span in text.spans)]
        chosen.update(order.sample(holding, min(shots, len(holding))))
    return [texts[place] for place in sorted(chosen)]


def renamed(texts: Sequence[AnnotatedText]) -> list[AnnotatedText]:
    """The same with names of types in words."""
    return [
        AnnotatedText(one.text, tuple(Span(s.start, s.end, WORDS.get(s.type, s.type)) for s in one.spans))
        for one in texts
    ]


def write_corpora(data: Path, folder: Path, names: Sequence[str]) -> None:
    """The training and validation parts of corpora, as finders are trained on them."""
    for name in names:
        for part, file in CORPORA[name].items():
            path = folder / name / f"{part}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json_lines(path, renamed(read_conll(data / name / file).texts))


def train_finder(data: Path, run: Path, steps: int = STEPS, names: Sequence[str] = tuple(CORPORA)) -> None:
    """The run of a finder that has learned from these corpora, from the raw files, where it isn't there."""
    if (run / "best.safetensors").exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        write_corpora(data, Path(folder), names)
        command = [sys.executable, "-m", "mapwise", "train", "span_finder", "conll", "--data", folder]
        settings = f"--tasks 1 --steps {steps} --schedule linear --warmup {min(100, steps // 2)} --clip 1 --select last"
        settings += f" --source.whole --source.batch {BATCH} --validation-episodes {min(20, steps)}"
        settings += " --precision bfloat16 --net.rank 0 --tune-lr 0.0001"
        command += [*settings.split(), "--optimizer", "AdamW lr=0.0001", "--out", str(run)]
        subprocess.run(command, check=True)


def fit_finder(way: str, texts: Sequence[AnnotatedText], run: Path, steps: int) -> SpanPredictor:
    """A predictor fitted to these texts: behind a run, or without one."""
    known = type_names(texts)
    describe = {name: WORDS[name] for name in known if name in WORDS}
    return fit_spans(texts, learner=run if way == "finder" else "auto", describe=describe, steps=steps)


def fitted(way: str, texts: Sequence[AnnotatedText], run: Path, steps: int) -> Finder:
    """What finds spans, fitted to these texts in one of the WAYS."""
    if way == "words":
        return words_alone(texts)
    predictor = fit_finder(way, texts, run, steps)
    return lambda sentences: [[span[:3] for span in spans] for spans in predictor.predict(sentences)]


def words_alone(texts: Sequence[AnnotatedText]) -> Finder:
    """A logistic regression from frozen vectors of words to tags, and the best path that is allowed."""
    from sklearn.linear_model import LogisticRegression

    from mapwise.core.chain import best_path
    from mapwise.core.tags import spans_of

    model, types = token_model("minilm"), type_names(texts)
    network = TokenNetwork(model.inputs)

    def encoded(of: Sequence[AnnotatedText]) -> tuple[Windows, list[np.ndarray]]:
        windows = Windows.of(model, of)
        vectors = [np.zeros((len(units), network.output_shape[0]), np.float32) for units in windows.units]
        for places in windows.batches(1 << 11):
            x, _ = windows.rows(places)
            with torch.no_grad():
                hidden = network(x)
            for place, one in enumerate(windows.windows[number] for number in places):
                counted = slice(one.first + one.counts.start, one.first + one.counts.stop)
                vectors[one.text][counted] = hidden[place, windows.firsts(one)[one.counts]].numpy()
        return windows, vectors

    windows, vectors = encoded(texts)
    tags = np.concatenate([windows.tags(text, place, types) for place, text in enumerate(texts)])
    head = LogisticRegression(C=10.0, max_iter=300).fit(np.concatenate(vectors), tags)

    def find(sentences: Sequence[str]) -> list[list[tuple[int, int, str]]]:
        windows, vectors = encoded([AnnotatedText(text) for text in sentences])
        spans = []
        for units, of_text in zip(windows.units, vectors, strict=True):
            scores = np.full((len(units), 2 * len(types) + 1), -1e6)
            if len(units):
                scores[:, head.classes_] = head.predict_log_proba(of_text)
            path = (
                best_path(torch.from_numpy(scores), *allowed(len(types)), torch.ones(len(units))) if len(units) else []
            )
            spans.append([(units[a][0], units[b - 1][1], types[k]) for a, b, k in spans_of(np.asarray(path, np.int64))])
        return spans

    return find
