"""Whatever a path leads to is read in little time and memory, or refused in one sentence."""

import os
import socket
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import command
from mapwise.data import files
from measured import MEGABYTES, measured

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no pipes with names on this platform")

TABLE = "size,kind\n" + "".join(f"{size},{'low' if size < 50 else 'high'}\n" for size in (1, 2, 3, 91, 92, 93))
TEXTS = "text,kind\ncancel it,end\nstop it,end\nend it,end\ngo on,more\nkeep on,more\nmore of it,more\n"


@pytest.fixture
def predictors(tmp_path, monkeypatch):
    """Files of predictors of a table and of texts, in the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text(TABLE)
    Path("texts.csv").write_text(TEXTS)
    assert command("fit", "table.csv", "-o", "table.safetensors") == 0
    assert command("fit", "texts.csv", "--text", "text", "-o", "texts.safetensors") == 0
    folder = Path("pictures")
    for name, shade in (("dark", 10), ("light", 200)):
        (folder / name).mkdir(parents=True)
        for place in range(3):
            values = np.full((20, 20), 255, np.uint8)
            values[4 : 8 + place, 4 : 6 + shade // 20] = 0
            Image.fromarray(values).save(folder / name / f"{place}.png")
    assert command("fit", folder, "-o", "pictures.safetensors", "--learner", "nearest_mean") == 0
    return tmp_path


def odd(folder: Path) -> list[Path]:
    """What is no file, and what never ends."""
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "folder").mkdir(exist_ok=True)
    here = os.getcwd()
    os.chdir(folder)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    os.chdir(here)
    (folder / "run").mkdir()
    os.mkfifo(folder / "run" / "run.toml")
    return [*(folder / name for name in ("pipe", "loop", "folder", "socket", "run")), Path("/dev/zero")]


COMMANDS = [
    ("fit", "X", "-o", "new.safetensors"),
    ("fit", "X", "--text", "text", "-o", "new.safetensors"),
    ("predict", "table.safetensors", "X"),
    ("predict", "pictures.safetensors", "X"),
    ("which-next", "table.safetensors", "X"),
    ("predict", "X", "table.csv"),
    ("report", "X"),
    ("add-class", "texts.safetensors", "new", "X"),
    ("add", "texts.safetensors", "X"),
    ("add", "table.safetensors", "X"),
    ("add", "pictures.safetensors", "X"),
    ("add", "texts.safetensors", "X", "--class", "new"),
    ("add", "table.safetensors", "X", "--class", "new"),
    ("add", "pictures.safetensors", "X", "--class", "new"),
    ("fit", "table.csv", "-o", "X"),
    ("eval", "X"),
    ("train", "--resume", "X"),
    ("train", "protonet", "table", "--data", "X"),
]


def test_what_is_no_file_is_refused_in_one_sentence(predictors):
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(files.__file__).parents[2])!r})
from mapwise.data import files
from mapwise.interfaces.cli import main
files._SILENCE = 0.3
def run(words):
    try:
        main(words)
    except SystemExit as ended:
        return ended.code
paths = sys.argv[1:]
for words in {COMMANDS!r}:
    for path in paths:
        line = [path if word == "X" else word for word in words]
        sys.stderr.flush()
        print("case", " ".join(line), file=sys.stderr)
        print(run(line), " ".join(line), flush=True)
"""
    refused = measured(program, *odd(predictors), limit=120)
    codes = dict(line.split(" ", 1)[::-1] for line in refused.out.splitlines() if line[:1].isdigit())
    assert refused.code == 0 and len(codes) == 6 * len(COMMANDS), (refused.code, codes, refused.err[-500:])
    assert set(codes.values()) == {"1"}, codes
    lines = [line for line in refused.err.splitlines() if not line.startswith("case ")]
    assert len(lines) == len(codes) and all(line.startswith("mapwise: ") for line in lines), lines
    assert refused.peak < MEGABYTES


def test_a_table_comes_through_a_pipe(predictors):
    program = [sys.executable, "-c", "from mapwise.interfaces.cli import main; main()"]
    line = [*program, "fit", "/dev/stdin", "-o", "piped.safetensors"]
    done = subprocess.run(line, input=TABLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "6 examples of 2 classes" in done.stdout, done
    line = [*program, "predict", "table.safetensors", "/dev/stdin"]
    done = subprocess.run(line, input=TABLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("low") == 3, done


def test_texts_come_through_a_pipe(predictors, capsys):
    os.mkfifo("lines")
    writer = threading.Thread(target=lambda: Path("lines").write_text("cancel it\n\nkeep on\n"))
    writer.start()
    capsys.readouterr()
    try:
        assert command("predict", "texts.safetensors", "lines", "--refuse", "0") == 0
    finally:
        if writer.is_alive():
            os.close(os.open("lines", os.O_RDONLY | os.O_NONBLOCK))
        writer.join()
    answers = capsys.readouterr().out.splitlines()
    assert [line.split()[-2:] for line in answers] == [["cancel", "it"], ["keep", "on"]]


def wide(columns):
    """A table of so many columns."""
    names = [f"c{place}" for place in range(columns)]
    rows = [",".join([str(row)] * columns) for row in range(4)]
    return ",".join([*names, "kind"]) + "\n" + "".join(f"{row},{'ab'[i // 2]}\n" for i, row in enumerate(rows))


LARGE = {
    "a million columns": lambda: wide(1_000_000),
    "columns called alike": lambda: wide(200_000).replace("c199999", "c199998"),
    "ten million cells": lambda: "a,kind\n" + "12345678,x\n" * 5_000_000,
    "a class of 10 MB": lambda: f"size,kind\n1,{'x' * 10_000_000}\n2,b\n",
    "a class of 100 kB": lambda: f"size,kind\n1,{'x' * 100_000}\n2,b\n",
    "a column of 100 kB": lambda: f"{'x' * 100_000},kind\n1,a\n=a,b\n" + "1,a\n" * 20,
    "a line of 150 MB": lambda: "x" * 150_000_000,
}


@pytest.mark.parametrize(
    "names",
    [["columns called alike", "a class of 100 kB"], pytest.param(list(LARGE), marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_large_tables_are_refused_in_one_sentence(names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = """
import sys
from mapwise.interfaces.cli import main
for path in sys.argv[1:]:
    for words in (["fit", path, "-o", "x.safetensors"], ["fit", path, "-o", "x.safetensors", "--label", "knid"]):
        try:
            main(words)
        except SystemExit as ended:
            print(ended.code, flush=True)
"""
    for name in names:
        Path(name).write_text(LARGE[name]())
    refused = measured(program, *names, limit=30 * len(names))
    assert refused.out.split() == ["1"] * 2 * len(names), (refused.out, refused.err[-1000:])
    assert len(refused.err.splitlines()) == 2 * len(names) and max(map(len, refused.err.splitlines())) < 5_000
    assert refused.peak < MEGABYTES


@pytest.mark.slow
def test_a_table_of_ten_thousand_columns_is_fitted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("wide.csv").write_text(wide(9_999))
    done = measured("from mapwise.interfaces.cli import main\nmain()", "fit", "wide.csv", "-o", "x.safetensors")
    assert done.code == 0 and done.peak < MEGABYTES, done


def test_a_class_has_a_name_of_a_line(tmp_path):
    import mapwise as mw

    with pytest.raises(ValueError, match="and has 10,000,000 letters") as refused:
        mw.FewShotClassifier().fit([[1.0], [2.0]], ["a", "x" * 10_000_000])
    assert len(str(refused.value)) < 200


def test_links_that_lead_back_are_not_followed(tmp_path):
    from mapwise.data.images import files_in

    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.png").write_bytes(b"")
    (tmp_path / "inner" / "back").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "inner")
    names = [path.relative_to(tmp_path).as_posix() for path in islice(files_in(tmp_path), 100)]
    assert names == ["again/a.png", "inner/a.png"]


def test_a_file_is_read_up_to_its_bound(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert files.read_bytes(path) == files.read_bytes(path, 5) == b"12345"
    with pytest.raises(OSError, match="more than 0 MB"):
        files.read_bytes(path, 4)
    assert files.read_bytes("/dev/null", streams=True) == b""


def test_a_pipe_is_read_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    content = os.urandom(3_000_000)
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    assert files.read_bytes(tmp_path / "pipe", streams=True) == content
    writer.join()


@pytest.mark.slow
def test_a_file_of_no_content_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "sparse.safetensors"
    with path.open("wb") as file:
        file.truncate(20_000_000_000)
    with pytest.raises(ValueError, match="restore it"):
        from mapwise.data.tensor_file import load_tensors

        load_tensors(path, "predictor", "make it again")
