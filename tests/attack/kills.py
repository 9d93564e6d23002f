"""Commands killed at random moments and begun again: the same bytes, no orphan, no litter.

    python tests/attack/kills.py --kills 100 --seed 0

Each chain starts a command, kills it (SIGKILL) at moments drawn over the time that it takes, goes on with it after
each, lets it end, and compares what it leaves with what the command leaves that nothing disturbed. Prints counts.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import uuid
from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

TINY = ("--ways", "3", "--tasks", "4", "--validate-every", "10", "--validation-episodes", "8", "--how", "vmap")
PER_CHAIN = 4
"""Kills of one command before it may end."""
GRACE = 5.0
"""Seconds in which the children of a killed command must end."""


@dataclass(frozen=True)
class Kind:
    """A command, how to go on with it where its folder holds this file, and the share of all kills that it gets."""

    begin: tuple[str, ...]
    resume: tuple[str, ...]
    begun: str
    share: int
    needs: tuple[str, ...] = ()


KINDS = {
    "train": Kind(("train", "maml", "digits", "--steps", "200", *TINY), ("train", "--resume", "out"), "run.toml", 40),
    "train --compile": Kind(
        ("train", "maml", "digits", "--steps", "400", "--compile", *TINY), ("train", "--resume", "out"), "run.toml", 12
    ),
    "tune": Kind(
        ("tune", "maml", "digits", "--trials", "3", "--no-prune", "--steps", "60", *TINY),
        ("tune", "--resume", "out"),
        "tune.toml",
        20,
        needs=("optuna",),
    ),
    "bench": Kind(("bench", "glyphs", "--quick", "--only", "protonet"), (), "", 12),
    "fit, lora": Kind(
        ("fit", "rows.csv", "--text", "body", "--encoder", "hf:../model", "--learner", "lora", "--budget", "10m"),
        (),
        "",
        16,
        needs=("peft", "sentence_transformers"),
    ),
}


@dataclass
class Tally:
    """What was counted of one kind; the failures in words."""

    counts: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class Machine:
    """Starts commands in a folder, each with a mark by which what it leaves running is known."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        self.env = {**os.environ, "OMP_NUM_THREADS": "1", "KILLS_MARK": self.mark, "HF_HUB_OFFLINE": "1"}
        self.env["XDG_CACHE_HOME"] = str(folder / "cache")

    def start(self, words: tuple[str, ...]) -> subprocess.Popen:
        words = (sys.executable, "-m", "mapwise", *words)
        with (self.folder / "err").open("wb") as err:
            return subprocess.Popen(
                words, cwd=self.folder, env=self.env, stdout=subprocess.DEVNULL, stderr=err, start_new_session=True
            )

    def running(self) -> list[int]:
        """Processes that the commands started and that are still there."""
        results = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (place / "environ").read_bytes() and " Z " not in (place / "stat").read_text():
                    results.append(int(place.name))
            except OSError:
                continue
        return results


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file that must come out the same with its bytes, and of the others only the names."""
    files = [path for name in ("out", "out.safetensors") for path in _files(folder / name)]
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.suffix == ".safetensors" else None for path in files
    }


def mappings(folder: Path) -> dict[str, str]:
    """How the tasks of each run were mapped: bench has that measured, and another choice gives other last bits."""
    runs = (folder / "out").rglob("run.toml")
    return {str(run.parent.relative_to(folder)): str(tomllib.loads(run.read_text()).get("how")) for run in runs}


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(part for part in path.rglob("*") if part.is_file())


def prepare(folder: Path) -> None:
    rows = ["body,intent", *(f"{word} my {thing},{word}" for word in ("lost", "found") for thing in THINGS)]
    (folder / "rows.csv").write_text("\n".join(rows) + "\n")


THINGS = ("card", "cash", "loan", "rate", "a card", "old cash", "new loan", "big rate")


def tiny_model(folder: Path) -> None:
    """A model of sentence-transformers with random weights."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "my", "a", "old", "new", "big", "lost", "found", *THINGS[:4]]
    (folder / "vocab.txt").write_text("\n".join(words))
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes)).save_pretrained(folder / "bert")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    body = Transformer(str(folder / "bert"))
    SentenceTransformer(modules=[body, Pooling(32)], device="cpu").save(str(folder / "model"))


def undisturbed(kind: Kind, folder: Path) -> tuple[dict[str, bytes | None], float]:
    """What the command leaves, and its seconds."""
    machine = Machine(folder)
    began = time.monotonic()
    process = machine.start(with_out(kind))
    if process.wait():
        raise SystemExit(f"{' '.join(kind.begin)} failed: {(folder / 'err').read_text()[-500:]}")
    return contents(folder), time.monotonic() - began


def with_out(kind: Kind) -> tuple[str, ...]:
    return (*kind.begin, "--out", *(("out.safetensors", "--force") if kind.begin[0] == "fit" else ("out",)))


def chain(kind: Kind, folder: Path, expected: dict, seconds: float, kills: int, chance: random.Random) -> Tally:
    """Kill a command so many times, let it end, and compare what it leaves."""
    machine, tally = Machine(folder), Tally()
    for left in range(kills, -1, -1):
        resumes = kind.resume and (folder / "out" / kind.begun).exists()
        process = machine.start(kind.resume if resumes else with_out(kind))
        try:
            # Of a command that was killed less remains to be done.
            code = process.wait(timeout=seconds * chance.uniform(0.2, 1.0) if left else 40 * seconds + 60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            tally.counts["killed" if left else "hangs"] += 1
            ends = time.monotonic() + GRACE
            while machine.running() and time.monotonic() < ends:
                time.sleep(0.1)
            for orphan in machine.running():
                tally.counts["orphans"] += 1
                os.kill(orphan, signal.SIGKILL)
            continue
        if code:
            tally.counts["refused to go on"] += 1
            tally.failures.append((folder / "err").read_text()[-300:])
            return tally
        tally.counts["ended before it was killed"] += left > 0
        break
    actual = contents(folder)
    before, now = mappings(folder.parent / "whole"), mappings(folder)
    otherwise = {run for run in before if now.get(run) != before[run]}
    differing = [name for name in expected if actual.get(name, b"gone") != expected[name]]
    differing = [name for name in differing if actual.get(name) is None or str(Path(name).parent) not in otherwise]
    tally.counts["mapped otherwise"] += len(otherwise)
    litter = sorted(actual.keys() - expected.keys())
    tally.counts["chains"] += 1
    tally.counts["same bytes"] += not differing
    tally.counts["litter"] += len(litter)
    tally.failures += [f"differs: {', '.join(differing)}"] * bool(differing) + [f"litter: {', '.join(litter)}"] * bool(
        litter
    )
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a kind")
    options = parser.parse_args()
    os.nice(10)
    kinds = {
        name: kind for name, kind in KINDS.items() if options.only in ("", name) and all(map(find_spec, kind.needs))
    }
    shares = sum(kind.share for kind in kinds.values())
    failed = False
    for name, kind in kinds.items():
        chance, total = random.Random(f"{options.seed} {name}"), Tally()
        with TemporaryDirectory() as place:
            if "lora" in name:
                tiny_model(Path(place))  # beside the folders, since a predictor names the place of its model
            whole = Path(place) / "whole"
            whole.mkdir()
            prepare(whole)
            expected, seconds = undisturbed(kind, whole)
            kills = max(1, round(options.kills * kind.share / shares))
            for number in range(10 * kills):
                if total.counts["killed"] >= kills:
                    break
                folder = Path(place) / str(number)
                folder.mkdir()
                prepare(folder)
                if (whole / "cache").exists():
                    shutil.copytree(whole / "cache", folder / "cache")
                count = min(PER_CHAIN, kills - total.counts["killed"])
                tally = chain(kind, folder, expected, seconds, count, chance)
                total.counts += tally.counts
                total.failures += tally.failures
                shutil.rmtree(folder)
        counts = {"orphans": 0, "litter": 0, **total.counts}
        print(json.dumps({"kind": name, "seconds": round(seconds, 1), **counts}), flush=True)  # noqa: T201
        for failure in total.failures:
            print(f"  {failure}", flush=True)  # noqa: T201
        failed |= bool(total.failures or total.counts["orphans"] or total.counts["hangs"])
    sys.exit(failed)


if __name__ == "__main__":
    main()
