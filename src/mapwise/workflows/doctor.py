"""Is this installation sound, and if not, which command repairs it."""

import importlib.metadata as metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PYTHON = (3, 11)
CORE = {
    # distribution -> what is imported, and the lowest version that was tested
    "torch": ("torch", "2.6"),
    "numpy": ("numpy", "1.26.4"),
    "safetensors": ("safetensors", "0.4.5"),
    "pillow": ("PIL", "10.4"),
    "scikit-learn": ("sklearn", "1.6.1"),
    "scipy": ("scipy", "1.13"),
    "matplotlib": ("matplotlib", "3.9"),
    "typer": ("typer", "0.20"),
    "rich": ("rich", "13.9"),
    "pydantic": ("pydantic", "2.9"),
    "narwhals": ("narwhals", "2.0"),
    "jaxtyping": ("jaxtyping", "0.2.36"),
    "lazy-loader": ("lazy_loader", "0.4"),
}
PATIENCE = 120.0
"""Seconds an import may take before it counts as broken."""


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and how to repair it when it is broken."""

    name: str
    found: str
    well: bool = True
    repair: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        return asdict(self)


def examine() -> list[Check]:
    """Look at everything; nothing is changed but a file written to the cache folder and removed again."""
    checks = [_python()]
    checks += [core(name) for name in CORE]
    checks += [torchvision(), *_extras(), _libc(), _threads(), _cache(), _fonts()]
    return checks


def _python() -> Check:
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    wanted = ".".join(map(str, PYTHON))
    repair = f"install Python {wanted} or later and make a new environment with it: python{wanted} -m venv .venv"
    return Check("python", version, sys.version_info >= PYTHON, repair)


def core(name: str, import_fault: Callable[[str], str] | None = None) -> Check:
    """A core dependency: is it there, new enough, and does it import (in a process of its own)."""
    module, least = CORE[name]
    repair = f'{_pip()} install --force-reinstall "{name}>={least}"{_index() if name == "torch" else ""}'
    version = _version(name)
    if version is None:
        return Check(name, "missing", False, repair)
    if _numbers(version) < _numbers(least):
        return Check(name, f"{version}, and {least} or later is needed", False, repair)
    fault = (import_fault or _import_fault)(module)
    return Check(name, f"{version}, broken: {fault}" if fault else version, not fault, repair)


def torchvision(
    version: Callable[[str], str | None] | None = None, import_fault: Callable[[str], str] | None = None
) -> Check:
    """torchvision isn't needed; one built for another torch breaks whatever imports it."""
    look = version or _version
    installed, torch = look("torchvision"), look("torch")
    if installed is None:
        return Check("torchvision", "absent, and not needed")
    if torch is None:
        return Check("torchvision", f"{installed} without torch", False, f"{_pip()} uninstall -y torchvision")
    major, minor = _numbers(torch)[:2]
    wanted = f"0.{minor + 15}" if major == 2 else ""  # torch 2.0 came with torchvision 0.15, and so on
    repair = f'{_pip()} install --force-reinstall --no-deps "torchvision=={wanted}.*"{_index(torch)}'
    if not wanted:
        repair = f"{_pip()} uninstall -y torchvision"
    if wanted and _numbers(installed)[:2] != _numbers(wanted):
        return Check("torchvision", f"{installed}, and torch {torch} needs {wanted}", False, repair)
    fault = (import_fault or _import_fault)("torchvision")
    return Check("torchvision", f"{installed}, broken: {fault}" if fault else installed, not fault, repair)


def _extras() -> list[Check]:
    """An extra may be absent, wholly or in part; a part that is there must be new enough."""
    try:
        requirements = metadata.requires("mapwise") or []
    except metadata.PackageNotFoundError:
        return [Check("mapwise", "runs from its source folder, not installed")]
    wanted: dict[str, list[tuple[str, str]]] = {}
    for requirement in requirements:
        parts = re.match(r"([\w.-]+)(?:>=([\w.]+))?[^;]*;.*extra\s*==\s*['\"](\w+)['\"]", requirement)
        if parts:
            wanted.setdefault(parts[3], []).append((parts[1], parts[2] or "0"))
    checks = []
    for extra, members in wanted.items():
        versions = {name: _version(name) for name, _ in members}
        old = [f"{n} {v}" for n, least in members if (v := versions[n]) is not None and _numbers(v) < _numbers(least)]
        missing = [name for name, version in versions.items() if version is None]
        if old:
            state = f"too old: {', '.join(old)}"
        else:
            state = (
                "complete" if not missing else f"not installed ({', '.join(missing)}), and needed only for its purpose"
            )
        checks.append(Check(f"extra {extra}", state, not old, f"{_pip()} install --upgrade 'mapwise[{extra}]'"))
    return checks


def _libc() -> Check:
    name, version = platform.libc_ver()
    return Check("libc", f"{name} {version}" if name else "not glibc: memory thresholds are left as they are")


def _threads() -> Check:
    chosen = os.environ.get("OMP_NUM_THREADS")
    if chosen is not None and not chosen.isdecimal():
        return Check("threads", f"OMP_NUM_THREADS is {chosen!r}", False, "unset OMP_NUM_THREADS")
    return Check("threads", f"{os.cpu_count()} cores" + (f", OMP_NUM_THREADS={chosen}" if chosen else ""))


def _cache() -> Check:
    from mapwise.data.files import write_atomically
    from mapwise.data.store import cache_folder

    folder = cache_folder()
    probe = folder / ".probe"
    try:
        write_atomically(probe, lambda file: file.write(b"mapwise"))
        probe.unlink()
    except OSError as error:
        repair = 'export XDG_CACHE_HOME="$HOME/mapwise-cache" && mkdir -p "$XDG_CACHE_HOME"'
        return Check("cache folder", f"{folder} can't be written ({error.strerror})", False, repair)
    return Check("cache folder", str(folder))


def _fonts() -> Check:
    """The fonts that draw the glyphs come with matplotlib."""
    repair = f"{_pip()} install --force-reinstall matplotlib"
    package = next((file for file in metadata.files("matplotlib") or [] if str(file) == "matplotlib/__init__.py"), None)
    if package is None:
        return Check("fonts", "matplotlib is incomplete", False, repair)
    folder = Path(str(package.locate())).parent / "mpl-data" / "fonts" / "ttf"
    faces = len(list(folder.glob("DejaVu*.ttf")))
    return Check("fonts", f"{faces} DejaVu faces in {folder}", faces >= 12, repair)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """ "2.13.0+cpu" -> (2, 13, 0)"""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _import_fault(module: str) -> str:
    """Why a module can't be imported, on one line; "" when it can. In its own process, since some crash."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"its import takes more than {PATIENCE:.0f} s"
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1].strip() if lines else f"its import ends with code {done.returncode}"


def _pip() -> str:
    return f"{sys.executable} -m pip"


def _index(torch: str | None = None) -> str:
    """Where builds for the same hardware lie: torch 2.13.0+cpu is to stay one for the CPU."""
    local = (torch or _version("torch") or "").partition("+")[2]
    return f" --index-url https://download.pytorch.org/whl/{local}" if local else ""
