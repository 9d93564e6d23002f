"""A comparison gives every learner one budget, goes on where it stopped, and shows what it measured."""

import json
import multiprocessing
import os
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.sources import training_source
from mapwise.data.files import claimed
from mapwise.engine.folder import METRICS
from mapwise.engine.results import Contender, Curve, Paired, Protocol, Report
from mapwise.interfaces.cli import main
from mapwise.problems import PROBLEMS
from mapwise.report.comparison import SAME, comparison_markdown, comparison_rows
from mapwise.report.plots import against_seconds, against_time, standalone
from mapwise.runs.settings import RunSettings
from mapwise.runs.sources import source_of
from mapwise.workflows.comparison import bench as benching
from mapwise.workflows.comparison import training as bench_training
from mapwise.workflows.comparison.bench import BENCHES, asked_bench, base_settings, candidates, sized

GLYPHS = BENCHES["glyphs"]
ROWS = ("protonet", "nearest_mean", "maml")


def command(*words):
    """The command line in this process: its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code


def quick(folder, *more):
    return command("bench", "glyphs", "--quick", "--out", folder, *more)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder of a smoke test of three rows."""
    folder = tmp_path_factory.mktemp("bench") / "glyphs"
    assert quick(folder, "--only", ",".join(ROWS), "--json") == 0
    return folder


@pytest.fixture
def folder(smoke, tmp_path):
    """A copy that a test may spoil."""
    return Path(shutil.copytree(smoke, tmp_path / "glyphs"))


def row(folder, name):
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def contender(name, accuracy=0.8, seconds=100.0, transductive=False, by_rows=0.85, episodes=200):
    random = np.random.default_rng(len(name))

    def report(mean, rows):
        right = random.binomial(75, mean, episodes) / 75
        about = Protocol(
            name, "glyphs", "test", PROBLEMS["classification"], "5", "1", 15, episodes, 0, rows, "mapwise eval x"
        )
        return Report(about, right, {"nll": 0.5, "ece": 0.01, "auc": 0.9, "chance": 0.2}, adapt_ms=3.0)

    other = None if by_rows is None else report(by_rows, True)
    return Contender(name, report(accuracy, transductive), other, seconds, seconds, 120.5, 160, {"inner_lr": 0.1})


# What is held equal.


@pytest.mark.parametrize("learner", [name for name, row in LEARNERS.items() if row.takes("classification")])
def test_every_learner_sees_as_many_images_under_one_protocol(learner):
    row = LEARNERS[learner]
    for values in candidates(GLYPHS, row):
        settings = sized(GLYPHS, base_settings(GLYPHS, learner, 1).with_values(values), GLYPHS.budget)
        batch = training_source(row, source_of(settings))(0)
        images = settings.steps * (batch.support.weight.numel() + batch.query.weight.numel())
        assert images == pytest.approx(6000 * 5 * 16, rel=0.002)
        assert (settings.test_ways, settings.test_shots, settings.test_queries) == ("5", "1", 15)
        assert (settings.ways, settings.seed, settings.select) == ("5", 0, "last")
        if not row.pretraining:
            assert settings.steps * settings.tasks == 6000
            assert int(settings.shots) + settings.queries == 16


def test_a_candidate_gets_a_tenth_of_the_budget_and_one_validation():
    base = base_settings(GLYPHS, "maml", 1)
    whole, tenth = (sized(GLYPHS, base, budget) for budget in (6000, 600))
    assert (whole.steps, tenth.steps) == (1500, 150)
    assert tenth.validate_every == 150


def test_a_recipe_decides_how_a_learner_is_trained_and_not_what_on():
    settings = base_settings(GLYPHS, "reptile", 1)
    assert (settings.optimizer, settings.schedule, settings.tasks) == ("SGD lr=1.0", "linear", 5)
    other = base_settings(GLYPHS, "protonet", 1)
    assert (other.schedule, other.tasks) == ("cosine", 4)
    for name in ("source", "net", "ways", "test_shots", "net_options"):
        assert getattr(settings, name) == getattr(other, name)


# What a row holds.


def test_a_row_holds_its_candidates_its_commands_and_its_numbers(smoke):
    result = row(smoke, "maml")
    tuning = result["bench"]["tuning"]
    assert len(tuning) == 2 and all(0 <= one["validation"] <= 1 for one in tuning)
    best = max(tuning, key=lambda one: one["validation"])
    assert best["best"] and result["bench"]["chosen"] == best["values"]
    full = RunSettings.read(smoke / "maml" / "full")
    assert full.fields["inner_lr"] == best["values"]["inner_lr"]
    assert full.optimizer == f"Adam lr={best['values']['optimizer.lr']}"
    assert result["train_command"].startswith("mapwise train maml glyphs --net conv4 ")
    assert result["train_command"].endswith(" --out runs/bench-glyphs/maml/full")
    assert result["bench"]["by_rows"]["command"].startswith("mapwise eval runs/bench-glyphs/maml/full --net.norm batch")
    assert (result["result"]["transductive"], result["bench"]["by_rows"]["transductive"]) == (False, True)
    assert result["result"]["quick"] is True and result["bench"]["protocol"]["quick"] is True
    assert result["bench"]["peak_mb"] >= 0 and result["bench"]["seconds"] > 0 and result["bench"]["steps"] == 6


def test_the_commands_of_a_row_make_its_number_again(smoke, capsys, tmp_path):
    result = row(smoke, "protonet")
    words = shlex.split(result["train_command"])[1:]
    assert command(*words[: words.index("--out")], "--out", tmp_path / "again", "--json") == 0
    capsys.readouterr()
    words = shlex.split(result["eval_command"])[1:]
    assert command("eval", tmp_path / "again", *words[2:]) == 0
    again = json.loads(capsys.readouterr().out)
    for name in ("accuracy", "ci95", "nll", "ece"):
        assert again[name] == result["result"][name]


def test_what_a_task_changes_is_counted(smoke):
    # Five prototypes of four features; and the weights of four small blocks and a head, and their statistics.
    assert row(smoke, "protonet")["bench"]["adapted"] == 5 * 4
    assert row(smoke, "nearest_mean")["bench"]["adapted"] == 5 * 28 * 28
    weights = 4 * 9 + 3 * 4 * 4 * 9 + 4 * 2 * 4 + (4 + 1) * 5
    assert row(smoke, "maml")["bench"]["adapted"] == weights + 4 * 2 * 4


def test_a_learner_with_nothing_to_train_is_only_judged(smoke):
    result = row(smoke, "nearest_mean")["bench"]
    assert (result["steps"], result["tuning"], result["chosen"], result["seconds"]) == (0, [], {}, 0)
    assert result["peak_mb"] is None and result["by_rows"] is None


def test_a_row_survives_its_file(smoke):
    for name in ROWS:
        result = row(smoke, name)
        read = Contender.from_json(result["result"], result["bench"])
        assert read.own.to_json().keys() == result["result"].keys() - {"quick"}
        for figure, value in read.own.to_json().items():
            same = value == result["result"][figure]
            assert same or value == pytest.approx(result["result"][figure], rel=1e-6)  # accuracies were single
        for figure, value in read.to_json().items():
            assert value == result["bench"][figure] or figure == "by_rows"
        if read.by_rows is not None:
            assert read.by_rows.nll == result["bench"]["by_rows"]["nll"]
            assert read.by_rows.estimate.mean == pytest.approx(result["bench"]["by_rows"]["accuracy"], rel=1e-6)


# How a comparison goes on.


def test_a_row_that_is_there_is_not_made_again(folder, capsys, monkeypatch):
    monkeypatch.setattr(benching, "make_row", lambda *_: pytest.fail("it was made again"))
    before = (folder / "maml.json").read_bytes()
    (folder / "table.md").unlink()
    capsys.readouterr()
    assert quick(folder, "--only", "maml", "--only", "protonet", "--json") == 0
    assert (folder / "maml.json").read_bytes() == before
    assert set(json.loads(capsys.readouterr().out)["rows"]) == set(ROWS)
    assert (folder / "table.md").exists()


def test_a_row_that_was_lost_takes_up_its_trainings(folder, capsys, monkeypatch):
    before = row(folder, "protonet")
    (folder / "protonet.json").unlink()
    steps = (folder / "protonet" / "full" / METRICS).read_bytes()
    monkeypatch.setattr(benching, "trained_apart", benching.trained_in)
    assert quick(folder, "--only", "protonet", "--json") == 0
    assert (folder / "protonet" / "full" / METRICS).read_bytes() == steps
    after = row(folder, "protonet")
    assert after["bench"]["right"] == before["bench"]["right"]
    assert after["bench"]["tuning"] == before["bench"]["tuning"]


def test_rows_and_runs_of_another_protocol_are_refused(folder, capsys):
    assert quick(folder, "--only", "maml", "--episodes", "9") == 1
    assert "maml.json is of another protocol (episodes 8, asked for is 9)" in capsys.readouterr().err
    (folder / "protonet.json").unlink()
    run = replace(RunSettings.read(folder / "protonet" / "full"), clip=3.0)
    run.write(folder / "protonet" / "full")
    assert quick(folder, "--only", "protonet") == 1
    assert "holds a run with clip 3.0, and None is asked for" in capsys.readouterr().err


def test_a_damaged_row_is_named(folder, capsys):
    (folder / "maml.json").write_text("{", encoding="utf-8")
    assert quick(folder, "--only", "protonet") == 1
    assert re.search(r"maml\.json is damaged .*: remove it", capsys.readouterr().err)


@pytest.mark.skipif(os.name != "posix", reason="claims are the kernel's")
def test_a_row_that_another_process_makes_is_left_to_it(folder, capsys, monkeypatch):
    monkeypatch.setattr(benching, "make_row", lambda *_: pytest.fail("it was made twice"))
    (folder / "maml.json").unlink()
    with claimed(folder / ".maml.lock") as mine:
        assert mine
        assert quick(folder, "--only", "maml", "--json") == 0
    assert json.loads(capsys.readouterr().out)["elsewhere"] == ["maml"]


def _claim_and_die(path):
    with claimed(path) as mine:
        os._exit(0 if mine else 1)


@pytest.mark.skipif(os.name != "posix", reason="claims are the kernel's")
def test_the_claim_of_a_dead_process_is_taken_over(tmp_path):
    path = tmp_path / ".maml.lock"
    other = multiprocessing.get_context("spawn").Process(target=_claim_and_die, args=(path,))
    other.start()
    other.join()
    assert other.exitcode == 0 and path.exists()
    with claimed(path) as mine, claimed(path) as again:
        assert mine and not again


def test_ctrl_c_is_one_line_that_says_how_to_go_on(folder, capsys, monkeypatch):
    (folder / "maml.json").unlink()

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(benching, "trained_apart", stopped)
    assert quick(folder, "--only", "maml") == 130
    assert capsys.readouterr().err == "mapwise: stopped: the same command goes on where this one was\n"


def test_a_training_that_is_killed_is_told_in_a_sentence(folder, capsys, monkeypatch):
    (folder / "maml.json").unlink()
    monkeypatch.setattr(bench_training, "_measured_training", _die)
    assert quick(folder, "--only", "maml") == 1
    assert "maml: failed, the training of maml was killed, perhaps for want of memory" in capsys.readouterr().err


def _die(*_):
    os._exit(9)


def test_a_learner_that_fails_leaves_the_others_their_rows(folder, capsys, monkeypatch):
    for name in ("maml", "nearest_mean"):
        (folder / f"{name}.json").unlink()

    def failing(settings, place):
        raise ValueError("the loss is nan")

    monkeypatch.setattr(benching, "trained_apart", failing)
    assert quick(folder, "--only", "maml,nearest_mean", "--json") == 1
    text = capsys.readouterr()
    output = json.loads(text.out)
    assert output["failed"] == {"maml": "the loss is nan"} and "nearest_mean" in output["rows"]
    assert not (folder / "maml.json").exists()


def test_a_candidate_that_cannot_be_trained_is_recorded_with_its_reason(tmp_path, monkeypatch):
    trained = benching.trained_in

    def first_fails(settings, place, **_):
        if place.name == "tuning-1":
            raise ValueError("the loss is nan")
        return trained(settings, place)

    monkeypatch.setattr(benching, "trained_in", first_fails)
    bench = asked_bench("glyphs", episodes=None, quick=True)
    settings, tried = benching.tuned(bench, "protonet", tmp_path, 1)
    assert (tried[0]["failure"], tried[0]["validation"]) == ("the loss is nan", None)
    assert tried[1]["best"] and settings.optimizer == f"Adam lr={tried[1]['values']['optimizer.lr']}"
    monkeypatch.setattr(benching, "trained_in", lambda *_, **__: (_ for _ in ()).throw(ValueError("no disk")))
    with pytest.raises(ValueError, match="no candidate of protonet could be trained, the first one: no disk"):
        benching.tuned(bench, "protonet", tmp_path / "other", 1)


@pytest.mark.parametrize("words", [("glyphs", "--only", "mamll"), ("glyph",)])
def test_a_name_that_is_not_there_is_wrong_use(words, capsys):
    assert command("bench", *words) == 2
    assert "did you mean" in capsys.readouterr().err


# How it is shown.


def test_the_table_pairs_every_row_with_one_on_the_same_episodes():
    ours, theirs, lone = contender("maml", 0.7), contender("protonet", 0.8), contender("relation", 0.9, 5, True)
    head, cells = comparison_rows([ours, theirs, lone], "protonet")
    assert [line[0] for line in cells] == ["relation", "protonet", "maml"]  # the best first
    difference = Paired.of(ours.own, theirs.own, without_digest=True).difference
    shown = dict(zip(head, cells[2], strict=True))
    assert shown["minus protonet"] == f"−{-100 * difference.mean:.1f} ± {100 * difference.ci95:.1f}"
    assert shown["inductive"] == f"{100 * ours.own.estimate.mean:.1f} ± {100 * ours.own.estimate.ci95:.1f} %"
    assert (shown["NLL"], shown["ECE"], shown["memory"], shown["adapted"]) == ("0.500", "1.0 %", "120 MB", "160")
    assert dict(zip(head, cells[1], strict=True))["minus protonet"] == "–"


def test_a_number_that_does_not_stand_alone_is_not_called_inductive():
    head, cells = comparison_rows([contender("relation", transductive=True), contender("raw", by_rows=None)], "none")
    relation, raw = (
        dict(zip(head, next(c for c in cells if c[0] == name), strict=True)) for name in ("relation", "raw")
    )
    assert relation["inductive"] == "–" and "±" in relation["transductive"]
    assert "±" in raw["inductive"] and raw["transductive"] == SAME
    assert raw["minus none"] == "–"


def test_rows_of_other_episodes_are_not_paired():
    with pytest.raises(ValueError, match="can't be paired, their episodes differ"):
        comparison_rows([contender("maml", episodes=20), contender("protonet", episodes=30)], "protonet")


def test_the_table_of_a_smoke_test_says_so(smoke):
    text = (smoke / "table.md").read_text(encoding="utf-8")
    assert text.startswith("A smoke test: these numbers measure nothing.")
    assert all(f"| {name} |" in text for name in ROWS)
    assert comparison_markdown([contender("maml")], "protonet").count("\n") == 2


def boxes(figure):
    """Left, right and middle height of every name in a figure."""
    results = []
    for text in ElementTree.fromstring(figure).iter("{http://www.w3.org/2000/svg}text"):
        if (text.text or "").startswith("learner"):
            numbers = re.findall(r"-?[\d.]+", text.attrib["transform"])
            x, y = (float(text.attrib.get(name, number)) for name, number in zip("xy", numbers[-2:], strict=True))
            results.append((x, x + 6.0 * len(text.text), y))
    return results


def test_names_in_the_figure_hide_no_other_name():
    random = np.random.default_rng(0)
    crowd = [contender(f"learner{i:02}", 0.8 + 0.02 * random.random(), 100 + 3 * i) for i in range(18)]
    figure = standalone(against_time(crowd))
    assert figure == standalone(against_time(crowd))
    assert figure.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    result = boxes(figure)
    assert len(result) == 18
    for i, (left, right, y) in enumerate(result):
        for other_left, other_right, other_y in result[:i]:
            assert right < other_left or other_right < left or abs(y - other_y) > 9


def test_what_is_not_trained_is_not_in_the_figure():
    drawn = against_time([contender("protonet"), replace(contender("raw"), processor_seconds=0.0)])
    assert "protonet" in drawn and ">raw<" not in drawn


def test_many_learners_stand_in_one_figure_of_their_training():
    crowd = [Curve(f"learner {n}", np.array([10.0, 20.0]), np.array([0.2 + n / 50, 0.5 + n / 50])) for n in range(11)]
    drawn = against_seconds(crowd, chance=0.2)
    assert drawn == against_seconds(crowd, chance=0.2)
    ElementTree.fromstring(standalone(drawn))
    for curve in crowd:
        assert curve.label in drawn
