"""Small tables to be spoilt."""

from dataclasses import dataclass
from typing import Any

import numpy as np

import mapwise as mw

RIGHT, SENTENCE = "answered right", "refused in one sentence"
SIZES = (10, 11, 12, 13, 14, 90, 91, 92, 93, 94)
"""The first five are of the class low, the others of high."""


def sizes(**others: str) -> str:
    """A table of ten rows with a column of numbers and their classes, in which some rows hold other cells."""
    cells = [others.get(f"r{place}", str(size)) for place, size in enumerate(SIZES)]
    lines = [f"{cell},{'low' if place < 5 else 'high'}" for place, cell in enumerate(cells)]
    return "size,kind\n" + "\n".join(lines) + "\n"


def scaled(factor: str) -> str:
    """The same table with all sizes of another order of magnitude."""
    return sizes(**{f"r{place}": f"{size}{factor}" for place, size in enumerate(SIZES)})


NUMBERS = {"size": "numbers"}
WORDS = {"size": "categories"}
EASY = {"12": "low", "92": "high"}
"""Cells of the column size, and the class of each."""


@dataclass(frozen=True)
class Sheet:
    """A CSV file for `mapwise fit`, and what is to come of it."""

    name: str
    text: str
    sentence: str = ""
    """What the refusal says; empty where the table is to be read."""
    columns: dict[str, str] | None = None
    """How its columns are read."""
    answers: dict[str, str] | None = None
    """Cells of its first column, and the class of each."""
    flags: tuple[str, ...] = ()
    code: int = 1

    @property
    def expected(self) -> str:
        """The outcome."""
        return SENTENCE if self.sentence else RIGHT


COLOURS = "colour,kind\nred,a\nred,a\nnone,b\nnone,b\n"
BOTH = "code,size,kind\n" + "".join(f"{code},{size},{kind}\n" for code, size, kind in [(7, 1, "a"), (7, 2, "a")] * 2)
BOTH += "9,8,b\n9,9,b\n"

SHEETS = [
    Sheet("plain", sizes(), columns=NUMBERS, answers=EASY),
    Sheet("inf", sizes(r3="inf"), "t.csv, line 5 has infinity in column 'size' ('inf')"),
    Sheet("-Infinity", sizes(r3="-Infinity"), "t.csv, line 5 has infinity in column 'size'"),
    Sheet("1e999", sizes(r9="1e999"), "t.csv, line 11 has infinity in column 'size' ('1e999')"),
    Sheet("a formula", sizes(r0="=cmd"), "t.csv, line 2 holds '=cmd' in column 'size'"),
    Sheet("hexadecimal", sizes(r1="0x10"), "t.csv, line 3 holds '0x10' in column 'size'"),
    Sheet("an underscore", sizes(r1="1_000"), "t.csv, line 3 holds '1_000' in column 'size'"),
    Sheet("a decimal comma", sizes(r1='"3,5"'), "t.csv, line 3 holds '3,5' in column 'size'"),
    Sheet("a unit", sizes(r8="93 cm"), "--categories size"),
    Sheet("a NUL", sizes(r1="1\0"), "line 3 of t.csv has a NUL character in column 'size'"),
    Sheet("a NUL in a label", "size,kind\n1,a\n2,a\0\n", "line 3 of t.csv has a NUL character in column 'kind'"),
    Sheet("a NUL in a name", "si\0ze,kind\n1,a\n2,b\n", "line 1 of t.csv has a NUL character"),
    Sheet(
        "words by flag",
        sizes(r0="=cmd", r1="=cmd"),
        columns=WORDS,
        answers={"=cmd": "low", "94": "high"},
        flags=("--categories", "size"),
    ),
    Sheet("infinity by flag", sizes(r0="inf", r1="inf"), columns=WORDS, flags=("--categories", "size")),
    Sheet("numbers by flag", sizes(), columns=WORDS, answers={"12": "low"}, flags=("--categories", "size")),
    Sheet("another flag", sizes(), "no column 'sise': did you mean 'size'", flags=("--categories", "sise")),
    Sheet("the label's flag", sizes(), "the label", flags=("--categories", "kind")),
    Sheet("codes by flag", BOTH, columns={"code": "categories", "size": "numbers"}, flags=("--categories", "code")),
    Sheet("half words", sizes(r0="a", r1="a", r2="a", r3="a", r4="a"), columns=WORDS, answers={"a": "low"}),
    Sheet("few rows, one word", "size,kind\n1,a\n2,a\nx,a\n9,b\n", columns=WORDS),
    *(Sheet(f"gap {gap!r}", sizes(r0=gap), columns=NUMBERS, answers=EASY) for gap in ("", "NA", "None", "?", " nan ")),
    Sheet("gaps alone", "size,kind\n" + ",low\n" * 3 + "?,high\n" * 3, columns=NUMBERS),
    Sheet("a gap of words", COLOURS, columns={"colour": "categories"}, answers={"red": "a", "none": "b", "NA": "b"}),
    Sheet("large", scaled("e200"), columns=NUMBERS, answers={"12e200": "low", "92e200": "high"}),
    Sheet("largest", scaled("e306"), columns=NUMBERS, answers={"12e306": "low", "92e306": "high"}),
    Sheet("smallest", scaled("e-320"), columns=NUMBERS, answers={"12e-320": "low", "92e-320": "high"}),
    Sheet("beyond", scaled("e308"), "has infinity in column 'size' ('10e308')"),
    Sheet(
        "large and small",
        sizes(**{f"r{place}": f"{'-' if place < 5 else ''}1.{place % 8}e308" for place in range(10)}),
        columns=NUMBERS,
        answers={"-1.2e308": "low", "1.2e308": "high"},
    ),
    Sheet("far queries", sizes(), columns=NUMBERS, answers={"-1e300": "low", "1e300": "high"}),
    Sheet("spaces", sizes(r0=" 10 ", r9="\t94"), columns=NUMBERS, answers=EASY),
    Sheet("signs", sizes(r0="+10", r1="1.1e1", r2="12."), columns=NUMBERS, answers=EASY),
    Sheet(
        "constant",
        "a,size,kind\n" + "".join(f"5,{line}\n" for line in sizes().splitlines()[1:]),
        columns={"a": "numbers"} | NUMBERS,
    ),
    Sheet("a quote left open", 'size,kind\n1,a\n"2,b\n3,c\n', "1 cells and the header has 2"),
    Sheet("a row too long", "size,kind\n1,a\n2,b,c\n", "line 3 of t.csv has 3 cells"),
    Sheet("no rows", "size,kind\n", "no rows below its header"),
    Sheet("nothing", "", "no rows below its header"),
    Sheet("one column", "size\n1\n2\n", "a single column"),
    Sheet("no header", "1,2\n3,4\n5,6\n", "numbers and no column names"),
    Sheet("a column twice", "a,a,kind\n1,2,x\n3,4,y\n", "two columns called 'a'"),
    Sheet("no label", "size,kind\n1,a\n2,\n", "line 3 of t.csv has no label"),
    Sheet("a label's escape", "size,kind\n1,a\n2,\x1b[31mb\n", "is no name for a class"),
    Sheet("one class", "size,kind\n1,a\n2,a\n", "one class, 'a'"),
    Sheet("semicolons", sizes().replace(",", ";"), columns=NUMBERS, answers=EASY),
    Sheet("bars", sizes().replace(",", "|"), columns=NUMBERS, answers=EASY),
    Sheet("a huge cell", "size,kind\n" + "x" * 200_000 + ",a\n2,b\n", "cannot be read as a table"),
]


X = np.array([[1.0], [2.0], [9.0], [10.0]])


def numbers(targets: Any, **settings: Any) -> Any:
    return mw.FewShotRegressor().fit(X, targets, **settings)
