"""A folder of images: every sort of file comes out as one array, and what cannot is said in a sentence."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapwise.data.images import images


def picture(path: Path, size=(20, 20), mode: str = "L", colour=128, **saving) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **saving)


def folder(tmp_path: Path, classes: int = 3, each: int = 3) -> Path:
    for c in range(classes):
        for i in range(each):
            picture(tmp_path / f"class{c}" / f"{i}.png", colour=40 * c + i)
    return tmp_path


def of_class(rows, name: str) -> np.ndarray:
    c = rows.names.index(name)
    return rows.x[rows.starts[c] : rows.starts[c + 1]]


def test_grey_images_become_one_channel_of_bytes_under_their_class(tmp_path):
    rows = images(folder(tmp_path))
    assert rows.x.shape == (9, 1, 20, 20) and rows.x.dtype == np.uint8
    assert rows.names == ("class0", "class1", "class2") and rows.name == tmp_path.name and rows.notes == ()
    for c in range(3):
        assert of_class(rows, f"class{c}")[:, 0, 5, 5].tolist() == [40 * c, 40 * c + 1, 40 * c + 2]


def test_mixed_sizes_modes_and_types_come_to_one_size_and_to_colour(tmp_path):
    picture(tmp_path / "a" / "grey.png", (30, 10), "L", 77)
    picture(tmp_path / "a" / "red.jpg", (200, 100), "RGB", (255, 0, 0))
    picture(tmp_path / "b" / "palette.gif", (50, 60), "P", 0)
    picture(tmp_path / "b" / "deep" / "print.tiff", (12, 12), "CMYK", (0, 0, 0, 0))
    picture(tmp_path / "b" / "bits.bmp", (9, 9), "1", 1)
    picture(tmp_path / "b" / "web.webp", (40, 40), "RGBA", (0, 0, 255, 255), lossless=True)
    rows = images(tmp_path)
    assert rows.x.shape == (6, 3, 84, 84)
    grey, red = of_class(rows, "a")
    assert (grey == 77).all()
    assert red[0].min() > 245 and red[1:].max() < 10
    assert images(tmp_path, size=32).x.shape == (6, 3, 32, 32)
    assert images(tmp_path, size=32, colour=False).x.shape == (6, 1, 32, 32)
    assert abs(int(images(tmp_path, colour=False).x[1, 0, 40, 40]) - 76) <= 2  # the brightness of red


def test_colour_files_that_hold_only_grey_stay_grey_unless_asked(tmp_path):
    for c in "ab":
        picture(tmp_path / c / "1.png", mode="RGB", colour=(9, 9, 9))
        picture(tmp_path / c / "2.png", mode="L", colour=9)
    assert images(tmp_path).x.shape[1] == 1
    rows = images(tmp_path, colour=True)
    assert rows.x.shape[1] == 3 and (rows.x == 9).all()


def test_transparent_parts_are_white_and_sixteen_bits_become_eight(tmp_path):
    picture(tmp_path / "a" / "clear.png", mode="RGBA", colour=(255, 0, 0, 0))
    picture(tmp_path / "a" / "half.png", mode="LA", colour=(0, 128))
    deep = tmp_path / "b" / "deep.png"
    deep.parent.mkdir()
    Image.fromarray(np.full((20, 20), 257 * 100, np.uint16)).save(deep)
    picture(tmp_path / "b" / "plain.png", colour=100)
    rows = images(tmp_path)
    assert (of_class(rows, "a")[0] == 255).all()
    assert np.abs(of_class(rows, "a")[1].astype(int) - 127).max() <= 1
    assert (of_class(rows, "b") == 100).all()


def test_a_photograph_taken_sideways_stands_upright_and_a_moving_picture_gives_its_first_frame(tmp_path):
    wide = Image.new("L", (40, 20), 0)
    wide.paste(255, (0, 0, 20, 20))  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to see it upright
    (tmp_path / "a").mkdir()
    wide.save(tmp_path / "a" / "turned.png", exif=exif)
    frames = [Image.new("L", (20, 20), shade) for shade in (10, 200)]
    (tmp_path / "b").mkdir()
    frames[0].save(tmp_path / "b" / "moving.gif", save_all=True, append_images=frames[1:])
    rows = images(tmp_path, size=20)
    turned = of_class(rows, "a")[0, 0]
    assert turned[:8].min() == 255 and turned[-8:].max() == 0
    assert (of_class(rows, "b")[0] == 10).all()


def test_hidden_files_and_files_outside_class_folders_are_not_read(tmp_path):
    folder(tmp_path)
    for name in (".DS_Store", "class0/.DS_Store", "class1/Thumbs.db", "class1/desktop.ini", "README.txt"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    rows = images(tmp_path)
    assert len(rows.x) == 9 and rows.names == ("class0", "class1", "class2") and rows.notes == ()


@pytest.mark.parametrize("fault", ["truncated", "text", "empty"])
def test_a_bad_file_is_named_and_left_out_only_on_request(tmp_path, fault):
    folder(tmp_path)
    bad = tmp_path / "class1" / "bad.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(bad)
    content = {"truncated": bad.read_bytes()[:1500], "text": b"hello, I am no image", "empty": b""}[fault]
    bad.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.jpg is .*--skip-bad") as refused:
        images(tmp_path)
    assert "\n" not in str(refused.value)
    rows = images(tmp_path, skip_bad=True)
    assert len(rows.x) == 9
    assert rows.notes == ("1 of 10 files can't be read as images and were left out: class1/bad.jpg",)
    assert bad.read_bytes() == content


def test_notes_beside_the_pictures_are_left_out_and_counted(tmp_path):
    folder(tmp_path)
    (tmp_path / "class1" / "notes.txt").write_text("taken in May")
    rows = images(tmp_path)
    assert len(rows.x) == 9
    assert rows.notes == ("1 of 10 files can't be read as images and were left out: class1/notes.txt",)


def test_train_val_and_test_folders_are_the_splits(tmp_path):
    for split, classes in {"train": "abcd", "validation": "ef", "test": "gh"}.items():
        for c in classes:
            picture(tmp_path / split / c / "1.png")
    rows = images(tmp_path)
    by_name = {split: "".join(rows.names[i] for i in chosen) for split, chosen in rows.splits.items()}
    assert by_name == {"train": "abcd", "val": "ef", "test": "gh"}


def test_a_missing_validation_folder_takes_some_of_the_training_classes(tmp_path):
    for split, classes in {"train": "abcdefghij", "test": "xyz"}.items():
        for c in classes:
            picture(tmp_path / split / c / "1.png")
    splits = images(tmp_path).splits
    names = images(tmp_path).names
    assert sorted(names[i] for i in [*splits["train"], *splits["val"]]) == list("abcdefghij")
    assert len(splits["val"]) == 2 and "".join(names[i] for i in splits["test"]) == "xyz"


def test_other_seeds_deal_the_classes_differently(tmp_path):
    folder(tmp_path, classes=10, each=1)
    assert images(tmp_path).splits["test"].tolist() == images(tmp_path).splits["test"].tolist()
    assert len({tuple(images(tmp_path, seed=seed).splits["test"].tolist()) for seed in range(5)}) > 1


def test_folders_without_images_are_refused_in_a_sentence(tmp_path):
    def refused(path: Path, answer: str, **settings) -> None:
        with pytest.raises(ValueError, match=answer) as problem:
            images(path, **settings)
        assert "\n" not in str(problem.value)

    refused(tmp_path / "nowhere", "nowhere is not a folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty is empty: put one subfolder")
    picture(tmp_path / "flat" / "1.png")
    refused(tmp_path / "flat", "flat has files but no subfolders")
    picture(tmp_path / "one" / "cat" / "1.png")
    refused(tmp_path / "one", "images of 1 class: at least two")
    (tmp_path / "hollow" / "cat").mkdir(parents=True)
    refused(tmp_path / "hollow", "hold no files")
    picture(tmp_path / "twice" / "train" / "cat" / "1.png")
    picture(tmp_path / "twice" / "test" / "cat" / "1.png")
    refused(tmp_path / "twice", "class 'cat' is in test and in train")
    picture(tmp_path / "half" / "train" / "cat" / "1.png")
    refused(tmp_path / "half", "has train but no test folder")
    refused(folder(tmp_path / "good"), "size is 0", size=0)


def test_an_empty_class_folder_is_left_out_and_said_so(tmp_path):
    folder(tmp_path)
    (tmp_path / "nothing").mkdir()
    rows = images(tmp_path)
    assert "nothing" not in rows.names and rows.notes == ("1 class folders without images were left out: nothing",)


def test_a_real_folder_of_photographs_is_read(shared_data, tmp_path):
    packed = shared_data / "tiny-imagenet-fewshot" / "val.zip"
    if not packed.is_file():
        pytest.skip(f"{packed} is not there")
    with zipfile.ZipFile(packed) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png"))]
        archive.extractall(tmp_path, names[::40])
    depth = max(len(Path(name).parts) for name in names)
    top = tmp_path.joinpath(*Path(names[0]).parts[: depth - 2])
    rows = images(top)
    assert len(rows.x) == len(names[::40]) and rows.x.shape[1:] == (3, 64, 64)
    assert len(rows.names) >= 5 and rows.x.std() > 30
