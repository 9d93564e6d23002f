"""Pictures of any size are read in little memory, or refused in a sentence."""

import importlib.util
import warnings

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mapwise.data import pictures
from mapwise.data.pictures import open_picture
from mapwise.encoders.pixels import Ink
from measured import MEGABYTES, measured

BOMB = (1, 134_000_000)
SIZES = [(40_000, 1), (1, 40_000), BOMB]
READ = """
import sys
from mapwise.catalog.encoders import encoder_named
encoder = encoder_named("drawings", fetch=False)
for path in sys.argv[1:]:
    try:
        print(encoder([path]).shape)
    except ValueError as error:
        print(error)
"""


def blank(folder, size, mode="L"):
    """A file of a picture of one shade: a few bytes, however large the picture is."""
    path = folder / f"{size[0]}x{size[1]}.{'tif' if mode == 'I' else 'png'}"
    Image.new(mode, size).save(path)
    return path


def drawn(height, width):
    """A grey picture with a light border and strokes."""
    values = np.random.default_rng(height * width).integers(0, 256, (height, width), dtype=np.uint8)
    values[[0, -1]] = 240
    values[:, [0, -1]] = 240
    return values


def test_pictures_of_the_size_that_is_read_are_made_ink_at_once_and_to_the_same_bits():
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    strokes = np.where(random.random((20, 28, 28)) < 0.1, 220, 20).astype(np.uint8)
    faint = np.tile(np.array([100, 110], np.uint8), (2, 28, 14))
    blank, halves = np.full((2, 28, 28), 7, np.uint8), np.tile(np.array([127, 128], np.uint8), (2, 28, 14))
    stack = np.concatenate([noise, strokes, 255 - strokes, faint, blank, halves])
    at_once, singly = Ink()(stack), Ink()(list(stack))
    assert at_once.dtype == singly.dtype == np.float32 and at_once.shape == (66, 1, 28, 28)
    assert (at_once == singly).all()


@pytest.mark.parametrize("size", [(30, 30), (17, 90), (90, 17), (1, 50), (50, 1), (28, 20), (1200, 700), (3, 2500)])
def test_a_picture_is_the_square_of_its_paper_shrunk_at_once(size, monkeypatch):
    values = drawn(*size)
    paper = float(np.median(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])))
    height, width = size
    square = np.full((max(size),) * 2, round(paper), np.uint8)
    top, left = ((max(size) - side) // 2 for side in size)
    square[top : top + height, left : left + width] = values
    shrunk = np.asarray(Image.fromarray(square).resize((28, 28), Image.Resampling.LANCZOS), np.float32)
    dark = (paper - shrunk).clip(min=0) if paper >= 127.5 else (shrunk - paper).clip(min=0)
    expected = dark / dark.max() if dark.max() >= 16 else np.zeros_like(dark)
    assert (Ink()([values])[0, 0] == expected).all()
    monkeypatch.setattr(pictures, "_TOGETHER", 100)
    assert (Ink()([values])[0, 0] == expected).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I;16", "I", "F", "CMYK"])
def test_a_picture_in_strips_is_the_picture(mode, monkeypatch):
    values = np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    image = Image.fromarray(values, "RGBA") if mode == "RGBA" else Image.fromarray(values[:, :, :3].copy(), "RGB")
    if mode in ("I;16", "I", "F"):
        image = Image.fromarray(values[:, :, 0].astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]) * 3)
    elif mode != "RGBA":
        image = image.convert(mode)
    whole = pictures.picture(image, 28)
    monkeypatch.setattr(pictures, "_TOGETHER", 70)
    strips = pictures.picture(image, 28)
    assert strips.mode == whole.mode and strips.tobytes() == whole.tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_a_picture_is_its_pixels_alone(mode, tmp_path):
    about = PngInfo()
    about.add_text("author", "someone")
    Image.new(mode, (9, 7)).save(tmp_path / "a.png", pnginfo=about, dpi=(300, 300))
    for source in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), Image.open(tmp_path / "a.png")):
        assert open_picture(source, 0, 28).info == {}


def test_a_picture_of_too_many_pixels_is_refused_in_a_sentence(tmp_path):
    for size in [(40_000, 1), (8_000, 8_000), (13_500, 13_500)]:
        path = blank(tmp_path, size)
        with pytest.raises(ValueError, match="at most 16,384 a side and 50,000,000 in all") as refused:
            Ink()([path])
        assert str(refused.value).startswith(f"{path} has ") and "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=r"has 1 x 40,000 pixels"):
        Ink()([np.zeros((40_000, 1), np.uint8)])


def test_long_strips_and_bombs_take_little_memory(tmp_path):
    strips = [blank(tmp_path, size) for size in [*SIZES, (1, 16_384), (16_384, 1)]]
    read = measured(READ, *strips, limit=60)
    assert read.code == 0, read.err
    lines = read.out.splitlines()
    assert len(lines) == len(strips)
    assert [line for line in lines if line.startswith("(1, ")] == lines[-2:]
    assert read.peak < MEGABYTES / 2


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "I;16", "I", "P", "1"])
def test_the_largest_pictures_of_every_mode_take_less_than_a_gigabyte(mode, tmp_path):
    read = measured(READ, blank(tmp_path, (7_071, 7_071), mode), limit=120)
    assert read.out.startswith("(1, "), read
    assert read.peak < MEGABYTES


def test_a_damaged_picture_is_refused_without_remarks(tmp_path):
    path = tmp_path / "damaged.tiff"
    Image.fromarray(drawn(24, 24)).save(path)
    whole, refusals = path.read_bytes(), 0
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        for place in range(8, 120, 2):
            path.write_bytes(whole[:place] + bytes(range(1, 5)) + whole[place + 4 :])
            try:
                Ink()([path])
            except ValueError:
                refusals += 1
    assert refusals > 10
    assert [str(remark.message) for remark in remarks if remark.category is not ResourceWarning] == []


def test_a_heic_picture_says_which_package_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (tmp_path / "photo.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    with pytest.raises(ValueError, match=r"is a HEIC picture and pillow-heif is not installed \(pip install"):
        open_picture(tmp_path / "photo.HEIC", 0, 28)
