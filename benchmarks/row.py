"""A benchmark's row: its tables and targets, the machine and the command; shown, and written as JSON.

    {"row", "learner", "source", "protocol", "eval_command", "threads", "machine", "result": {"tables", "targets"}}

A table is {"title", "lines"}, a line maps a column's name to a cell, and a cell is a text, a number, nothing, or a
median with its lowest and highest. benchmarks/tables.py writes the same into the pages.
"""

import argparse
import inspect
import json
import math
import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import CLOCKS, ROUNDS, Spread
from benchmarks.tables import ROOT, cell, columns, describe_target
from mapwise.interfaces.printing import note, show
from mapwise.workflows.allocator import keep_freed_memory
from mapwise.workflows.machine import machine

Line = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """What a figure should reach."""

    what: str
    value: float | None
    """None where it could not be measured; `because` says why."""
    goal: float
    at_least: bool = True
    because: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it is reached; None when there is nothing to judge."""
        if self.value is None or not math.isfinite(self.value):
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def to_json(self) -> Line:
        """As a JSON-ready object."""
        return {
            "what": self.what,
            "value": self.value,
            "goal": self.goal,
            "at_least": self.at_least,
            "met": self.met,
            "because": self.because,
        }


@dataclass
class Row:
    """What one benchmark found."""

    name: str
    source: str
    protocol: str
    tables: list[tuple[str, list[Line]]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    learner: str = "none: speed"
    """What it is about, since it is of no learner."""
    notes: list[str] = field(default_factory=list)
    """Sentences: who is absent and why, what was compared before it was timed."""

    def to_json(self, options: argparse.Namespace) -> dict[str, Any]:
        """As a JSON-ready object."""
        return {
            "row": options.json.stem if options.json else self.name,
            "learner": self.learner,
            "source": self.source,
            "protocol": self.protocol,
            "eval_command": options.command,
            "threads": options.threads,
            "result": {
                "rounds": options.rounds,
                "clock": options.clock,
                "load_before": options.load,
                "quick": options.quick,
                "device": device_name(options.device),
                "tables": [{"title": title, "lines": [_plain(line) for line in lines]} for title, lines in self.tables],
                "targets": [target.to_json() for target in self.targets],
                "notes": self.notes,
            },
            "machine": machine(),
        }


def parser(doc: str | None) -> argparse.ArgumentParser:
    """What every benchmark may be asked for."""
    result = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--json", type=Path, help="write what was found to this file")
    result.add_argument(
        "--quick", action="store_true", help="a smoke test: tiny shapes, one round; its figures say nothing"
    )
    result.add_argument("--rounds", type=int, help=f"rounds of every measurement (default {ROUNDS})")
    result.add_argument("--threads", type=int, default=1, help="torch's threads, of every contender (default 1)")
    result.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="processor: for a machine that is shared, with one thread"
    )
    result.add_argument("--device", default="cpu", help="cpu or cuda")
    return result


def run(result: argparse.ArgumentParser, measure: Callable[[argparse.Namespace], Row], words: Sequence[str]) -> int:
    """Measure, show and write; 1 when a target is missed or nothing could be measured, else 0."""
    import torch

    options = result.parse_args(words)
    if options.clock == "processor" and (options.threads > 1 or options.device != "cpu"):
        result.error("the processor's clock is for one thread on a CPU: leave out --clock, --threads or --device")
    options.rounds = options.rounds or (1 if options.quick else ROUNDS)
    # Without the folders of this machine: where its row goes is not how it is made.
    script = Path(inspect.getsourcefile(measure) or result.prog).resolve().relative_to(ROOT).with_suffix("")
    answer = shlex.join(["python", "-m", ".".join(script.parts), *words])
    options.command = re.sub(r"(--data)[= ]\S+", r"\1 DATA", re.sub(r" --json[= ]\S+", "", answer))
    # Others at work take their share of every round, so the load belongs to the figures.
    options.load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    torch.set_num_threads(options.threads)
    # As in every command that runs for long, and for every contender alike: they share this process.
    keep_freed_memory()
    try:
        row = measure(options)
    except RuntimeError as error:
        note(f"{result.prog}: {error}")
        return 1
    data = row.to_json(options)
    display(data)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return 0 if options.quick or all(target.met is not False for target in row.targets) else 1


def display(outcome: dict[str, Any]) -> None:
    """A row on standard output."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    result = outcome["result"]
    show(f"{outcome['row']}: {outcome['protocol']}")
    clock = "" if result["clock"] == "wall" else "processor time"
    rounds = f"{result['rounds']} interleaved rounds, median (lowest..highest)" if result["rounds"] else ""
    rounds = "".join(f"{part}; " for part in (rounds, clock) if part)
    where = f"{outcome['threads']} thread{'' if outcome['threads'] == 1 else 's'} each, {outcome['machine']}"
    show(f"{rounds}{where}; device {result['device']}; load before {result['load_before']}")
    show(f"command: {outcome['eval_command']}")
    for table in result["tables"]:
        drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
        show(f"\n{table['title']}")  # not the drawn table's title, which would be folded to its width
        names = columns(table)
        for name in names:
            drawn.add_column(name, justify="left" if name == names[0] else "right")
        for line in table["lines"]:
            drawn.add_row(*(Text(cell(line.get(name))) for name in names))
        show(drawn)
    for target in result["targets"]:
        show(f"target: {describe_target(target)}")
    for remark in result["notes"]:
        show(f"note: {remark}")


def device_name(device: str) -> str:
    """The device in words."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return "CPU" if torch.cuda.is_available() else "CPU (no GPU is at hand)"


def _plain(line: Line) -> Line:
    return {name: _rounded(value) for name, value in line.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, Spread):
        return {name: _rounded(part) for name, part in value._asdict().items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
