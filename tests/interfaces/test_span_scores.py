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
