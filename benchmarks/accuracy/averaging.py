"""What do five members gain? Averaged predictions, and averaged weights where no barrier lies between them.

    python -m benchmarks.accuracy.averaging --data DATA [--steps 1500] [--quick] [--json FILE]

Five protonets of other seeds on Omniglot, and five fine-tunings of the first under other seeds. Predictions of either
five are averaged; weights are, uniformly and as a greedy soup, where the barrier between the members allows it. The
best member is the one with the highest validation accuracy. All are judged on the same test episodes, 5-way and 20-way
1-shot. A run's folder is kept in --runs, and one that is finished is not made again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import row
from benchmarks.kept_runs import finished, with_interval
from benchmarks.row import Line, Row, Target
from mapwise.engine.averaging import barriers, episode_losses
from mapwise.engine.evaluate import episode_values
from mapwise.runs.run import Run
from mapwise.workflows.average import ALLOWED, Averaging, Members, average_runs

MEMBERS, EPISODES = 5, 1000
WAYS = (5, 20)
RATE, TUNED_RATE = 0.002, 0.0005
SEEDS, TUNED = "five seeds", "five fine-tunings"


def benchmark(options: argparse.Namespace) -> Row:
    quick = options.quick
    count, episodes, judging = (2, 10, 4) if quick else (MEMBERS, EPISODES, 200)
    ways = (WAYS[0],) if quick else WAYS
    seeds = [trained(options, seed) for seed in range(count)]
    groups = {SEEDS: seeds, TUNED: [trained(options, seed, seeds[0]) for seed in range(1, count + 1)]}
    result = Row(
        "averaging",
        "omniglot",
        f"protonet, Conv4, 60-way training, one task a step, {_steps(options)[0]:,} steps of Adam {RATE} down a "
        f"cosine; fine-tunings of the first by {_steps(options)[1]:,} steps of Adam {TUNED_RATE}; {judging} validation "
        f"episodes choose; judged on the same {episodes:,} test episodes, inductive; differences are paired",
        learner="none: averaging",
    )
    folders: dict[str, dict[str, Path]] = {}
    heights = list[Line]()
    for name, runs in groups.items():
        members = Members.open(runs, Averaging("weights", episodes=judging))
        pairs = barriers(members.losses, [run.params for run in members.runs], points=3 if quick else 11)
        highest = max(pairs.values(), key=lambda one: one.excess.mean)
        excess = [one.excess.mean for one in pairs.values()]
        heights.append(
            {
                "members": name,
                "pairs": str(len(pairs)),
                "highest barrier, nats": f"{highest.excess.mean:.4f} ± {highest.excess.ci95:.4f}",
                "lowest": f"{min(excess):.4f}",
                "allowed": f"{ALLOWED:g}",
                "weights averaged": "no" if highest.stops(ALLOWED) else "yes",
            }
        )
        values = [members.value(run.learner, run.params) for run in members.runs]
        folders[name] = {"best member": runs[int(np.argmax(values))]}
        folders[name]["predictions averaged"] = averaged(
            options, name, runs, Averaging("predictions", episodes=judging)
        )
        for kind, greedy in (("weights averaged", False), ("greedy soup", True)):
            request = Averaging("weights", greedy=greedy, episodes=judging)
            try:
                folders[name][kind] = averaged(options, f"{name} {kind}", runs, request)
            except ValueError as refusal:
                result.notes.append(f"{name}, {kind}: refused, {_without_folders(str(refusal), options)}")
    result.tables.append(("The loss on the lines between members", heights))
    for way in ways:
        lines = list[Line]()
        for name, runs in folders.items():
            best = judged(runs["best member"], way, episodes)
            for what, folder in runs.items():
                lines.append({"members": name, "what": what, **_line(judged(folder, way, episodes), best)})
        result.tables.append((f"{way}-way 1-shot", lines))
        ours, best = (judged(folders[SEEDS][what], way, episodes) for what in ("predictions averaged", "best member"))
        gain = 100 * (ours["accuracy"] - best["accuracy"])
        result.targets.append(Target(f"{way}-way: predictions minus the best member, points", float(gain.mean()), 0.0))
        nll = float((ours["nll"] - best["nll"]).mean())
        result.targets.append(Target(f"{way}-way: the same of the NLL, nats", nll, 0.0, False))
        soup = folders[TUNED].get("greedy soup")
        if soup is not None:
            ahead = 100 * (ours["accuracy"] - judged(soup, way, episodes)["accuracy"])
            result.notes.append(f"{way}-way: predictions of {SEEDS} minus the soup, points: {with_interval(ahead)}")
    options.rounds = None
    return result


def _steps(options: argparse.Namespace) -> tuple[int, int]:
    return (2, 1) if options.quick else (options.steps, options.tuned_steps)


def trained(options: argparse.Namespace, seed: int, start: Path | None = None) -> Path:
    """The folder of one training, or of one fine-tuning from a start."""
    steps = _steps(options)[0 if start is None else 1]
    words = ["protonet", options.source, "--ways", "5" if options.quick else "60", "--queries", "5", "--test-ways", "5"]
    words += ["--test-queries", "15", "--tasks", "1", "--steps", str(steps), "--schedule", "cosine", "--select", "last"]
    words += ["--validate-every", str(steps), "--validation-episodes", "4" if options.quick else "200", "--how", "loop"]
    words += ["--optimizer", f"Adam lr={RATE if start is None else TUNED_RATE}", "--seed", str(seed)]
    words += ["--net.filters", "4" if options.quick else "64", "--threads", str(options.threads)]
    words += [] if options.data is None else ["--data", str(options.data)]
    words += [] if start is None else ["--init", str(start)]
    return finished(options.runs / (f"seed-{seed}" if start is None else f"tuned-{seed}"), words)


def averaged(options: argparse.Namespace, name: str, runs: list[Path], request: Averaging) -> Path:
    """The folder of an average; raises ValueError for weights over a barrier."""
    folder: Path = options.runs / name.replace(" ", "-")
    if not (folder / "run.toml").exists():
        average_runs(runs, request, folder, "")
    return folder


def judged(folder: Path, ways: int, episodes: int) -> dict[str, np.ndarray]:
    """Accuracy and negative log-likelihood of every test episode."""
    path = folder / f"averaging-{ways}-{episodes}.json"
    if not path.exists():
        run = Run.open(folder, {"test_ways": str(ways)})
        source = run.judging(seed=0)
        its = {
            "accuracy": episode_values(run.learner, run.params, source, episodes, "loop").tolist(),
            "nll": episode_losses(run.learner, run.params, source, episodes, "loop").tolist(),
        }
        path.write_text(json.dumps(its), encoding="utf-8")
    return {name: np.array(values) for name, values in json.loads(path.read_text(encoding="utf-8")).items()}


def _line(its: dict[str, np.ndarray], best: dict[str, np.ndarray]) -> dict[str, Any]:
    return {
        "accuracy, %": with_interval(100 * its["accuracy"]),
        "minus the best member, points": with_interval(100 * (its["accuracy"] - best["accuracy"])),
        "NLL, nats": with_interval(its["nll"], 4),
        "minus the best member, nats": with_interval(its["nll"] - best["nll"], 4),
    }


def _without_folders(text: str, options: argparse.Namespace) -> str:
    return text.replace(f"{options.runs}/", "")


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--source", default="omniglot", help="omniglot, or glyphs, which needs no data")
    parser.add_argument("--data", type=Path, help="the folder that holds omniglot/")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--tuned-steps", type=int, default=300)
    parser.add_argument("--runs", type=Path, default=Path("runs/averaging"))
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
