"""Learners trained on texts behind a frozen encoder, from files to a judged number."""

import numpy as np
import pytest

from mapwise.catalog.encoders import encoder_named
from mapwise.data.class_names import read_name
from mapwise.runs.run import Run
from mapwise.runs.sources import judging

TOPICS = {
    "card_arrival": "my new card has not arrived",
    "lostCard": "I lost my card",
    "exchange rate": "what is the exchange rate for dollars",
    "cash withdrawal": "the machine kept my cash withdrawal",
    "top_up": "how do I top up by transfer",
    "pin_blocked": "my pin code is blocked",
    "refund": "I want my money back as a refund",
    "fee": "why did you charge a fee",
    "play_music": "play some music now",
    "set_alarm": "set an alarm for seven",
}
TINY = ("--ways", "2", "--queries", "2", "--steps", "4", "--tasks", "2", "--validation-episodes", "8", "--text", "text")
JUDGED = ("--episodes", "4", "--json")


def sheet(path, label="label", topics=TOPICS, words="abcdef"):
    path.parent.mkdir(exist_ok=True)
    lines = [f"text,{label}", *(f"{text} {word},{name}" for name, text in topics.items() for word in words)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_learner_trains_on_texts_of_a_csv_file_and_is_judged_on_another(cli, tmp_path):
    sheet(tmp_path / "intents.csv")
    sheet(tmp_path / "other.csv", label="topic", words="uvwxyz")
    words = ("train", "protonet", "intents.csv", "--label", "label", "--encoder", "text-hash", "--out", "run", *TINY)
    done = cli(*words)
    assert done.code == 0, done.err
    run = Run.open(tmp_path / "run")
    assert run.settings.net_name == "residual" and run.settings.trained_on.shape.inputs.shape == (4096,)
    answer = cli(
        "eval", "run", "--data", "other.csv", "--label", "topic", "--split", "all", "--ways", "10", *JUDGED
    ).answer
    assert (answer["judged_classes"], answer["ways"], answer["shots"]) == (10, "10", "1")
    assert answer["accuracy"] > 0.9  # texts of a class share all words but one


def test_zero_shot_trains_on_names_and_starts_from_their_cosine(cli, tmp_path):
    sheet(tmp_path / "intents" / "bank.csv", topics=dict(list(TOPICS.items())[:8]))
    sheet(tmp_path / "intents" / "home.csv", topics=dict(list(TOPICS.items())[8:]))
    sheet(tmp_path / "other.csv", topics=dict(list(TOPICS.items())[:4]))
    words = ("train", "zero_shot", "intents", "--source.support", "descriptions", "--out", "run", *TINY, "--steps", "0")
    done = cli(*words)
    assert done.code == 0, done.err
    judged = ("--data", "other.csv", "--split", "all", "--ways", "4", "--queries", "6", *JUDGED)
    answer = cli("eval", "run", *judged).answer
    (alone,) = [one for one in answer["beside"] if one["learner"] == "nearest_mean"]
    assert answer["accuracy"] == alone["accuracy"] > 0.5 and answer["source"] == "other.csv by descriptions"
    source = judging(Run.open(tmp_path / "run").settings, "all")
    assert source.rows.names == source.descriptions.names == tuple(sorted(TOPICS))
    readings = [read_name(name) for name in sorted(TOPICS)]
    assert np.allclose(source.descriptions.x, encoder_named("words", fetch=False)(readings))


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("intents.csv", "--encoder", "pixels"), "the encoder pixels reads pictures and texts are needed"),
        (("intents.csv", "--encoder", "word"), "there is no encoder 'word'"),
        (("intents.csv", "--text", "txt"), "has no column 'txt'"),
        (("intents.csv", "--source.support", "names"), "source.support is 'names'"),
        (("codes.csv", "--source.support", "descriptions"), "the class 'c1' of codes.csv has a name that says nothing"),
        (("texts",), "texts are a CSV file, or a folder of them"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(cli, tmp_path, words, answer):
    sheet(tmp_path / "intents.csv")
    sheet(tmp_path / "codes.csv", topics={f"c{i}": text for i, text in enumerate(TOPICS.values(), 1)})
    done = cli("train", "zero_shot", words[0], "--out", "run", *TINY, *words[1:])
    assert done.code != 0 and answer in done.err and "Traceback" not in done.err
