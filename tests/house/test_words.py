"""The words of the field: no riddles in prose, a variable is a noun of its type, and a function a verb.

Prose is README, docs, docstrings, comments' neighbours that users see: help texts and errors, which are strings.
`python tests/house/test_words.py` lists every place.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "mapwise"

RIDDLES = re.compile(r"\b(asked of|told|nobody|sights?|twins?|let go|taught)\b", re.IGNORECASE)
"""cross-validated, reported, "where none is given", instance, duplicate, rejected, fitted."""
SEEN_BY_USERS = {
    "src/mapwise/workflows/doctor.py: found",
    "src/mapwise/predictors/choose.py: found",
}
"""Fields that people's code and JSON read, and that therefore keep their names."""
PARTICIPLES = {"found", "asked", "said", "told", "made", "kept", "taught"}


def prose_faults(text: str, where: str) -> list[str]:
    """The riddles of a page, by line."""
    lines = text.splitlines()
    return [f"{where}:{n}: {hit[0]}" for n, line in enumerate(lines, 1) for hit in RIDDLES.finditer(line)]


def string_faults(source: str, where: str) -> list[str]:
    """The riddles in docstrings, help texts and errors: in every string of a file that holds more than one word."""
    return [
        f"{where}:{node.lineno}: {hit[0]}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
        for hit in RIDDLES.finditer(node.value)
    ]


def name_faults(source: str, where: str) -> list[str]:
    """Variables, parameters, functions and classes whose name is a participle."""
    return [f"{where}:{line}: {name}" for line, name in _participles(ast.parse(source))]


def _participles(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name, avoided = node.id, PARTICIPLES
        elif isinstance(node, ast.arg):
            name, avoided = node.arg, PARTICIPLES
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name, avoided = node.name.lower(), PARTICIPLES | {"shown"}
        else:
            continue
        if name.strip("_") in avoided:
            yield node.lineno, name


def sources(*folders: Path) -> list[tuple[str, str]]:
    paths = [path for folder in folders or (SOURCE,) for path in sorted(folder.rglob("*.py"))]
    return [(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))) for path in paths]


def pages() -> list[tuple[str, str]]:
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))) for path in paths]


def test_pages_have_no_riddles():
    faults = [fault for text, where in pages() for fault in prose_faults(text, where)]
    assert not faults, "\n".join(faults)


def test_docstrings_help_texts_and_errors_have_no_riddles():
    faults = [fault for text, where in sources() for fault in string_faults(text, where)]
    assert not faults, "\n".join(faults)


def test_variables_are_nouns_and_functions_are_verbs():
    code = sources(SOURCE, ROOT / "tests", ROOT / "benchmarks")
    faults = [fault for text, where in code for fault in name_faults(text, where)]
    places = {re.sub(r":\d+:", ":", fault) for fault in faults}
    assert places == SEEN_BY_USERS, "\n".join(faults)


def test_riddles_and_participles_are_caught():
    assert prose_faults("A row is asked of the others.\nNobody told.", "p") == [
        "p:1: asked of",
        "p:2: Nobody",
        "p:2: told",
    ]
    assert string_faults('x = "taught"\ny = f"a {x} twin"', "s") == ["s:2: twin"]
    source = "found, y = 1, 2\ndef f(asked): ...\nfor said in z: report = 1\ndef _shown(): ...\nclass Kept: ..."
    faults = ["v:1: found", "v:2: asked", "v:3: said", "v:4: _shown", "v:5: kept"]
    assert sorted(name_faults(source, "v")) == faults
    assert prose_faults("It is reported; untold is another word.", "p") == []


if __name__ == "__main__":
    for text, where in pages():
        print(*prose_faults(text, where), sep="\n")  # noqa: T201
    for text, where in sources():
        print(*string_faults(text, where), *name_faults(text, where), sep="\n")  # noqa: T201
