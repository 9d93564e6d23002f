"""A training in a process of its own ends with the process that began it, however that ends."""

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mapwise

BEGIN = """
import sys
from pathlib import Path
from mapwise.workflows.comparison.training import trained_apart
from mapwise.runs.settings import RunSettings

if __name__ == "__main__":
    values = {"steps": 20_000, "tasks": 2, "validation_episodes": 2, "threads": 1, "how": "vmap", "select": "last"}
    settings = RunSettings.of("maml", "digits", {**values, "net": "mlp", "net.hidden": "4"})
    trained_apart(settings, Path(sys.argv[1]))
"""


def training(records):
    """Whether records are being written."""
    size = records.stat().st_size
    end = time.monotonic() + 3
    while time.monotonic() < end:
        time.sleep(0.1)
        if records.stat().st_size > size:
            return True
    return False


@pytest.mark.skipif(os.name != "posix", reason="no signals on this platform")
@pytest.mark.parametrize("death", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_training_of_a_comparison_ends_with_the_command(death, tmp_path):
    script, records = tmp_path / "begin.py", tmp_path / "run" / "metrics.jsonl"
    script.write_text(BEGIN)
    with subprocess.Popen([sys.executable, script, tmp_path / "run"], start_new_session=True) as parent:
        try:
            while not (records.exists() and records.stat().st_size):
                assert parent.poll() is None
                time.sleep(0.1)
            assert training(records)
            parent.send_signal(death)
            parent.wait()
            time.sleep(2)
            assert not training(records)
            assert group(parent.pid) == []
        finally:
            for process in group(parent.pid):
                os.kill(process, signal.SIGKILL)


def group(leader):
    """The processes of a session that live."""
    lines = subprocess.run(["ps", "-eo", "pid=,sid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in lines.splitlines()]
    return [int(pid) for pid, session, state in rows if int(session) == leader and not state.startswith("Z")]


def test_no_process_is_forked():
    faults = []
    for path in sorted(Path(mapwise.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                faults += [f"{path.name}:{node.lineno}: {fault}" for fault in forks(ast.unparse(node))]
    assert faults == []


def forks(call):
    """What forks in a call, as source text: threads of the parent may hold locks that no thread of a child releases."""
    starts = ("os.fork(", "multiprocessing.Process(", "multiprocessing.Pool(", "ProcessPoolExecutor(", "get_context(")
    by_spawning = "mp_context=context" in call or "get_context('spawn')" in call
    return [call] if any(start in call.split("(")[0] + "(" for start in starts) and not by_spawning else []


def test_a_fork_is_seen():
    assert forks("os.fork()") and forks("ProcessPoolExecutor(2)") and forks("multiprocessing.get_context('fork')")
    assert not forks("multiprocessing.get_context('spawn')") and not forks("ThreadPoolExecutor(2)")
