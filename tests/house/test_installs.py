"""What mapwise can be installed beside: the bounds of its dependencies, and what a resolver makes of them."""

import re
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
