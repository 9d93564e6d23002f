"""Texts with a label each: the rows of a CSV file, or of all CSV files of a folder."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from mapwise.core.spelling import suggestion
from mapwise.data.class_names import is_telling, read_name
from mapwise.data.csv_files import cells_of, check_label_cells, check_text_cells, label_place
from mapwise.data.rows import deal

_KIN = 0.05
"""The share of the texts of the smaller class from which on two classes are kin; fewer may be mistakes of labelling."""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and their labels, side by side.

    name:  what the data is called in reports.
    notes: sentences a user should see once.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    name: str
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """The names of the classes, sorted."""
        return sorted(set(self.labels))

    def names(self) -> list[str]:
        """What every class is called, as words: `card_arrival` is "card arrival".

        Raises ValueError for a name that says nothing of its class, and for two that are read alike.
        """
        readings: dict[str, str] = {}
        for name in self.classes:
            reading = read_name(name)
            if not is_telling(name):
                raise ValueError(
                    f"the class {name!r} of {self.name} has a name that says nothing of its texts: name it by words"
                )
            if reading in readings:
                raise ValueError(
                    f"the classes {readings[reading]!r} and {name!r} of {self.name} are read alike, {reading!r}: give "
                    "them one name, or names that differ"
                )
            readings[reading] = name
        return list(readings)

    def kin(self) -> list[list[str]]:
        """The classes in groups: those that share at least a twentieth of the smaller one's texts stand together.

        Data sets of one origin repeat classes under other names.
        """
        texts: dict[str, set[str]] = defaultdict(set)
        for text, label in zip(self.texts, self.labels, strict=True):
            texts[label].add(text)
        group = {name: [name] for name in self.classes}
        for one, other in combinations(self.classes, 2):
            share = len(texts[one] & texts[other]) / min(len(texts[one]), len(texts[other]))
            if share >= _KIN and group[one] is not group[other]:
                group[one] += group[other]
                for name in group[other]:
                    group[name] = group[one]
        return [sorted(members) for name, members in group.items() if name == min(members)]

    def splits(self, seed: int = 0) -> dict[str, list[str]]:
        """Class names for train, val, test and trainval (the first two); kin are dealt to one split."""
        groups = self.kin()
        dealt = {
            split: [name for place in places for name in groups[place]]
            for split, places in deal(len(groups), seed).items()
        }
        return {**dealt, "trainval": list(dict.fromkeys([*dealt["train"], *dealt["val"]]))}


def labelled_texts(path: str | Path, text: str, label: str | None = None) -> LabelledTexts:
    """The texts of a CSV file with a header, or of every CSV file of a folder; a text repeated in a class counts once.

    text:  the column of the texts.
    label: the column that names the classes; by default the one called "label", "class" or "target", or the only other.

    Classes of one name are one class, whatever file they are from.

    Raises ValueError for a folder without CSV files, a file that can't be read as a table, a column that isn't there,
    and a missing text or label, with its line.
    """
    path = Path(path).expanduser()
    files = sorted(file for file in path.glob("*.csv") if file.is_file()) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path} holds no CSV files: give one, or a folder of them")
    pairs: dict[tuple[str, str], None] = {}
    rows = 0
    for file in files:
        header, lines, cells = cells_of(file)
        if text not in header:
            raise ValueError(f"{file} has no column {text!r}: {suggestion(text, header)}")
        place, column = label_place(file, header, label, text), header.index(text)
        check_label_cells(file, header[place], lines, [row[place] for row in cells])
        check_text_cells(file, text, lines, [row[column] for row in cells])
        pairs |= dict.fromkeys((row[column], row[place]) for row in cells)
        rows += len(cells)
    repeated = rows - len(pairs)
    notes = [f"{repeated:,} of {rows:,} rows repeat a text of their class and are left out"] if repeated else []
    texts, labels = zip(*pairs, strict=True)
    return LabelledTexts(texts, labels, path.resolve().name, tuple(notes))
