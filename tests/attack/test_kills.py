"""Killed commands go on to the same bytes; `python tests/attack/kills.py` does this a hundred times, to all of them."""

import json
import os
import subprocess
import sys

import pytest

from conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train", "bench"])
def test_a_killed_command_goes_on_to_the_same_bytes_without_orphans_and_litter(kind):
    words = [sys.executable, ROOT / "tests" / "attack" / "kills.py", "--only", kind, "--kills", "3"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout)
    assert counts["killed"] == 3 and counts["same bytes"] == counts["chains"] > 0
