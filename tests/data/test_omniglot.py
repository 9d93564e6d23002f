"""Omniglot: the real drawings where they are, and small made-up zips for everything that can be wrong."""

import dataclasses
import io
import os
import shutil
import socket
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapwise.data import omniglot as module
from mapwise.data.omniglot import CLASSES, omniglot, read_splits, read_zip

REAL = Path(os.environ.get("MAPWISE_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
needs_real = pytest.mark.skipif(
    not (REAL / "omniglot" / "images_background.zip").is_file(),
    reason=f"no omniglot in {REAL}: set MAPWISE_TEST_DATA to a folder that holds it",
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Every official address becomes one on this machine where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = tuple(dataclasses.replace(r, address=f"http://127.0.0.1:{port}/{r.name}") for r in module.REMOTES)
    monkeypatch.setattr(module, "REMOTES", here)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The real rows: once decoded, once from the cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        decoded = omniglot(REAL)
        with patch.context() as inner:
            inner.setattr(module, "read_zip", None)  # the second time must not decode
            return decoded, omniglot(REAL)


@needs_real
def test_the_published_classes_and_splits_are_all_there(real):
    rows, _ = real
    assert rows.x.shape == (6492 * 20, 1, 28, 28) and rows.x.dtype == np.uint8
    assert len(rows.names) == len(set(rows.names)) == 6492
    assert set(np.diff(rows.starts)) == {20} and rows.starts[-1] == len(rows.x)
    sizes = {name: len(np.unique(classes)) for name, classes in rows.splits.items()}
    assert sizes == {"train": 4112, "val": 688, "trainval": 4800, "test": 1692}
    for name in rows.splits:
        listed = (REAL / "omniglot" / "splits_vinyals" / f"{name}.txt").read_text().split()
        assert {rows.names[c] for c in rows.splits[name]} == set(listed)


@needs_real
def test_train_val_and_test_share_no_character_in_any_rotation(real):
    rows, _ = real
    train, val, trainval, test = (
        {rows.names[c].rpartition("/")[0] for c in rows.splits[name]} for name in ("train", "val", "trainval", "test")
    )
    assert (len(train), len(val), len(test)) == (1028, 172, 423)
    assert not train & val and not train & test and not val & test
    assert trainval == train | val


@needs_real
def test_ink_is_one_and_paper_zero(real):
    rows, _ = real
    means = rows.x.reshape(len(rows.x), -1).mean(axis=1, dtype=np.float64) / 255
    assert 0.02 < means.mean() < 0.3
    assert rows.x.max(axis=(1, 2, 3)).min() > 100  # every drawing has a dark stroke
    assert (rows.x.min(axis=(1, 2, 3)) == 0).mean() > 0.999


@needs_real
def test_a_rotated_class_is_the_drawings_of_its_character_turned_counter_clockwise(real):
    rows, _ = real
    place = {name: c for c, name in enumerate(rows.names)}
    for character in ("Greek/character01", "Tengwar/character25"):
        upright, *turned = (
            rows.x[rows.starts[c] : rows.starts[c + 1], 0]
            for c in (place[f"{character}/rot{degrees:03d}"] for degrees in (0, 90, 180, 270))
        )
        for turns, drawings in enumerate(turned, start=1):
            expected = [np.asarray(Image.fromarray(image).rotate(90 * turns)) for image in upright]
            np.testing.assert_array_equal(drawings, expected)
            assert not np.array_equal(drawings, upright)


@needs_real
def test_a_class_holds_the_drawings_of_its_folder_in_the_zip(real):
    rows, _ = real
    for zipped, character in (("images_background", "Korean/character07"), ("images_evaluation", "Oriya/character46")):
        start = rows.starts[rows.names.index(f"{character}/rot000")]
        with zipfile.ZipFile(REAL / "omniglot" / f"{zipped}.zip") as archive:
            entries = sorted(n for n in archive.namelist() if n.startswith(f"{zipped}/{character}/"))
            for drawing, entry in enumerate(entries):
                original = 1 - np.asarray(Image.open(io.BytesIO(archive.read(entry))), np.float64)
                # 105 = 28 * 3.75: halves are the same area at both sizes, and shrinking keeps the ink in each.
                small = rows.x[start + drawing, 0] / 255
                halves = [np.array_split(small, 2, axis)[0].mean() / small.mean() for axis in (0, 1)]
                before = [np.array_split(original, 2, axis)[0].mean() / original.mean() for axis in (0, 1)]
                np.testing.assert_allclose(halves, before, atol=0.12)
                assert small.mean() == pytest.approx(original.mean(), rel=0.25)


@needs_real
def test_the_cache_gives_the_same_rows_without_decoding(real):
    decoded, cached = real
    assert np.array_equal(decoded.x, cached.x)  # 100 MB: the testing variant takes seconds
    assert decoded.names == cached.names and decoded.notes == cached.notes == ()


def png(seed, side=105):
    random = np.random.Generator(np.random.Philox(seed))
    image = np.full((side, side), 255, np.uint8)
    image[10:90, 10 + seed % 60 : 16 + seed % 60] = 0
    image[random.integers(20, 80), :] = 0
    held = io.BytesIO()
    Image.fromarray(image).convert("1").save(held, "PNG")
    return held.getvalue()


def make_zip(path, characters, drawings=20, changed=None):
    """A zip in the layout of Omniglot; `changed` maps entries to other bytes, or to None to leave them out."""
    entries = {
        f"{path.stem}/{character}/{c:04d}_{d:02d}.png": png(100 * c + d)
        for c, character in enumerate(characters)
        for d in range(1, drawings + 1)
    }
    entries.update(changed or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            if content is not None:
                archive.writestr(name, content)
    return path


FIRST, SECOND = ["Aa/character01", "Aa/character02", "Bb/character01"], ["Cc/character01", "Cc/character02"]
LISTS = {"train": FIRST[:2], "val": FIRST[2:], "trainval": FIRST, "test": SECOND}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A data root with a made-up Omniglot of five characters, and the counts that go with it."""
    folder = tmp_path / "data" / "omniglot"
    make_zip(folder / "images_background.zip", FIRST)
    make_zip(folder / "images_evaluation.zip", SECOND)
    (folder / "splits_vinyals").mkdir()
    for name, characters in LISTS.items():
        lines = [f"{character}/{rotation}" for character in characters for rotation in module.ROTATIONS]
        (folder / "splits_vinyals" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "CHARACTERS", {"images_background": 3, "images_evaluation": 2})
    monkeypatch.setattr(module, "CLASSES", {name: 4 * len(characters) for name, characters in LISTS.items()})
    return tmp_path / "data"


def refused(call, *arguments, **settings):
    with pytest.raises(ValueError, match=r".") as caught:
        call(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_wrong_number_of_characters_is_a_one_line_error_that_says_which(tmp_path, monkeypatch):
    folder = tmp_path / "omniglot"
    make_zip(folder / "images_background.zip", FIRST)
    make_zip(folder / "images_evaluation.zip", SECOND)
    (folder / "splits_vinyals").mkdir()
    for name in CLASSES:
        (folder / "splits_vinyals" / f"{name}.txt").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    answer = refused(omniglot, tmp_path)
    assert "images_background.zip holds 3 characters and 964 were published" in answer
    assert not (tmp_path / "cache").exists()


def test_a_wrong_number_of_drawings_is_a_one_line_error_that_says_which(small):
    path = small / "omniglot" / "images_evaluation.zip"
    make_zip(path, SECOND, changed={"images_evaluation/Cc/character02/0001_07.png": None})
    answer = refused(omniglot, small)
    assert "images_evaluation.zip holds 19 drawings of Cc/character02 and 20 were published" in answer


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"no image", "not a readable drawing"),
        (png(3)[:60], "not a readable drawing"),
        (b"", "not a readable drawing"),
        (png(3, side=100), "not a 105x105 drawing"),
    ],
)
def test_a_broken_drawing_is_named(tmp_path, content, answer):
    entry = "images_background/Aa/character02/0001_07.png"
    path = make_zip(tmp_path / "images_background.zip", FIRST, changed={entry: content})
    message = refused(read_zip, path, 3, 28)
    assert answer in message and entry in message


def test_a_blank_drawing_is_named(tmp_path):
    held = io.BytesIO()
    Image.new("1", (105, 105), 1).save(held, "PNG")
    entry = "images_background/Aa/character02/0001_07.png"
    path = make_zip(tmp_path / "images_background.zip", FIRST, changed={entry: held.getvalue()})
    assert entry in refused(read_zip, path, 3, 28)


def test_a_truncated_zip_is_a_one_line_error(small):
    path = small / "omniglot" / "images_background.zip"
    path.write_bytes(path.read_bytes()[:-200])
    assert "cannot be read as a zip" in refused(omniglot, small)


def test_bytes_changed_inside_a_zip_are_noticed(small):
    path = small / "omniglot" / "images_background.zip"
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 12] ^= 255
    path.write_bytes(bytes(content))
    assert "not a readable drawing" in refused(omniglot, small)


def test_what_an_archiver_leaves_beside_the_drawings_is_passed_over(tmp_path):
    plain = make_zip(tmp_path / "plain" / "images_background.zip", FIRST)
    extra = {
        "__MACOSX/Aa/character01/._0000_01.png": b"x",
        "images_background/Aa/character01/._0000_01.png": b"x",
        "images_background/Aa/.DS_Store": b"x",
        "images_background/Aa/character01/": b"",
    }
    strewn = make_zip(tmp_path / "strewn" / "images_background.zip", FIRST, changed=extra)
    (one, names), (other, others) = read_zip(plain, 3, 28), read_zip(strewn, 3, 28)
    assert names == others == FIRST
    np.testing.assert_array_equal(one, other)


def test_rows_and_names_of_a_made_up_set_agree(small):
    rows = omniglot(small)
    assert rows.x.shape == (5 * 4 * 20, 1, 28, 28)
    base, result = read_zip(small / "omniglot" / "images_evaluation.zip", 2, 28)
    assert result == SECOND
    start = rows.starts[rows.names.index("Cc/character02/rot090")]
    np.testing.assert_array_equal(rows.x[start + 4, 0], np.rot90(base[1, 4]))
    named = {split: {rows.names[c].rpartition("/")[0] for c in classes} for split, classes in rows.splits.items()}
    assert named == {split: set(characters) for split, characters in LISTS.items()}


def test_the_size_can_be_chosen_and_each_size_has_its_own_cache(small):
    assert omniglot(small, size=28).x.shape[2:] == (28, 28)
    whole = omniglot(small, size=105)
    assert whole.x.shape[2:] == (105, 105) and set(np.unique(whole.x)) == {0, 255}
    assert omniglot(small, size=28).x.shape[2:] == (28, 28)
    assert "size is 0" in refused(omniglot, small, size=0)
    assert "size is 106" in refused(omniglot, small, size=106)


def test_other_zips_are_not_mistaken_for_the_cached_ones(small):
    before = omniglot(small).x
    make_zip(
        small / "omniglot" / "images_background.zip",
        FIRST,
        changed={"images_background/Aa/character01/0000_01.png": png(999)},
    )
    assert not np.array_equal(omniglot(small).x, before)


def test_a_damaged_cache_is_made_again(small, tmp_path):
    before = omniglot(small).x
    (cached,) = (tmp_path / "cache" / "mapwise").iterdir()
    whole = cached.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:5000] + b"damaged" + whole[5007:]):
        cached.write_bytes(damaged)
        np.testing.assert_array_equal(omniglot(small).x, before)
        with np.load(cached) as result:
            assert result["base"].shape == (5, 20, 28, 28)


def test_a_cache_that_cannot_be_written_is_noted_and_harmless(small, tmp_path, monkeypatch):
    before = omniglot(small)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    again = omniglot(small)
    np.testing.assert_array_equal(again.x, before.x)
    assert before.notes == () and len(again.notes) == 1 and "could not be kept" in again.notes[0]


def test_missing_files_are_named_with_the_folder_they_belong_in(small):
    shutil.rmtree(small / "omniglot" / "splits_vinyals")
    (small / "omniglot" / "images_evaluation.zip").unlink()
    answer = refused(omniglot, small)
    for name in ("images_evaluation.zip", *(f"splits_vinyals/{split}.txt" for split in CLASSES)):
        assert name in answer
    assert f"into {small / 'omniglot'}" in answer
    assert "images_background.zip" not in answer


def test_wrong_split_lists_are_one_line_errors(small):
    names = omniglot(small).names
    folder = small / "omniglot" / "splits_vinyals"
    assert "names 8 classes in 8 lines and 9 were published" in refused(read_splits, folder, names, {"train": 9})
    (folder / "val.txt").write_text((folder / "train.txt").read_text())
    assert "two of the lists" in refused(read_splits, folder, names, {"train": 8, "val": 8})
    (folder / "val.txt").write_text("Aa/character01/rot000\nAa/character01/rot000\n")
    assert "names 1 classes in 2 lines" in refused(read_splits, folder, names, {"val": 2})
    (folder / "val.txt").write_text("Zz/character01/rot000\n")
    assert "'Zz/character01/rot000', which is no class" in refused(read_splits, folder, names, {"val": 1})
