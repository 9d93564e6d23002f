"""The floors of the house and its rules: each is a function from a source text to its faults."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    "mapwise.learners.generation.distribution_calibration": "mapwise.learners.pretraining.linear_probe",
    "mapwise.learners.metric.simpleshot": "mapwise.learners.pretraining.supervised",
    "mapwise.learners.pretraining.finetune": "mapwise.learners.pretraining.supervised",
    "mapwise.learners.pretraining.linear_probe": "mapwise.learners.pretraining.supervised",
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
