"""Evaluates a finished run and writes the benchmark row: what was run, what came out, on which machine.

    python -m benchmarks.record ROW RUN --target 98.3 [--flags "FLAGS OF mapwise eval"]

The numbers are those `mapwise eval RUN --json` prints; the row is benchmarks/results/ROW.json.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from mapwise.problems import metrics
from mapwise.runs.settings import RunSettings
from mapwise.workflows.machine import machine

RESULTS = Path(__file__).resolve().parent / "results"


def portable(command: str) -> str:
    """The command as anyone would give it: runs in runs/, data sets in data/."""
    command = re.sub(r"--data \S+", "--data data", command)
    return re.sub(r"(?<=\s)\S*/(?=[\w.-]+(\s|$))", "runs/", command)


def runs(run: Path) -> list[Path]:
    """The run, after those whose weights it started from."""
    init = RunSettings.read(run).init
    return [*(runs(Path(init)) if init else []), run]


def lineage(run: Path) -> list[RunSettings]:
    """The settings of a run, after those of the runs it started from: all of them make its number."""
    return [RunSettings.read(one) for one in runs(run)]


def spent(run: Path, name: str) -> float | None:
    """The "seconds" or "processor_seconds" of a training and those it started from, validation included.

    None when one of them didn't count it.
    """
    total = 0.0
    for one in runs(run):
        records = (one / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        data = json.loads(records[-1]).get(name) if records else 0.0
        if data is None:
            return None
        total += data
    return round(total, 1)


def main() -> None:
    """Evaluate and write one row."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("row", help="name of the row, such as protonet-omniglot-5w1s")
    options.add_argument("run", type=Path, help="the run's folder")
    options.add_argument("--target", default="", help="the number it should reach, in per cent or as an error")
    options.add_argument("--protocol", default="", help="what else to know about how it was trained")
    options.add_argument("--flags", default="", help='flags of mapwise eval, as in --flags "--ways 20 --episodes 1000"')
    given = options.parse_args()
    flags = given.flags.split()

    trained = lineage(given.run)
    settings = trained[-1]
    command = ["eval", f"runs/{given.run.name}", *flags, "--json"]
    ran = subprocess.run(
        [sys.executable, "-m", "mapwise", "eval", str(given.run), *flags, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        sys.exit(ran.stderr.strip())
    result = json.loads(ran.stdout)
    result["run"] = f"runs/{given.run.name}"
    for outcome in (result, *result.get("beside", [])):
        outcome["command"] = "mapwise " + " ".join(command)
    processor = spent(given.run, "processor_seconds")
    row = {
        "row": given.row,
        "learner": settings.learner,
        "source": settings.source,
        "protocol": given.protocol,
        "train_command": "\n".join(portable(one.command) for one in trained),
        "train_steps": sum(one.steps for one in trained),
        "train_seconds": spent(given.run, "seconds"),
        **({} if processor is None else {"train_processor_seconds": processor}),
        "threads": settings.threads,
        "eval_command": result["command"],
        "target": given.target,
        "result": result,
        "machine": machine(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{given.row}.json"
    path.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
    metric = next(name for name in metrics() if name in result)
    print(f"{path.name}: {metric} {result[metric]:.4f} +/- {result['ci95']:.4f}")


if __name__ == "__main__":
    main()
