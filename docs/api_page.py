"""Write the catalog's classes into __init__.pyi and every public name into docs/api.md, as the source has them.

python docs/api_page.py
"""

import ast
import dataclasses
import importlib
import inspect
import itertools
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import mapwise

PAGE = Path(__file__).with_name("api.md")
STUB = Path(mapwise.__file__).with_name("__init__.pyi")
WIDTH = 120

SECTIONS = {
    "A few examples": ("mapwise.interfaces", "mapwise.predictors"),
    "Learners": ("mapwise.core.learner", "mapwise.learners"),
    "Tasks": ("mapwise.core.task", "mapwise.core.source", "mapwise.core.spec", "mapwise.data.examples"),
    "Problems": ("mapwise.core.problem", "mapwise.problems"),
    "Sources": ("mapwise.tasks", "mapwise.data", "mapwise.encoders"),
    "Training and evaluation": ("mapwise.engine", "mapwise.workflows"),
    "Results": ("mapwise.core.estimate", "mapwise.engine.results"),
    "Laws": ("mapwise.laws",),
}
"""Section -> the modules whose public names it holds; of several that fit, the longest."""

HEAD = """# The public names

    import mapwise as mw

Everything here is `mw.NAME`; nothing else is promised. Names are imported when first used, so that `import mapwise` is
quick. Every error a user can cause is a `ValueError` of one sentence: what was given, what is needed, what to do. This
page is written from the source by `make docs`.

Shapes are those of one task; a batch of tasks has one more leading axis, T. S, Q and N count support, query and any
rows; W counts classes (or regression targets); D is the length of an embedding.
"""


def resolved(path: str) -> Any:
    """The object behind "Learner.adapt", as it stands in its class (so that class methods and properties are seen)."""
    first, *rest = path.split(".")
    assert first in mapwise.__all__, f"{first} is no public name"
    here = getattr(mapwise, first)
    for name in rest:
        here = next(vars(owner)[name] for owner in here.__mro__ if name in vars(owner))
    return here


@lru_cache
def _nodes(module: str) -> dict[str, Any]:
    """The classes and functions of a module by their qualified names."""
    nodes: dict[str, Any] = {}

    def visit(body: list[ast.stmt], above: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                nodes[above + node.name] = node
                visit(node.body, f"{above}{node.name}.")

    visit(ast.parse(inspect.getsource(sys.modules[module])).body, "")
    return nodes


def _node(here: Any) -> Any:
    return _nodes(here.__module__)[here.__qualname__]


def _body(owner: type) -> list[ast.stmt]:
    body: list[ast.stmt] = _node(owner).body
    return body


def _ours(owner: type) -> list[type]:
    return [base for base in reversed(owner.__mro__) if base.__module__.split(".")[0] == "mapwise"]


def fields_of(owner: type) -> list[str]:
    """The fields of a dataclass or a NamedTuple as the arguments of its constructor, as they are written."""
    written = {}
    for base in _ours(owner):
        for node in _body(base):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                value: ast.expr | None = node.value
                if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
                    words = {word.arg: word.value for word in value.keywords}
                    factory = words.get("default_factory")
                    value = words.get("default", factory and ast.Call(factory, [], []))
                default = "" if value is None else f" = {ast.unparse(value)}"
                written[node.target.id] = f"{node.target.id}: {ast.unparse(node.annotation)}{default}"
    if not dataclasses.is_dataclass(owner):
        return [written[name] for name in owner._fields] if hasattr(owner, "_fields") else []
    fields = [field for field in dataclasses.fields(owner) if field.init]
    plain, named = ([written[field.name] for field in fields if field.kw_only is only] for only in (False, True))
    return [*plain, *(["*"] if named else []), *named]


def field_docs(owner: type) -> dict[str, str]:
    """What is written below each field or attribute of a class."""
    docs = {}
    for base in _ours(owner):
        body = _body(base)
        for node, below in itertools.pairwise(body):
            target = (
                node.target
                if isinstance(node, ast.AnnAssign)
                else node.targets[0]
                if isinstance(node, ast.Assign)
                else None
            )
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
            if isinstance(target, ast.Name) and isinstance(text, str) and not target.id.startswith("_"):
                docs[target.id] = " ".join(text.split())
    return docs


def signature(path: str) -> str:
    """The signature of a public name as its source has it, on one line."""
    here = resolved(path)
    if getattr(here, "_is_protocol", False):
        return path
    if inspect.isclass(here):
        return f"{path}({', '.join(fields_of(here))})"
    if isinstance(here, property):
        return f"{path}: {ast.unparse(_node(here.fget).returns)}"
    node = _node(here.__func__ if isinstance(here, classmethod) else here)
    arguments = re.sub(r"^(self|cls)(, |$)", "", ast.unparse(node.args))
    return f"{path}({arguments}) -> {ast.unparse(node.returns)}"


def folded(text: str) -> str:
    """A signature, over several lines where it is long."""
    if "(" not in text:
        return f"mw.{text}"
    name, _, rest = text.partition("(")
    inside, _, end = rest.rpartition(")")
    node = ast.parse(f"def f({inside}): ...").body[0]
    assert isinstance(node, ast.FunctionDef)
    arguments = node.args
    defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + arguments.defaults
    positional = list(zip(arguments.args, defaults, strict=True))
    named = list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    parts = [_argument(*pair) for pair in positional] + (["*"] if named else []) + [_argument(*pair) for pair in named]
    if arguments.kwarg is not None:
        parts.append(f"**{ast.unparse(arguments.kwarg)}")
    line = f"mw.{name}({', '.join(parts)}){end}"
    return line if len(line) <= WIDTH else f"mw.{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){end}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + ("" if default is None else f" = {ast.unparse(default)}")


def methods(name: str) -> list[str]:
    """The public methods and properties that a class adds to those of its bases, and how it may be called."""
    owner = getattr(mapwise, name)
    if not inspect.isclass(owner):
        return []
    paths = []
    for method, here in vars(owner).items():
        own = isinstance(here, property | classmethod) or inspect.isfunction(here)
        call = method == "__call__" and inspect.isfunction(here)
        inherited = any(hasattr(base, method) for base in owner.__mro__[1:])
        if own and ((not inherited and not method.startswith("_")) or call):
            paths.append(f"{name}.{method}")
    return paths


def doc(here: Any) -> list[str]:
    """A docstring as Markdown: paragraphs, and a list of what is said of each argument."""
    inner = here.fget if isinstance(here, property) else here.__func__ if isinstance(here, classmethod) else here
    lines: list[str] = []
    for place, block in enumerate(re.split(r"\n\s*\n", inspect.getdoc(inner) or "")):
        if block.startswith(">>>"):
            lines += ["```python no-run", *block.splitlines(), "```", ""]
            continue
        entries = re.split(r"\n(?=\S)", block)
        if place and all(re.match(r"\w+(, \w+)*:\s", entry) for entry in entries):
            lines += [
                f"- `{entry.partition(':')[0]}`: {' '.join(entry.partition(':')[2].split())}" for entry in entries
            ]
        elif any(re.search(r"\n {4,}|^ {4,}", entry) for entry in entries):
            lines += ["```text", *block.splitlines(), "```"]
        else:
            lines.append(" ".join(block.split()))
        lines.append("")
    return lines


def entry(name: str) -> list[str]:
    """The part of the page about one public name."""
    here = getattr(mapwise, name)
    text = [f"### `{name}`", "", "```python no-run", folded(signature(name)), "```", "", *doc(here)]
    if inspect.isclass(here):
        docs = field_docs(here)
        text += [*(f"- `{field}`: {about}" for field, about in docs.items()), ""] if docs else []
    for path in methods(name):
        text += ["```python no-run", folded(signature(path)), "```", "", *doc(resolved(path))]
    return text


def section_of(name: str) -> str:
    """The section that a public name stands in."""
    home = getattr(mapwise, name).__module__
    fits = [
        (len(prefix), title) for title, prefixes in SECTIONS.items() for prefix in prefixes if home.startswith(prefix)
    ]
    assert fits, f"no section of the API page holds {home}: add it to SECTIONS"
    return max(fits)[1]


def page() -> str:
    """The whole page."""
    links = " · ".join(f"[{title}](#{title.lower().replace(' ', '-')})" for title in SECTIONS)
    lines = [HEAD, links, ""]
    for title in SECTIONS:
        names = [name for name in mapwise.__all__ if section_of(name) == title]
        lines += [f"## {title}", ""] + [line for name in names for line in entry(name)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def stub() -> str:
    """__init__.pyi as it stands, with the classes of the catalog's learners and sources and of all problems."""
    from mapwise.catalog.learners import LEARNERS
    from mapwise.catalog.sources import SOURCES
    from mapwise.problems import PROBLEMS

    text = STUB.read_text(encoding="utf-8")
    factories = [row.factory for row in SOURCES.values() if inspect.isclass(row.factory)]
    classes = {*(row.learner for row in LEARNERS.values()), *factories, *map(type, PROBLEMS.values())}
    lines = re.findall(r"^from \.\S+ import .*$", text, re.M)
    names = [(one.__module__.removeprefix("mapwise"), one.__name__) for one in classes]
    lines += [f"from {home} import {name} as {name}" for home, name in names]
    head, tail = text[: text.index("from .")], text[text.rindex("\n\n") :]
    return head + "\n".join(sorted(set(lines))) + tail


if __name__ == "__main__":
    if STUB.read_text(encoding="utf-8") != (text := stub()):
        STUB.write_text(text, encoding="utf-8")
        importlib.reload(mapwise)
    PAGE.write_text(page(), encoding="utf-8")
