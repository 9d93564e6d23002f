"""docs/api.md is what the source says: written by docs/api_page.py, and never by hand."""

import importlib.util
import inspect

import mapwise
from conftest import ROOT

_SPEC = importlib.util.spec_from_file_location("api_page", ROOT / "docs" / "api_page.py")
api_page = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(api_page)


def test_the_page_is_the_one_that_the_source_writes():
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), "run python docs/api_page.py"


def test_the_classes_of_the_catalog_are_public():
    assert api_page.STUB.read_text(encoding="utf-8") == api_page.stub(), "run python docs/api_page.py"


def test_every_public_name_is_shown_once_with_its_arguments():
    entries = api_page.PAGE.read_text(encoding="utf-8").split("\n### ")[1:]
    shown = {entry.partition("`\n")[0].removeprefix("`"): entry for entry in entries}
    assert len(entries) == len(shown) and set(shown) == set(mapwise.__all__)
    for name, entry in shown.items():
        here = getattr(mapwise, name)
        for parameter in [] if getattr(here, "_is_protocol", False) else inspect.signature(here).parameters.values():
            assert f"{parameter.name}: " in entry or f"{parameter.name} = " in entry, (name, parameter)


def test_a_docstring_becomes_paragraphs_and_lists():
    def documented(x, how):
        """Do a thing: to x.

        x:   what it is done to,
             over two lines.
        how: a way.

        Raises ValueError.

        >>> 1 + 1
        2
        """

    assert api_page.doc(documented) == [
        "Do a thing: to x.", "",
        "- `x`: what it is done to, over two lines.", "- `how`: a way.", "",
        "Raises ValueError.", "",
        "```python no-run", ">>> 1 + 1", "2", "```", "",
    ]  # fmt: skip


def test_a_long_signature_is_folded_and_a_short_one_is_not():
    assert api_page.folded("f(a: int, b: str='x') -> None") == "mw.f(a: int, b: str = 'x') -> None"
    long = "f(" + ", ".join(f"argument_{i}: int=0" for i in range(9)) + ", *, last: int) -> None"
    lines = api_page.folded(long).splitlines()
    assert lines[:2] == ["mw.f(", "    argument_0: int = 0,"]
    assert lines[-3:] == ["    *,", "    last: int,", ") -> None"]
