"""Runs every benchmark of time and memory, keeps what each one found, and writes the numbers into the pages.

    python -m benchmarks.run [--data FOLDER] [--only NAME] [--quick]

Each takes from seconds to some minutes. Rows of trained learners take minutes to an hour each: their commands are in
benchmarks/README.md, and benchmarks/record.py keeps what they found.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

BENCHMARKS: dict[str, tuple[str, ...]] = {
    "maml-sinusoid-speed": ("speed.maml_sinusoid",),
    "maml-conv4-speed": ("speed.maml_conv4",),
    "maml-conv4-speed-2threads": ("speed.maml_conv4", "--threads", "2"),
    "protonet-training-speed": ("speed.protonet_training",),
    "ntm-speed": ("speed.ntm_copy",),
    "plainly": ("speed.plainly",),
    "sampling": ("speed.sampling",),
    "latency": ("speed.latency",),
    "growth": ("speed.growth",),
    "ranks": ("speed.ranks",),
    "serve": ("serve.load",),
}
"""Row -> script and flags."""


def main() -> int:
    """Run them one after another; 1 when one fails or misses its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("MAPWISE_DATA"), help="the data root, for those that use one")
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="this one (may be repeated); default: all")
    parser.add_argument("--quick", action="store_true", help="a smoke test: tiny shapes, and no result is kept")
    options = parser.parse_args()
    environment = dict(os.environ)
    if options.data is not None:
        environment["MAPWISE_DATA"] = options.data
    failed = []
    with tempfile.TemporaryDirectory() as aside:
        results = Path(aside) if options.quick else HERE / "results"
        for name in options.only or BENCHMARKS:
            script, *flags = BENCHMARKS[name]
            command = [sys.executable, "-m", f"benchmarks.{script}", *flags, "--json", str(results / f"{name}.json")]
            # Each in a process of its own: none inherits the memory or the threads of another.
            quick = ["--quick"] if options.quick else []
            if subprocess.run([*command, *quick], env=environment, check=False).returncode:
                failed.append(name)
    if not options.quick and subprocess.run([sys.executable, "-m", "benchmarks.tables"], check=False).returncode:
        failed.append("tables")
    for name in failed:
        print(f"{name} failed or missed a target", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
