"""A problem says how its tasks are judged and shown, and bits are judged as bits wherever a number is shown."""

import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from rich.console import Console

from mapwise.core.learner import WAIVABLE, Learner
from mapwise.core.losses import binary_cross_entropy
from mapwise.engine.evaluate import episode_values, evaluate
from mapwise.engine.figures import drawn_episode, embedding_map, training_curves
from mapwise.engine.results import Curve, Findings, Paired, Report, Search, Trial
from mapwise.engine.train import train
from mapwise.interfaces.shown import trained
from mapwise.laws.check import check
from mapwise.problems import PROBLEMS, metrics
from mapwise.report import plots, table
from mapwise.report.run_page import run_page, run_summary
from mapwise.report.search_page import search_page
from mapwise.tasks.sequences import Copy

SOURCE = Copy(length="1-4", width=3, tasks=10)


@dataclass(frozen=True)
class Echo(Learner):
    """It says what was read in the k-th row when asked for the k-th answer, and is as sure as it has learned to be.

    Paper:   none.
    Fast:    {"read": [S, W]}.
    Loss:    binary cross-entropy.
    Differs: nothing.

    Breaks `order` and `padding`: it counts rows. Breaks `relabel`: a bit has its column.
    """

    lies: bool = False
    """Whether its first bit is always the wrong one."""

    @property
    def keeps(self):
        return WAIVABLE - {"order", "padding", "relabel"}

    @property
    def criterion(self):
        return binary_cross_entropy

    def init(self, seed):
        return {"sure": torch.zeros(())}

    def adapt(self, params, support):
        return {"read": support.x[:, : support.y.shape[1]]}

    def predict(self, params, fast, x):
        row = (x[:, -1].long() - 1).clamp(0, len(fast["read"]) - 1)
        bits = 2 * fast["read"][row] - 1
        if self.lies:
            bits = bits * torch.tensor([-1.0, 1.0, 1.0]).to(bits)
        return params["sure"] * bits


@dataclass(frozen=True)
class Unlearns(Echo):
    def objective(self, params, task):
        return params["sure"]


SURE = {"sure": torch.tensor(3.0)}


def judged(lies=False, sure=3.0, episodes=60):
    return evaluate(
        Echo(lies), {"sure": torch.tensor(sure)}, SOURCE.split("test"), episodes=episodes, name=f"echo {lies}"
    )


def test_every_problem_has_a_name_and_a_metric_of_its_own():
    assert set(PROBLEMS) == {"classification", "regression", "multilabel", "spans"}
    assert len(metrics()) == len({metric.title for metric in metrics().values()}) == len(PROBLEMS)


def test_bits_are_counted_one_by_one_and_only_where_a_row_counts():
    scores = torch.tensor([[3.0, -1.0, 2.0, -2.0], [-1.0, -1.0, 1.0, 1.0]])
    y = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    assert PROBLEMS["multilabel"].values(scores, y).tolist() == [0.5, 0.0]
    # All answers are right but the first bit of each: a third is wrong in every episode, however long.
    values = episode_values(Echo(lies=True), SURE, SOURCE, 25)
    assert len(values) == 25 and np.allclose(values, 1 / 3)
    assert np.all(episode_values(Echo(), SURE, SOURCE, 25) == 0)


def test_the_binary_cross_entropy_stands_beside_it_in_bits():
    report = judged(lies=True)
    right, wrong = math.log1p(math.exp(-3)), math.log1p(math.exp(3))
    assert report.nll == pytest.approx(2 * right + wrong, rel=1e-6)
    assert report.bits == pytest.approx((2 * right + wrong) / 3 / math.log(2), rel=1e-6)
    assert judged(sure=0.0).bits == pytest.approx(1.0)
    assert (report.metric, report.chance, report.ece, report.classes) == ("wrong_bits", 0.5, None, None)
    assert not report.protocol.transductive


def test_a_report_of_bits_comes_back_from_its_numbers():
    report = judged(lies=True)
    data = json.loads(json.dumps(report.to_json()))
    again = Report.from_json(data, report.values)
    assert data["wrong_bits"] == pytest.approx(1 / 3) and "median" not in data and "accuracy" not in data
    assert (again.protocol, again.bits, again.metric) == (report.protocol, report.bits, "wrong_bits")


def test_training_selects_the_fewest_wrong_bits():
    training = train(Unlearns(), SOURCE, steps=6, optimizer="SGD lr=1.0", params=SURE, validate_every=1, how="vmap")
    assert [training.history[0]["validation"], training.history[-1]["validation"]] == [0.0, 1.0]
    assert (training.validation, training.step) == (0.0, 1)
    backwards = {"sure": torch.tensor(-1.0)}
    training = train(Echo(), SOURCE, steps=12, optimizer="SGD lr=2.0", params=backwards, validate_every=4, how="vmap")
    assert [record["validation"] for record in training.history if "validation" in record][-1] == 0.0
    assert training.validation == 0.0 and float(training.params["sure"]) > 0
    curves = training_curves(training.history, PROBLEMS["multilabel"])
    assert [curve.label for curve in curves] == ["training loss", "validation wrong_bits"]
    assert drawn_episode(Echo(), SURE, SOURCE) is None and embedding_map(Echo(), SURE, SOURCE) is None


def test_the_laws_compare_bits_with_a_coin():
    verdicts = check(Echo(), SOURCE, steps=20, lr=0.1)
    verdicts.raise_if_broken()
    learns = next(verdict for verdict in verdicts if verdict.law.name == "learns")
    assert "minus the share of wrong bits" in learns.detail and "chance -0.500" in learns.detail
    relabel = next(verdict for verdict in verdicts if verdict.law.name == "relabel")
    assert relabel.holds is None and "no classes" in relabel.detail


def render(rendered):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(rendered)
    return capture.get()


def test_fewer_wrong_bits_are_better_in_words():
    good, bad = judged(), judged(lies=True, episodes=60)
    jittered = replace(bad, values=bad.values + np.linspace(-0.01, 0.01, 60))
    pair = Paired.of(good, jittered)
    assert table.verdict(pair, good.metric) == "better"
    text = render(table.accuracy_table([good, jittered], title="bits"))
    assert "wrong bits" in text and "33.3 ±" in text and "bits a bit" in text and "50.0 %" in text
    assert "copy test, length 1-4, at most 4 answers, 60 episodes" in text
    assert "better" in render(table.paired_table([pair], protocol=good.protocol))
    answer = run_summary([jittered, good])
    assert "33.3 %" in answer and "of the bits of its answer wrong" in answer and "chance is 50 %" in answer
    assert trained(
        {"validation": 0.012, "validation_episodes": 5, "learner": "a", "source": "copy", "step": 1, "steps": 1,
         "run": "r"}, PROBLEMS["multilabel"]
    ).startswith("a on copy: step 1 of 1 selected, share of wrong bits 1.2 % on 5")  # fmt: skip


def test_a_page_of_bits_names_them_everywhere():
    own = judged(lies=True)
    curves = [Curve("validation wrong_bits", np.arange(1, 4), np.array([0.5, 0.4, 0.2]))]
    html = run_page(Findings("bits", [own, judged()], training=curves))
    assert "share of wrong bits" in html and "Bits a bit is the binary cross-entropy" in html
    assert "accuracy" not in html and "squared error" not in html


def test_a_search_over_bits_puts_the_fewest_first():
    trials = [Trial(i, {"lr": 0.1 * (i + 1)}, "complete", value, 5) for i, value in enumerate((0.4, 0.1, 0.3))]
    result = Search("bits", "wrong_bits", "copy val", 5, {"lr": "0.1..1"}, frozenset(), trials)
    assert result.best is trials[1] and plots.search_top(result) == math.inf
    assert "10.0 %" in render(table.search_table(result))
    assert "a share of wrong bits of 10.0 %" in search_page(result)
