"""What isn't a number is no answer: weights, files and rows that lead to one are refused in a sentence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import mapwise as mw
from conftest import command, rewrite
from mapwise.core.learner import Learner
from mapwise.data.digits import digits
from mapwise.engine import checkpoint
from mapwise.engine.evaluate import evaluate
from mapwise.engine.folder import BEST
from mapwise.predictors.classes import Predictor
from mapwise.runs.run import load_params
from mapwise.tasks.episodes import Episodes

TABLE = np.array([["red", 1.5], ["red", 2.5], ["blue", 1.0], ["green", 7.0]], dtype=object)
LABELS = ["b", "b", "a", "a"]


def test_numbers_are_scaled_by_a_spread_above_zero(tmp_path):
    path = tmp_path / "few.safetensors"
    for name, value in [("spread", 0.0), ("spread", -1.0), ("spread", np.nan), ("spread", np.inf), ("mean", np.inf)]:
        mw.FewShotClassifier().fit(TABLE, LABELS).save(path)
        rewrite(path, lambda about, _, key=name, number=value: about["encoder"]["state"]["1"].update({key: number}))
        with pytest.raises(ValueError, match=r"few.safetensors is no whole predictor .*column '1' is damaged"):
            Predictor.load(path)


@pytest.mark.parametrize("share", [np.nan, np.inf, -0.5, 1.5])
def test_words_have_shares_between_zero_and_one(tmp_path, share):
    path = tmp_path / "few.safetensors"
    mw.FewShotClassifier().fit(TABLE, LABELS).save(path)
    rewrite(path, lambda about, _: about["encoder"]["state"]["0"].update(shares=[share, 0.25, 0.25]))
    with pytest.raises(ValueError, match=r"few.safetensors is no whole predictor .*column '0' is damaged"):
        Predictor.load(path)


@dataclass(frozen=True)
class Narrow(Learner):
    """Answers rows near 0, and NaN to those far from it."""

    def init(self, seed):
        return {}

    def adapt(self, params, support):
        return {"y": support.y.mean(0)}

    def predict(self, params, fast, x):
        return torch.where(x.abs().amax(1, keepdim=True) > 10, torch.nan, fast["y"].expand(len(x), -1))


@pytest.mark.parametrize("estimator", [mw.FewShotClassifier, mw.FewShotRegressor])
def test_a_row_whose_answer_is_not_finite_is_refused(estimator):
    few = estimator(learner=Narrow()).fit([[0.0], [1.0], [2.0]], [0, 1, 1])
    few.predict([[1.0], [2.0]])
    with pytest.raises(ValueError, match="the answer to row 1 is NaN or infinite"):
        few.predict([[1.0], [1e6], [2.0]])
    if estimator is mw.FewShotClassifier:
        with pytest.raises(ValueError, match="the answer to row 1 is NaN or infinite"):
            few.explain([[1.0], [1e6], [2.0]])


@dataclass(frozen=True)
class Lost(Learner):
    """Answers NaN in every task whose rows have this mean or more."""

    least: float
    answer: Any = float("nan")

    def adapt(self, params, support):
        return {"mean": support.x.mean()}

    def predict(self, params, fast, x):
        scores = torch.zeros(len(x), 3)
        return torch.where(fast["mean"] >= self.least, self.answer, scores)


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), float("-inf")])
def test_an_episode_without_answers_is_named(answer):
    source = Episodes(digits(), ways=3, shots=1, queries=2, tasks=4).split("test")
    means = torch.cat([source(step).support.x.flatten(1).mean(1) for step in range(3)])
    place = int(means.argmax())
    learner = Lost(float(means.max()) - 1e-6, answer)
    with pytest.raises(ValueError, match=rf"episode {place} .*damaged or the training diverged"):
        evaluate(learner, {}, source, episodes=12)
    if place:
        assert evaluate(learner, {}, source, episodes=place).values.shape == (place,)


def test_weights_that_hold_nan_are_not_judged(tmp_path, cli):
    words = ["maml", "digits", "--net", "mlp", "--net.hidden", "4", "--steps", "1", "--how", "vmap"]
    assert command("train", *words, "--validation-episodes", "2", "--threads", "1", "--out", tmp_path / "run") == 0
    tensors, about = checkpoint.load(tmp_path / "run" / BEST)
    first = next(iter(tensors["params"].values()))
    leaf = next(iter(first.values())) if isinstance(first, dict) else first
    leaf.view(-1)[0] = torch.nan
    checkpoint.save(tmp_path / "run" / BEST, tensors, about)
    with pytest.raises(ValueError, match=r"best.safetensors hold NaN or infinity: .*diverged"):
        load_params(tmp_path / "run")
    done = cli("eval", tmp_path / "run", "--episodes", "2")
    assert done.code == 1 and "hold NaN or infinity" in done.err
