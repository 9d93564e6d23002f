"""The house rules that can be read off the source: floors, late imports, names, nothing that runs downloaded code.

Every rule is a function from a source text to its faults, so that each can be shown a text that breaks it.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "mapwise"

TOP = 10
FLOORS = {
    "core": 0,
    "data": 1,
    "problems": 1,
    "laws": 1,
    "nets": 2,
    "encoders": 2,
    "tasks": 2,
    "learners": 3,
    "engine": 3,
    "catalog": 4,
    "runs": 5,  # a run's folder is read with the catalog's names, by every interface
    "predictors": 6,  # what a few examples taught knows encoders, heads and runs by their names
    "report": 7,
    "workflows": 8,
    "interfaces": 9,
    "__init__": TOP,
    "__main__": TOP,
}
ROW = "mapwise.learners.row"
"""What every learner's file may import: how it is listed."""
VARIANTS: dict[str, str] = {
    # a learner's file -> the file it is a variant of, and the only one of its neighbours it may import
    "mapwise.learners.metric.simpleshot": "mapwise.learners.pretraining.supervised",
    "mapwise.learners.pretraining.finetune": "mapwise.learners.pretraining.supervised",
}
HEAVY = {"sklearn", "narwhals", "scipy", "matplotlib", "PIL", "optuna", "sqlalchemy", "tensorboard", "wandb", "mlflow"}
HEAVY |= {"captum", "transformers", "sentence_transformers", "huggingface_hub", "peft"}
HEAVY |= {"onnx", "onnx_ir", "onnxruntime", "onnxscript"}
AT_THE_TOP: dict[str, str] = {
    # a file -> the heavy package it may import at once: what it holds is of that package by inheritance
    "mapwise.interfaces.estimators.few_shot": "sklearn",
    "mapwise.interfaces.estimators.classifier": "sklearn",
    "mapwise.interfaces.estimators.regressor": "sklearn",
}
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
FORBIDDEN = {"util", "helper", "misc", "common", "base", "manager", "handler"}

_OURS = re.compile(rf"mapwise\.({'|'.join(FLOORS)})(\.\w+)*(:\w+)?")


@dataclass(frozen=True)
class Import:
    target: str
    line: int
    late: bool
    """Inside a function, or for type checkers only: not carried out when the file is imported."""


def imports(source: str, module: str, is_package: bool = False) -> list[Import]:
    """Every import of a source text, also those inside functions and those whose target is written as a string."""
    return list(_imports(ast.parse(source), module.split(".") if is_package else module.split(".")[:-1], late=False))


def _imports(node: ast.AST, package: list[str], late: bool) -> Iterator[Import]:
    line = getattr(node, "lineno", 0)
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, line, late) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else []
        origin = ".".join([*above, *([node.module] if node.module else [])])
        yield from (Import(f"{origin}.{alias.name}", line, late) for alias in node.names)
    elif isinstance(node, ast.Call) and _dotted(node.func).rpartition(".")[2] in ("import_module", "__import__"):
        texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        yield from (Import(text, line, late) for text in texts if not _OURS.fullmatch(text))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _OURS.fullmatch(node.value):
        # A table of names to import later is an import too.
        yield Import(node.value.replace(":", "."), line, late=True)
    if isinstance(node, ast.If) and _dotted(node.test).endswith("TYPE_CHECKING"):
        for child in node.body:
            yield from _imports(child, package, late=True)
        for child in node.orelse:
            yield from _imports(child, package, late)
        return
    inside = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, package, inside)


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def part_of(name: str) -> str:
    """The package or file right under mapwise that a dotted name belongs to."""
    pieces = name.split(".")
    # A name that is no part of the house is a public name, and those live in mapwise/__init__.
    return pieces[1] if len(pieces) > 1 and (pieces[1] in FLOORS or len(pieces) > 2) else "__init__"


def floor_faults(source: str, module: str, is_package: bool = False) -> list[str]:
    """Imports that go up, or sideways to a neighbour on the same floor."""
    here = [*module.split("."), "__init__"][1]
    if here not in FLOORS:
        return [f"{module}: {here} has no floor: put it on one in FLOORS"]
    if here == "__init__":
        return []
    faults = []
    for result in imports(source, module, is_package):
        if result.target.split(".")[0] != "mapwise" or result.target == "mapwise.__version__":
            continue
        there = part_of(result.target)
        where = f"{module}:{result.line}"
        if there not in FLOORS:
            faults.append(f"{where}: {there} has no floor: put it on one in FLOORS")
        elif FLOORS[there] > FLOORS[here]:
            faults.append(f"{where}: {here} imports {there}, which is above it")
        elif FLOORS[there] == FLOORS[here] and there != here:
            faults.append(f"{where}: {here} imports {there}, its neighbour")
    return faults


def learner_faults(source: str, module: str, is_package: bool = False) -> list[str]:
    """Learners that import another learner, other than the one they are a variant of."""
    if part_of(module) != "learners":
        return []
    faults = []
    for result in imports(source, module, is_package):
        if not f"{result.target}.".startswith("mapwise.learners."):
            continue
        allowed = [ROW, *([VARIANTS[module]] if module in VARIANTS else [])]
        allowed += [module] if is_package else []  # a package may show what lies in it
        if not any(f"{result.target}.".startswith(f"{name}.") for name in allowed):
            faults.append(f"{module}:{result.line}: a learner imports {result.target}: see VARIANTS")
    return faults


def heavy_faults(source: str, module: str, is_package: bool = False) -> list[str]:
    """Heavy packages imported as soon as the file is; and torchvision, imported at all."""
    faults = []
    for result in imports(source, module, is_package):
        root = result.target.split(".")[0]
        if root == "torchvision":
            faults.append(f"{module}:{result.line}: torchvision: read and resize with Pillow")
        elif root in HEAVY and not result.late and AT_THE_TOP.get(module) != root:
            faults.append(f"{module}:{result.line}: {root} at the top: import it inside the function that uses it")
    return faults


def unsafe_faults(source: str, module: str, is_package: bool = False) -> list[str]:
    """Ways for a file or a string that a user is handed to run code."""
    faults = []
    for result in imports(source, module, is_package):
        if result.target.split(".")[0] in PICKLES or result.target in ("torch.load", "torch.save"):
            faults.append(f"{module}:{result.line}: imports {result.target}: keep tensors in safetensors")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and _dotted(node) in ("torch.load", "torch.save"):
            faults.append(f"{module}:{node.lineno}: {_dotted(node)}: keep tensors in safetensors")
        if not isinstance(node, ast.Call):
            continue
        if _dotted(node.func) in ("eval", "exec", "builtins.eval", "builtins.exec"):
            faults.append(f"{module}:{node.lineno}: {_dotted(node.func)}(...)")
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            ):
                faults.append(f"{module}:{node.lineno}: allow_pickle")
    return faults


def name_faults(path: str) -> list[str]:
    """Files and folders whose name says nothing, alone or as the last word: utils.py, train_utils.py."""
    words = [part.removesuffix(".py").rpartition("_")[2] for part in path.split("/")]
    return [f"{path}: {word} says nothing" for word in words if {word, word.removesuffix("s")} & FORBIDDEN]


def public_faults(source: str) -> list[str]:
    """Names of mapwise/__init__.pyi that type checkers don't take for public, and those that stand there twice."""
    aliases = [alias for node in ast.parse(source).body if isinstance(node, ast.ImportFrom) for alias in node.names]
    names = [alias.name for alias in aliases]
    faults = [f"{alias.name}: write {alias.name} as {alias.name}" for alias in aliases if alias.asname != alias.name]
    return faults + [f"{name} stands there twice" for name in sorted({n for n in names if names.count(n) > 1})]


def loaded(statement: str, names: set[str]) -> set[str]:
    """Which of these packages a fresh Python has loaded after the statement."""
    code = f"import sys\n{statement}\nprint(*({sorted(names)!r} & sys.modules.keys()))".replace("[", "{").replace(
        "]", "}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def sources() -> Iterator[tuple[str, str, bool]]:
    """(text, dotted name, whether it is a package) of every file of the library."""
    for path in sorted(PACKAGE.rglob("*.py")):
        pieces = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        is_package = pieces[-1] == "__init__"
        yield path.read_text(encoding="utf-8"), ".".join(pieces[:-1] if is_package else pieces), is_package


RULES = [floor_faults, learner_faults, heavy_faults, unsafe_faults]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removesuffix("_faults"))
def test_the_library_keeps_the_rule(rule):
    files = list(sources())
    assert len(files) > 10, f"there is no library at {PACKAGE}"
    faults = [fault for text, module, is_package in files for fault in rule(text, module, is_package)]
    assert not faults, "\n".join(faults)


def test_every_file_has_a_name_that_says_something():
    faults = [fault for path in PACKAGE.rglob("*.py") for fault in name_faults(path.relative_to(PACKAGE).as_posix())]
    assert not faults, "\n".join(faults)


def test_the_stub_lists_every_public_name_once():
    faults = public_faults((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    assert not faults, "\n".join(faults)


def test_every_public_name_can_be_had_and_no_other():
    import mapwise

    for name in mapwise.__all__:
        assert getattr(mapwise, name) is not None, name
    assert set(mapwise.__all__) <= set(dir(mapwise))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = mapwise.no_such_name


@pytest.mark.parametrize("statement", ["import mapwise", "import mapwise.interfaces.cli"])
def test_starting_loads_nothing_heavy(statement):
    assert loaded(statement, HEAVY | {"torch", "numpy"}) == set()


def test_every_licence_to_import_a_neighbour_is_used():
    used = {
        module
        for text, module, is_package in sources()
        for result in imports(text, module, is_package)
        if module in VARIANTS and f"{result.target}.".startswith(f"{VARIANTS[module]}.")
    }
    assert used == set(VARIANTS)


def test_every_licence_to_import_a_heavy_package_at_the_top_is_used():
    used = {
        module
        for text, module, is_package in sources()
        for result in imports(text, module, is_package)
        if result.target.split(".")[0] == AT_THE_TOP.get(module) and not result.late
    }
    assert used == set(AT_THE_TOP)


# Each rule is shown a text that breaks it, and the nearest text that doesn't.


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("mapwise.core.tree", "import mapwise.tasks.episodes", "core imports tasks, which is above it"),
        (
            "mapwise.core.tree",
            "def f():\n    from mapwise.engine import train",
            "core imports engine, which is above it",
        ),
        ("mapwise.tasks.episodes", "from mapwise import nets", "tasks imports nets, its neighbour"),
        ("mapwise.tasks.episodes", "from ..nets.mlp import MLP", "tasks imports nets, its neighbour"),
        ("mapwise.engine.train", "from mapwise.learners.metric.protonet import ProtoNet", "learners, its neighbour"),
        (
            "mapwise.engine.train",
            "import_module('mapwise.report.html')",
            "engine imports report, which is above it",
        ),
        ("mapwise.learners.metric.protonet", "WHERE = 'mapwise.catalog:ROWS'", "learners imports catalog"),
        ("mapwise.interfaces.cli", "import mapwise as mw", "interfaces imports __init__, which is above it"),
        ("mapwise.interfaces.cli", "from mapwise import ProtoNet", "interfaces imports __init__, which is above it"),
        ("mapwise.extras.thing", "", "extras has no floor"),
        ("mapwise.extra", "", "extra has no floor"),
        ("mapwise.core.tree", "from mapwise.extras import thing", "extras has no floor"),
    ],
)
def test_an_import_that_goes_up_or_sideways_is_caught(module, source, fault):
    (result,) = floor_faults(source, module)
    assert fault in result


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mapwise.catalog", "from mapwise.learners.metric.protonet import ProtoNet"),
        ("mapwise.tasks.episodes", "from .rows import LabelledRows"),
        ("mapwise.interfaces.cli", "def main():\n    import mapwise.engine.train"),
        ("mapwise.runs.settings", "from mapwise import __version__"),
        ("mapwise.core.tree", "'call mapwise.engine.train first'"),
        ("mapwise", "from mapwise.interfaces.cli import main"),
    ],
)
def test_an_import_that_goes_down_is_no_fault(module, source):
    assert floor_faults(source, module, is_package=module == "mapwise") == []


@pytest.mark.parametrize(
    "source",
    [
        "from mapwise.learners.optimization.maml import MAML",
        "from mapwise.learners.metric import protonet",
        "from .prototypes import mean",
        "import mapwise.learners",
        "def f():\n    from ..optimization import maml",
    ],
)
def test_a_learner_that_imports_another_is_caught(source):
    assert len(learner_faults(source, "mapwise.learners.metric.matching")) == 1


def test_a_variant_may_import_only_what_it_is_a_variant_of(monkeypatch):
    monkeypatch.setitem(VARIANTS, "mapwise.learners.metric.matching", "mapwise.learners.metric.protonet")
    source = "from mapwise.learners.metric.protonet import ProtoNet"
    assert learner_faults(source, "mapwise.learners.metric.matching") == []
    assert learner_faults(source, "mapwise.learners.metric.relation") != []
    assert learner_faults(source.replace("protonet", "protonets"), "mapwise.learners.metric.matching") != []


@pytest.mark.parametrize(
    "source",
    [
        "import matplotlib.pyplot as plt",
        "from PIL import Image",
        "try:\n    import sklearn\nexcept ImportError:\n    sklearn = None",
        "class A:\n    from sklearn import metrics",
        "def f():\n    import torchvision",
        "def f():\n    return importlib.import_module('torchvision.models')",
    ],
)
def test_a_heavy_import_is_caught(source):
    assert len(heavy_faults(source, "mapwise.report.run_page")) == 1


@pytest.mark.parametrize(
    "source",
    ["def f():\n    import matplotlib", "if TYPE_CHECKING:\n    from PIL import Image", "import torch\nimport numpy"],
)
def test_a_late_import_is_no_fault(source):
    assert heavy_faults(source, "mapwise.report.run_page") == []


def test_a_licence_to_import_at_the_top_is_for_one_package():
    assert heavy_faults("from sklearn.base import BaseEstimator", "mapwise.interfaces.estimators.classifier") == []
    assert len(heavy_faults("import matplotlib", "mapwise.interfaces.estimators.classifier")) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from joblib import dump",
        "weights = torch.load(path)",
        "torch.save(weights, path)",
        "from torch import load",
        "eval(text)",
        "exec(text)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_a_way_to_run_a_file_as_code_is_caught(source):
    assert len(unsafe_faults(source, "mapwise.predictors.classes")) == 1


@pytest.mark.parametrize("source", ["net.eval()", "np.load(path, allow_pickle=False)", "safetensors.torch.load(data)"])
def test_what_only_looks_like_running_code_is_no_fault(source):
    assert unsafe_faults(source, "mapwise.predictors.classes") == []


@pytest.mark.parametrize("path", ["utils.py", "core/helpers/shape.py", "engine/train_utils.py", "nets/base.py"])
def test_a_name_that_says_nothing_is_caught(path):
    assert len(name_faults(path)) == 1


@pytest.mark.parametrize("path", ["core/tree.py", "tasks/database.py", "nets/based.py"])
def test_a_name_that_says_something_is_no_fault(path):
    assert name_faults(path) == []


def test_a_public_name_that_is_wrongly_listed_is_caught():
    assert public_faults("from .core.task import Task") == ["Task: write Task as Task"]
    assert public_faults("from .a import T as T\nfrom .b import T as T") == ["T stands there twice"]
    assert public_faults("from .core.task import Task as Task\n__version__: str") == []


def test_what_a_statement_loads_is_seen():
    assert loaded("import json, zipfile", {"json", "zipfile", "tomllib"}) == {"json", "zipfile"}
