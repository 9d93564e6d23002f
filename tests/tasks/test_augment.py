"""Augmentation: pure functions of key and row, which keep an image an image."""

import pytest
import torch

from mapwise.tasks.augment import AUGMENTATIONS, augmentation, colour, crop, flip, shift

KEY = torch.tensor(5)


def pictures(n: int = 12, channels: int = 3, side: int = 28) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_bits_depend_on_key_and_row_only(name):
    x, change = pictures(), AUGMENTATIONS[name]
    out = change(x, KEY)
    assert out.shape == x.shape and out.dtype == torch.float32
    assert torch.equal(out, change(x, KEY))
    assert torch.equal(out[:5], change(x[:5], KEY))
    assert not torch.equal(out, change(x, torch.tensor(6)))
    assert not torch.equal(out, x)
    same = change(x[:1].expand(12, -1, -1, -1), KEY)
    assert not all(torch.equal(same[0], row) for row in same)  # rows draw their own


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_values_stay_between_black_and_white_and_the_input_is_left_alone(name):
    for channels in (1, 3):
        x = pictures(channels=channels)
        before = x.clone()
        out = AUGMENTATIONS[name](x, KEY)
        assert out.min() >= 0 and out.max() <= 1
        assert torch.equal(x, before)


def test_shift_moves_by_whole_pixels_in_every_direction_and_fills_with_zeros():
    x = torch.zeros(500, 1, 28, 28)
    x[:, :, 10, 20] = 1
    out = shift(x, KEY)
    places = {(int(r) - 10, int(c) - 20) for _, _, r, c in out.nonzero()}
    assert torch.equal(out.sum((1, 2, 3)), torch.ones(500))
    assert places == {(r, c) for r in range(-2, 3) for c in range(-2, 3)}
    corner = torch.ones(500, 1, 28, 28)
    assert set(shift(corner, KEY).sum((1, 2, 3)).tolist()) == {
        float((28 - abs(r)) * (28 - abs(c))) for r in range(-2, 3) for c in range(-2, 3)
    }


def test_flip_mirrors_about_half_of_the_rows_and_changes_nothing_else():
    x = pictures(400, 1, 8)
    out = flip(x, KEY)
    mirrored = (out == x.flip(-1)).all(3).all(2).all(1)
    result = (out == x).all(3).all(2).all(1)
    assert bool((mirrored ^ result).all())
    assert 150 < int(mirrored.sum()) < 250


def test_crop_enlarges_a_window_inside_the_image():
    ramp = torch.linspace(0, 1, 64).expand(300, 1, 64, 64)  # brighter to the right
    out = crop(ramp, KEY)
    span = out[:, 0, 0, -1] - out[:, 0, 0, 0]
    assert span.min() > 0.66 and span.max() < 1.001
    assert out[:, 0, 0, 0].max() > 0.15  # windows lie at different places
    assert torch.allclose(out[:, :, 0], out[:, :, 40], atol=1e-4)


def test_colour_leaves_grey_pixels_grey():
    x = pictures(channels=1).expand(-1, 3, -1, -1)
    out = colour(x, KEY)
    assert torch.allclose(out[:, 0], out[:, 2], atol=1e-6)
    saturation = lambda images: (images.amax(1) - images.amin(1)).mean((1, 2))  # noqa: E731
    change = saturation(colour(pictures(), KEY)) / saturation(pictures())
    assert change.min() < 0.8


def test_several_names_are_applied_one_after_the_other_whatever_their_order():
    x = pictures()
    both = augmentation(["flip", "shift"])(x, KEY)
    assert torch.equal(both, augmentation(["shift", "flip"])(x, KEY))
    assert not torch.equal(both, augmentation(["shift"])(x, KEY))
    assert torch.equal(augmentation([])(x, KEY), x)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="no augmentation 'color': did you mean 'colour'"):
        augmentation(["shift", "color"])


def test_rows_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match=r"shift change images, and these rows have shape \(4,\)"):
        augmentation(["shift"])(torch.zeros(3, 4), KEY)
