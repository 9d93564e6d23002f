"""Photographs are told from drawings by their shades."""

import gzip
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from mapwise.data.glyphs import glyphs
from mapwise.data.photographs import ASKED, look_like_photographs, mid_tones
from test_encoders import drawing


def photograph(seed):
    """Smooth shades without any paper."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return small.resize((96, 64), Image.Resampling.BICUBIC)


def scanned(picture, seed):
    """A drawing as a lamp and a camera see it."""
    shades = np.asarray(picture.convert("L").resize((300, 300)), float)
    random = np.random.default_rng(seed)
    lit = 40 + 0.75 * shades - np.linspace(0, 60, 300)[None] + random.normal(size=shades.shape) * 4
    return Image.fromarray(lit.clip(0, 255).astype(np.uint8))


def test_drawings_are_none_however_they_are_taken():
    drawings = [drawing(shape, place) for shape in ("ring", "bar", "cross") for place in range(3)]
    assert not look_like_photographs(drawings)
    assert not look_like_photographs([scanned(one, seed) for seed, one in enumerate(drawings)])
    assert not look_like_photographs(list(glyphs().x[::97, 0]))
    assert not look_like_photographs([np.full((20, 20), 255, np.uint8)])


def test_shades_all_over_make_a_photograph():
    photographs = [photograph(seed) for seed in range(9)]
    assert look_like_photographs(photographs)
    assert look_like_photographs([*photographs, *[drawing("ring", 1)] * 4])
    assert not look_like_photographs([*photographs[:4], *[drawing("ring", 1)] * 9])


def test_few_of_many_pictures_are_looked_at(monkeypatch):
    from mapwise.data import photographs

    seen = []
    monkeypatch.setattr(photographs, "mid_tones", lambda picture, place: seen.append(place) or 0.0)
    look_like_photographs([None] * 1000)
    assert len(seen) == ASKED and min(seen) == 0 and max(seen) == 999


def real(folder):
    """Pictures of each data set: drawings, and photographs."""
    random = np.random.default_rng(1)
    packed = gzip.decompress((folder / "mnist-t10k" / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    yield False, np.frombuffer(packed, np.uint8).reshape(-1, 28, 28)[:: 10_000 // ASKED]
    for photographed, path in ((False, "omniglot/images_evaluation.zip"), (True, "tiny-imagenet-fewshot/test.zip")):
        with zipfile.ZipFile(folder / path) as pack:
            names = [name for name in pack.namelist() if name.lower().endswith((".png", ".jpeg"))]
            chosen = random.choice(names, ASKED, replace=False)
            yield photographed, [Image.open(io.BytesIO(pack.read(name))).convert("RGB") for name in chosen]
    for path, key in (
        ("sign-digits/sign_digits_64.npz", "images"),
        ("brain-tumor-mri/brain_tumor_64.npz", "train_images"),
    ):
        pictures = np.load(folder / path)[key]
        yield True, pictures[random.choice(len(pictures), ASKED, replace=False)]


def test_real_drawings_and_photographs_are_told_apart(shared_data):
    for photographed, pictures in real(shared_data):
        assert look_like_photographs(list(pictures)) == photographed
        assert (np.mean([mid_tones(one) > 0.25 for one in pictures]) > 0.5) == photographed


@pytest.mark.parametrize("learner", ["nearest_mean", "auto"])
def test_fit_says_what_photographs_need_and_nothing_of_drawings(cli, tmp_path, learner):
    for kind, make in (
        ("photos", lambda c, n: photograph(10 * c + n)),
        ("signs", lambda c, n: drawing(["ring", "bar"][c], n)),
    ):
        for c in range(2):
            (tmp_path / kind / "ab"[c]).mkdir(parents=True)
            for n in range(4):
                make(c, n).save(tmp_path / kind / "ab"[c] / f"{n}.png")
    done = cli("fit", "photos", "-o", "p.safetensors", "--encoder", "drawings", "--learner", learner)
    advice = done.out.partition("advice: ")[2]
    assert advice.startswith("these look like photographs") and "\n  pip install" in advice
    assert advice.index("give the encoder photos") < advice.index("give the encoder hf:")
    assert "\n  give the encoder hf:" in advice and "\n  without a network: " in advice
    assert "advice" not in cli("fit", "signs", "-o", "s.safetensors", "--learner", learner).out
    page = cli("report", "p.safetensors", "--json").answer
    assert bool(page["advice"]) == (page["held_out"]["low"] <= page["held_out"]["chance"])
