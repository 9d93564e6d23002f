"""docs/api.md shows every public signature as it is."""

import ast
import dataclasses
import inspect
import re
import textwrap

import pytest

import mapwise
from conftest import ROOT

PAGE = ROOT / "docs" / "api.md"


def resolved(path):
    """The object behind "Learner.adapt", as it stands in its class (so that class methods and properties are seen)."""
    first, *rest = path.split(".")
    assert first in mapwise.__all__, f"{first} is no public name"
    found = getattr(mapwise, first)
    for name in rest:
        found = next(vars(owner)[name] for owner in found.__mro__ if name in vars(owner))
    return found


def fields_of(owner):
    """The fields of a dataclass or a NamedTuple as the arguments of its constructor, as they are written."""
    written = {}
    for base in reversed(owner.__mro__):
        if base.__module__.split(".")[0] != "mapwise":
            continue
        for node in ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body:
            if isinstance(node, ast.AnnAssign):
                value = node.value
                if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
                    value = next(word.value for word in value.keywords if word.arg == "default")
                default = "" if value is None else f" = {ast.unparse(value)}"
                written[node.target.id] = f"{node.target.id}: {ast.unparse(node.annotation)}{default}"
    fields = dataclasses.fields(owner) if dataclasses.is_dataclass(owner) else None
    if fields is None:
        return [written[name] for name in owner._fields]
    plain, named = ([written[f.name] for f in fields if f.init and f.kw_only is only] for only in (False, True))
    return [*plain, *(["*"] if named else []), *named]


def signature(path):
    """The signature of a public name as its source has it, on one line."""
    found = resolved(path)
    if getattr(found, "_is_protocol", False):
        return path
    if inspect.isclass(found):
        return f"{path}({', '.join(fields_of(found))})"
    if isinstance(found, property):
        node = ast.parse(textwrap.dedent(inspect.getsource(found.fget))).body[0]
        return f"{path}: {ast.unparse(node.returns)}"
    inner = found.__func__ if isinstance(found, classmethod) else found
    node = ast.parse(textwrap.dedent(inspect.getsource(inner))).body[0]
    arguments = re.sub(r"^(self|cls)(, |$)", "", ast.unparse(node.args))
    return f"{path}({arguments}) -> {ast.unparse(node.returns)}"


def flat(text):
    """A signature on one line, without the spaces and commas that folding it brought."""
    text = re.sub(r"\s+", " ", text).strip().replace('"', "'")
    return re.sub(r" ?= ?", "=", re.sub(r",? ?\)", ")", re.sub(r"\( ", "(", text)))


def shown(text):
    """Every signature of a page: dotted name -> text. They stand in blocks that begin with "mw."."""
    found = {}
    for code in re.findall(r"^```python no-run\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for piece in re.split(r"^(?=mw\.)", code, flags=re.MULTILINE):
            named = re.match(r"mw\.([\w.]+)", piece)
            if named:
                found[named[1]] = piece.removeprefix("mw.")
    return found


SHOWN = shown(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}


@pytest.mark.parametrize("path", sorted(SHOWN))
def test_the_page_shows_the_signature_as_it_is(path):
    assert flat(SHOWN[path]) == flat(signature(path)), f"docs/api.md should say\nmw.{signature(path)}"


@pytest.mark.parametrize("path", sorted(name for name in SHOWN if "." not in name and "(" in SHOWN[name]))
def test_inspect_finds_the_same_names_kinds_and_defaults(path):
    found = resolved(path)
    expected = []
    for parameter in inspect.signature(found).parameters.values():
        expected.append((parameter.name, parameter.default is not parameter.empty, parameter.kind.name))
    text = re.sub(r" -> .*", "", flat(SHOWN[path]).partition("(")[2])
    arguments = ast.parse(f"def f({text}: ...").body[0].args
    plain = [*arguments.posonlyargs, *arguments.args]
    missing = [False] * (len(plain) - len(arguments.defaults)) + [True] * len(arguments.defaults)
    found = [(arg.arg, has, "POSITIONAL_OR_KEYWORD") for arg, has in zip(plain, missing, strict=True)]
    kept = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    assert found + [(arg.arg, default is not None, "KEYWORD_ONLY") for arg, default in kept] == expected


def test_every_public_name_has_a_signature_on_the_page():
    missing = [name for name in mapwise.__all__ if name not in SHOWN]
    assert not missing, "docs/api.md lacks\n" + "\n".join(f"mw.{signature(name)}" for name in missing)


def test_every_public_method_has_a_signature_on_the_page():
    missing = []
    for name in mapwise.__all__:
        found = getattr(mapwise, name)
        for method in vars(found) if inspect.isclass(found) else ():
            text = vars(found)[method]
            own = isinstance(text, property | classmethod) or inspect.isfunction(text)
            inherited = any(hasattr(base, method) for base in found.__mro__[1:])
            if own and not inherited and not method.startswith("_") and f"{name}.{method}" not in SHOWN:
                missing.append(f"{name}.{method}")
    assert not missing, "docs/api.md lacks\n" + "\n".join(f"mw.{signature(path)}" for path in missing)


@pytest.mark.parametrize("changed", [("steps: int", "steps: float"), ("seed: int=0", "seed: int=1"), ("*, ", "")])
def test_a_signature_that_differs_is_caught(changed):
    text = signature("train")
    assert flat(text.replace(*changed, 1)) != flat(signature("train"))
    assert shown(f"```python no-run\nmw.{text}\n```\n") == {"train": text + "\n"}
