"""Files of mapwise 0.1.0: they open, say what they said then, and a run goes on from them."""

import json
import shutil

import numpy as np
import pytest

import mapwise as mw
from conftest import ROOT
from mapwise.core import tree
from mapwise.engine import checkpoint
from mapwise.engine.evaluate import episode_values
from mapwise.engine.folder import BEST
from mapwise.predictors.heads.trained_learner import TrainedLearner
from mapwise.runs.run import Run

# See make.py there: they are never written again.
EARLIER = ROOT / "tests" / "fixtures" / "earlier"
WORDS = ROOT / "tests" / "fixtures" / "words"
RUNS = ["maml", "protonet", "cnp", "ntm"]
CLOSE = {"rtol": 1e-6, "atol": 1e-6}  # another processor adds in another order


@pytest.mark.parametrize("name", RUNS)
def test_an_earlier_run_has_the_same_values(name):
    run = Run.open(EARLIER / "runs" / name)
    known = np.load(EARLIER / "runs" / f"{name}.npz")["values"]
    np.testing.assert_allclose(episode_values(run.learner, run.params, run.judging(), len(known)), known, **CLOSE)


@pytest.mark.parametrize("name", RUNS)
def test_an_earlier_run_that_was_stopped_goes_on_to_the_same_weights(name, cli, tmp_path):
    folder = tmp_path / name
    shutil.copytree(EARLIER / "runs" / name, folder)
    done = cli("train", "--resume", folder, "--json")
    assert done.code == 0, done.err
    tensors, about = checkpoint.load(folder / BEST)
    known = dict(np.load(EARLIER / "runs" / f"{name}.npz"))
    assert about["step"] == known.pop("step")
    del known["values"]
    weights = tree.flatten(tensors["params"])
    assert weights.keys() == known.keys()
    for path, leaf in weights.items():
        np.testing.assert_allclose(leaf, known[path], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["table", "text", "drawings", "trained", "regressor"])
def test_an_earlier_predictor_has_the_same_answers(name):
    path = EARLIER / "predictors" / f"{name}.safetensors"
    known = json.loads(path.with_suffix(".json").read_text())
    rows = known["rows"]
    if name in ("drawings", "trained"):
        rows = [np.array(row, np.uint8) for row in rows]
    if name in ("table", "regressor"):
        rows = np.array(rows, dtype=object)
    if name == "regressor":
        np.testing.assert_allclose(mw.FewShotRegressor.load(path).predict(rows), known["answers"], **CLOSE)
        return
    model = mw.FewShotClassifier.load(path)
    assert model.classes_.tolist() == known["classes"]
    np.testing.assert_allclose(model.predict_proba(rows), known["answers"], **CLOSE)


def test_an_earlier_predictor_of_words_has_the_same_answers():
    known = json.loads((WORDS / "texts.json").read_text(encoding="utf-8"))
    model = mw.FewShotClassifier.load(WORDS / "texts.safetensors")
    assert model.classes_.tolist() == known["classes"]
    np.testing.assert_allclose(model.predict_proba(known["rows"]), known["answers"], **CLOSE)


def test_an_earlier_run_stands_behind_a_predictor():
    assert TrainedLearner.of_run(EARLIER / "runs" / "protonet").settings.learner == "protonet"
