"""Processes that crash leave nothing in the way of the next, and those that live are not disturbed."""

import json
import os
import signal
import subprocess
import sys

import pytest

from mapwise.data import files
from mapwise.data.files import claimed, write_atomically
from mapwise.engine.folder import METRICS

WRITER = """
import sys, time
from mapwise.data.files import write_atomically

def writer(file):
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(float(sys.argv[2]))

write_atomically(sys.argv[1], writer)
"""


def writing(path, seconds):
    """A process that is in the middle of writing a file."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, path, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_crashed_write_left_is_removed_by_the_next_one(tmp_path):
    path = tmp_path / "few.safetensors"
    with writing(path, 60) as process:
        process.send_signal(signal.SIGKILL)
    other = tmp_path / ".other.1234.part"
    other.write_bytes(b"of another file")
    assert len(list(tmp_path.glob(".few.safetensors.*.part"))) == 1
    write_atomically(path, lambda file: file.write(b"whole"))
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, other.name}


def test_what_a_living_process_is_writing_stays(tmp_path):
    path = tmp_path / "few.safetensors"
    with writing(path, 1) as process:
        write_atomically(path, lambda file: file.write(b"whole"))
        assert path.read_bytes() == b"whole"
        assert process.wait() == 0
    assert path.read_bytes() == b"half"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


TRAINING = """
import sys, time
from pathlib import Path
from mapwise.workflows.train import train_run
from mapwise.runs.settings import RunSettings

def watch(progress):
    if progress.step == 2:
        print("training", flush=True)
        time.sleep(600)

values = {"steps": 4, "tasks": 2, "validation_episodes": 2, "validate_every": 1, "threads": 1, "how": "vmap"}
settings = RunSettings.of("maml", "digits", {**values, "net": "mlp", "net.hidden": "4"}).stamped("a test")
train_run(settings, Path(sys.argv[1]), watch=watch)
"""


@pytest.mark.skipif(os.name != "posix", reason="no locks of files on this platform")
def test_a_run_is_trained_by_one_process_at_a_time_and_goes_on_when_that_was_killed(tmp_path, cli):
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", TRAINING, folder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "training\n"
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        second = cli("train", "--resume", folder)
        again = cli("train", "maml", "digits", "--out", folder)
        unchanged = {path.name: path.read_bytes() for path in folder.iterdir()} == before
        process.send_signal(signal.SIGKILL)
    assert second.code == 1 and second.err.count("\n") == 1
    assert f"another process is training in {folder}: wait for it, or stop it first" in second.err
    assert again.code == 1 and "holds a run already" in again.err
    assert unchanged
    done = cli("train", "--resume", folder)
    assert done.code == 0, done.err
    steps = [json.loads(line)["step"] for line in (folder / METRICS).read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


@pytest.mark.skipif(os.name != "posix", reason="no locks of files on this platform")
def test_of_two_trainings_that_begin_at_once_one_is_refused(tmp_path, cli):
    folder = tmp_path / "run"
    words = ["train", "maml", "digits", "--net", "mlp", "--steps", "1", "--how", "vmap", "--out", folder]
    with claimed(folder / ".train.lock") as alone:
        assert alone
        second = cli(*words)
    assert second.code == 1 and "another process is training in" in second.err
    assert [path.name for path in folder.iterdir()] == [".train.lock"]


def test_an_empty_part_of_a_process_that_was_killed_is_removed(tmp_path):
    (tmp_path / ".a.txt.0123456789ab.part").touch()
    write_atomically(tmp_path / "a.txt", lambda file: file.write(b"whole"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_part_that_is_swept_before_its_lock_is_made_again(tmp_path, monkeypatch):
    lock, sweeps = files._lock, []

    def swept(file, *, wait):
        if wait and len(sweeps) < 2:
            sweeps.extend(part.unlink() for part in tmp_path.glob(".a.txt.*.part"))
        return lock(file, wait=wait)

    monkeypatch.setattr(files, "_lock", swept)
    writes = []
    write_atomically(tmp_path / "a.txt", lambda file: writes.append(file.write(b"whole")))
    assert len(sweeps) == 2 and writes == [5]
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"whole"
