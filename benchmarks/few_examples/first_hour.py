"""How long the three walks of docs/first-hour.md take: photographs, intents in a table, and a loop of one's own.

    python -m benchmarks.few_examples.first_hour [--clock processor] [--quick] [--json FILE]

Commands are processes, from their start to their end; on the processor's clock they count what the whole process used.
Nothing is read but what is written here: textures of five colours as JPEG files, and sentences from templates.
"""

import argparse
import csv
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import mapwise as mw
from benchmarks import row
from benchmarks.row import Line, Row, Target
from benchmarks.side_by_side import Spread, interleaved, ratio
from mapwise.data.glyphs import glyphs

CLASSES, SHOTS, SIZE = 5, 5, (640, 480)
INTENTS, SENTENCES = 150, 100
PHOTOGRAPHS, TABLE, OVER_VMAP = 5.0, 60.0, 1.1
"""Seconds of fit and predict together, seconds of fit, and how many times as long as vmap."""

VERBS = ["cancel", "change", "check", "confirm", "copy", "delete", "find", "move", "open", "pay", "print", "renew"]
VERBS += ["repeat", "send", "stop"]
THINGS = ["account", "address", "alarm", "booking", "card", "flight", "invoice", "meeting", "order", "parcel"]
OPENINGS = ["please", "could you", "I want to", "I need to", "can you", "kindly", "help me", "time to", "let us", "do"]
CLOSINGS = [
    "now",
    "today",
    "for me",
    "before noon",
    "if you can",
    "once more",
    "this week",
    "at home",
    "thanks",
    "again",
]


def photograph(place: int, random: np.random.Generator) -> Image.Image:
    """A smooth texture with noise, of a colour and a grain that belong to its class."""
    grain = random.normal(size=(4 + 4 * place, 3 + 3 * place, 3))
    colour = 128 + 60 * np.cos(2 * np.pi * (place / CLASSES + np.arange(3) / 3))
    rough = Image.fromarray(np.clip(colour + 40 * grain, 0, 255).astype(np.uint8)).resize(
        SIZE, Image.Resampling.BICUBIC
    )
    return Image.fromarray(
        np.clip(np.asarray(rough) + 6 * random.normal(size=(*SIZE[::-1], 3)), 0, 255).astype(np.uint8)
    )


def write_photographs(folder: Path) -> None:
    """Some photographs of each class in a folder of its name, and a new one of the first class."""
    random = np.random.default_rng(0)
    for place in range(CLASSES):
        (folder / "photos" / f"class{place}").mkdir(parents=True)
        for number in range(SHOTS):
            photograph(place, random).save(folder / "photos" / f"class{place}" / f"{number}.jpg")
    photograph(0, random).save(folder / "new.jpg")


def write_intents(folder: Path, intents: int, sentences: int) -> None:
    """A table of distinct sentences: an intent is a verb with a thing, and its sentences say it in other words."""
    pairs = list(itertools.product(VERBS, THINGS))[:intents]
    around = list(itertools.product(OPENINGS, CLOSINGS))[:sentences]
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for (verb, thing), (opening, closing) in itertools.product(pairs, around):
            writer.writerow([f"{opening} {verb} the {thing} {closing}", f"{verb}_{thing}"])


def seconds(words: list[str], folder: Path, options: argparse.Namespace) -> tuple[float, str]:
    """How long a command takes, and its standard output; raises RuntimeError where it fails."""
    clock = time.perf_counter if options.clock == "wall" else _of_children
    start = clock()
    done = subprocess.run(
        [sys.executable, "-m", "mapwise", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": str(options.threads)},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"mapwise {' '.join(words)} failed: {done.stderr.strip()}")
    return clock() - start, done.stdout


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def commands(options: argparse.Namespace) -> tuple[list[Line], list[Target]]:
    """Both walks of the command line, each from its data to a named answer."""
    intents, sentences = (5, 10) if options.quick else (INTENTS, SENTENCES)
    walks = {
        "photographs": (["fit", "photos", "-o", "photos.safetensors"], ["predict", "photos.safetensors", "new.jpg"]),
        "table": (
            ["fit", "rows.csv", "--text", "text", "-o", "rows.safetensors"],
            ["predict", "rows.safetensors", "please cancel my card today"],
        ),
    }
    answers = {"photographs": "class0", "table": "cancel_card"}
    spans: dict[str, dict[str, list[float]]] = {name: {"fit": [], "predict": []} for name in walks}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_photographs(folder)
        write_intents(folder, intents, sentences)
        for _ in range(options.rounds):
            for name, pair in walks.items():
                for words in pair:
                    span, text = seconds([*words, *(["--force"] if words[0] == "fit" else [])], folder, options)
                    spans[name][words[0]].append(span)
                if answers[name] not in text.partition("\n")[0]:
                    raise RuntimeError(
                        f"the walk of {name} ends with {text.strip()!r}, and {answers[name]} is the answer"
                    )
    whats = {"photographs": (CLASSES, SHOTS), "table": (intents, sentences)}
    lines: list[Line] = [
        {
            "walk": name,
            "classes": whats[name][0],
            "examples of each": whats[name][1],
            "fit, s": Spread.of(parts["fit"]),
            "predict, s": Spread.of(parts["predict"]),
            "together, s": Spread.of([sum(pair) for pair in zip(*parts.values(), strict=True)]),
        }
        for name, parts in spans.items()
    ]
    photographs, table = (line["together, s"].median for line in lines)
    return lines, [
        Target(f"seconds from {CLASSES} x {SHOTS} photographs to an answer", photographs, PHOTOGRAPHS, at_least=False),
        Target(f"seconds from a table of {intents} x {sentences} texts to an answer", table, TABLE, at_least=False),
    ]


class Own(nn.Module):
    """A small convolutional network as a researcher writes it, with a norm that stands alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1),
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.GroupNorm(4, 32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 5 * 5, 5),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(x)
        return scores


def loops(options: argparse.Namespace) -> tuple[list[Line], list[Target]]:
    """The step of a loop of one's own: mw.meta_gradient as it is called, beside the same call under vmap."""
    tasks = 4 if options.quick else 25
    mlp = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 1))
    contests = {
        "1-40-1 MLP, sinusoid": (
            mw.MAML(mlp, inner_lr=0.01, loss="squared_error"),
            mw.Sinusoid(shots=10, queries=10, tasks=tasks)(0),
        ),
        "two convolutions, glyphs": (
            mw.MAML(Own, inner_lr=0.1),
            mw.Episodes(glyphs(size=20), ways=5, shots=1, queries=5, tasks=tasks)(0),
        ),
    }
    lines, targets = [], []
    for name, (learner, batch) in contests.items():
        params = learner.init(seed=0)
        runs: dict[str, Callable[[], object]] = {
            "mw.meta_gradient(learner, params, tasks)": lambda: mw.meta_gradient(learner, params, batch),  # noqa: B023
            'with how="vmap"': lambda: mw.meta_gradient(learner, params, batch, how="vmap"),  # noqa: B023
        }
        spans = interleaved(
            runs,
            rounds=options.rounds,
            seconds=0.0 if options.quick else 0.5,
            device=options.device,
            clock=options.clock,
        )
        auto, vmap = spans.values()
        line: Line = {"network": name, "tasks": tasks}
        line |= {f"{what}, ms": Spread.of(span).times(1000) for what, span in spans.items()}
        lines.append({**line, "over vmap": ratio(auto, vmap)})
        what = f"time of a meta-gradient over that under vmap, {name}"
        targets.append(Target(what, ratio(auto, vmap).median, OVER_VMAP, at_least=False))
    return lines, targets


def measure(options: argparse.Namespace) -> Row:
    result = Row(
        "first-hour",
        "textures, sentences from templates, sinusoid, glyphs",
        "from data to an answer: mapwise fit, then mapwise predict, with their defaults, each a process with its "
        "imports; and one meta-gradient of MAML in a loop of one's own",
        learner="none: the walks of the first hour",
    )
    for title, (lines, targets) in {
        "commands": commands(options),
        "a loop of one's own": loops(options),
    }.items():
        result.tables.append((title, lines))
        result.targets += targets
    return result


if __name__ == "__main__":
    sys.exit(row.run(row.parser(__doc__), measure, sys.argv[1:]))
