"""Glyphs: letters of the world's alphabets, drawn here from fonts that came with matplotlib; needs no download."""

import contextlib
import hashlib
import unicodedata
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mapwise.core.seeds import check_seed
from mapwise.data import typeset as drawing
from mapwise.data.files import write_atomically
from mapwise.data.rows import LabelledRows
from mapwise.data.store import cache_folder

ALPHABETS = {
    "train": ("LATIN", "CYRILLIC", "COPTIC", "ARABIC", "CANADIAN SYLLABICS", "OLD ITALIC", "OGHAM", "LISU"),
    "val": ("ARMENIAN", "GEORGIAN"),
    "test": ("GREEK", "HEBREW", "TIFINAGH", "NKO", "LAO"),
}
"""Whole alphabets: a letter of a test alphabet was never seen in training, nor was its hand."""

_ALIKE = 0.97  # two letters that cover this share of each other's ink are one class
_SHORTEST = 0.5  # of the type size: smaller glyphs are marks rather than letters
_JUDGES = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono")  # faces in which likeness is judged


def glyphs(*, drawings: int = 20, size: int = 28, seed: int = 0) -> LabelledRows:
    """Letters of the world's alphabets, every one drawn by `drawings` different hands.

    Letters that look alike, within or across alphabets, are one class, and so are letters that differ
    only by an accent. The classes are split by alphabet (`ALPHABETS`). Training letters turned
    anticlockwise by 90, 180 and 270 degrees are further training classes, unless the turned letter
    looks like another class.

    x is uint8, [R, 1, size, size], ink 255 on 0. Class names are such as "GREEK/α" and "LATIN/R/rot090".
    The first call takes seconds and leaves a file in the cache folder; the next ones read it.

    Raises ValueError for fewer than 2 drawings, a size under 12 pixels or a negative seed.
    """
    if drawings < 2:
        raise ValueError(f"drawings is {drawings}: at least 2 are needed, one to learn from and one to be judged on")
    if not 12 <= size <= 256:
        raise ValueError(f"size is {size} pixels: letters can be drawn from 12 to 256 pixels a side")
    check_seed(seed)
    letters, pictures = _cached_drawings(drawings, size, seed)
    names = [f"{alphabet}/{letter}" for alphabet, letter in zip(letters.scripts, letters.letters, strict=True)]
    blocks = [pictures]
    splits = {
        split: [i for i, alphabet in enumerate(letters.scripts) if alphabet in alphabets]
        for split, alphabets in ALPHABETS.items()
    }
    for quarter in (1, 2, 3):
        turned = np.flatnonzero(letters.turns[:, quarter - 1])
        splits["train"].extend(range(len(names), len(names) + len(turned)))
        names.extend(f"{names[i]}/rot{90 * quarter:03d}" for i in turned)
        blocks.append(np.rot90(pictures[turned], quarter, axes=(2, 3)))
    x = np.concatenate(blocks)  # [classes, drawings, size, size]
    return LabelledRows(
        x=x.reshape(-1, 1, size, size),
        starts=np.arange(len(names) + 1) * drawings,
        names=tuple(names),
        splits={split: np.asarray(chosen) for split, chosen in splits.items()},
        name="glyphs",
    )


@dataclass(frozen=True)
class Letters:
    """The letters that are classes: their alphabets, and which of their three turns are classes too."""

    letters: list[str]
    scripts: list[str]
    turns: np.ndarray
    """[letters, 3] bool; always False outside the training alphabets"""


def distinct_letters(typesetter: drawing.Typesetter, have: dict[str, frozenset[int]]) -> Letters:
    """Of all letters the fonts have, the ones that look like no other.

    A letter that several alphabets share stays with the one for testing, where classes are fewest.
    """
    order = [script for split in ("test", "val", "train") for script in ALPHABETS[split]]
    first = drawing.FACES[0]
    pairs = [(script(chr(point)), chr(point)) for point in sorted(have[first])]
    letters = [
        letter
        for name, letter in sorted(pairs, key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order))
        if name in order and _is_plain(letter) and typesetter.set(letter, first, 40, 0)[1].max() >= 40 * _SHORTEST
    ]
    letters = [letters[i] for i in _unlike(_likeness(typesetter, letters, have, (0,))[0])]
    scripts = [script(letter) for letter in letters]
    training = np.flatnonzero([name in ALPHABETS["train"] for name in scripts])
    return Letters(letters, scripts, _unlike_turns(_likeness(typesetter, letters, have, (0, 1, 2, 3)), training))


def script(letter: str) -> str:
    """The alphabet of a letter, from its Unicode name: "GREEK", "OLD ITALIC"."""
    words = unicodedata.name(letter, "?").split()
    return " ".join(words[:2]) if words[0] in ("OLD", "CANADIAN") else words[0]


def _is_plain(letter: str) -> bool:
    # A letter that decomposes is another one with an accent, a ligature, or a form of another one.
    return unicodedata.category(letter) in ("Lu", "Ll", "Lo") and unicodedata.normalize("NFKD", letter) == letter


def _likeness(
    typesetter: drawing.Typesetter, letters: list[str], have: dict[str, frozenset[int]], turns: tuple[int, ...]
) -> list[Tensor]:
    """How alike letter a, turned by t quarters, is to letter b: [letters, letters] for every t, 0..1.

    The share of the ink of each that lies within a pixel of the other's, the smaller of the two, at its
    largest over faces, for letters brought to one size; and for letters stretched to a square where
    they are nearly equally slim.
    """
    like = [torch.zeros(len(letters), len(letters)) for _ in turns]
    for face in _JUDGES:
        has = torch.tensor([i for i, letter in enumerate(letters) if ord(letter) in have[face]])
        whole, filled, aspect = drawing.clean(typesetter, [letters[i] for i in has.tolist()], face, 28)
        for pictures, nearly in ((whole, None), (filled, aspect.log())):
            covered = {turn: _covered(torch.rot90(pictures, turn, (1, 2)), pictures) for turn in turns}
            for place, turn in enumerate(turns):
                # b covered by turned a = b turned back covered by a
                both = torch.minimum(covered[turn], covered[-turn % 4].T)
                if nearly is not None:
                    slim = -nearly if turn % 2 else nearly
                    both = both * ((slim[:, None] - nearly[None]).abs() < 0.3)
                rows = like[place][has]
                rows[:, has] = torch.maximum(rows[:, has], both)
                like[place][has] = rows
    return like


def _covered(a: Tensor, b: Tensor) -> Tensor:
    """The share of the ink of each a that lies within a pixel of each b's ink, [a, b]."""
    # Half grey counts as ink: hairlines are never darker, and a letter must cover itself.
    b = (2 * b).clamp(max=1)
    near = torch.zeros_like(b)
    padded = F.pad(b, (1, 1, 1, 1))
    for down in range(3):
        for right in range(3):
            near = torch.maximum(near, padded[:, down : down + b.shape[1], right : right + b.shape[2]])
    ink = a.flatten(1)
    return ink / ink.sum(1, keepdim=True).clamp(min=1e-6) @ near.flatten(1).T


def _unlike(like: Tensor) -> list[int]:
    """Letters, in order, each looking like none before it."""
    alike = (like >= _ALIKE).numpy()
    unlike: list[int] = []
    for i in range(len(alike)):
        if not alike[i, unlike].any():
            unlike.append(i)
    return unlike


def _unlike_turns(like: list[Tensor], training: np.ndarray) -> np.ndarray:
    """Which turns of which training letters look like no letter and no turned letter taken before, [letters, 3]."""
    alike = np.stack([(each >= _ALIKE).numpy() for each in like])  # [4, letters, letters]
    taken = np.zeros((len(alike[0]), 3), dtype=bool)
    for letter in training:
        for turn in (1, 2, 3):
            clash = alike[turn, letter].any()
            for other in (1, 2, 3):
                # a turned by t against b turned by o is a turned by t - o against b.
                clash = clash or (alike[(turn - other) % 4, letter] & taken[:, other - 1]).any()
            taken[letter, turn - 1] = not clash
    return taken


def _draw_all(drawings: int, size: int, seed: int) -> tuple[Letters, np.ndarray]:
    typesetter = drawing.Typesetter.opened()
    have = drawing.charmaps()
    letters = distinct_letters(typesetter, have)
    pictures = np.empty((len(letters.letters), drawings, size, size), np.uint8)
    for place, letter in enumerate(letters.letters):
        # One generator a class, one row a drawing: more drawings or other letters leave these as they are.
        random = np.random.Generator(np.random.Philox(key=[seed, ord(letter)]))
        uniform = random.random((drawings, drawing.numbers_of(size)), dtype=np.float32)
        faces = [face for face in drawing.FACES if ord(letter) in have[face]]
        pictures[place] = drawing.draw_letter(typesetter, letter, faces, size, uniform)
    return letters, pictures


def _cached_drawings(drawings: int, size: int, seed: int) -> tuple[Letters, np.ndarray]:
    """The upright drawings, [letters, drawings, size, size], from the cache folder or drawn now and left there."""
    path = cache_folder() / "glyphs" / f"{_edition(drawings, size, seed)}.npz"
    try:
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as cache:
            return Letters(cache["letters"].tolist(), cache["scripts"].tolist(), cache["turns"]), cache["pictures"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there yet, or not what we wrote: drawn again below
    letters, pictures = _draw_all(drawings, size, seed)
    # A full disk or a home that cannot be written costs seconds the next time, nothing else.
    with contextlib.suppress(OSError):
        write_atomically(path, partial(_write, letters, pictures))
    return letters, pictures


def _write(letters: Letters, pictures: np.ndarray, file: BinaryIO) -> None:
    np.savez(
        file,
        letters=np.asarray(letters.letters),
        scripts=np.asarray(letters.scripts),
        turns=letters.turns,
        pictures=pictures,
    )


def _edition(drawings: int, size: int, seed: int) -> str:
    """A name for everything the drawings depend on: the settings, this code, the fonts and what sets them."""
    import matplotlib
    import PIL

    code = [Path(file).read_bytes() for file in (__file__, drawing.__file__)]
    versions = (matplotlib.__version__, PIL.__version__, unicodedata.unidata_version, torch.__version__)
    return hashlib.sha256(b"".join(code) + repr((drawings, size, seed, versions)).encode()).hexdigest()[:24]
