"""What mapwise can be installed beside: the bounds of its dependencies, and what a resolver makes of them."""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BESIDE = ("flwr", "setfit", "tabpfn", "aeon")
"""Neighbours of the field, of which each resolves beside mapwise."""
MOST = 32
"""Packages that mapwise brings beyond those of torch."""


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def numbers(version: str) -> list[int]:
    """A release's numbers without zeros at its end: 2.0 and 2.0.0 are the same."""
    parts = [int(part) for part in version.split(".")]
    while parts and not parts[-1]:
        parts.pop()
    return parts


def test_each_lower_bound_is_the_version_that_is_tested():
    bounds = dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", line).groups() for line in PROJECT["dependencies"])
    oldest = pins("constraints-oldest.txt")
    assert {name: numbers(bounds[name]) for name in bounds} == {name: numbers(oldest[name]) for name in bounds}


def resolved(*inputs: str, python: str = "3.11") -> set[str]:
    """The names of the packages that uv would install, nothing of which is downloaded."""
    uv = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-cache", "--python-version", python]
    run = subprocess.run(
        [*uv, "-"],
        input="\n".join(inputs),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if re.search(r"error sending request|dns error|[Cc]onnect", run.stderr):
        pytest.skip("no package registry can be reached")
    assert run.returncode == 0, run.stderr
    return {line.split("==")[0] for line in run.stdout.splitlines() if "==" in line}


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_each_python_has_versions_of_all_dependencies(python):
    assert {"torch", "scikit-learn"} <= resolved(*PROJECT["dependencies"], python=python)


@pytest.mark.slow
@pytest.mark.parametrize("package", BESIDE)
def test_a_neighbour_of_the_field_resolves_beside_mapwise(package):
    assert {package, "torch"} <= resolved(*PROJECT["dependencies"], package)


@pytest.mark.slow
def test_few_packages_come_beyond_those_of_torch():
    beyond = resolved(*PROJECT["dependencies"]) - resolved("torch")
    assert len(beyond) <= MOST, sorted(beyond)


IMPORTS = """
import importlib, pkgutil, sys
import mapwise
ABSENT = {"torch", "fastapi", "uvicorn"}  # the latter are of an extra whose modules need them at once
imported, faults = 0, []
for module in pkgutil.walk_packages(mapwise.__path__, "mapwise."):
    if module.name == "mapwise.__main__":
        continue
    try:
        importlib.import_module(module.name)
        imported += 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ABSENT:
            faults.append(f"{module.name}: {error}")
    except Exception as error:
        faults.append(f"{module.name}: {error!r}")
print(imported)
sys.exit("\\n".join(faults) or 0)
"""
"""Import every module where torch isn't installed: how many could be; and what failed for another reason than torch."""


def done(*words: object) -> str:
    """What a command prints on standard output; it ends well."""
    run = subprocess.run([str(word) for word in words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.12", "3.13", "3.14"])
def test_a_newer_python_compiles_every_file_and_imports_what_needs_no_torch(python, tmp_path, monkeypatch):
    # Not torch: PyPI's for another Python is of gigabytes. Whatever imports it is only compiled here.
    uv = [sys.executable, "-m", "uv"]
    find = [*uv, "python", "find", "--no-python-downloads", "--no-project", python]
    finder = subprocess.run(find, cwd=tmp_path, capture_output=True, text=True, check=False)
    if finder.returncode:
        pytest.skip(f"there is no Python {python} on this machine")
    own, interpreter = tmp_path / "venv", tmp_path / "venv" / "bin" / "python"
    done(*uv, "venv", "--python", finder.stdout.strip(), own)
    wanted = [line for line in PROJECT["dependencies"] if not line.startswith("torch")]
    resolved("typer", python=python)  # skips where no registry can be reached
    done(*uv, "pip", "install", "--python", interpreter, *wanted)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    done(interpreter, "-W", "error", "-m", "compileall", "-q", tmp_path / "src")
    assert int(done(interpreter, "-W", "error", "-c", IMPORTS)) > 50
    assert "Commands" in done(interpreter, "-m", "mapwise", "--help")
    assert "mapwise" in done(interpreter, "-m", "mapwise", "--version")
