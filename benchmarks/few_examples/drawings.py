"""Five drawings of each class: how often FewShotClassifier is right, and how long the command line takes.

    python -m benchmarks.few_examples.drawings [--data FOLDER] [--episodes 1000] [--quick] [--json FILE]

Characters of Omniglot's test split as images, given as a user gives them to `FewShotClassifier` with its defaults; and
`mapwise fit` and `mapwise predict` on a folder of 25 of them, from the start of the process to its end.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import mapwise as mw
from benchmarks import row
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from benchmarks.side_by_side import Spread
from mapwise.data.omniglot import omniglot
from mapwise.data.rows import LabelledRows

ACCURACY = 97.0
"""Per cent, of five classes with one drawing of each."""
SECONDS = 3.0
WAYS, QUERIES = 5, 15


def pictures(rows: LabelledRows, random: np.random.Generator, each: int) -> list[list[np.ndarray]]:
    """So many drawings, ink on white, of each of five test classes."""
    classes = random.choice(rows.splits["test"], WAYS, replace=False)
    drawn = [random.permutation(np.arange(rows.starts[c], rows.starts[c + 1]))[:each] for c in classes]
    return [[255 - rows.x[place, 0] for place in places] for places in drawn]


def accuracy(rows: LabelledRows, shots: int, episodes: int) -> np.ndarray:
    """Per cent right in each episode."""
    random = np.random.default_rng(0)
    queries = min(QUERIES, 20 - shots)
    right = []
    for _ in range(episodes):
        drawn = pictures(rows, random, shots + queries)
        model = mw.FewShotClassifier().fit([x for one in drawn for x in one[:shots]], np.repeat(np.arange(WAYS), shots))
        options = model.predict([x for one in drawn for x in one[shots:]])
        right.append(100 * float((options == np.repeat(np.arange(WAYS), queries)).mean()))
    return np.array(right)


def timed(rows: LabelledRows, rounds: int) -> dict[str, Spread]:
    """Seconds of either command, from start to end."""
    drawn = pictures(rows, np.random.default_rng(0), 10)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, one in zip("abcde", drawn, strict=True):
            for part, images in (("photos", one[:5]), ("new", one[5:])):
                for number, image in enumerate(images):
                    path = folder / part / (name if part == "photos" else "") / f"{name}{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(image).save(path)
        commands = {
            "mapwise fit photos/ -o signs.safetensors": ["fit", "photos", "-o", "signs.safetensors", "--force"],
            "mapwise predict signs.safetensors new/": ["predict", "signs.safetensors", "new"],
        }
        result: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, words in commands.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, "-m", "mapwise", *words], cwd=folder, check=True, capture_output=True)
                result[name].append(time.perf_counter() - start)
    return {name: Spread.of(seconds) for name, seconds in result.items()}


def benchmark(options: argparse.Namespace) -> Row:
    rows = omniglot(options.data)
    episodes = 3 if options.quick else options.episodes
    result = Row(
        "drawings",
        "omniglot",
        f"{episodes} {WAYS}-way tasks of test characters, up to {QUERIES} queries a class; 25 pictures in a folder for "
        "fit and 25 for predict, imports included",
        learner="none: FewShotClassifier with its defaults",
    )
    lines: list[Line] = []
    for shots in (1, 5):
        right = accuracy(rows, shots, episodes if shots == 1 else episodes // 5 or 1)
        lines.append({"shots": shots, "episodes": len(right), "accuracy, %": with_interval(right, 1)})
        if shots == 1:
            result.targets.append(Target("accuracy, 5-way 1-shot, %", float(right.mean()), ACCURACY))
    result.tables.append(("accuracy", lines))
    spans = timed(rows, options.rounds)
    result.tables.append(("seconds", [{"command": name, "seconds": span} for name, span in spans.items()]))
    for name, span in spans.items():
        result.targets.append(Target(f"seconds of {name}", span.median, SECONDS, at_least=False))
    return result


def main() -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", default=os.environ.get("MAPWISE_DATA"), help="the folder of data sets")
    parser.add_argument("--episodes", type=int, default=1000)
    return row.run(parser, benchmark, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
