"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people.

Lake, Salakhutdinov, Tenenbaum 2015, "Human-level concept learning through probabilistic program
induction"; splits of Vinyals et al. 2016, arXiv:1606.04080, as published with Prototypical Networks.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mapwise.data.files import write_atomically
from mapwise.data.rows import LabelledRows
from mapwise.data.store import Remote, cache_folder, data_root, fetch_all

CHARACTERS = {"images_background": 964, "images_evaluation": 659}
CLASSES = {"train": 4112, "val": 688, "trainval": 4800, "test": 1692}
DRAWINGS = 20
SIDE = 105
ROTATIONS = ("rot000", "rot090", "rot180", "rot270")

_IMAGES = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
_SPLITS = "https://raw.githubusercontent.com/jakesnell/prototypical-networks/master/data/omniglot/splits/vinyals"
REMOTES = (
    # The MD5 are those torchvision checks.
    Remote("images_background.zip", f"{_IMAGES}/images_background.zip", md5="68d2efa1b9178cc56df9314c21c6e718"),
    Remote("images_evaluation.zip", f"{_IMAGES}/images_evaluation.zip", md5="6b91aef0f799c5bb55b94e3f2daec811"),
    Remote(
        "splits_vinyals/train.txt",
        f"{_SPLITS}/train.txt",
        sha256="984522c194c30fb678ce53304a160a42faf5403ad4f9a67010f32dd3a35738e0",
    ),
    Remote(
        "splits_vinyals/val.txt",
        f"{_SPLITS}/val.txt",
        sha256="11f99e54faee3e26f53d3231c1cceac5bf7b8730e9be31cb6dab256551dc0c1a",
    ),
    Remote(
        "splits_vinyals/trainval.txt",
        f"{_SPLITS}/trainval.txt",
        sha256="5276ae50c755596d0bff7f2284e85625695549a85ee6e36b6491ad1e5d1cc26a",
    ),
    Remote(
        "splits_vinyals/test.txt",
        f"{_SPLITS}/test.txt",
        sha256="845264cc5c156180828ccf17915668b17ee21424d0170df6e7d81676aa5d1204",
    ),
)

# Raised whenever the same zips would give other bytes, so that no old cache is mistaken for a new one.
_VERSION = 1


def omniglot(data: str | Path | None = None, *, size: int = 28) -> LabelledRows:
    """Every Omniglot drawing in four rotations: 6,492 classes of 20 rows, x [129840, 1, size, size].

    Bytes, ink 255 on 0, so that ink is 1 once scaled; shrunk from 105x105 by Pillow's Lanczos filter.
    A class is a character turned by 0, 90, 180 or 270 degrees counter-clockwise and is named
    "Alphabet/characterNN/rotDDD". Splits: train 4,112 classes, val 688, trainval 4,800 (both of them)
    and test 1,692, of different characters.

    data: the data root; the files lie in its folder `omniglot`: images_background.zip and
          images_evaluation.zip as distributed, and splits_vinyals/{train,val,trainval,test}.txt. A
          missing file is downloaded from its official address where there is a network.
    size: pixels a side, 1 to 105.

    Raises ValueError when a file is missing and cannot be downloaded, or is not what it should be.
    """
    if not 1 <= size <= SIDE:
        raise ValueError(f"size is {size}: give a number of pixels from 1 to {SIDE}")
    folder = data_root(data) / "omniglot"
    fetch_all(REMOTES, folder)
    base, characters, notes = _drawings(folder, size)
    x = np.empty((len(characters), len(ROTATIONS), DRAWINGS, 1, size, size), np.uint8)
    for turns in range(len(ROTATIONS)):
        x[:, turns, :, 0] = np.rot90(base, turns, axes=(2, 3))
    names = tuple(f"{character}/{rotation}" for character in characters for rotation in ROTATIONS)
    return LabelledRows(
        x=x.reshape(-1, 1, size, size),
        starts=np.arange(len(names) + 1) * DRAWINGS,
        names=names,
        splits=read_splits(folder / "splits_vinyals", names, CLASSES),
        name="omniglot",
        notes=notes,
    )


def read_zip(path: Path, characters: int, size: int) -> tuple[np.ndarray, list[str]]:
    """The drawings of one zip, [characters, 20, size, size], uint8 with ink 255; and "Alphabet/characterNN" of each.

    Raises ValueError when the zip is broken, a drawing is, or the counts are not as published.
    """
    from PIL import Image

    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as problem:
        raise ValueError(f"{path} cannot be read as a zip ({problem}): replace it with the distributed file") from None
    with archive:
        entries_of: dict[str, list[str]] = {}
        for entry in archive.namelist():
            # images_x/Alphabet/characterNN/*.png; whatever else an archiver left beside them is passed over.
            parts = entry.split("/")
            if len(parts) == 4 and parts[0] == path.stem and parts[3].endswith(".png") and parts[3][0] != ".":
                entries_of.setdefault(f"{parts[1]}/{parts[2]}", []).append(entry)
        if len(entries_of) != characters:
            raise ValueError(
                f"{path} holds {len(entries_of)} characters and {characters} were published: "
                "replace it with the distributed file"
            )
        base = np.empty((characters, DRAWINGS, size, size), np.uint8)
        for place, (character, entries) in enumerate(sorted(entries_of.items())):
            if len(entries) != DRAWINGS:
                raise ValueError(
                    f"{path} holds {len(entries)} drawings of {character} and {DRAWINGS} were published: "
                    "replace it with the distributed file"
                )
            for drawing, entry in enumerate(sorted(entries)):
                try:
                    image = Image.open(io.BytesIO(archive.read(entry))).convert("L")
                # Pillow says SyntaxError of some broken PNG.
                except (OSError, SyntaxError, ValueError, zipfile.BadZipFile, zlib.error) as problem:
                    reason = " ".join(str(problem).split())
                    raise ValueError(
                        f"{entry} in {path} is not a readable drawing ({reason}): replace the zip with the "
                        "distributed file"
                    ) from None
                if image.size != (SIDE, SIDE) or image.getextrema() != (0, 255):
                    raise ValueError(
                        f"{entry} in {path} is not a {SIDE}x{SIDE} drawing in black on white: "
                        "replace the zip with the distributed file"
                    )
                if size != SIDE:
                    image = image.resize((size, size), Image.Resampling.LANCZOS)
                base[place, drawing] = 255 - np.asarray(image)
    return base, sorted(entries_of)


def read_splits(folder: Path, names: tuple[str, ...], counts: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The class indices of every split, from one file of class names each.

    Raises ValueError when a list has another number of classes than `counts`, names an unknown or a
    repeated one, or when train, val and test share one.
    """
    place = {name: i for i, name in enumerate(names)}
    splits = {}
    for split, count in counts.items():
        path = folder / f"{split}.txt"
        listed = path.read_text(encoding="utf-8").split()
        unknown = [name for name in listed if name not in place]
        if unknown:
            raise ValueError(
                f"{path} names {unknown[0]!r}, which is no class of the images: replace it with the published list"
            )
        if len(set(listed)) != count or len(listed) != count:
            raise ValueError(
                f"{path} names {len(set(listed))} classes in {len(listed)} lines and {count} were published: "
                "replace it with the published list"
            )
        splits[split] = np.sort(np.asarray([place[name] for name in listed], np.int64))
    judged = [name for name in ("train", "val", "test") if name in splits]
    both, times = np.unique(np.concatenate([splits[name] for name in judged]), return_counts=True)
    if (times > 1).any():
        shared = names[int(both[times > 1][0])]
        raise ValueError(f"two of the lists in {folder} name {shared!r}: replace them with the published lists")
    return splits


def _drawings(folder: Path, size: int) -> tuple[np.ndarray, list[str], tuple[str, ...]]:
    """All drawings unturned, [1623, 20, size, size], their characters, and what the user should know."""
    digest = hashlib.sha256()
    for name in CHARACTERS:
        digest.update((folder / f"{name}.zip").read_bytes())
    cached = cache_folder() / f"omniglot-{size}-v{_VERSION}-{digest.hexdigest()[:16]}.npz"
    shape = (sum(CHARACTERS.values()), DRAWINGS, size, size)
    try:
        with cached.open("rb") as file, np.load(file, allow_pickle=False) as cache:
            base, characters = cache["base"], cache["characters"].tolist()
        if base.shape == shape and base.dtype == np.uint8 and len(characters) == shape[0]:
            return base, characters, ()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        pass  # absent or damaged: made again below
    parts = [read_zip(folder / f"{name}.zip", count, size) for name, count in CHARACTERS.items()]
    base = np.concatenate([drawings for drawings, _ in parts])
    characters = [character for _, names in parts for character in names]
    try:
        write_atomically(cached, lambda file: np.savez(file, base=base, characters=np.asarray(characters)))
    except OSError as problem:
        reason = problem.strerror or str(problem)
        return base, characters, (f"the drawings could not be kept in {cached.parent} ({reason}): they are read anew",)
    return base, characters, ()
