"""Pictures of any size are read in little memory, or refused in a sentence."""

import numpy as np
import pytest
from PIL import Image

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


@pytest.mark.xfail(reason="read whole, in 8 GB and more")
def test_a_picture_of_too_many_pixels_is_refused_in_a_sentence(tmp_path):
    for size in [(40_000, 1), (8_000, 8_000), (13_500, 13_500)]:
        path = blank(tmp_path, size)
        with pytest.raises(ValueError, match="at most 16,384 a side and 50,000,000 in all") as refused:
            Ink()([path])
        assert str(refused.value).startswith(f"{path} has ") and "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=r"has 1 x 40,000 pixels"):
        Ink()([np.zeros((40_000, 1), np.uint8)])


@pytest.mark.xfail(reason="a strip is laid on a square of its longer side")
def test_long_strips_and_bombs_take_little_memory(tmp_path):
    strips = [blank(tmp_path, size) for size in [*SIZES, (1, 16_384), (16_384, 1)]]
    read = measured(READ, *strips, limit=60)
    assert read.code == 0, read.err
    lines = read.out.splitlines()
    assert len(lines) == len(strips)
    assert [line for line in lines if line.startswith("(1, ")] == lines[-2:]
    assert read.peak < MEGABYTES / 2


@pytest.mark.slow
@pytest.mark.xfail(reason="several copies of the whole picture are there at once")
@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "I"])
def test_the_largest_pictures_of_every_mode_take_less_than_a_gigabyte(mode, tmp_path):
    read = measured(READ, blank(tmp_path, (7_071, 7_071), mode), limit=120)
    assert read.out.startswith("(1, "), read
    assert read.peak < MEGABYTES
