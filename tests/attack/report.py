"""Try every table of hostile cases, print how they ended, and write it into the file that is named.

python tests/attack/report.py [FILE.md]
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import hostile_calls
import hostile_files
import hostile_runs
from outcomes import counts, table

if __name__ == "__main__":
    tables = hostile_files.TABLES | hostile_runs.TABLES | hostile_calls.TABLES
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        outcomes = {name: counts(make(Path(folder), count)) for name, (make, count, _) in tables.items()}
    text = table({name: counted for name, (counted, _) in outcomes.items()})
    sys.stdout.write(text + "".join(f"{fault}\n" for _, faults in outcomes.values() for fault in faults))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
