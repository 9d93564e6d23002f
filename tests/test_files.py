"""Writes that a crash interrupts leave nothing behind for long, and take nothing from a process that lives."""

import signal
import subprocess
import sys

from mapwise.core.files import write_atomically

WRITER = """
import sys, time
from mapwise.core.files import write_atomically

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
