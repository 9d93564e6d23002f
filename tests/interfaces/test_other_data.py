"""Other data than a run was trained on: which of their classes judge it is chosen, counted and said."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mapwise.data.images import images
from mapwise.runs.run import Run
from mapwise.runs.settings import RunSettings
from mapwise.workflows.errors import line_and_code

TINY = ("--steps", "4", "--validation-episodes", "8", "--tasks", "2")
FEW = ("--ways", "2", "--shots", "1", "--queries", "1", "--net", "mlp", *TINY)
JUDGED = ("--episodes", "10", "--json", "--no-baselines")


def drawn(folder, classes, seed=0):
    """A folder of classes of three grey noise pictures."""
    random = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(3):
            shades = random.integers(0, 255, (12, 12), dtype=np.uint8)
            Image.fromarray(shades).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture
def run(cli, tmp_path):
    """A run on ten classes of pictures, in the folder "run"."""
    drawn(tmp_path / "photos", [f"class{c}" for c in range(10)])
    done = cli("train", "protonet", "photos", "--out", "run", *FEW)
    assert done.code == 0, done.err
    return tmp_path / "run"


def test_the_test_split_of_other_data_judges_and_all_classes_do_if_asked(cli, run, tmp_path):
    drawn(tmp_path / "other", [f"thing{c}" for c in range(12)], seed=1)
    some = cli("eval", run, "--data", "other", *JUDGED).answer
    assert (some["split"], some["judged_classes"], some["all_classes"]) == ("test", 2, 12)
    assert some["classes"] == "judged on 2 of 12 classes (the test split); --split all judges on all"
    every = cli("eval", run, "--data", "other", "--split", "all", *JUDGED)
    answer = every.answer
    assert (answer["split"], answer["judged_classes"], answer["all_classes"]) == ("all", 12, 12)
    assert answer["classes"] == "judged on 12 of 12 classes"
    assert answer["digest"] != some["digest"] and "calibrated" not in answer
    again = cli("eval", run, "--data", "other", "--split", "all", *JUDGED).answer
    assert {**again, "adapt_ms": 0} == {**answer, "adapt_ms": 0}
    drawn_names = {
        name
        for step in range(20)
        for names in Run.open(run, {"data": str(tmp_path / "other")}).judging("all").names(step)
        for name in names
    }
    assert drawn_names == {f"thing{c}" for c in range(12)}
    shown = " ".join(cli("eval", run, "--data", "other", "--episodes", "10").out.split())
    assert "judged on 2 of 12 classes (the test split); --split all judges on all" in shown
    assert "other test (2 of 12 classes), 2-way 1-shot" in shown


def test_classes_of_its_own_data_are_counted_without_an_offer_of_all(cli, run):
    assert cli("eval", run, *JUDGED).answer["classes"] == "judged on 2 of 10 classes (the test split)"
    trained = cli("eval", run, "--split", "train", *JUDGED).answer
    assert trained["classes"] == "judged on 6 of 10 classes (the train split, which the run was trained on)"


def test_all_classes_of_its_own_data_are_refused_wherever_they_lie(cli, run, tmp_path):
    shutil.copytree("photos", "moved")
    for words in ((), ("--data", "photos"), ("--data", "moved")):
        done = cli("eval", run, "--split", "all", *words)
        assert done.code == 1 and done.err.count("\n") == 1
        assert "holds the classes that the run was trained on" in done.err and "--data" in done.err
    assert cli("eval", run, "--data", "moved", *JUDGED).answer["classes"].endswith("(the test split)")


def test_a_folder_of_test_classes_alone_judges_and_trains_nothing(cli, run, tmp_path):
    drawn(tmp_path / "other" / "test", ["cup", "pen", "shoe"], seed=1)
    assert list(images(tmp_path / "other").splits) == ["test"]
    answer = cli("eval", run, "--data", "other", *JUDGED).answer
    assert answer["classes"] == "judged on 3 of 3 classes (the test split)"
    done = cli("train", "protonet", "other", *FEW)
    assert done.code == 1 and done.err.count("\n") == 1
    assert "other has no classes to train on, only test: add" in done.err


def test_other_data_of_fewer_training_classes_than_ways_judge(cli, run, tmp_path):
    """Their training classes are not needed."""
    drawn(tmp_path / "other", ["cup", "pen", "shoe"], seed=1)
    done = cli("eval", run, "--data", "other", *JUDGED)
    assert "has 1 classes" in done.err and "all 3 classes, the split 'all'" in done.err
    assert cli("eval", run, "--data", "other", "--split", "all", *JUDGED).answer["judged_classes"] == 3


def test_a_pretrained_classifier_is_judged_on_data_of_another_number_of_classes(cli, tmp_path):
    drawn(tmp_path / "photos", [f"class{c}" for c in range(10)])
    assert cli("train", "supervised", "photos", "--out", "pretrained", *FEW).code == 0
    drawn(tmp_path / "other", [f"thing{c}" for c in range(12)], seed=1)
    answer = cli("eval", "pretrained", "--data", "other", "--split", "all", *JUDGED).answer
    assert answer["judged_classes"] == 12


def test_tasks_without_classes_have_no_split_of_all(cli):
    assert cli("train", "maml", "sinusoid", "--steps", 1, "--out", "sine").code == 0
    done = cli("eval", "sine", "--split", "all")
    assert done.code == 1 and "no split 'all'" in done.err
    assert "classes" not in cli("eval", "sine", *JUDGED).answer


def test_runs_are_compared_on_all_classes_of_other_data(cli, run, tmp_path):
    drawn(tmp_path / "other", [f"thing{c}" for c in range(12)], seed=1)
    assert cli("train", "simpleshot", "photos", "--out", "second", *FEW).code == 0
    answer = cli("compare", run, "second", "--data", "other", "--split", "all", "--episodes", "10", "--json").answer
    assert answer["first"]["judged_classes"] == 12


def test_an_earlier_run_whose_classes_are_not_known_is_judged(run):
    settings = RunSettings.read(run)
    assert len(settings.trained_on.classes) == 16
    replace(settings, trained_on=replace(settings.trained_on, classes="")).write(run)
    assert Run.open(run).judging("test").about.split == "test"
    with pytest.raises(ValueError, match="was trained on") as problem:
        Run.open(run).judging("all")
    assert line_and_code(problem.value)[1] == 1
