"""Classes and rows are renamed and removed in a predictor's file, or the file stays as it was."""

import numpy as np
import pytest

import mapwise as mw

ROWS = [
    *("cancel my order,cancel", "please cancel it,cancel", "cancel now,cancel", "i want to cancel,cancel"),
    *("where is my refund,refund", "refund my money,refund", "a refund please,refund", "cancel that order,refund"),
    *("hello there,greet", "hello you,greet", "hello again,greet"),
]
TEXTS, NAMES = zip(*(row.split(",") for row in ROWS), strict=True)


@pytest.fixture
def intents(cli, tmp_path):
    (tmp_path / "train.csv").write_text("body,intent\n" + "\n".join(ROWS) + "\n")
    words = ("--text", "body", "-o", "intents.safetensors", "--learner", "nearest_mean")
    assert cli("fit", "train.csv", *words).code == 0
    return tmp_path / "intents.safetensors"


def test_a_class_is_renamed(cli, intents):
    done = cli("rename-class", intents, "greet", "hello")
    assert done.code == 0 and done.out.endswith(": greet is now hello\n")
    answer = cli("rename-class", intents, "hello", "hi", "--json").answer
    assert answer["classes"] == {"cancel": 4, "hi": 3, "refund": 4}
    assert cli("predict", intents, "hello you", "--json").answer["predictions"][0]["label"] == "hi"


def test_a_class_is_removed_with_its_rows(cli, intents):
    done = cli("remove-class", intents, "greet")
    assert "3 rows removed: train.csv, line 10 (greet)" in done.out and "the other classes: " in done.out
    answer = cli("predict", intents, "hello you", "--json").answer["predictions"][0]
    assert answer["label"] in ("cancel", "refund")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("rename-class", "gret", "x"), "there is no class 'gret': did you mean 'greet'?"),
        (("rename-class", "greet", "cancel"), "there is a class 'cancel' already"),
        (("rename-class", "greet", " "), "give one line of text"),
        (("remove-class", "gret"), "there is no class 'gret': did you mean 'greet'?"),
        (
            ("remove-row", "train.csv, line 99"),
            "there is no row 'train.csv, line 99': did you mean 'train.csv, line 9'?",
        ),
        (("remove-row", "11"), "there is no row '11'"),
        (("remove-row", *["8", "9", "10"]), "no example of 'greet' would be left: remove the class"),
    ],
)
def test_a_mistake_leaves_the_file_as_it_was(cli, intents, words, answer):
    before = intents.read_bytes()
    done = cli(words[0], intents, *words[1:])
    assert done.code == 1 and answer in done.err, done
    assert intents.read_bytes() == before


def test_the_last_class_but_one_stays(cli, intents):
    assert cli("remove-class", intents, "greet").code == 0
    done = cli("remove-class", intents, "refund")
    assert done.code == 1 and "there would be one class left, and two are needed" in done.err


def test_the_row_that_a_report_doubts_is_removed_by_what_it_is_called_there(cli, intents):
    doubtful = cli("report", intents, "--json").answer["doubtful"]
    assert "train.csv, line 9" in [one["source"] for one in doubtful]
    done = cli("remove-row", intents, "train.csv, line 9")
    assert done.code == 0 and "1 row removed: train.csv, line 9 (refund)" in done.out, done
    assert "the mean of the classes: " in done.out
    examples = cli("explain", intents, "cancel that order", "--json").answer["explanations"][0]["examples"]
    sources = [one["source"] for one in examples if not one["source"].startswith("the name ")]
    assert "train.csv, line 9" not in sources and len(sources) == 10
    assert "train.csv, line 9" not in [one["source"] for one in cli("report", intents, "--json").answer["doubtful"]]


def test_rows_are_removed_by_their_places_before_the_removal(cli, intents):
    answer = cli("remove-row", intents, "0", "example 8", "0", "--json").answer
    assert [(one["row"], one["source"]) for one in answer["removed"]] == [
        (0, "train.csv, line 2"),
        (8, "train.csv, line 10"),
    ]
    assert answer["classes"] == {"cancel": 3, "refund": 4, "greet": 2}


def test_of_rows_that_are_called_alike_the_places_are_named(cli, intents):
    for text in ("end it", "end that"):
        cli("add", intents, text, "--class", "cancel")
    done = cli("remove-row", intents, "command line")
    assert done.code == 1 and "2 rows are called 'command line': give one by its place, 11, 12" in done.err
    assert cli("remove-row", intents, "12").code == 0 and cli("remove-row", intents, "command line").code == 0


def test_without_rows_a_predictor_is_the_one_of_the_others():
    few = mw.FewShotClassifier("words", "nearest_mean").fit(list(TEXTS), list(NAMES))
    sentence = few.remove_rows(np.array([7]))
    assert sentence.startswith("the mean of the classes: ")
    others = [place for place in range(11) if place != 7]
    again = mw.FewShotClassifier("words", "nearest_mean").fit([TEXTS[i] for i in others], [NAMES[i] for i in others])
    np.testing.assert_allclose(few.predict_proba(["hi", "stop it"]), again.predict_proba(["hi", "stop it"]), atol=1e-6)
    for rows, words in (([10], "there is no row 10"), (["7"], "give a whole number"), (7, "give a list of places")):
        with pytest.raises(ValueError, match=words):
            few.remove_rows(rows)
    assert len(few.predictor_.rows) == 10
