"""How many names are found after five examples of each type? A trained finder, the same untrained, and frozen words.

    python -m benchmarks.few_examples.entities --data DATA [--run RUN] [--domains politics ai ...] [--shots 5]
        [--draws 10] [--ways finder untrained words] [--draws-file FILE] [--quick] [--json FILE]

The five domains of CrossNER (Liu et al. 2021): sentences are drawn from a domain's training part until each type has 5
to 10 spans (Ding et al. 2021, algorithm 1; types that it leaves short get further sentences), with --shots 0 all of the
part. A predictor is fitted to them and judged on the domain's test part by strict entity F1. Types have their names in
words, such as "political party" for politicalparty.

finder:    `span_finder`, trained on the training parts of CoNLL-2003 and WNUT-17 before, in RUN; made where it isn't.
untrained: the same without that.
words:     vectors of words from the same model, frozen, and a logistic regression onto their tags.

A finished draw is a line of FILE, and isn't made again.
"""

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import row
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.core.tags import allowed
from mapwise.data.annotated.conll import read_conll
from mapwise.data.annotated.json_lines import write_json_lines
from mapwise.data.annotated.texts import AnnotatedText, Span, type_names
from mapwise.data.store import data_root
from mapwise.encoders.token_model import TokenNetwork, token_model
from mapwise.predictors.spans.fit import fit_spans
from mapwise.predictors.spans.windows import Windows
from mapwise.problems.spans import entity_scores

DOMAINS = ("politics", "ai", "science", "music", "literature")
WAYS = ("finder", "untrained", "words")
STEPS, BATCH = 2400, 16
"""Of the finder's training."""
QUICK = 4, 20
"""Steps of training and tuning, and test sentences of a smoke test."""
ASKED = {("politics", 5): 57.0, ("ai", 5): 42.0, ("politics", 0): 66.0, ("ai", 0): 52.0}
"""Entity F1 to reach."""
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


def renamed(texts: Sequence[AnnotatedText]) -> list[AnnotatedText]:
    """The same with names of types in words."""
    return [
        AnnotatedText(one.text, tuple(Span(s.start, s.end, WORDS.get(s.type, s.type)) for s in one.spans))
        for one in texts
    ]


def write_corpora(data: Path, folder: Path) -> None:
    """The training and validation parts of CoNLL-2003 and WNUT-17, as the finder is trained on them."""
    files = {
        "conll2003/train": "conll2003/eng.train.gz",
        "conll2003/dev": "conll2003/eng.testa.gz",
        "wnut17/train": "wnut17/wnut17train.conll",
        "wnut17/dev": "wnut17/emerging.dev.conll",
    }
    for name, file in files.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json_lines(path, renamed(read_conll(data / file).texts))


def train_finder(data: Path, run: Path, steps: int) -> None:
    """The run of a finder, from the raw files, where it isn't there."""
    if (run / "best.safetensors").exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        write_corpora(data, Path(folder))
        settings = f"--tasks 1 --steps {steps} --schedule linear --warmup {min(100, steps // 2)} --clip 1 --select last"
        settings += (
            f" --source.whole --source.batch {BATCH} --validation-episodes {min(20, steps)} --precision bfloat16"
        )
        command = [sys.executable, "-m", "mapwise", "train", "span_finder", "conll", "--data", folder]
        subprocess.run([*command, *settings.split(), "--optimizer", "AdamW lr=0.001", "--out", str(run)], check=True)


def fitted(way: str, texts: Sequence[AnnotatedText], run: Path, steps: int) -> Finder:
    """What finds spans, fitted to these texts."""
    if way == "words":
        return _words_alone(texts)
    known = type_names(texts)
    learner = run if way == "finder" else "auto"
    describe = {name: WORDS[name] for name in known if name in WORDS}
    predictor = fit_spans(texts, learner=learner, describe=describe, steps=steps)
    return lambda sentences: [[span[:3] for span in spans] for spans in predictor.predict(sentences)]


def _words_alone(texts: Sequence[AnnotatedText]) -> Finder:
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


def one_draw(options: argparse.Namespace, domain: str, way: str, draw: int) -> Line:
    """Fitted to one draw, and judged."""
    folder = data_root(options.data) / "crossner" / domain
    training, test = (read_conll(folder / f"{part}.txt").texts for part in ("train", "test"))
    test = test[: QUICK[1]] if options.quick else test
    texts = few(training, options.shots, draw)
    begun = time.process_time()
    finder = fitted(way, texts, options.run, QUICK[0] if options.quick else options.steps)
    fitting = time.process_time() - begun
    predicted = finder([text.text for text in test])
    true = [[span[:3] for span in text.spans] for text in test]
    scores = entity_scores(true, predicted)
    untyped = [[[(start, end, "") for start, end, _ in spans] for spans in side] for side in (true, predicted)]
    return {
        "domain": domain,
        "way": way,
        "shots": options.shots,
        "draw": draw,
        "sentences": len(texts),
        "types": len(type_names(training)),
        "test": len(test),
        "f1": 100 * scores.all.f1,
        "precision": 100 * scores.all.precision,
        "recall": 100 * scores.all.recall,
        "macro": 100 * scores.macro_f1,
        "places": 100 * entity_scores(*untyped).all.f1,
        "seconds": fitting,
    }


def benchmark(options: argparse.Namespace) -> Row:
    if not options.quick:
        return measured(options)
    with tempfile.TemporaryDirectory() as folder:  # so few steps make no finder that is worth keeping
        options.run = Path(folder) / "finder"
        return measured(options)


def measured(options: argparse.Namespace) -> Row:
    torch.set_num_threads(1)
    domains, draws = (options.domains[:1], 2) if options.quick else (options.domains, options.draws)
    draws = draws if options.shots else 1
    if "finder" in options.ways:
        train_finder(data_root(options.data), options.run, QUICK[0] if options.quick else STEPS)
    file = options.draws_file
    done = [json.loads(line) for line in file.read_text().splitlines()] if file and file.exists() else []
    known = {(line["domain"], line["way"], line["shots"], line["draw"]): line for line in done}
    lines = list[Line]()
    for domain, way in itertools.product(domains, options.ways):
        outcomes: list[Any] = []
        for draw in range(draws):
            line = known.get((domain, way, options.shots, draw))
            if line is None:
                line = one_draw(options, domain, way, draw)
                if file:
                    with file.open("a") as out:
                        out.write(json.dumps(line) + "\n")
            outcomes.append(line)
        columns = {name: np.array([line[name] for line in outcomes]) for name in ("f1", "places", "macro", "precision")}
        columns |= {name: np.array([line[name] for line in outcomes]) for name in ("recall", "sentences", "seconds")}
        lines.append(
            {
                "domain": domain,
                "types": outcomes[0]["types"],
                "sentences": f"{columns['sentences'].mean():.0f}",
                "predictor": way,
                "entity F1, %": with_interval(columns["f1"], 1),
                "places alone, %": with_interval(columns["places"], 1),
                "macro F1, %": with_interval(columns["macro"], 1),
                "precision, %": with_interval(columns["precision"], 1),
                "recall, %": with_interval(columns["recall"], 1),
                "seconds to fit": f"{np.median(columns['seconds']):.0f}",
                "mean": float(columns["f1"].mean()),
            }
        )
    given = (
        f"{options.shots} to {2 * options.shots} examples of each type" if options.shots else "all training sentences"
    )
    result = Row(
        "entities",
        "CrossNER",
        f"strict entity F1 on the test part of each domain after {given}, with the 95 % interval over {draws} draws; "
        f"tuned in {options.steps} steps; places alone: the F1 of spans whose type isn't judged; "
        "seconds are of one processor core",
        learner="span_finder on CrossNER",
    )
    means = {(line["domain"], line["predictor"]): line.pop("mean") for line in lines}
    result.tables.append((f"With {given}", lines))
    for domain in domains:
        goal = ASKED.get((domain, options.shots))
        if goal is not None and (domain, "finder") in means:
            result.targets.append(
                Target(f"entity F1 of the finder on {domain}, in per cent", means[domain, "finder"], goal)
            )
    options.rounds = None
    return result


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds the data sets' folders")
    parser.add_argument("--run", type=Path, default=Path("runs/finder"), help="of the finder")
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), choices=DOMAINS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, help="what is compared")
    parser.add_argument("--shots", type=int, default=5, help="examples of each type, at least; 0: all sentences")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100, help="of tuning on the examples")
    parser.add_argument("--draws-file", type=Path, help="holds finished draws, one a line")
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
