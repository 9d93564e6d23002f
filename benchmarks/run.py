"""Runs every quick benchmark, keeps what each one found, and writes the numbers into the pages.

    python benchmarks/run.py [--data FOLDER] [--only NAME]

Quick ones need no trained run and take seconds. Rows of trained learners take minutes to an hour each:
their commands are in benchmarks/README.md, and benchmarks/record.py keeps what they found.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUICK = ("sampling",)


def main() -> int:
    """Run them one after another; 1 when one fails or misses its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("MAPWISE_DATA"), help="the data root, for those that use one")
    parser.add_argument("--only", choices=QUICK, action="append", help="this one (may be repeated); default: all")
    asked = parser.parse_args()
    environment = dict(os.environ)
    if asked.data is not None:
        environment["MAPWISE_DATA"] = asked.data
    failed = []
    for name in asked.only or QUICK:
        command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(HERE / "results" / f"{name}.json")]
        # Each in a process of its own: none inherits the memory or the threads of another.
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(name)
    if subprocess.run([sys.executable, str(HERE / "tables.py")], check=False).returncode:
        failed.append("tables")
    for name in failed:
        print(f"{name} failed or missed its target", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
