"""How good a finder of spans is, on the command line."""

import pytest

from mapwise.predictors.spans.report import FittedSpans

pytest.importorskip("peft")
from tiny_models import tiny_model

MARKS = """[Ada Byron](person) met [Ann Lee](person) in [Rome](city).
[Rome](city) and [Oslo](city) are far apart.
In [Oslo](city) lives [Tom Ray](person).
Nobody is here.
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return f"hf:{tiny_model(tmp_path_factory.mktemp('models') / 'tiny')}"


@pytest.fixture
def fit(cli, model, tmp_path):
    """Fit to these texts, without tuning."""

    def run(name, content, *words):
        (tmp_path / name).write_text(content)
        return cli("fit", name, "--spans", "--encoder", model, "--steps", "0", "-o", "new.safetensors", *words)

    return run


def test_a_fit_is_cross_validated_within_its_budget_and_the_file_keeps_the_score(fit, cli):
    done = fit("notes.txt", MARKS)
    assert (
        "too few to tell: entity F1 " in done.out and "cross-validated on 4 texts with 7 spans, in 4 parts" in done.out
    )
    held_out = fit("notes.txt", MARKS, "--json", "--force").answer["held_out"]
    assert held_out["low"] <= held_out["entity_f1"] <= held_out["high"] and held_out["too_few"] and not held_out["why"]
    assert {name: one["true"] for name, one in held_out["types"].items()} == {"city": 4, "person": 3}
    answer = cli("report", "new.safetensors", "--out", "page.html", "--json").answer
    assert answer["held_out"] == held_out and all(one["source"].endswith(" of notes.txt") for one in answer["doubtful"])
    done = fit("notes.txt", MARKS, "--json", "--force", "--budget", "0.0001s")
    assert done.answer["held_out"]["entity_f1"] is None
    assert "too little time to tell: cross-validation takes about" in done.answer["held_out"]["why"]
    assert "too little time" in fit("notes.txt", MARKS, "--force", "--budget", "0.0001s").out
    assert cli("report", "new.safetensors", "--out", "page.html").out.count("too little time to tell") == 1


def test_a_fit_that_is_stopped_while_it_is_cross_validated_leaves_its_file(fit, cli, monkeypatch):
    def stopped(self, **_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FittedSpans, "cross_validated", stopped)
        assert fit("notes.txt", MARKS).code == 130
    assert cli("predict", "new.safetensors", "Rome is far.").code == 0


def test_a_threshold_is_that_of_the_fit_unless_another_is_given(fit, cli):
    notes = "".join(MARKS.replace(".", f" {n}.") for n in range(4))
    done = fit("notes.txt", notes, "--threshold", "auto")
    assert done.code == 0 and "; no threshold raises the F1, so all spans" in done.out, (
        done
    )  # without tuning nothing is found
    answer = fit("notes.txt", notes, "--threshold", "0.4", "--force", "--json").answer["held_out"]
    assert answer["threshold"] == 0.4 and not answer["auto_threshold"] and answer["before"]["true"] == 28
    done = fit("notes.txt", MARKS, "--threshold", "0.4", "--force", "--budget", "0.001s", "--steps", "100")
    assert done.code == 0, done.err
    text = "Ada Byron met Ann Lee in Rome."
    for given, limit in (((), 0.4), (("--threshold", "0"), 0.0), (("--threshold", "1"), 1.0)):
        shown = cli("predict", "new.safetensors", text, "--json", *given).answer
        assert shown["threshold"] == limit and all(span["probability"] >= limit for span in shown["texts"][0]["spans"])
        assert shown["texts"][0]["spans"] or limit
    for command, given in (("predict", "auto"), ("predict", "2"), ("predict", "x")):
        done = cli(command, "new.safetensors", text, "--threshold", given)
        assert done.code == 1 and "give a probability from 0 to 1" in done.err and done.err.count("\n") == 1
    done = fit("notes.txt", notes, "--threshold", "half", "--force")
    assert done.code == 1 and "the threshold is 'half': give a probability from 0 to 1, or auto" in done.err


def test_a_threshold_is_for_finders(cli, tmp_path):
    (tmp_path / "a.csv").write_text("t,label\na,x\nb,y\n")
    words = ("--text", "t", "-o", "c.safetensors", "--learner", "nearest_mean", "--encoder", "text-hash")
    assert "add --spans" in cli("fit", "a.csv", *words, "--threshold", "auto").err
    assert cli("fit", "a.csv", *words).code == 0
    assert "leave it out, or give --refuse" in cli("predict", "c.safetensors", "a", "--threshold", "0.5").err
