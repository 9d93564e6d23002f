"""Labelled texts of CSV files: joined, named, and dealt so that kin classes stay together."""

import pytest

from mapwise.data.texts import LabelledTexts, labelled_texts


def written(path, rows, header="text,label"):
    path.write_text("\n".join([header, *(f"{text},{label}" for text, label in rows)]) + "\n", encoding="utf-8")
    return path


def test_the_files_of_a_folder_are_joined_and_a_text_repeated_in_its_class_counts_once(tmp_path):
    written(tmp_path / "a.csv", [("set an alarm", "alarm"), ("play it", "music")])
    written(tmp_path / "b.csv", [("music", "play it"), ("music", "louder"), ("radio", "play it")], "label,text")
    read = labelled_texts(tmp_path, "text")
    assert read.texts == ("set an alarm", "play it", "louder", "play it")
    assert read.labels == ("alarm", "music", "music", "radio")
    assert read.notes == ("1 of 5 rows repeat a text of their class and are left out",)
    assert read.name == tmp_path.name and read.classes == ["alarm", "music", "radio"]


def of_classes(**texts_of: str) -> LabelledTexts:
    """Classes of one-letter texts."""
    pairs = [(letter, name) for name, letters in texts_of.items() for letter in letters]
    return LabelledTexts(*zip(*pairs, strict=True), "letters")


def test_classes_that_share_a_twentieth_of_the_smaller_ones_texts_are_kin():
    twenty = "".join(chr(ord("a") + i) for i in range(20))
    one = of_classes(query=twenty + "uvwxyz", alarm=twenty[:1] + "ABCDEFGHIJKLMNOPQRS", rest="0123456789")
    assert sorted(one.kin()) == [["alarm", "query"], ["rest"]]
    fewer = of_classes(query=twenty + "uvwxyz", alarm=twenty[:1] + "ABCDEFGHIJKLMNOPQRST", rest="0123456789")
    assert sorted(fewer.kin()) == [["alarm"], ["query"], ["rest"]]
    chain = of_classes(a="12", b="23", c="34", d="5")
    assert sorted(chain.kin()) == [["a", "b", "c"], ["d"]]


def test_kin_are_dealt_to_one_split_and_every_class_to_one():
    names = {f"c{i:02d}": chr(97 + i // 2) + chr(200 + i) for i in range(20)}  # pairs share a letter
    read = of_classes(**names)
    splits = read.splits()
    dealt = [*splits["train"], *splits["val"], *splits["test"]]
    assert sorted(dealt) == read.classes and all(splits.values())
    assert splits["trainval"] == [*splits["train"], *splits["val"]]
    home = {name: split for split in ("train", "val", "test") for name in splits[split]}
    assert all(len({home[name] for name in group}) == 1 for group in read.kin())
    assert read.splits() == splits != read.splits(1)


def test_names_are_read_as_words_and_those_that_say_nothing_or_the_same_are_refused():
    assert of_classes(card_arrival="a", lostCard="b").names() == ["card arrival", "lost card"]
    with pytest.raises(ValueError, match="the class 'c17' of letters has a name that says nothing"):
        of_classes(c17="a", refund="b").names()
    with pytest.raises(ValueError, match="the classes 'Refund' and 'refund' of letters are read alike, 'refund'"):
        of_classes(refund="a", Refund="b").names()


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no CSV files: give one, or a folder of them"):
        labelled_texts(tmp_path, "text")
    file = written(tmp_path / "a.csv", [("hello", "greet"), ("", "greet")])
    with pytest.raises(ValueError, match=r"line 3 of .* has no text in column 'text'"):
        labelled_texts(file, "text")
    with pytest.raises(ValueError, match=r"has no column 'texts': .*text"):
        labelled_texts(file, "texts")
    with pytest.raises(ValueError, match=r"there\.csv"):
        labelled_texts(tmp_path / "there.csv", "text")
