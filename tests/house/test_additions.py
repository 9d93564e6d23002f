"""What an addition costs: one of each kind, as a newcomer would make it, and how many files it takes.

What `make docs` writes (the API page, the stub of public names) is not counted: nobody edits it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest

from additions import ADDITIONS
from conftest import ROOT

MOST = {"learner": 4, "problem": 5, "source": 5, "net": 5, "encoder": 5, "setting": 5, "diagnostic": 5}
WRITTEN = {"docs/api.md", "src/mapwise/__init__.pyi"}
"""By `make docs`."""


def changed(text: str, anchor: str, added: str) -> str:
    """The text with something behind an anchor that stands in it once."""
    assert text.count(anchor) == 1, f"{anchor!r} stands {text.count(anchor)} times: correct this test"
    return text.replace(anchor, anchor + added)


USED = """
import json, sys
from dataclasses import dataclass
from pathlib import Path
import mapwise as mw
from mapwise.catalog.rows import SourceRow
from mapwise.catalog.sources import SOURCES, _functions
from mapwise.interfaces.cli import main

def mapwise(*words):
    try:
        main([*map(str, words)])
    except SystemExit as end:
        assert not end.code, words

FEW = ("--steps", 4, "--tasks", 2, "--validation-episodes", 4)
mapwise("list", "--json")
mapwise("list", "soft_means")
mapwise("train", "soft_means", "digits", "--sharpness", 3, *FEW, "--out", "means")
mapwise("eval", "means", "--episodes", 4, "--json")
mapwise("report", "means", "--episodes", 4, "--curve-episodes", 2)
CHOSEN = ("--source.height", 2, "--net", "wide", "--net.units", 8, "--shrink", 0.5)
mapwise("train", "maml", "steps", *CHOSEN, *FEW, "--out", "steps")
mapwise("eval", "steps", "--episodes", 4, "--no-baselines", "--json")
mapwise("report", "steps", "--episodes", 4, "--curve-episodes", 2)

@dataclass(frozen=True, eq=False)
class Sized(mw.Lines):
    problem = mw.Absolute()

SOURCES["sized"] = SourceRow(_functions(Sized, queries=10), "absolute", "lines", net="mlp", shots="5", factory=Sized)
mapwise("train", "maml", "sized", *FEW, "--out", "sized")
mapwise("eval", "sized", "--episodes", 4, "--no-baselines", "--json")
mapwise("report", "sized", "--episodes", 4, "--curve-episodes", 2)

lines = ["body,label", "a,short", "b c,short", "of many words a long one,long", "and a longer one of words,long"]
Path("texts.csv").write_text("\\n".join(lines))
mapwise("fit", "texts.csv", "--text", "body", "--label", "label", "--encoder", "lengths", "-o", "texts.safetensors")
mapwise("predict", "texts.safetensors", "d e", "--json")
mapwise("nearby", "texts.safetensors", "b c", "a", "--count", 2, "--json")
mapwise("nearby", "texts.safetensors", "b c")
mapwise("nearby", "--help")
"""


def paths(folder: Path) -> dict[str, bytes]:
    result = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".pyc", ".png"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in result}


def run(repository: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(repository / "src"), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "160"}
    done = subprocess.run([sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of the repository with all additions; each touched the files it says, and `make docs` wrote the rest."""
    copy = tmp_path_factory.mktemp("added") / "mapwise"
    for name in ("src", "docs", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml"):
        shutil.copy(ROOT / name, copy / name)
    for addition in ADDITIONS.values():
        for path, content in addition.items():
            file = copy / path
            if isinstance(content, str):
                assert not file.exists(), path
                file.write_text(dedent(content).lstrip("\n"), encoding="utf-8")
                continue
            for anchor, added in content:
                file.write_text(changed(file.read_text(encoding="utf-8"), anchor, added), encoding="utf-8")
    before = paths(copy)
    run(copy, "docs/api_page.py", cwd=copy)
    after = paths(copy)
    assert {path for path in after if after[path] != before.get(path)} == WRITTEN
    return copy


@pytest.mark.parametrize("kind", MOST)
def test_an_addition_takes_few_files(kind):
    assert len(ADDITIONS[kind]) <= MOST[kind]
    assert not WRITTEN & set(ADDITIONS[kind])


@pytest.mark.slow
def test_every_addition_works_from_end_to_end(repository, tmp_path):
    text = run(repository, "-c", USED, cwd=tmp_path).stdout
    objects = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    everything, judged, steps, sized, predicted, nearest = objects
    names = {section: {row["name"] for row in rows} for section, rows in everything.items()}
    assert "soft_means" in names["learners"] and "steps" in names["sources"] and "wide" in names["nets"]
    assert "lengths" in names["encoders"] and "nearby" in names["diagnostics"]
    assert judged["accuracy"] > judged["chance"]
    assert "mse" in steps and "mae" in sized
    assert [one["label"] for one in predicted["predictions"]] == ["short"]
    assert [one["examples"][0] for one in nearest["nearby"]] == [1, 0] and len(nearest["nearby"][0]["examples"]) == 2
    assert "b c: near example 1" in text and "Number of examples." in text
    assert "--sharpness" in text  # of mapwise list soft_means
    settings = tomllib.loads((tmp_path / "steps" / "run.toml").read_text(encoding="utf-8"))
    assert settings["shrink"] == 0.5 and settings["net"] == "wide"
    assert float(settings["net_options"]["units"]) == 8 and float(settings["source_options"]["height"]) == 2
    for folder in ("means", "steps", "sized"):
        page = (tmp_path / folder / "report.html").read_text(encoding="utf-8")
        assert "<svg" in page
    assert "mean absolute error" in (tmp_path / "sized" / "report.html").read_text(encoding="utf-8")
    helped = run(repository, "-m", "mapwise", "train", "--help", cwd=tmp_path).stdout
    assert "Share of the meta-gradient that is left out, 0 to 1. [0.0]" in " ".join(
        re.sub("[│\\s]+", " ", helped).split()
    )


@pytest.mark.slow
def test_the_tests_and_guards_hold_with_all_additions(repository):
    own = [path for addition in ADDITIONS.values() for path in addition if path.startswith("tests/")]
    guards = [f"tests/house/{name}.py" for name in ("test_floors", "test_guards", "test_api_page")]
    pages = "tests/house/test_docs.py"
    named = (
        f"{pages}::test_every_catalog_row_has_a_page_that_names_it",
        f"{pages}::test_every_public_name_has_a_docstring",
    )
    quick = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow")
    run(repository, *quick, *own, *guards, *named, cwd=repository)
    laws = run(
        repository, *quick, "-k", "soft_means", "tests/laws/test_laws.py", "tests/runs/test_recipes.py", cwd=repository
    )
    assert " passed" in laws.stdout
