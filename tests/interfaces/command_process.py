"""The command line in a process of its own."""

import os
import subprocess
import sys

from conftest import ROOT


def process(*words, cwd, input=None, **changes):
    """The command line in a process of its own; input: on its standard input."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **changes}
    return subprocess.run(
        [sys.executable, "-m", "mapwise", *map(str, words)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        input=input,
        check=False,
    )
