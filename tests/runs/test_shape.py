"""A run's file holds what its rows are: by their sizes alone where a net of the catalog could read them."""

import pytest

import mapwise as mw
from mapwise.core.source import TaskShape
from mapwise.predictors.heads.trained_learner import TrainedLearner
from mapwise.runs.learner import LearnerSettings
from mapwise.runs.settings import SETTINGS, RunSettings, TrainedOn

IDS = mw.Spec((12,), "int64", 30)
SHAPES = {
    "plain": (mw.Spec((1, 28, 28)), '"shape" = ["classification", [1, 28, 28], 5]'),
    "ids": (IDS, '"shape" = ["classification", {"shape" = [12], "dtype" = "int64", "vocabulary" = 30}, 5]'),
    "dict": (
        {"picture": mw.Spec((1, 8, 8)), "shape": IDS},
        '"shape" = ["classification", {"picture" = {"shape" = [1, 8, 8], "dtype" = "float32"}, '
        '"shape" = {"shape" = [12], "dtype" = "int64", "vocabulary" = 30}}, 5]',
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_rows_of_a_run_come_back_from_its_file(name, tmp_path):
    inputs, line = SHAPES[name]
    shape = TaskShape("classification", inputs, 5)
    settings = RunSettings(learner="maml", source="glyphs", trained_on=TrainedOn("glyphs", "mlp", shape))
    settings.stamped("mapwise train maml glyphs").write(tmp_path)
    assert line in (tmp_path / SETTINGS).read_text()
    assert RunSettings.read(tmp_path).trained_on == settings.trained_on
    model = LearnerSettings.of(settings, shape)
    assert LearnerSettings.model_validate(model.model_dump()) == model


@pytest.mark.parametrize("name", ["ids", "dict"])
@pytest.mark.parametrize(
    ("learner", "problem", "reader"), [("maml", "classification", "net mlp"), ("ntm", "multilabel", "this learner")]
)
def test_rows_that_the_catalog_can_not_read_are_refused_in_a_sentence(name, learner, problem, reader):
    shape = TaskShape(problem, SHAPES[name][0], 5)
    settings = LearnerSettings(learner=learner, fields={}, net="mlp", net_options={}, shape=shape)
    with pytest.raises(ValueError, match=f"^{reader} takes rows of one float32 tensor and these are ") as refused:
        settings.build()
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=r"^a predictor takes rows of one float32 tensor and these are "):
        TrainedLearner.of(settings, {}, None)
