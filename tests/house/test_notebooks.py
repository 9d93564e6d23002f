"""The notebooks are the walks of the first hour: written by docs/walk_notebooks.py, and never by hand."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from conftest import ROOT
from test_docs import blocks

_SPEC = importlib.util.spec_from_file_location("walk_notebooks", ROOT / "docs" / "walk_notebooks.py")
walks = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(walks)
PAGE = walks.PAGE.read_text(encoding="utf-8")


def notebook(name):
    return json.loads((walks.FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))


def test_each_notebook_has_the_cells_of_the_page():
    assert walks.stale(PAGE) == [], "run python docs/walk_notebooks.py"
    assert {path.stem for path in walks.FOLDER.iterdir()} == set(walks.WALKS)


def test_a_notebook_of_another_page_is_caught(tmp_path):
    assert walks.stale(PAGE.replace("cancel my order", "cancel all")) == ["table-or-texts"]
    assert walks.stale(PAGE.replace("mapwise report shapes", "mapwise show shapes")) == ["photographs"]
    assert walks.stale(PAGE, tmp_path) == list(walks.WALKS)
    with pytest.raises(ValueError, match="name it in WALKS"):
        walks.stale(PAGE.replace("## Texts in a CSV file", "## Texts"))
    with pytest.raises(ValueError, match="is toml, and a notebook takes python and sh"):
        walks.stale(PAGE.replace("```sh", "```toml"))


def test_the_notebooks_have_all_code_of_the_page_in_its_order():
    whole = [cell for name in walks.WALKS for cell in walks.cells(name, PAGE) if cell["cell_type"] == "code"]
    code = [re.sub("^!", "", "".join(cell["source"]), flags=re.MULTILINE) for cell in whole]
    assert code == [block.code for block in blocks(PAGE)]


@pytest.mark.parametrize("name", walks.WALKS)
def test_links_of_a_notebook_lead_somewhere(name):
    text = "".join("".join(cell["source"]) for cell in notebook(name)["cells"] if cell["cell_type"] == "markdown")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert links and [link for link in links if not (walks.FOLDER / link).is_file()] == []


@pytest.mark.parametrize("name", walks.WALKS)
def test_a_notebook_was_run_and_shows_no_folder_of_the_machine(name):
    whole = notebook(name)
    assert (whole["nbformat"], whole["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in whole["cells"]}) == len(whole["cells"])
    code = [cell for cell in whole["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    printed = "".join("".join(output["text"]) for cell in code for output in cell["outputs"])
    assert printed and not re.search(r"(^|[\s'\"=(])(/|[A-Z]:\\)\w|Traceback|Warning", printed)
    assert (walks.FOLDER / f"{name}.ipynb").stat().st_size < 50_000


@pytest.mark.slow
@pytest.mark.parametrize("name", walks.WALKS)
def test_a_walk_stands_alone_and_prints_where_its_notebook_does(name, tmp_path):
    cells = walks.run(walks.cells(name, PAGE), tmp_path)
    assert [bool(cell.get("outputs")) for cell in cells] == [
        bool(cell.get("outputs")) for cell in notebook(name)["cells"]
    ]
    assert Path.cwd() != tmp_path


def test_a_command_that_fails_ends_the_walk(tmp_path):
    cells = walks.cells(
        "research", PAGE.replace("mapwise train maml sinusoid --steps 50", "mapwise train mamml sinusoid")
    )
    commands = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).startswith("!")]
    with pytest.raises(RuntimeError, match="mamml"):
        walks.run(commands[:1], tmp_path)
