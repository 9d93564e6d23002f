"""Training: what is returned, validated, recorded and scheduled."""

import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from mapwise.data.digits import digits
from mapwise.data.rows import LabelledRows
from mapwise.engine import checkpoint
from mapwise.engine.evaluate import episode_values
from mapwise.engine.folder import BEST, LAST, METRICS
from mapwise.engine.train import train
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.sinusoid import Sinusoid
from toy_tasks import Constant, Walk, sine_net, walk


def test_the_best_validation_is_returned_though_the_run_went_on(tmp_path):
    for out in (None, tmp_path):
        trained = walk(out=out)
        assert (trained.step, trained.validation, float(trained.params["w"])) == (3, 0.0, 3.0)
    tensors, about = checkpoint.load(tmp_path / BEST)
    assert (float(tensors["params"]["w"]), about["step"], about["validation"]) == (3.0, 3, 0.0)


def test_the_last_is_returned_when_asked_for(tmp_path):
    trained = walk(out=tmp_path, select="last")
    assert (trained.step, trained.validation, float(trained.params["w"])) == (6, 9.0, 6.0)
    assert float(checkpoint.load(tmp_path / BEST)[0]["params"]["w"]) == 6.0


def test_patience_ends_a_run_that_gets_no_better():
    trained = walk(steps=50, patience=2)
    assert [record["step"] for record in trained.history] == [1, 2, 3, 4, 5]
    assert trained.step == 3


def test_a_validation_that_is_not_a_number_is_never_the_best():
    @dataclass(frozen=True)
    class Lost(Walk):
        def predict(self, params, fast, x):
            return torch.where(fast["w"] == 2, fast["w"] * x, torch.nan)

    trained = train(Lost(), Constant(), steps=4, optimizer="SGD lr=1.0", validate_every=1, how="loop")
    assert (trained.step, trained.validation) == (2, 1.0)


def test_records_hold_the_step_the_mean_loss_the_rate_and_the_validation(tmp_path):
    trained = walk(steps=4, validate_every=2, out=tmp_path, schedule="linear")
    rates = [1.0, 0.75, 0.5, 0.25]
    reached = [0.0, 1.0, 1.75, 2.25, 2.5]
    records = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert records == trained.history
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert [record["lr"] for record in records] == pytest.approx(rates)
    assert [record["loss"] for record in records] == pytest.approx([-w for w in reached[:4]])
    assert [record.get("validation") for record in records] == [None, (3 - 1.75) ** 2, None, (3 - 2.5) ** 2]


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (None, [1, 1, 1, 1]),
        ("cosine", [1, 0.8535533906, 0.5, 0.1464466094]),
        ("StepLR step_size=2 gamma=0.5", [1, 1, 0.5, 0.5]),
        ("MultiStepLR milestones=[1,3] gamma=0.1", [1, 0.1, 0.1, 0.01]),
    ],
)
def test_a_schedule_moves_once_a_step(schedule, rates):
    assert [record["lr"] for record in walk(steps=4, schedule=schedule).history] == pytest.approx(rates)


FIVE = range(5)


@pytest.mark.parametrize(
    ("schedule", "after"),
    [
        (None, [1.0] * 5),
        ("cosine", [(1 + math.cos(math.pi * k / 5)) / 2 for k in FIVE]),
        ("linear", [1 - k / 5 for k in FIVE]),
        ("StepLR step_size=2 gamma=0.5", [1, 1, 0.5, 0.5, 0.25]),
        ("ExponentialLR gamma=0.9", [0.9**k for k in FIVE]),
        ("PolynomialLR total_iters=5 power=2.0", [(1 - k / 5) ** 2 for k in FIVE]),
    ],
)
def test_a_warm_up_rises_in_a_line_and_the_schedule_covers_the_rest(schedule, after, tmp_path):
    trained = walk(steps=8, warmup=3, schedule=schedule, select="last", out=tmp_path)
    rates = [1 / 3, 2 / 3, 1, *after]
    assert [record["lr"] for record in trained.history] == pytest.approx(rates)
    assert float(trained.params["w"]) == pytest.approx(sum(rates))  # the steps were taken at those rates
    if schedule in ("cosine", "linear"):
        groups = checkpoint.load(tmp_path / LAST)[1]["optimizer"]["groups"]
        assert groups[0]["lr"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "schedule",
    [
        "OneCycleLR max_lr=2.0 total_steps=6 cycle_momentum=False",
        "CyclicLR base_lr=0.5 max_lr=2.0 step_size_up=2 cycle_momentum=False",
        "ConstantLR factor=0.25 total_iters=3",
        "CosineAnnealingWarmRestarts T_0=2",
        "MultiStepLR milestones=[1,3] gamma=0.1",
    ],
)
def test_a_warm_up_rises_to_whatever_rate_the_schedule_begins_with(schedule):
    alone = [record["lr"] for record in walk(steps=5, schedule=schedule).history]
    warmed = [record["lr"] for record in walk(steps=9, schedule=schedule, warmup=4).history]
    assert warmed == [alone[0] / 4, alone[0] / 2, alone[0] * 3 / 4, alone[0], *alone]


def test_clipping_bounds_the_norm_of_the_meta_gradient():
    assert float(walk(steps=4, clip=0.25, select="last").params["w"]) == pytest.approx(1.0, rel=1e-4)
    assert float(walk(steps=4, clip=9.0, select="last").params["w"]) == 4.0


def test_the_learner_is_asked_for_its_form_at_every_step_from_0_to_below_1():
    learner = Walk()
    train(learner, Constant(), steps=4, optimizer="SGD lr=1.0", how="loop")
    assert learner.moments == [0.0, 0.25, 0.5, 0.75]


def test_schedules_of_the_learner_change_what_is_descended():
    @dataclass(frozen=True)
    class Fading(Walk):
        def at(self, progress):
            return replace(self, power=1 - progress)

    trained = train(Fading(), Constant(), steps=4, optimizer="SGD lr=1.0", how="loop", select="last")
    assert float(trained.params["w"]) == pytest.approx(1 + 0.75 + 0.5 + 0.25)


def test_validation_opens_the_val_split_and_nothing_opens_the_test_split():
    source = Constant()
    train(Walk(), source, steps=3, how="auto", validate_every=1)
    assert set(source.opened) == {"val"}
    other, source = Constant(part="val"), Constant()
    train(Walk(), source, steps=3, how="auto", validation=other)
    assert source.opened == []


def test_what_is_measured_is_saved_with_the_best_and_never_trained(tmp_path):
    given = {"w": torch.zeros(()), "measured": {"from": torch.tensor(-1.0)}}
    trained = walk(out=tmp_path, params=given)
    # Of the training source, whose part has five letters.
    assert float(trained.params["measured"]["from"]) == 5.0
    assert float(checkpoint.load(tmp_path / BEST)[0]["params"]["measured"]["from"]) == 5.0
    assert set(checkpoint.load(tmp_path / LAST)[0]["params"]) == {"w"}
    assert float(given["measured"]["from"]) == -1.0


def test_the_given_params_are_left_as_they_were():
    given = {"w": torch.zeros(())}
    trained = walk(params=given)
    assert float(given["w"]) == 0.0
    assert float(trained.params["w"]) == 3.0


def test_no_steps_write_a_best_of_the_given_params(tmp_path):
    trained = walk(steps=0, out=tmp_path, params={"w": torch.tensor(7.0)})
    assert (trained.step, trained.validation, trained.history) == (0, None, [])
    tensors, about = checkpoint.load(tmp_path / BEST)
    assert (float(tensors["params"]["w"]), float(tensors["params"]["measured"]["from"])) == (7.0, 5.0)
    assert about["step"] == 0
    again = walk(steps=0, out=tmp_path, params={"w": torch.tensor(7.0)}, resume=True)
    assert float(again.params["w"]) == 7.0


def test_no_steps_keep_what_was_measured_before():
    @dataclass(frozen=True)
    class Unmeasuring(Walk):
        def measure(self, params, source):
            return params

    given = {"w": torch.tensor(1.0), "measured": {"from": torch.tensor(2.0)}}
    training = train(Unmeasuring(), Constant(), steps=0, params=given, how="loop")
    assert float(training.params["measured"]["from"]) == 2.0


def test_a_learner_with_nothing_to_train_goes_through_the_motions(tmp_path):
    source = Episodes(digits(), ways=3, shots=1, queries=2, tasks=2)
    learner = ProtoNet(encoder=torch.nn.Flatten)
    trained = train(learner, source, steps=2, out=tmp_path, validation_episodes=4)
    assert trained.params == {}
    assert trained.validation == episode_values(learner, {}, source.split("val"), 4).mean()
    assert train(learner, source, steps=2, out=tmp_path, validation_episodes=4, resume=True).history == trained.history


@pytest.mark.parametrize(
    ("settings", "episodes"),
    [
        ({}, 20),
        ({"validate_every": 10}, 40),
        ({"validate_every": 99}, 40),
        ({"tasks": 90, "validate_every": 10}, 200),
        ({"validation_episodes": 3}, 3),
    ],
)
def test_validation_costs_less_than_the_training(settings, episodes, monkeypatch):
    counts = []

    def counted(learner, params, source, count, *rest):
        counts.append(count)
        return torch.zeros(1, dtype=torch.float64)

    monkeypatch.setattr("mapwise.engine.train.episode_values", counted)
    settings = {"tasks": 8, **settings}
    source = Episodes(digits(), ways=3, shots=1, queries=2, tasks=settings.pop("tasks"))
    train(ProtoNet(encoder=torch.nn.Flatten), source, steps=10, how="vmap", **settings)
    assert set(counts) == {episodes}


def test_progress_tells_where_the_training_stands():
    seen = []
    walk(steps=4, validate_every=2, progress=seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4]
    assert {p.steps for p in seen} == {4}
    assert [p.loss for p in seen] == [0.0, -1.0, -2.0, -3.0]
    assert [p.validation for p in seen] == [None, 1.0, 1.0, 1.0]
    assert [p.best for p in seen] == [None, 1.0, 1.0, 1.0]
    assert all(p.tasks_per_second > 0 for p in seen)
    assert [p.seconds for p in seen] == sorted(p.seconds for p in seen)


def test_the_speed_of_a_resumed_run_is_its_own(tmp_path):
    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        walk(out=tmp_path, progress=stop)
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    (tmp_path / METRICS).write_text("".join(json.dumps({**line, "seconds": 1e6}) + "\n" for line in lines))
    seen = []
    walk(out=tmp_path, resume=True, progress=seen.append)
    assert seen[0].step == 4
    assert seen[0].seconds >= 1e6
    assert seen[0].tasks_per_second > 0.01


def planted():
    """Classes that differ in two of twenty columns; the others are noise of the same size."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 10)
    x = random.standard_normal((600, 20))
    x[:, :2] = 3 * random.standard_normal((60, 2))[labels] + 0.3 * x[:, :2]
    x[:, 2:] *= 3
    return LabelledRows.of(x, labels)


@pytest.mark.parametrize("learner", ["maml", "protonet"])
def test_training_on_toy_tasks_makes_unseen_tasks_easier(learner):
    if learner == "maml":
        source = Sinusoid(shots=10, queries=10, tasks=16)
        result = MAML(net=sine_net, inner_steps=1, inner_lr=0.05, loss="squared_error")
        trained = train(result, source, steps=60, optimizer="Adam lr=0.02", how="vmap", validation_episodes=48)
    else:
        source = Episodes(planted(), ways=5, shots=1, queries=5, tasks=8)
        result = ProtoNet(encoder=lambda: MLP((20,), None, hidden=(16,), norm="frozen"))
        trained = train(result, source, steps=60, optimizer="Adam lr=0.01", how="vmap", validation_episodes=48)
    before = episode_values(result, result.measure(result.init(0), source), source.split("test"), 96)
    after = episode_values(result, trained.params, source.split("test"), 96)
    gain = before - after if source.problem.metric.lower_is_better else after - before
    assert gain.mean() > 3 * gain.std(ddof=1) / 96**0.5


def first_weights(net, seed: int, **settings):
    """Where a training of one step without a rate ends: its start."""
    learner = MAML(net, loss="squared_error")
    return train(learner, Sinusoid(tasks=2), steps=1, optimizer="SGD lr=0.0", seed=seed, how="loop", **settings).params


def tiny():
    return torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))


def test_what_builds_a_net_starts_anew_for_each_seed_and_again_for_the_same():
    first, second, again = (first_weights(tiny, seed) for seed in (1, 2, 1))
    assert all(not torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_built_module_starts_from_its_own_weights_and_another_seed_says_so():
    net = tiny()
    own = dict(net.named_parameters())
    with pytest.warns(UserWarning, match="MAML's net is a built module, so it starts from its own weights") as warned:
        start = first_weights(net, seed=1)
    assert len(warned) == 1 and warned[0].filename == __file__ and "net=lambda: Net()" in str(warned[0].message)
    assert all(torch.equal(start[name], own[name]) for name in own)
    first_weights(net, seed=0)  # a warning would be an error
    first_weights(net, seed=1, params=start)
    first_weights(lambda: net, seed=1)
