"""Odd tables, arrays, labels, weights and settings: each is answered right or refused in one sentence."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mapwise as mw
from mapwise.core.geometry import class_means
from mapwise.core.losses import row_mean
from mapwise.data.tables import table

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


def only(outcome: str, err: str, answer: str) -> bool:
    """Whether an error is one sentence and says this."""
    return err.count("\n") == 1 and "Traceback" not in err and answer in err and outcome == SENTENCE


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_a_csv_is_read_right_or_refused_in_one_sentence(cli, sheet):
    Path("t.csv").write_text(sheet.text, encoding="utf-8")
    done = cli("fit", "t.csv", "-o", "f.safetensors", "--learner", "nearest_mean", "--json", *sheet.flags)
    if sheet.expected == SENTENCE:
        assert done.code == sheet.code and only(sheet.expected, done.err, sheet.sentence), done
        assert not Path("f.safetensors").exists()
        return
    assert done.code == 0, done.err
    assert {column["name"]: column["read_as"] for column in done.answer["columns"]} == sheet.columns
    for cell, label in (sheet.answers or {}).items():
        # The delimiter is found in several columns only.
        Path("new.csv").write_text(f"{next(iter(sheet.columns or {}))},beside\n{cell},1\n")
        question = cli("predict", "f.safetensors", "new.csv", "--json")
        assert question.code == 0, question.err
        assert question.answer["predictions"][0]["label"] == label, (cell, question.answer)
        assert question.answer["predictions"][0]["probability"] > 0.5


def test_every_fit_says_how_it_reads_each_column(cli):
    Path("t.csv").write_text("size,colour,mixed,kind\n1,red,7,a\n,red,x,a\n8,?,y,b\n9,blue,8,b\n")
    lines = cli("fit", "t.csv", "-o", "f.safetensors").out.splitlines()
    where = lines.index("columns:")
    assert [" ".join(line.split()) for line in lines[where + 1 : where + 4]] == [
        "size numbers, 1 gap",
        "colour categories (2 values), 1 gap",
        "mixed categories (4 values), numbers in 2 cells",
    ]
    result = cli("fit", "t.csv", "-o", "f.safetensors", "--json").answer["columns"]
    assert result[0] == {"name": "size", "read_as": "numbers", "gaps": 1, "values": 3, "numbers": 3, "free_text": False}
    assert result[2] == {
        "name": "mixed",
        "read_as": "categories",
        "gaps": 0,
        "values": 4,
        "numbers": 2,
        "free_text": False,
    }


def test_a_cell_of_a_query_that_a_column_cannot_hold_is_named_by_its_line(cli):
    Path("t.csv").write_text(sizes())
    cli("fit", "t.csv", "-o", "f.safetensors", "--learner", "nearest_mean")
    for cell, answer in (("many", "holds 'many'"), ("inf", "has infinity"), ("1\0", "has a NUL character")):
        Path("one.csv").write_text("size,beside\n12,1\n")
        Path("two.csv").write_text(f"size,beside\n12,1\n{cell},1\n")
        done = cli("predict", "f.safetensors", "one.csv", "two.csv")
        assert done.code == 1
        assert f"{answer} in column 'size'" in done.err
        assert "two.csv, line 3 " in done.err or "line 3 of two.csv " in done.err
        assert done.err.count("\n") == 1


def test_a_training_table_reads_a_cell_as_a_predictor_does(tmp_path):
    path = tmp_path / "t.csv"
    for text, answer in (
        (sizes(r1="0x10"), "line 3 of .* holds '0x10' in column 'size'.*--source.categories size"),
        (sizes(r1="1e999"), "line 3 of .* has infinity in column 'size'"),
        (sizes(r1="none"), r"line 3 of .* has no value in column 'size' \('none'\).*--source.categories size"),
        (sizes(r1="1\0"), "line 3 of .* has a NUL character"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=answer) as refused:
            table(path)
        assert "\n" not in str(refused.value)
    path.write_text(scaled("e200"))
    assert len(np.unique(table(path).x)) == 10
    path.write_text(COLOURS)
    assert table(path).x.tolist() == [[0, 1], [0, 1], [1, 0], [1, 0]]


def test_a_run_on_a_column_that_was_words_before_is_opened_by_naming_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(sizes(r1="none"))
    rows = table(path, categories=["size"])
    words = sorted(["none", *(str(size) for size in SIZES if size != 11)])
    assert rows.x.shape == (10, 10)
    assert rows.x[rows.starts[1] + 1].argmax() == words.index("none")


def test_an_earlier_run_whose_column_was_words_is_evaluated_by_naming_it(cli, tmp_path):
    cells = ["none", "1", "2", "3", "4", "5"] * 2
    Path("t.csv").write_text("size,kind\n" + "".join(f"{cell},{'ab'[i % 2]}\n" for i, cell in enumerate(cells)))
    few = ("--ways", "2", "--queries", "2", "--steps", "2", "--tasks", "2", "--validation-episodes", "4")
    done = cli("train", "protonet", "t.csv", "--source.categories", "size", "--out", "run", *few)
    assert done.code == 0, done.err
    settings = Path("run/run.toml")
    lines = settings.read_text().splitlines()
    earlier = [line for line in lines if not line.startswith(("source_options", "categories", "digest"))]
    assert len(earlier) < len(lines)
    settings.write_text("\n".join(earlier) + "\n")
    refused = cli("eval", "run", "--episodes", "4")
    assert refused.code == 1 and "--source.categories size" in refused.err
    assert cli("eval", "run", "--episodes", "4", "--source.categories", "size").code == 0


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_categorical_column_of_a_frame_holds_words(library):
    frames = pytest.importorskip(library)
    column = frames.Series(
        ["1", "2", "1", "2", "1", "3"], dtype="category" if library == "pandas" else frames.Categorical
    )
    frame = frames.DataFrame({"code": column, "size": [1.0, 9.0, 2.0, 8.0, 1.0, 9.0]})
    answers = mw.FewShotClassifier(learner="nearest_mean").fit(frame, list("ababab"))
    assert [seen.kind for seen in answers.predictor_.encoder.seen.values()] == ["words", "number"]
    assert list(answers.predict(frame)) == list("ababab")
    with pytest.raises(ValueError, match=r"row 2 holds '0x3' in column 'size'.*categorical column"):
        mw.FewShotClassifier().fit(
            frames.DataFrame({"size": ["1", "2", "0x3", *map(str, range(20))]}), ["a", *"b" * 22]
        )


def test_a_number_is_one_word_whatever_library_it_comes_from():
    pandas = pytest.importorskip("pandas")
    answers = mw.FewShotClassifier(learner="nearest_mean").fit(
        pandas.DataFrame({"code": pandas.Categorical([1234567, 7, 1234567, 7])}), list("abab")
    )
    for cells in ([1234567, 7], ["1234567", "7"], [1234567.0, 7.0]):
        assert list(answers.predict(pandas.DataFrame({"code": cells}))) == ["a", "b"]


X = np.array([[1.0], [2.0], [9.0], [10.0]])
Y = list("aabb")


def fitted(rows: Any = X, labels: Any = Y, **settings: Any) -> list[str]:
    """What a classifier by the nearest mean predicts of its own rows."""
    return list(mw.FewShotClassifier(learner="nearest_mean").fit(rows, labels, **settings).predict(rows))


def more(labels: Any, **settings: Any) -> Any:
    return mw.FewShotClassifier(learner="nearest_mean").fit(X, Y).partial_fit(X, labels, **settings)


def numbers(targets: Any, **settings: Any) -> Any:
    return mw.FewShotRegressor().fit(X, targets, **settings)


def rows_of(rows: Any = X, labels: Any = Y) -> Any:
    return mw.LabelledRows.of(rows, labels)


def examples(rows: Any = X, labels: Any = Y, **settings: Any) -> Any:
    return mw.examples(rows, labels, **settings)


def episodes(**settings: Any) -> Any:
    rows = mw.LabelledRows.of(np.arange(80.0).reshape(40, 2), [place // 4 for place in range(40)])
    return mw.Episodes(rows, **{"ways": 2, "shots": 1, "queries": 2, "tasks": 2, **settings})


LEARNER = mw.MAML(lambda: nn.Linear(2, 2))
PARAMS = LEARNER.init(0)


def trained(params: Any) -> Any:
    return mw.train(LEARNER, episodes(), steps=1, validation_episodes=2, how="vmap", params=params)


def evaluated(params: Any = PARAMS, **settings: Any) -> Any:
    return mw.evaluate(LEARNER, params, episodes(), **{"episodes": 2, **settings})


def objects(*cells: Any) -> np.ndarray:
    return np.array([*cells, object()], dtype=object)[:-1]


DAYS, SPANS = X.astype("M8[D]"), X.astype("m8[D]")
CALLS: list[tuple[str, Any, str]] = [
    ("complex rows", lambda: fitted(X + 1j), "Complex data not supported"),
    ("dates as rows", lambda: fitted(DAYS), "X holds dates or times"),
    ("spans as rows", lambda: fitted(SPANS), "X holds dates or times"),
    ("a dict", lambda: fitted({"a": [1, 2, 9, 10]}), "X is a dict"),
    ("a list of dicts", lambda: fitted([{"a": 1}, {"a": 2}, {"a": 9}, {"a": 10}]), "row 0 of X is a dict"),
    ("an integer without end", lambda: fitted([[10**400], [1], [2], [3]]), "row 0 has infinity in column '0'"),
    ("the same beside words", lambda: fitted([["a", 10**400]] * 4), "row 0 has infinity in column '1'"),
    ("None as a label", lambda: fitted(labels=["a", None, "b", "b"]), "row 1 of y has no label (None)"),
    ("NaN as a label", lambda: fitted(labels=["a", "a", np.nan, "b"]), "row 2 of y has no label (nan)"),
    ("NaN among objects", lambda: fitted(labels=objects("a", "a", np.nan, "b")), "row 2 of y has no label (nan)"),
    ("numbers with NaN", lambda: fitted(labels=[0.0, 0.0, np.nan, 1.0]), "row 2 of y has no label (nan)"),
    ("dates as labels", lambda: fitted(labels=DAYS[:, 0]), "y holds dates or times"),
    ("complex labels", lambda: fitted(labels=X[:, 0] + 1j), "y holds complex numbers"),
    ("a number and its text", lambda: fitted(labels=objects(1, "1", "b", "b")), "labels 1 and '1' would be one class"),
    ("a truth and its text", lambda: fitted(labels=objects(True, "True", "b", "b")), "labels True and 'True'"),
    ("None later", lambda: more([None] * 4), "row 0 of y has no label (None)"),
    ("NaN later", lambda: more([np.nan] * 4), "row 0 of y has no label (nan)"),
    ("None among classes", lambda: more(Y, classes=["a", "b", None]), "row 2 of classes has no label (None)"),
    ("NaN among classes", lambda: more(Y, classes=["a", "b", np.nan]), "row 2 of classes has no label (nan)"),
    ("dates later", lambda: mw.FewShotClassifier().fit(X, Y).predict(DAYS), "X holds dates or times"),
    ("complex queries", lambda: mw.FewShotClassifier().fit(X, Y).predict(X + 1j), "Complex data not supported"),
    ("complex weights", lambda: fitted(sample_weight=[1j] * 4), "sample_weight holds complex numbers"),
    ("texts as weights", lambda: fitted(sample_weight=list("abcd")), "sample_weight holds texts"),
    ("complex targets", lambda: numbers([1, 2, 3, 4j]), "y holds values of type complex128"),
    ("None as a target", lambda: numbers([1, 2, None, 4]), "y holds NaN, first in row 2"),
    ("dates as targets", lambda: numbers(DAYS[:, 0]), "y holds values of type datetime64"),
    ("examples, complex", lambda: examples(X + 1j), "X holds complex numbers"),
    ("examples, a complex tensor", lambda: examples(torch.tensor(X) + 1j), "X holds complex numbers"),
    ("examples, dates", lambda: examples(DAYS), "X holds dates or times"),
    ("examples, spans", lambda: examples(SPANS), "X holds dates or times"),
    ("examples, texts", lambda: examples([["1"], ["1"], ["2"], ["3"]]), "X holds texts"),
    (
        "examples, None",
        lambda: examples([[None], [1], [2], [3]]),
        "X holds NaN or infinity, first in row 0",
    ),
    ("examples, other objects", lambda: examples([[{}], [1], [2], [3]]), "X holds a dict"),
    ("examples, beyond float32", lambda: examples(X * 1e200), "X holds 1e+200, first in row 0, beyond float32"),
    ("examples, no rows", lambda: examples(np.zeros((0, 3)), []), "X holds no rows"),
    ("examples, None as a label", lambda: examples(labels=["a", None, "b", "b"]), "row 1 has no label (None)"),
    ("examples, NaN as a label", lambda: examples(labels=["a", np.nan, "b", "b"]), "row 1 has no label (nan)"),
    ("examples, dates as labels", lambda: examples(labels=DAYS[:, 0]), "the labels are dates or times"),
    ("examples, complex labels", lambda: examples(labels=X[:, 0] + 1j), "the labels are complex numbers"),
    ("examples, 1 and '1'", lambda: examples(labels=objects(1, "1", 2, 2)), "labels 1 and '1' would be one class"),
    ("examples, a class twice", lambda: examples(classes=["a", "b", "a"]), "classes names 'a' twice"),
    ("examples, None as a class", lambda: examples(classes=["a", "b", None]), "row 2 of classes has no label (None)"),
    ("rows, complex", lambda: rows_of(X + 1j), "X holds complex numbers"),
    ("rows, dates", lambda: rows_of(DAYS), "X holds dates or times"),
    ("rows, texts", lambda: rows_of([["a"], ["b"], ["c"], ["d"]]), "X holds texts"),
    ("rows, a number", lambda: rows_of(3, [1]), "X is a single number"),
    ("rows, beyond float32", lambda: rows_of(X * 1e200), "X holds 1e+200, first in row 0, beyond float32"),
    ("rows, None as a label", lambda: rows_of(labels=["a", None, "b", "b"]), "row 1 has no label (None)"),
    ("rows, NaN as a label", lambda: rows_of(labels=["a", np.nan, "b", "b"]), "row 1 has no label (nan)"),
    ("rows, lists as labels", lambda: rows_of(labels=[[1], [1], [2], [2]]), "class labels have shape (4, 1)"),
    ("episodes, half a task", lambda: episodes(tasks=1.5), "tasks is 1.5"),
    ("episodes, a truth of tasks", lambda: episodes(tasks=True), "tasks is True"),
    ("episodes, half a seed", lambda: episodes(seed=1.5), "seed is 1.5"),
    ("episodes, no seed", lambda: episodes(seed=float("nan")), "seed is nan"),
    ("episodes, half a query", lambda: episodes(queries=1.5), "queries is 1.5"),
    ("episodes, a truth of shots", lambda: episodes(shots=True), "shots is True"),
    ("episodes, no device", lambda: episodes(device="junk"), "device is 'junk'"),
    ("train, other params", lambda: trained({"other": torch.zeros(2)}), "params have no 'weight'"),
    ("train, a param too many", lambda: trained({**PARAMS, "other": torch.zeros(2)}), "params have 'other' and MAML"),
    ("train, a param missing", lambda: trained({"weight": PARAMS["weight"]}), "params have no 'bias'"),
    ("train, other shapes", lambda: trained({"weight": torch.zeros(3, 3), "bias": torch.zeros(2)}), "shape (3, 3)"),
    ("train, arrays", lambda: trained({name: leaf.numpy() for name, leaf in PARAMS.items()}), "is a ndarray"),
    ("train, integers", lambda: trained({name: leaf.long() for name, leaf in PARAMS.items()}), "torch.int64"),
    ("train, no dict", lambda: trained([1]), "params are a list"),
    ("evaluate, other params", lambda: evaluated({"other": torch.zeros(2)}), "params have no 'weight'"),
    ("evaluate, a param too many", lambda: evaluated({**PARAMS, "other": torch.zeros(2)}), "params have 'other'"),
    ("evaluate, half an episode", lambda: evaluated(episodes=1.5), "episodes is 1.5"),
    ("evaluate, no episodes", lambda: evaluated(episodes=float("nan")), "episodes is nan"),
    ("evaluate, no temperature", lambda: evaluated(temperature=float("nan")), "temperature is nan"),
    ("evaluate, temperature 0", lambda: evaluated(temperature=0.0), "temperature is 0.0"),
]


@pytest.mark.parametrize(
    ("call", "answer"),
    [pytest.param(call, answer, id=name) for name, call, answer in CALLS],
)
def test_a_call_that_makes_no_sense_is_refused_in_one_sentence(call, answer):
    with pytest.raises(ValueError) as refused:
        call()
    assert answer in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("truths as rows", lambda: fitted(X > 5)),
        ("truths as labels", lambda: fitted(labels=[True, True, False, False])),
        ("objects as rows", lambda: fitted(X.astype(object))),
        ("numbers of 1e200", lambda: fitted(X * 1e200)),
        ("numbers of 1e-320", lambda: fitted(X * 1e-320)),
        ("truths as weights", lambda: fitted(sample_weight=[True] * 4)),
    ],
)
def test_odd_arrays_that_mean_something_are_answered_right(name, call):
    assert [str(label) for label in call()] == ([*["True"] * 2, *["False"] * 2] if "labels" in name else Y)


def test_objects_that_are_numbers_are_numbers_everywhere():
    plain, _ = mw.examples(X, Y)
    odd, _ = mw.examples(X.astype(object), Y)
    assert torch.equal(plain.x, odd.x)
    assert (rows_of(X.astype(object)).x == rows_of().x).all()


@pytest.mark.parametrize("learner", ["nearest_mean", "ridge", "logistic"])
@pytest.mark.parametrize("size", [1e-300, 5e-324, 1e-30])
def test_tiny_weights_answer_as_weights_of_one(learner, size):
    plain, tiny = (
        mw.FewShotClassifier(learner=learner).fit(X, Y, sample_weight=weight) for weight in (None, np.full(4, size))
    )
    np.testing.assert_allclose(tiny.predict_proba([[4.0]]), plain.predict_proba([[4.0]]), rtol=1e-9)


@pytest.mark.parametrize("learner", ["ridge", "kernel_mean"])
def test_tiny_weights_of_targets_predict_as_weights_of_one(learner):
    plain, tiny = (
        mw.FewShotRegressor(learner=learner).fit(X, X[:, 0], sample_weight=weight)
        for weight in (None, np.full(4, 1e-300))
    )
    np.testing.assert_allclose(tiny.predict([[4.0]]), plain.predict([[4.0]]), rtol=1e-9)


def test_a_class_of_tiny_weights_beside_another_keeps_its_mean():
    tiny = mw.FewShotClassifier(learner="nearest_mean")
    for size in (1e-300, 5e-324):
        tiny.fit(np.array([[-1.0], [3.0], [9.0], [11.0]]), Y, sample_weight=[size, size, 1, 1])
        assert list(tiny.predict([[1.0], [4.0], [10.0]])) == ["a", "a", "b"]
        rows, _ = mw.examples(X, Y)
        rows = rows._replace(
            x=rows.x.double(), y=rows.y.double(), weight=torch.tensor([size, size, 1, 1], dtype=torch.float64)
        )
        assert class_means(rows.x, rows).tolist() == [[1.5], [9.5]]


def test_weights_so_large_that_sums_overflow_answer_as_large_ones():
    for learner in ("nearest_mean", "ridge", "logistic"):
        large = mw.FewShotClassifier(learner=learner).fit(X, Y, sample_weight=np.full(4, 1e308))
        assert list(large.predict(X)) == Y


def test_a_loss_of_tiny_weights_is_that_of_weights_of_one():
    values, weight = torch.tensor([1.0, 2.0, 6.0]).double(), torch.full((3,), 1e-300, dtype=torch.float64)
    assert float(row_mean(values, weight)) == pytest.approx(3.0)


def test_enough_is_asked_and_everything_ends_in_one_of_two_ways():
    outcomes = [sheet.expected for sheet in SHEETS] + [SENTENCE] * len(CALLS)
    assert len(outcomes) >= 60
    assert {outcome: outcomes.count(outcome) for outcome in set(outcomes)}.keys() == {RIGHT, SENTENCE}
