"""Streams: what a source of them draws, how any learner is judged on one, and what is told of it."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.sources import training_source
from mapwise.core.learner import Learner
from mapwise.core.map_tasks import task_at
from mapwise.core.source import TaskSource
from mapwise.core.stream import after_prefixes, is_stream, scored_rows, scores_along
from mapwise.core.task import Examples, Task
from mapwise.data.rows import LabelledRows
from mapwise.engine.evaluate import episode_values, evaluate
from mapwise.engine.figures import drawn_episode
from mapwise.engine.train import train
from mapwise.learners.memory.mann import MANN
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.nets import MLP
from mapwise.problems.classification import INSTANCES
from mapwise.tasks.stream import Stream, streamed


def table(classes: int = 30, rows: int = 12) -> LabelledRows:
    """Row r of class c is (c, r) and noise, so that both can be read off it."""
    random = np.random.default_rng(0)
    c, r = np.divmod(np.arange(classes * rows), rows)
    x = np.concatenate([np.stack([c, r], 1), random.normal(size=(len(c), 2))], 1).astype(np.float32)
    return LabelledRows.of(x, [f"class {i:02d}" for i in c], name="table")


def stream(**settings) -> Stream:
    return Stream(table(), **{"ways": 3, "tasks": 4, "length": 12, **settings})


def protonet() -> ProtoNet:
    return ProtoNet(partial(MLP, (4,), hidden=(8,), activation="tanh"))


# What is drawn -------------------------------------------------------------------------------------------


def test_a_stream_is_a_support_in_random_order_without_queries():
    source: TaskSource = stream()
    task = source(0)
    assert is_stream(task) and scored_rows(task) is task.support
    assert task.support.x.shape == (4, 12, 4) and task.support.y.shape == (4, 12, 3)
    assert task.query.x.shape == (4, 0, 4) and task.query.y.shape == (4, 0, 3)
    assert bool((task.support.weight == 1).all()) and len(set(task.support.key.tolist())) == 4
    assert (source.problem.name, source.inputs.shape, source.outputs) == ("classification", (4,), 3)
    columns = task.support.y.argmax(-1)
    assert len({tuple(row) for row in columns.tolist()}) == 4
    for row in columns:
        assert row.tolist() != sorted(row.tolist())


def test_a_row_comes_once_and_its_column_is_that_of_its_class_in_this_stream():
    source = stream(tasks=8)
    rows, names = source(3).support, source.names(3)
    for x, y, own in zip(rows.x, rows.y.argmax(-1), names, strict=True):
        assert [f"class {int(c):02d}" for c in x[:, 0]] == [own[column] for column in y.tolist()]
        assert len({(int(c), int(r)) for c, r in x[:, :2].tolist()}) == 12
    # The order of the names is drawn: a class has no column of its own.
    firsts = [own.index(min(own)) for step in range(20) for own in source.names(step)]
    assert set(firsts) == {0, 1, 2}


def test_a_batch_is_a_function_of_seed_and_step_and_of_the_split():
    a, b, c, d = (
        source(step).support.x for source, step in ((stream(), 1), (stream(), 1), (stream(), 2), (stream(seed=1), 1))
    )
    assert torch.equal(a, b) and not torch.equal(a, c) and not torch.equal(a, d)
    classes = {
        part: {int(c) for c in stream(tasks=50).split(part)(0).support.x[..., 0].flatten()}
        for part in ("train", "test")
    }
    assert not classes["train"] & classes["test"]


def test_nothing_that_came_before_says_which_class_comes_next():
    columns = stream(tasks=4000, length=13)(0).support.y.argmax(-1)
    counts = torch.nn.functional.one_hot(columns).sum(1)
    # A class of few rows so far is no likelier to come: the counts are as spread as those of fair dice.
    torch.testing.assert_close(counts.double().var(), torch.tensor(13 * (1 / 3) * (2 / 3)).double(), rtol=0.05, atol=0)
    torch.testing.assert_close(counts.double().mean(0), torch.full((3,), 13 / 3).double(), rtol=0.02, atol=0)
    again = (columns[:, 1:] == columns[:, :-1]).double().mean().item()
    assert again == pytest.approx(1 / 3, abs=0.01)


def test_a_class_comes_no_more_often_than_it_has_rows():
    source = stream(tasks=50, length=36)  # three classes of twelve rows: all of them
    rows = source(0).support
    assert bool((rows.y.sum(1) == 12).all())
    for x in rows.x:
        assert len({(int(c), int(r)) for c, r in x[:, :2].tolist()}) == 36


def test_its_protocol_says_how_many_of_a_class_may_have_come_before():
    about = stream().about
    assert (about.source, about.ways, about.shots, about.queries) == ("table stream", "3", "0-11", 4)


def test_shuffled_labels_leave_the_rows_and_their_order():
    plain, dealt = stream()(0).support, stream(shuffle_labels=True)(0).support
    assert torch.equal(plain.x, dealt.x) and not torch.equal(plain.y, dealt.y)
    assert torch.equal(plain.y.sum(1), dealt.y.sum(1))
    assert stream(shuffle_labels=True).about.source == "table stream with shuffled labels"


def test_augmentation_is_for_training_rows_alone():
    source = stream(augment=lambda x, key: x + 100)
    assert float(source(0).support.x[..., 2:].min()) > 50
    assert float(source.split("val")(0).support.x[..., 2:].min()) < 50


def test_streams_that_cannot_be_are_refused():
    for settings, fault in (
        ({"length": 2}, "length is 2 and ways is 3"),
        ({"length": 37}, "has 12 rows, so 3 classes may not fill a stream of 37"),
        ({"part": "dev"}, "no split 'dev'"),
        ({"ways": 29, "length": 58}, "ways is 29 and the train split"),
    ):
        with pytest.raises(ValueError, match=fault):
            stream(**settings)
    with pytest.raises(ValueError, match=r"ways is \(3, 5\): give one number"):
        streamed(lambda size: table(), (3, 5))


# How it is judged ----------------------------------------------------------------------------------------


def test_after_prefixes_is_adapting_to_the_rows_before_and_predicting_the_next():
    learner = protonet()
    params = learner.init(0)
    rows = task_at(stream()(0), 0).support
    result = after_prefixes(learner, params, rows)
    for place in range(12):
        before = Examples(rows.x[:place], rows.y[:place], rows.weight[:place], rows.key)
        expected = learner.predict(params, learner.adapt(params, before), rows.x[place : place + 1])
        torch.testing.assert_close(result[place], expected[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(scores_along(learner, params, rows), result)


def test_a_learner_that_looks_at_numbers_is_judged_by_a_loop():
    @dataclass(frozen=True)
    class Looks(ProtoNet):
        def predict(self, params, fast, x):
            return super().predict(params, fast, x) * (1.0 if fast["present"].sum().item() < 9 else 2.0)

    learner, source = Looks(protonet().encoder), stream(part="test", tasks=2)
    params = learner.init(0)
    result = episode_values(learner, params, source, 2)
    np.testing.assert_array_equal(result, episode_values(protonet(), params, source, 2))


@dataclass(frozen=True)
class Remembers(Learner):
    """Knows a class by its number, which stands in the row, from its second sight on, and never at the first."""

    def init(self, seed):
        return {}

    def causal(self, params, rows):
        same = rows.x[:, None, 0] == rows.x[None, :, 0]
        before = same & (torch.arange(len(rows.y))[:, None] > torch.arange(len(rows.y)))
        known = before.to(rows.y) @ rows.y  # [N, W]
        return torch.where(known.sum(1, keepdim=True) > 0, known, -rows.y)

    def adapt(self, params, support):
        return {"x": support.x, "y": support.y * support.weight[:, None]}

    def predict(self, params, fast, x):
        return (x[:, None, 0] == fast["x"][None, :, 0]).to(fast["y"]) @ fast["y"]


def test_accuracy_by_instance_counts_every_stream_once():
    report = evaluate(Remembers(), {}, stream(part="test", length=36), episodes=10)
    # At the first sight of three classes nothing is right, and everything after it.
    assert report.instances is not None and list(report.instances) == list(INSTANCES)
    assert [one.mean for one in report.instances.values()] == [0, 1, 1, 1, 1]
    assert {one.episodes for one in report.instances.values()} == {10}
    assert report.values.tolist() == pytest.approx([33 / 36] * 10)
    assert report.to_json()["sights"]["2"] == {"accuracy": 1.0, "ci95": 0.0}
    assert report.chance == pytest.approx(1 / 3) and not report.protocol.transductive
    short = evaluate(Remembers(), {}, stream(part="test", length=4), episodes=3)
    assert short.instances is not None and 5 not in short.instances


def test_an_interval_is_over_streams_and_not_over_rows():
    class Half(Stream):
        """Every other stream has labels that say nothing."""

        def __call__(self, step):
            rows, none = super().__call__(step)
            noise = rows.y.roll(1, -1).roll(1, -2)
            odd = (torch.arange(len(rows.y)) % 2 == 1)[:, None, None]
            return Task(rows._replace(y=torch.where(odd, noise, rows.y)), none)

    report = evaluate(Remembers(), {}, Half(table(), 3, 4, part="test", length=36), episodes=40)
    second = report.instances[2]
    per_stream = np.array([1.0, 0.0] * 20)
    assert second.ci95 > 0.5 * 1.96 * per_stream.std(ddof=1) / 40**0.5


def test_a_learner_that_bars_unseen_classes_has_no_likelihood_on_a_stream():
    learner = protonet()
    report = evaluate(learner, learner.init(0), stream(part="test"), episodes=4, temperature=2.0)
    assert report.nll is None and report.calibrated is None and report.instances is not None
    assert evaluate(learner, learner.init(0), stream().episodes.split("test"), episodes=4).nll is not None


def test_only_a_learner_with_a_causal_pass_is_trained_on_streams():
    source = stream()
    assert {name for name, row in LEARNERS.items() if row.causal} == {
        "mann",
        "memory_network",
        "memory_network_nearest",
    }
    assert training_source(LEARNERS["mann"], source) is source
    assert training_source(LEARNERS["protonet"], source) is source.episodes
    assert training_source(LEARNERS["supervised"], source).episodes is source.episodes
    with pytest.raises(ValueError, match=r"is a stream .* and ProtoNet has no causal pass: train it on episodes"):
        protonet().objective({}, task_at(source(0), 0))


def test_a_learner_is_trained_on_streams_and_validated_on_them():
    learner = MANN(partial(MLP, (4,), hidden=(8,)), units=8, slots=6, width=4, heads=1, max_ways=3)
    trained = train(learner, stream(), steps=3, validation_episodes=4, how="vmap")
    assert trained.validation is not None and all(np.isfinite(record["loss"]) for record in trained.history)
    gap = trained.params["lstm"]["input"] - learner.init(0)["lstm"]["input"]
    assert bool((gap[:, -3:] != 0).any()), "nothing was learned of labels"


def test_a_stream_is_not_drawn_out_as_an_episode():
    learner = protonet()
    assert drawn_episode(learner, learner.init(0), stream()) is None
    assert drawn_episode(learner, learner.init(0), stream().episodes) is not None


def test_streams_are_trained_on_judged_and_reported_from_the_command_line(cli):
    small = ("--steps", "2", "--validation-episodes", "2", "--tasks", "2", "--net.filters", "4", "--how", "vmap")
    own = ("--source.length", "10", "--source.size", "16")
    few = ("--units", "8", "--slots", "6", "--width", "4", "--heads", "2")
    assert cli("train", "mann", "glyphs_stream", *small, *own, *few, "--out", "mann").code == 0
    assert cli("train", "protonet", "glyphs_stream", *small, *own, "--out", "protonet").code == 0
    result = cli("eval", "mann", "--episodes", "4", "--beside", "protonet", "--json").answer
    assert result["shots"] == "0-9" and list(result["sights"])[:2] == ["1", "2"]
    assert [other["learner"] for other in result["beside"]] == ["nearest_mean", "protonet"]
    assert all(other["sights"].keys() == result["sights"].keys() for other in result["beside"])
    shown = cli("eval", "mann", "--episodes", "4", "--source.length", "50", "--shuffle-labels").out
    assert "Accuracy by instance of a class" in shown and "10th" in shown and "stream with shuffled labels" in shown
    assert cli("report", "mann", "--episodes", "4", "--curve-episodes", "2").code == 0
    assert "Accuracy by instance of a class" in Path("mann/report.html").read_text("utf-8")
    refused = cli("train", "mann", "glyphs_stream", *own, "--shots", "5")
    assert refused.code != 0 and "a stream has no shots" in refused.err
    refused = cli("train", "mann", "glyphs_stream", "--ways", "10", "--out", "wide", *small)
    assert refused.code != 0 and "10 classes and the learner was built for 5" in refused.err
