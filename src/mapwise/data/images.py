"""A folder of images, one subfolder a class."""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mapwise.data.files import check_file
from mapwise.data.inputs import SUFFIXES
from mapwise.data.pictures import Unreadable, of_channels, picture, read_heif, stretched
from mapwise.data.rows import LabelledRows, deal

USUAL = 84
"""Pixels a side when the images are at least as large: what the field uses for photographs."""
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_IGNORED = ("thumbs.db", "desktop.ini", "__macosx")  # file managers leave these behind


def images(
    folder: str | Path, *, size: int | None = None, colour: bool | None = None, skip_bad: bool = False, seed: int = 0
) -> LabelledRows:
    """A folder of images, one subfolder a class, of any type Pillow reads and at any depth below it.

    When the subfolders are `train`, `val` and `test`, the classes are the folders inside them, and a
    missing `val` takes a fifth of the training classes; otherwise the classes are dealt out by `seed`.
    Without `train` the folder can judge a learner and train none.
    Images are turned as their EXIF data say, laid on white where transparent, taken at their first frame
    where they move, and stretched to one square. Hidden files and files outside class folders are not read.

    size:     pixels a side; by default 84, or the longest side of all images where that is less.
    colour:   three channels or one; by default one when every image is grey.
    skip_bad: leave out images that are damaged or cut short. Files that are no images, and aren't called so either, are
              left out anyway; `notes` say so.

    x is uint8, [R, 1 or 3, size, size].

    Raises ValueError for a folder that is missing, empty, or has no class folders or only one class;
    for a class found in two splits; and for a file that cannot be read as an image.
    """
    folder = Path(folder).expanduser()
    if size is not None and not 1 <= size <= 4096:
        raise ValueError(f"size is {size}: give a number of pixels from 1 to 4096")
    splits = class_folders(folder)
    if "train" in splits and "test" not in splits:
        raise ValueError(f"{folder} has {', '.join(splits)} but no test folder: add it, with class folders inside")
    files = [
        (file, path.name) for chosen in splits.values() for path in chosen for file in files_in(path)
    ]  # in the order of splits, then of names
    if not files:
        raise ValueError(f"the class folders in {folder} hold no files: put at least two images into each")
    side = size if size is not None else min(USUAL, max(1, *(_longest(file) for file, _ in files)))
    pictures: list[np.ndarray] = []
    labels: list[str] = []
    left_out: list[str] = []
    for file, label in files:
        try:
            pictures.append(_read(file, side))
            labels.append(label)
        except Unreadable as problem:
            if not (skip_bad or is_foreign(file)):
                raise ValueError(
                    f"{file} {problem}: replace or delete it, or leave such files out with --skip-bad"
                ) from None
            left_out.append(file.relative_to(folder).as_posix())
    present = set(labels)
    if len(present) < 2:
        raise ValueError(
            f"{folder} has images of {len(present)} class{'' if len(present) == 1 else 'es'}: "
            "at least two class folders with images are needed"
        )
    if colour is None:
        colour = any(picture.shape[0] == 3 and bool((picture != picture[:1]).any()) for picture in pictures)
    empty = sorted({path.name for chosen in splits.values() for path in chosen} - present)
    notes = []
    if left_out:
        shown = ", ".join(left_out[:3]) + (", ..." if len(left_out) > 3 else "")
        notes.append(f"{len(left_out)} of {len(files)} files can't be read as images and were left out: {shown}")
    if empty:
        notes.append(f"{len(empty)} class folders without images were left out: {', '.join(empty[:3])}")
    return LabelledRows.of(
        np.stack([of_channels(picture, 3 if colour else 1) for picture in pictures]),
        labels,
        name=folder.resolve().name,
        splits=_named(splits, present, seed),
        seed=seed,
        notes=notes,
    )


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """Split name -> class folders; all of them under "" when the folder has no splits.

    Raises ValueError for a folder that is missing or has no folders inside, for a class in two splits, and for folders
    that hold no files but folders of the same names, which then look like the classes.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: give a folder with one subfolder of images for each class")
    inside = list(visible(folder))
    if not inside:
        raise ValueError(f"{folder} is empty: put one subfolder of images for each class into it")
    below = [path for path in inside if path.is_dir()]
    if not below:
        raise ValueError(f"{folder} has files but no subfolders: put the images of each class into a folder of its own")
    within = {path: [inner for inner in visible(path) if inner.is_dir()] for path in below}
    if not all(path.name.lower() in _SPLITS and within[path] for path in below):
        _check_level(folder, below, within)
        return {"": below}
    splits: dict[str, list[Path]] = {}
    home: dict[str, str] = {}
    for path in below:
        split = _SPLITS[path.name.lower()]
        for inner in within[path]:
            if inner.name in home:
                raise ValueError(
                    f"class {inner.name!r} is in {home[inner.name]} and in {path.name} of {folder}: splits hold "
                    f"different classes, so keep each class in one of them, or give one of them alone, such as {path}"
                )
            home[inner.name] = path.name
        splits.setdefault(split, []).extend(within[path])
    return splits


def _check_level(folder: Path, below: list[Path], within: dict[Path, list[Path]]) -> None:
    """Raises ValueError where the folders inside look like places or times, each with the same classes."""
    shared = sorted(set.intersection(*({inner.name for inner in within[path]} for path in below)))
    if len(below) < 2 or len(shared) < 2 or any(not inner.is_dir() for path in below for inner in visible(path)):
        return
    raise ValueError(
        f"the folders in {folder} hold folders of the same names, {shared[0]} and {shared[1]}, which look like the "
        f"classes: give one of them, such as {below[0]}, or put the pictures of each class into one folder"
    )


def _named(splits: dict[str, list[Path]], present: set[str], seed: int) -> dict[str, list[str]] | None:
    """The class names of every split; None when they are to be dealt out."""
    if "" in splits:
        return None
    named = {split: [path.name for path in chosen if path.name in present] for split, chosen in splits.items()}
    if "train" in named and "val" not in named:
        names = named["train"]
        dealt = deal(len(names), seed)
        if len(names) < 3:  # too few to part with any
            return {"train": names, "val": names, "test": named["test"]}
        named["val"] = [names[i] for i in dealt["val"]]
        named["train"] = [names[i] for i in sorted([*dealt["train"], *dealt["test"]])]
    return {split: named[split] for split in ("train", "val", "test") if split in named}


def visible(folder: Path) -> Iterator[Path]:
    """What lies in a folder, in order, but for hidden files and those that file managers leave behind."""
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.name.lower() not in _IGNORED:
            yield path


def files_in(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """The visible files at any depth below a folder, in order; a link to a folder that it lies in is not followed.

    above: folders that this one lies in, which is where links may lead back to.
    """
    around = above | {folder.resolve()}
    for path in visible(folder):
        if not path.is_dir():
            yield path
        elif path.resolve() not in around:
            yield from files_in(path, around)


def sifted(files: Iterable[Path], *, skip_bad: bool) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The files that are pictures, and the others with what is wrong, as the end of a sentence.

    skip_bad: read every picture, and leave out those that are damaged; otherwise only foreign files are left out.
    """
    pictures: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    for file in files:
        fault = "is not an image" if is_foreign(file) else _damage_of(file) if skip_bad else ""
        if fault:
            left_out.append((file, fault))
        else:
            pictures.append(file)
    return pictures, left_out


def is_foreign(file: Path) -> bool:
    """Whether a file is no picture and has no name of one, such as notes beside the pictures."""
    return file.suffix.lower() not in SUFFIXES and not _longest(file)


def _damage_of(file: Path) -> str:
    """Why a picture can't be read; "" where it can."""
    try:
        picture(file, 1)
    except Unreadable as problem:
        return str(problem)
    return ""


def _longest(file: Path) -> int:
    """The longer side of an image in pixels; 0 for a file that is not an image, which raises when it is read."""
    from PIL import Image

    try:
        check_file(file)
        read_heif(file)
        with warnings.catch_warnings(action="ignore"), Image.open(file) as image:
            return max(image.size)
    except Exception:  # as in _read
        return 0


def _read(file: Path, side: int) -> np.ndarray:
    """One image, uint8 [1, side, side] when it is stored in grey and [3, side, side] otherwise."""
    return stretched(picture(file, side), side, side)
