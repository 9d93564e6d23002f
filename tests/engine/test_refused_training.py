"""Settings of a training that can't be are refused, and optimizers resume."""

import math
from dataclasses import dataclass

import pytest
import torch

from mapwise.engine.folder import LAST
from mapwise.engine.gradient import meta_gradient
from mapwise.engine.optimizer import optimizer_of, parse, schedule_of
from mapwise.engine.train import train
from mapwise.learners.optimization.maml import MAML
from mapwise.tasks.sinusoid import Sinusoid
from toy_tasks import Constant, Walk, maml, sine_net, walk


def test_a_loss_that_stops_being_a_number_is_one_sentence():
    @dataclass(frozen=True)
    class Falling(Walk):
        def objective(self, params, task):
            return -torch.exp(params["w"])

    with pytest.raises(
        ValueError, match=r"the loss is -inf at step \d+: lower the learning rate, or set clip"
    ) as result:
        train(Falling(), Constant(), steps=99, optimizer="SGD lr=10.0", how="loop")
    assert "\n" not in str(result.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": -1}, "steps is -1: give 0 or more"),
        ({"validate_every": 0}, "validate_every is 0: give 1 or more"),
        ({"validation_episodes": 0}, "validation_episodes is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"clip": 0.0}, "clip is 0.0: give a norm above 0"),
        ({"select": "first"}, "select is 'first': give 'best' or 'last'"),
        ({"how": "vamp"}, "how is 'vamp'"),
        ({"optimizer": "Adm lr=0.1"}, "torch has no optimizer 'Adm': did you mean 'Adam'"),
        ({"optimizer": "Adam lrr=0.1"}, "torch refuses 'Adam lrr=0.1'"),
        ({"optimizer": "Adam lr=-1"}, "torch refuses 'Adam lr=-1'"),
        ({"optimizer": "SGD lr"}, "the option 'lr' of 'SGD lr' has no value"),
        ({"optimizer": ""}, "the name is empty"),
        ({"optimizer": "LBFGS lr=1"}, "torch has no optimizer 'LBFGS'"),
        ({"warmup": -1}, "warmup is -1 and steps is 6: give a warm-up of 0 or more"),
        ({"warmup": 6}, "warmup is 6 and steps is 6: give a warm-up of 0 or more steps, below steps"),
        ({"warmup": 1, "steps": 0}, "warmup is 1 and steps is 0"),
        ({"schedule": "StepL step_size=2"}, "torch has no schedule 'StepL': did you mean 'StepLR'"),
        ({"schedule": "StepLR"}, "torch refuses 'StepLR'"),
        ({"schedule": "StepLR step_size=0"}, "torch refuses 'StepLR step_size=0'"),
        ({"schedule": "StepLR step_size=two"}, "torch refuses 'StepLR step_size=two'"),
        ({"schedule": "ReduceLROnPlateau"}, "torch has no schedule 'ReduceLROnPlateau'"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message) as refused:
        walk(**settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 2.5}, "steps is 2.5: give a whole number"),
        ({"steps": math.nan}, "steps is nan: give a whole number"),
        ({"steps": True}, "steps is True: give a whole number"),
        ({"validate_every": 1.5}, "validate_every is 1.5: give a whole number"),
        ({"validation_episodes": "3"}, "validation_episodes is '3': give a whole number"),
        ({"patience": 1.5}, "patience is 1.5: give a whole number"),
        ({"seed": math.nan}, "seed is nan: give a whole number"),
        ({"warmup": 1.5}, "warmup is 1.5: give a whole number"),
        ({"clip": "1"}, "clip is '1': give a number or None"),
        ({"compile": "no"}, "compile is 'no': give True or False"),
        ({"remat": 2}, "remat is 2: give True or False"),
        ({"precision": "junk"}, "precision is 'junk': give 'full' or 'bfloat16'"),
        ({"how": 2.5}, "how is 2.5: give 'vmap', 'loop', a whole number or 'auto'"),
        ({"how": "loops"}, "how is 'loops'"),
        ({"aggregate": "median"}, "there is no aggregate 'median'"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_refused_and_leaves_the_folder_as_it_was(settings, sentence, tmp_path):
    (tmp_path / LAST).write_bytes(b"of an earlier run")
    with pytest.raises(ValueError, match=sentence) as refused:
        walk(**settings, out=tmp_path)
    assert "\n" not in str(refused.value)
    assert (tmp_path / LAST).read_bytes() == b"of an earlier run"


def test_a_meta_gradient_refuses_an_unknown_precision():
    with pytest.raises(ValueError, match="precision is 'junk': give 'full' or 'bfloat16'"):
        meta_gradient(*maml(), how="vmap", precision="junk")


def test_options_are_read_as_python_values():
    assert parse("Adam lr=0.1 betas=(0.9,0.99) amsgrad=True") == (
        "Adam",
        {"lr": 0.1, "betas": (0.9, 0.99), "amsgrad": True},
    )
    assert parse("OneCycleLR anneal_strategy=linear") == ("OneCycleLR", {"anneal_strategy": "linear"})


@pytest.mark.parametrize("name", ["Adadelta", "Adagrad", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"])
def test_every_usual_optimizer_resumes_to_the_same_bits(name, tmp_path):
    def run(out, **settings):
        learner = MAML(net=sine_net, inner_steps=1, inner_lr=0.05, loss="squared_error")
        source = Sinusoid(shots=4, queries=4, tasks=2)
        return train(learner, source, steps=6, optimizer=f"{name} lr=0.01", how="loop", out=out, **settings)

    def stop(progress):
        if progress.step == 4:
            raise KeyboardInterrupt

    run(tmp_path / "alone", validation_episodes=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", validation_episodes=2, progress=stop)
    run(tmp_path / "stopped", validation_episodes=2, resume=True)
    assert (tmp_path / "alone" / LAST).read_bytes() == (tmp_path / "stopped" / LAST).read_bytes()


def test_no_leaves_need_no_optimizer_though_its_name_must_be_right():
    assert optimizer_of("SGD lr=0.1", []) is None
    assert schedule_of("cosine", None, 10) is None
    with pytest.raises(ValueError, match="did you mean"):
        optimizer_of("SDG lr=0.1", [])
