"""Writes the walks of docs/first-hour.md as notebooks, each with what its cells print.

    python docs/walk_notebooks.py          write the notebooks of which a cell isn't the page's, a minute or two each
    python docs/walk_notebooks.py --all    write all of them

The page is the source: prose becomes Markdown cells, and Python code cells, in which a command begins with "!".
Cells are run by this script, and not by a Jupyter kernel, which would be some thirty packages more to install.
"""

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "first-hour.md"
FOLDER = DOCS / "notebooks"
WALKS = {
    "photographs": "Pictures in folders",
    "table-or-texts": "Texts in a CSV file",
    "research": "Research: a network and a loop of your own",
}
"""Name of a notebook -> heading of its walk."""

Cell = dict[str, Any]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?![a-z]+:|#)")
_COMMAND = 'mapwise() { "$MAPWISE_PYTHON" -m mapwise "$@"; }; '
"""In a shell: the command of this Python, whatever else lies on the path."""


def cells(name: str, page: str) -> list[Cell]:
    """The cells of one walk, not run; raises ValueError where the page has no such walk, or another language."""
    _, heading, rest = page.partition(f"\n## {WALKS[name]}\n")
    if not heading:
        raise ValueError(f"{PAGE.name} has no heading {WALKS[name]!r}: name it in WALKS of {Path(__file__).name}")
    first, *parts = _FENCE.split(rest.partition("\n## ")[0])  # prose, then language, code and prose in turn
    begin = f"# {WALKS[name]}\n\nOne walk of [the first hour]({PAGE.name}), with what it prints.\n\n{first.strip()}"
    result = [_cell("markdown", begin)]
    for language, code, prose in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        if language not in ("python", "sh"):
            raise ValueError(f"a block of {PAGE.name} is {language}, and a notebook takes python and sh")
        lines = code.rstrip("\n")
        result.append(_cell("code", re.sub("^", "!", lines, flags=re.MULTILINE) if language == "sh" else lines))
        if prose.strip():
            result.append(_cell("markdown", prose.strip()))
    return [{**cell, "id": f"{name}-{place}"} for place, cell in enumerate(result)]


def run(walk: list[Cell], folder: Path) -> list[Cell]:
    """The cells with what each prints, in the order of the walk; raises RuntimeError where a command fails."""
    names: dict[str, Any] = {"__name__": "__main__"}
    result, count = [], 0
    with contextlib.chdir(folder):
        for cell in walk:
            if cell["cell_type"] == "code":
                source, count = "".join(cell["source"]), count + 1
                text = _commands(source) if source.startswith("!") else _python(source, names)
                cell = {**cell, "execution_count": count, "outputs": _outputs(text)}
            result.append(cell)
    return result


def notebook(walk: list[Cell]) -> str:
    """The text of a file that Jupyter opens."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": walk, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def sources(walk: list[Cell]) -> list[tuple[str, str]]:
    """The kind and the source of each cell: what the page decides."""
    return [(cell["cell_type"], "".join(cell["source"])) for cell in walk]


def stale(page: str, folder: Path = FOLDER) -> list[str]:
    """The names of notebooks that are missing or whose cells aren't the page's."""
    files = {name: folder / f"{name}.ipynb" for name in WALKS}
    there = {name: json.loads(path.read_text("utf-8"))["cells"] for name, path in files.items() if path.is_file()}
    return [name for name in WALKS if name not in there or sources(there[name]) != sources(cells(name, page))]


def _cell(kind: str, source: str) -> Cell:
    if kind == "code":
        return {"cell_type": kind, "execution_count": None, "metadata": {}, "outputs": [], "source": _lines(source)}
    # A notebook lies one folder deeper than the page.
    return {"cell_type": kind, "metadata": {}, "source": _lines(_LINK.sub("](../", source))}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _outputs(text: str) -> list[Cell]:
    return [{"name": "stdout", "output_type": "stream", "text": _lines(text)}] if text else []


def _python(source: str, names: dict[str, Any]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(source, PAGE.name, "exec"), names)
    return printed.getvalue()


def _commands(source: str) -> str:
    """What the commands of a cell print on standard output."""
    script = f"{_COMMAND}set -e\n" + re.sub("^!", "", source, flags=re.MULTILINE)
    # One thread adds in one order, so that the numbers are the same when they are made again.
    environment = {**os.environ, "MAPWISE_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a command failed: {done.stderr.strip() or done.stdout.strip()}\n{source}")
    return done.stdout


def main() -> None:
    """Write the notebooks that are not current."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="run every walk, and not only those of which a cell changed")
    page = PAGE.read_text(encoding="utf-8")
    for name in WALKS if parser.parse_args().all else stale(page):
        with tempfile.TemporaryDirectory() as folder:
            text = notebook(run(cells(name, page), Path(folder)))
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.ipynb").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
