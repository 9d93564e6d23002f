"""The documentation is true: its code runs, its links lead somewhere, and nothing public is left out."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import ROOT

DOCS = ROOT / "docs"
# The code of the first hour stands between its commands: test_first_hour.py runs both.
RUN = sorted([ROOT / "README.md", *(page for page in DOCS.rglob("*.md") if page.name != "first-hour.md")])
READ = sorted(
    [
        *RUN,
        DOCS / "first-hour.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "benchmarks").rglob("*.md"),
    ]
)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    line: int
    """The line of its first line of code, counted from 1."""


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page; the language is all that stands behind the opening fence."""
    result, opened, lines, start = [], None, [], 0
    for number, line in enumerate(text.splitlines(), start=1):
        fence = re.match(r"^\s*(`{3,}|~{3,})\s*(.*?)\s*$", line)
        if opened is None:
            if fence:
                opened, lines, start = (fence[1], fence[2]), [], number + 1
        elif fence and fence[1].startswith(opened[0]) and not fence[2]:
            result.append(Block(opened[1], "\n".join(lines), start))
            opened = None
        else:
            lines.append(line)
    if opened is not None:
        raise ValueError(f"the block that opens in line {start - 1} is never closed")
    return result


def prose(text: str) -> str:
    """A page without its code."""
    text = re.sub(r"^\s*(`{3,}|~{3,}).*?^\s*\1\s*$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(`+)[^`].*?\1", "", text)


def run_page(text: str, page: str) -> int:
    """Run the Python of a page from top to bottom in one namespace; how many blocks there were."""
    namespace: dict[str, object] = {"__name__": "__page__"}
    ran = 0
    for block in blocks(text):
        if block.language == "python":
            # The empty lines make a traceback point at the line of the page.
            exec(compile("\n" * (block.line - 1) + block.code, page, "exec"), namespace)
            ran += 1
    return ran


def anchors(text: str) -> set[str]:
    """What a link into a page may name: its headings, as GitHub spells them."""
    plain = re.sub(r"^\s*(`{3,}|~{3,}).*?^\s*\1\s*$", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#{1,6}\s+(.*?)\s*#*$", plain, flags=re.MULTILINE)
    named = set(re.findall(r"""<a\s+(?:id|name)=["']([^"']+)""", plain))
    return named | {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere, to a missing file or a missing heading."""
    text = prose(page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", text)
    targets += re.findall(r"^\s*\[[^\]]+\]:\s*(\S+)", text, flags=re.MULTILINE)
    targets += re.findall(r"""<(?:img|a|source)\s[^>]*?(?:src|href|srcset)=["']([^"']+)""", text)
    faults = []
    for target in targets:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        if not there.exists():
            faults.append(f"{page.name}: {target} leads nowhere")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text(encoding="utf-8")):
            faults.append(f"{page.name}: {target} names no heading of {there.name}")
    return faults


def code_words(text: str) -> set[str]:
    """The identifiers that a page shows as code."""
    inline = re.findall(r"`+([^`]+)`+", re.sub(r"^\s*```.*?^\s*```\s*$", "", text, flags=re.DOTALL | re.MULTILINE))
    return set(re.findall(r"\w+", "\n".join([*inline, *(block.code for block in blocks(text))])))


def has_docstring(source: str, name: str) -> bool:
    """Whether a class, function or value carries a text of its own where it is defined."""
    body = ast.parse(source).body
    for place, node in enumerate(body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return bool(ast.get_docstring(node))
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                after = body[place + 1] if place + 1 < len(body) else None
                return isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    return False


def public_origins() -> dict[str, tuple[Path, str]]:
    """Public name -> the file that defines it, and its name there; read off the imports of mapwise/__init__.pyi."""
    package = ROOT / "src" / "mapwise"
    origins = {}
    for node in ast.walk(ast.parse((package / "__init__.pyi").read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        pieces = (node.module or "").split(".")
        if not node.level and pieces[0] != "mapwise":
            continue
        place = package.joinpath(*(pieces if node.level else pieces[1:]))
        for alias in node.names:
            submodule = place / f"{alias.name}.py"
            file = submodule if submodule.is_file() else place.with_suffix(".py")
            file = file if file.is_file() else place / "__init__.py"
            origins[alias.asname or alias.name] = (file, alias.name)
    return origins


def documented(file: Path, name: str) -> bool:
    """Whether a name defined in this file, or the file itself when it is the name, has a docstring."""
    source = file.read_text(encoding="utf-8")
    return bool(ast.get_docstring(ast.parse(source))) if file.stem == name else has_docstring(source, name)


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text(encoding="utf-8"), str(page))


def test_the_readme_shows_python():
    assert any(block.language == "python" for block in blocks((ROOT / "README.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_the_page_leads_somewhere(page):
    assert broken_links(page) == []


def test_every_public_name_has_a_docstring():
    import mapwise

    origins = public_origins()
    missing = [name for name in mapwise.__all__ if name not in origins or not documented(*origins[name])]
    assert not missing, f"public names without a docstring where they are defined: {', '.join(missing)}"


def test_every_public_name_is_in_the_api_page():
    import mapwise

    missing = set(mapwise.__all__) - code_words((DOCS / "api.md").read_text(encoding="utf-8"))
    assert not missing, f"docs/api.md does not show {', '.join(sorted(missing))}"


def test_every_catalog_row_has_a_page_that_names_it():
    from mapwise.catalog.learners import LEARNERS

    assert LEARNERS
    faults = []
    for key, row in LEARNERS.items():
        page = DOCS / "learners" / f"{row.page}.md"
        if not page.is_file():
            faults.append(f"{key}: there is no docs/learners/{row.page}.md")
        elif key not in code_words(page.read_text(encoding="utf-8")):
            faults.append(f"{key}: docs/learners/{row.page}.md does not show it as code")
    assert not faults, "\n".join(faults)


def test_every_learner_page_belongs_to_a_row():
    from mapwise.catalog.learners import LEARNERS

    pages = {page.stem for page in (DOCS / "learners").glob("*.md")} - {"README"}
    assert pages == {row.page for row in LEARNERS.values()}


# The checks themselves are shown pages that break them.

PAGE = """# A title: with marks

Some `code` and a [link](other.md#a-title-with-marks) and an ![image](missing.png).

```python
x = 2
```

```python no-run
x = undefined
```

```text
[no](link.md)
```

```python
assert x == {x}
```
"""


def test_blocks_of_a_page_share_their_names_and_no_run_is_not_run():
    assert run_page(PAGE.replace("{x}", "2"), "page.md") == 2


def test_an_error_points_at_the_line_of_the_page():
    with pytest.raises(AssertionError) as failure:
        run_page(PAGE.replace("{x}", "3"), "page.md")
    last = failure.traceback[-1]
    assert (str(last.path).endswith("page.md"), last.lineno + 1) == (
        True,
        PAGE.splitlines().index("assert x == {x}") + 1,
    )


def test_a_block_that_is_never_closed_is_caught():
    with pytest.raises(ValueError, match="line 1 is never closed"):
        blocks("```python\nx = 1")


def test_a_link_that_leads_nowhere_is_caught(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE + "\n[gone](#no-such-heading) <img alt='' src='also-missing.svg'> [web](https://example.org)")
    (tmp_path / "other.md").write_text(PAGE)
    assert broken_links(page) == [
        "page.md: missing.png leads nowhere",
        "page.md: #no-such-heading names no heading of page.md",
        "page.md: also-missing.svg leads nowhere",
    ]


def test_only_names_shown_as_code_count():
    words = code_words(PAGE)
    assert {"code", "x", "undefined"} <= words
    assert not {"Some", "title"} & words


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('def f():\n    """Text."""', True),
        ("def f():\n    pass", False),
        ("@dataclass\nclass f:\n    x: int", False),
        ('f: int = 1\n"""Text."""', True),
        ("f = 1\ng = 2", False),
        ('def g():\n    """Text."""', False),
    ],
)
def test_a_missing_docstring_is_seen(source, expected):
    assert has_docstring(source, "f") is expected
