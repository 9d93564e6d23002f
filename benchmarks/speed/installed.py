"""What `pip install mapwise` brings beyond torch and its own dependencies: packages, and megabytes on the disk.

    python -m benchmarks.speed.installed [--quick] [--json FILE]

Read from the metadata of this environment, which must hold the extras too. Bytecode isn't counted. The wheel is built
anew, for which pip may download hatchling; with --quick it isn't.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import row
from benchmarks.row import Line, Row, Target
from benchmarks.tables import ROOT

EXTRAS = ("photos", "meaning", "languages")
MOST, WHEEL = 32, 12.0
"""Packages beyond those of torch, and megabytes of the wheel."""
SOURCE = ROOT / "src" / "mapwise"
WORDS = SOURCE / "pretrained" / "words"


def closure(requirements: Iterable[str]) -> set[str]:
    """The packages that these need, and those that they need; raises RuntimeError where one isn't installed."""
    done, left = set[tuple[str, str]](), [*map(Requirement, requirements)]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {extra for one, extra in done if one == name}:
            done.add((name, extra))
            try:
                needs = map(Requirement, distribution(name).requires or ())
            except PackageNotFoundError:
                raise RuntimeError(f"{name} is not installed here: pip install -c constraints.txt -e .[dev]") from None
            left += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return {name for name, _ in done}


def megabytes(packages: Iterable[str]) -> float:
    """Those of the packages' files."""
    files = (file for package in packages for file in distribution(package).files or ())
    paths = (Path(str(file.locate())) for file in files if file.suffix != ".pyc")
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def folder_megabytes(folder: Path) -> float:
    """Those of a folder's files."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sum(path.stat().st_size for path in paths) / 1e6


def wheel_megabytes() -> float:
    """Those of mapwise's wheel; raises RuntimeError where it can't be built."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT)]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the wheel can't be built: {done.stderr.strip()}")
        (wheel,) = Path(folder).glob("mapwise-*.whl")
        return wheel.stat().st_size / 1e6


def measure(options: argparse.Namespace) -> Row:
    options.rounds = None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = closure(project["dependencies"])
    beyond = core - closure(["torch"])
    own, words, others = folder_megabytes(SOURCE), folder_megabytes(WORDS), megabytes(beyond)

    def line(what: str, packages: int, size: float, itself: float | None = None) -> Line:
        return {"install": what, "packages": packages, "of them, MB": round(size, 1), "mapwise itself, MB": itself}

    lines = [
        line("mapwise without the table of words", len(beyond), others, round(own - words, 1)),
        line("mapwise", len(beyond), others, round(own, 1)),
    ]
    for extra in EXTRAS:
        more = closure(project["optional-dependencies"][extra]) - core
        lines.append(line(f"the extra {extra}, beyond mapwise", len(more), megabytes(more)))
    targets = [Target("packages beyond those of torch", len(beyond), MOST, at_least=False)]
    if not options.quick:
        targets.append(Target("megabytes of the wheel", round(wheel_megabytes(), 1), WHEEL, at_least=False))
    return Row(
        "installed",
        "the metadata of an environment of constraints.txt",
        "files on the disk, without bytecode, of what torch doesn't bring",
        tables=[("packages beyond torch", lines)],
        targets=targets,
        learner="none: what is installed",
    )


if __name__ == "__main__":
    sys.exit(row.run(row.parser(__doc__), measure, sys.argv[1:]))
