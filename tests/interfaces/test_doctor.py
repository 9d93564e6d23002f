"""The doctor finds what is broken, and commands set the allocator."""

import ctypes
import sys

import pytest

from conftest import ROOT
from mapwise.workflows import allocator, doctor


def test_doctor_finds_this_installation_sound(cli, monkeypatch):
    monkeypatch.setattr(doctor, "_import_fault", lambda module: "")
    done = cli("doctor", "--json")
    assert done.code == 0, done.out
    assert done.answer["healthy"] is True
    assert {"python", "torch", "torchvision", "cache folder", "fonts"} <= {c["name"] for c in done.answer["checks"]}


def test_doctor_finds_a_broken_import(cli, monkeypatch):
    assert doctor._import_fault("json") == ""
    assert "no_such_module_of_anyone" in doctor._import_fault("no_such_module_of_anyone")
    monkeypatch.setattr(doctor, "_import_fault", lambda module: "undefined symbol" if module == "torch" else "")
    done = cli("doctor", "--json")
    assert done.code == 1
    (broken,) = (check for check in done.answer["checks"] if not check["well"])
    assert broken["name"] == "torch"
    assert "undefined symbol" in broken["found"]
    assert 'install --force-reinstall "torch>=2.6"' in broken["repair"]


@pytest.mark.parametrize(
    ("versions", "fault", "well", "words"),
    [
        ({"torch": "2.13.0+cpu"}, "", True, ""),
        ({"torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu"}, "", True, ""),
        ({"torch": "2.13.0+cpu", "torchvision": "0.20.1"}, "", False, '"torchvision==0.28.*" --index-url '),
        ({"torch": "2.13.0", "torchvision": "0.28.0"}, "operator torchvision::nms", False, '"torchvision==0.28.*"'),
        ({"torchvision": "0.28.0"}, "", False, "uninstall -y torchvision"),
    ],
)
def test_doctor_repairs_a_torchvision_of_another_torch(versions, fault, well, words):
    check = doctor.torchvision(versions.get, lambda module: fault)
    assert check.well is well
    assert (words in check.repair) if words else well


def test_doctor_names_what_is_missing_or_too_old(monkeypatch):
    monkeypatch.setattr(doctor, "_version", {"numpy": "1.25.2"}.get)
    old, missing = doctor.core("numpy"), doctor.core("rich")
    assert not old.well
    assert "1.26.4 or later" in old.found
    assert "numpy>=1.26.4" in old.repair
    assert not missing.well
    assert missing.found == "missing"


def test_doctor_asks_for_the_versions_that_the_package_asks_for():
    import re
    import tomllib

    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pairs = dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", line).groups() for line in wanted)
    assert pairs == {name: least for name, (_, least) in doctor.CORE.items()}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the thresholds are glibc's")
def test_freed_memory_is_kept_where_glibc_is():
    expected = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
    assert allocator.keep_freed_memory() is expected


def test_only_commands_touch_the_allocator():
    package = ROOT / "src" / "mapwise"
    named = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if "mallopt" in path.read_text()}
    assert named == {"workflows/allocator.py"}
