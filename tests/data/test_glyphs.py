"""Glyphs: the classes are distinct letters, split by alphabet, alive and legible, the same on every machine's run."""

import unicodedata

import numpy as np
import pytest
import torch

from mapwise.data import glyphs as module
from mapwise.data import typeset as drawing
from mapwise.data.digits import digits
from mapwise.data.glyphs import ALPHABETS, glyphs
from mapwise.data.rows import LabelledRows
from mapwise.tasks.episodes import Episodes

DRAWINGS = 4


@pytest.fixture(scope="module")
def letters() -> LabelledRows:
    return glyphs(drawings=DRAWINGS)


def upright(rows: LabelledRows) -> list[int]:
    return [i for i, name in enumerate(rows.names) if "/rot" not in name]


def test_there_are_about_a_thousand_letters_and_three_quarters_of_them_train(letters):
    counts = {split: sum(i in set(upright(letters)) for i in chosen) for split, chosen in letters.splits.items()}
    assert 950 <= sum(counts.values()) <= 1400
    assert 650 <= counts["train"] <= 1000 and counts["val"] >= 100 and counts["test"] >= 100
    assert len(letters.splits["train"]) > 2.5 * counts["train"]
    assert letters.x.shape == (DRAWINGS * len(letters.names), 1, 28, 28) and letters.x.dtype == np.uint8


def test_every_class_is_in_one_split_and_every_alphabet_in_one(letters):
    everywhere = np.concatenate(list(letters.splits.values()))
    assert sorted(everywhere.tolist()) == list(range(len(letters.names)))
    assert len(set(letters.names)) == len(letters.names)
    alphabets = {split: {letters.names[i].split("/")[0] for i in chosen} for split, chosen in letters.splits.items()}
    assert alphabets == {split: set(names) for split, names in ALPHABETS.items()}


def test_only_training_letters_are_turned_and_a_turned_class_is_its_letters_drawings_turned(letters):
    for split in ("val", "test"):
        assert not any("/rot" in letters.names[i] for i in letters.splits[split])
    place = {name: i for i, name in enumerate(letters.names)}
    for quarter in (1, 2, 3):
        ending = f"/rot{90 * quarter:03d}"
        turned = [name for name in letters.names if name.endswith(ending)]
        assert len(turned) > 300
        for name in turned[::50]:
            first, second = letters.starts[place[name]], letters.starts[place[name.removesuffix(ending)]]
            for k in range(DRAWINGS):
                assert (letters.x[first + k, 0] == np.rot90(letters.x[second + k, 0], quarter)).all()


@pytest.mark.parametrize("alike", ["AΑАᎪ", "oOοΟоО", "sSѕЅ", "cCсС", "PpРр", "HНΗ", "zZΖ", "vV"])
def test_letters_that_look_alike_across_alphabets_or_cases_are_one_class(letters, alike):
    results = [name for name in letters.names if "/rot" not in name and name.split("/")[1] in alike]
    assert len(results) <= 1


def test_no_letter_is_another_with_an_accent(letters):
    for i in upright(letters):
        letter = letters.names[i].split("/", 1)[1]
        assert len(letter) == 1 and unicodedata.normalize("NFD", letter) == letter


def test_a_turned_letter_that_looks_like_another_is_no_class_of_its_own(letters):
    # The overlap of the ink without any tolerance: another measure than the one that chose the classes.
    typesetter, have = drawing.Typesetter.opened(), drawing.charmaps()
    assert all(ord(letters.names[i].split("/", 1)[1]) in have["DejaVuSans"] for i in upright(letters))
    whole, _, _ = drawing.clean(
        typesetter, [letters.names[i].split("/", 1)[1] for i in upright(letters)], "DejaVuSans", 28
    )
    place = {letters.names[i]: whole[j] for j, i in enumerate(upright(letters))}
    pictures = []
    for name in letters.names:
        letter, _, turn = name.partition("/rot")
        pictures.append(torch.rot90(place[letter], int(turn or 0) // 90, (0, 1)))
    ink = (torch.stack(pictures) > 0.5).flatten(1).to(torch.float32)
    both = ink @ ink.T
    overlap = both / (ink.sum(1)[:, None] + ink.sum(1)[None] - both)
    overlap.fill_diagonal_(0)
    assert float(overlap.max()) < 0.98  # letters that differ by a dot overlap most
    # Where the measure is right to say so: 1.0 for what was left out.
    assert "LATIN/N/rot090" not in letters.names or "LATIN/Z" not in letters.names
    n, u = (f"LATIN/{letter}" in letters.names for letter in "nu")
    assert not (n and u and "LATIN/n/rot180" in letters.names)


def test_every_drawing_is_alive_and_lies_in_the_middle(letters):
    ink = letters.x[:, 0].astype(np.float64) / 255
    share = (ink > 0.5).mean(axis=(1, 2))
    assert share.min() > 0.01 and share.max() < 0.6
    assert np.median(ink.max(axis=(1, 2))) > 0.9
    axis = np.arange(28) - 13.5
    down = (ink.sum(2) * axis).sum(1) / ink.sum((1, 2))
    right = (ink.sum(1) * axis).sum(1) / ink.sum((1, 2))
    assert np.abs(down).max() < 9 and np.abs(right).max() < 9
    assert abs(down.mean()) < 1 and abs(right.mean()) < 1


def test_raw_pixels_find_about_half_of_the_unseen_letters(letters):
    task = Episodes(letters, queries=3, tasks=300, part="test")(0)
    support, query = task.support.x.flatten(2), task.query.x.flatten(2)
    prototypes = task.support.y.transpose(1, 2) @ support
    nearest = torch.cdist(query, prototypes).argmin(2)
    accuracy = (nearest == task.query.y.argmax(2)).float().mean().item()
    assert 0.40 < accuracy < 0.62


def test_a_drawing_depends_on_seed_letter_and_its_number_only():
    typesetter = drawing.Typesetter.opened()

    def drawn(seed: int, count: int) -> np.ndarray:
        random = np.random.Generator(np.random.Philox(key=[seed, ord("R")]))
        return drawing.draw_letter(
            typesetter, "R", drawing.FACES, 28, random.random((count, drawing.numbers_of(28)), dtype=np.float32)
        )

    few, many, other = drawn(0, 3), drawn(0, 8), drawn(1, 3)
    assert (few == many[:3]).all()
    assert not (few == other).all(axis=(1, 2)).any()
    assert len(np.unique(many.reshape(8, -1), axis=0)) == 8


def test_the_second_call_reads_what_the_first_left_and_a_damaged_file_is_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    drawn: list[int] = []

    def few(drawings: int, size: int, seed: int) -> tuple[module.Letters, np.ndarray]:
        drawn.append(seed)
        pictures = np.random.default_rng(seed).integers(0, 256, (4, drawings, size, size), dtype=np.uint8)
        turns = np.asarray([[True, False, True], [False] * 3, [False] * 3, [False] * 3])
        return module.Letters(list("RJαա"), ["LATIN", "LATIN", "GREEK", "ARMENIAN"], turns), pictures

    monkeypatch.setattr(module, "_draw_all", few)
    first, second = glyphs(drawings=2, size=12), glyphs(drawings=2, size=12)
    assert drawn == [0]
    assert (first.x == second.x).all() and first.names == second.names
    assert first.names == ("LATIN/R", "LATIN/J", "GREEK/α", "ARMENIAN/ա", "LATIN/R/rot090", "LATIN/R/rot270")
    (result,) = tmp_path.rglob("*.npz")
    result.write_bytes(result.read_bytes()[:500])
    third = glyphs(drawings=2, size=12)
    assert drawn == [0, 0] and (first.x == third.x).all()
    other = glyphs(drawings=2, size=12, seed=7)
    assert drawn == [0, 0, 7] and not (other.x == first.x).all()


def test_a_cache_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    pictures = np.zeros((3, 2, 12, 12), np.uint8)
    letters = module.Letters(list("Rαա"), ["LATIN", "GREEK", "ARMENIAN"], np.zeros((3, 3), bool))
    monkeypatch.setattr(module, "_draw_all", lambda drawings, size, seed: (letters, pictures))
    assert glyphs(drawings=2, size=12).names == ("LATIN/R", "GREEK/α", "ARMENIAN/ա")


@pytest.mark.parametrize(
    ("settings", "answer"),
    [({"drawings": 1}, "drawings is 1"), ({"size": 5}, "size is 5"), ({"seed": -1}, "seed is -1")],
)
def test_impossible_settings_are_refused_in_a_sentence(settings, answer):
    with pytest.raises(ValueError, match=answer):
        glyphs(**settings)


def test_digits_are_all_there_and_split_by_digit():
    rows = digits()
    assert rows.x.shape == (1797, 1, 8, 8) and rows.x.dtype == np.uint8 and rows.x.max() == 255
    assert {split: "".join(rows.names[i] for i in chosen) for split, chosen in rows.splits.items()} == {
        "train": "0123",
        "val": "456",
        "test": "789",
    }
    assert np.diff(rows.starts).min() > 170
    mean = [rows.x[a:b].mean(axis=(0, 1)) for a, b in zip(rows.starts[:-1], rows.starts[1:], strict=True)]
    assert mean[0][3:5, 3:5].mean() < 30 < mean[1][3:5, 3:5].mean()  # a 0 is hollow, a 1 is not
