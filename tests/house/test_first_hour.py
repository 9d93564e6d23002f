"""The walks of the page for newcomers: its code makes the data, and each of its commands ends well."""

import shlex
from pathlib import Path

from conftest import ROOT
from test_docs import blocks

PAGE = ROOT / "docs" / "first-hour.md"


def test_every_command_of_the_first_hour_ends_well(cli):
    names, commands = {}, []
    for block in blocks(PAGE.read_text(encoding="utf-8")):
        if block.language == "python":
            exec(compile(block.code, str(PAGE), "exec"), names)
            continue
        assert block.language == "sh"
        for line in block.code.splitlines():
            program, *words = shlex.split(line)
            assert program == "mapwise"
            words, into = (words[:-2], words[-1]) if ">" in words else (words, "")
            done = cli(*words)
            assert done.code == 0, (line, done.err)
            if into:
                Path(into).write_text(done.out)
            commands.append((line, done))
    out = {line: done.out for line, done in commands}
    assert "ring" in out["mapwise predict shapes.safetensors new/ring.png new/box.png"].splitlines()[0]
    assert "bar" in out["mapwise predict shapes.safetensors bars/0.png --refuse 5"]
    assert [line.split()[0] for line in out["mapwise predict intents.safetensors questions.csv"].splitlines()] == [
        "cancel",
        "refund",
    ]
    added = out["mapwise add intents.safetensors ask.csv"].splitlines()
    assert added[0].endswith(": 3 new rows") and added[1].endswith("cancel 5, refund 5, greet 1 (new)")
    assert out['mapwise predict intents.safetensors "hello you"'].split()[0] == "greet"
    assert Path("shapes.html").is_file() and Path("runs/maml/report.html").is_file()
