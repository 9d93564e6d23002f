"""The loop around any update: an online learner, rounds of federated averaging, and an optimizer's steps in place."""

import itertools
import json
import shutil
import signal
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from mapwise.core.problem import Metric
from mapwise.engine import checkpoint, loop
from mapwise.engine.folder import BEST, LAST, METRICS, RunFolder
from mapwise.engine.optimizer_state import OptimizerState
from mapwise.engine.state import Consumed

STEPS = 24
MODEL = nn.Linear(3, 1)
TRUTH = torch.tensor([[1.0, -2.0, 0.5]])


ERROR = Metric("mse", "Mean squared error", "error", lower_is_better=True, percent=False)


def rows(seed: int, count: int = 8) -> tuple[Tensor, Tensor]:
    """Rows [count, 3] and targets [count, 1], always the same ones for a seed."""
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return x, x @ TRUTH.T


def squared_error(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    return ((functional_call(MODEL, params, (x,)) - y) ** 2).mean()


def slope(params: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[dict[str, Tensor], float]:
    leaves = {name: leaf.detach().requires_grad_() for name, leaf in params.items()}
    loss = squared_error(leaves, x, y)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)), float(loss.detach())


def zeros() -> dict[str, Tensor]:
    return {"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}


# Online (prequential) learning: every row is predicted before it is learned from, by SGD with momentum.


@dataclass(frozen=True)
class Online:
    params: dict[str, Tensor]
    velocity: dict[str, Tensor]
    total: float = 0.0
    """Squared errors of all predictions, each made before its target was seen."""

    def to_file(self):
        return {"params": self.params, "velocity": self.velocity}, {"total": self.total}

    def of_file(self, tensors, about):
        return Online(tensors["params"], tensors["velocity"], about["total"])


def learn_online(state: Online, step: int) -> tuple[Online, float, int]:
    x, y = rows(step)
    gradient, loss = slope(state.params, x, y)
    velocity = {name: 0.5 * state.velocity[name] + gradient[name] for name in gradient}
    params = {name: leaf - 0.02 * velocity[name] for name, leaf in state.params.items()}
    return Online(params, velocity, state.total + loss * len(x)), loss, len(x)


# Federated averaging (McMahan et al. 2017): some clients a round, each with rows of its own, weighted by their number.


@dataclass(frozen=True)
class Server:
    params: dict[str, Tensor]

    def to_file(self):
        return {"params": self.params}, {}

    def of_file(self, tensors, about):
        return Server(tensors["params"])


CLIENTS = 10


def federated_round(state: Server, step: int) -> tuple[Server, float, int]:
    chosen = torch.randperm(CLIENTS, generator=torch.Generator().manual_seed(step))[:4].tolist()
    mean = {name: torch.zeros_like(leaf) for name, leaf in state.params.items()}
    total, losses = sum(5 + client for client in chosen), 0.0
    for client in chosen:
        x, y = rows(1000 + client, 5 + client)
        local = state.params
        for _ in range(3):
            gradient, loss = slope(local, x, y)
            local = {name: leaf - 0.05 * gradient[name] for name, leaf in local.items()}
        losses += loss * len(x) / total
        mean = {name: leaf + local[name] * len(x) / total for name, leaf in mean.items()}
    return Server(mean), losses, total


# A step of one of torch's optimizers, which works in place.


def step_down(state: OptimizerState, step: int) -> tuple[OptimizerState, float, int]:
    gradient, loss = slope(state.params, *rows(step))
    return state.updated(gradient, step), loss, 8


UPDATES = {
    "online": (lambda: Online(zeros(), zeros()), learn_online),
    "federated": (lambda: Server(zeros()), federated_round),
    "optimizer": (lambda: OptimizerState.of(zeros(), "Adam lr=0.1", "cosine", steps=STEPS), step_down),
}
each = pytest.mark.parametrize("name", UPDATES)


def validate(state) -> tuple[float, dict[str, Tensor]]:
    return float(squared_error(state.params, *rows(-1, 50)).detach()), state.params


def run(name, path=None, *, resume=False, update=None, **options):
    start, usual = UPDATES[name]
    folder = RunFolder.opened(path, {"update": name}, resume=resume)
    by_name = {"steps": STEPS, "validate_every": 5, "metric": ERROR, "folder": folder, **options}
    return loop.run(start(), update or usual, validate, **by_name)


def left(path):
    """What a run leaves, without its times."""
    records = [json.loads(line) for line in (path / METRICS).read_text().splitlines()]
    for record in records:
        del record["seconds"], record["processor_seconds"]
    assert sorted(file.name for file in path.iterdir()) == sorted([LAST, BEST, METRICS])
    return (path / LAST).read_bytes(), (path / BEST).read_bytes(), records


class Killed(BaseException):
    """An end that nobody handles, as of a process that is killed."""


def failing_at(name, when, error):
    """The update of this name, which fails in the middle of the step."""
    usual = UPDATES[name][1]

    def update(state, step):
        if step == when:
            slope(state.params, *rows(step))
            raise error
        return usual(state, step)

    return update


@each
def test_a_run_learns_and_leaves_its_records_its_best_and_its_last(name, tmp_path):
    seen = []
    outcome = run(name, tmp_path, progress=seen.append)
    records = left(tmp_path)[2]
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    judged = {record["step"]: record["validation"] for record in records if "validation" in record}
    assert list(judged) == [5, 10, 15, 20, 24]
    assert outcome.step == min(judged, key=judged.get)
    assert outcome.validation == judged[outcome.step] < validate(UPDATES[name][0]())[0] / 2
    assert [(p.step, p.steps) for p in seen] == [(step, STEPS) for step in range(1, STEPS + 1)]
    assert seen[-1].record == outcome.history[-1]
    assert all(torch.equal(checkpoint.load(tmp_path / BEST)[0]["params"][n], w) for n, w in outcome.params.items())
    assert checkpoint.load(tmp_path / LAST)[1]["step"] == STEPS


@each
@pytest.mark.parametrize("error", [Killed, KeyboardInterrupt])
def test_a_run_that_ends_in_the_middle_of_any_update_resumes_to_the_same_bytes(name, error, tmp_path):
    run(name, tmp_path / "whole")
    for when in (0, 3, 7, 9, 10, STEPS - 1):
        with pytest.raises(error):
            run(name, tmp_path / "cut", resume=True, update=failing_at(name, when, error))
        saved = checkpoint.load(tmp_path / "cut" / LAST)[1]["step"]
        # An interrupt loses no step; a kill those since the last validation.
        assert saved == (when if error is KeyboardInterrupt else when - when % 5)
    run(name, tmp_path / "cut", resume=True)
    assert left(tmp_path / "cut") == left(tmp_path / "whole")


@each
def test_the_last_params_are_returned_when_asked_for(name):
    outcome = run(name, select="last")
    start, update = UPDATES[name]
    state = start()
    for step in range(STEPS):
        state = update(state, step)[0]
    assert outcome.step == STEPS
    assert all(torch.equal(outcome.params[path], leaf) for path, leaf in state.params.items())


def test_an_online_run_holds_the_error_of_predictions_made_before_their_targets(tmp_path):
    outcome = run("online", tmp_path, figures=lambda state: {"total": state.total})
    losses = [record["loss"] for record in outcome.history]
    totals = [record["total"] for record in outcome.history]
    assert losses[0] == pytest.approx(float((rows(0)[1] ** 2).mean()))
    assert totals == pytest.approx([8 * total for total in itertools.accumulate(losses)])
    assert checkpoint.load(tmp_path / LAST)[1]["total"] == totals[-1]


# Runs whose length nobody knows.


@each
def test_a_run_without_a_number_of_steps_ends_when_it_says_so(name, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "RECORD_SECONDS", 0.0)
    seen = []

    def until(state, step):
        return step == 8

    options = {"steps": None, "until": until, "validate_every": None}
    outcome = run(name, tmp_path, **options, progress=seen.append)
    assert outcome.step == 8
    assert [record.get("validation") is not None for record in outcome.history] == [False] * 7 + [True]
    assert [p.steps for p in seen] == [None] * 8
    again = run(name, tmp_path, **options, resume=True, progress=lambda progress: pytest.fail("went on"))
    assert again.history == outcome.history


def test_records_of_a_run_without_a_number_of_steps_are_left_by_the_clock(monkeypatch):
    monkeypatch.setattr(loop, "RECORD_SECONDS", 1e9)
    outcome = run("online", steps=None, until=lambda state, step: step == 9, validate_every=4)
    assert [record["step"] for record in outcome.history] == [4, 8, 9]


def test_patience_ends_a_run_without_a_number_of_steps():
    outcome = run("federated", steps=None, update=lambda state, step: (state, 0.0, 1), patience=2)
    assert (outcome.step, outcome.history[-1]["step"]) == (5, 15)


def test_a_run_without_validations_returns_its_last_params(tmp_path):
    folder = RunFolder.opened(tmp_path)
    outcome = loop.run(Online(zeros(), zeros()), learn_online, steps=6, folder=folder)
    assert (outcome.step, outcome.validation) == (6, None)
    assert not any("validation" in record for record in outcome.history)
    assert torch.equal(checkpoint.load(tmp_path / BEST)[0]["params"]["weight"], outcome.params["weight"])


# Interrupts.


@each
def test_a_first_ctrl_c_ends_the_run_after_the_step_and_its_validation(name, tmp_path):
    usual = UPDATES[name][1]

    def update(state, step):
        if step == 4:
            signal.raise_signal(signal.SIGINT)
        return usual(state, step)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(name, tmp_path / "cut", update=update)
    assert signal.getsignal(signal.SIGINT) is before
    about = checkpoint.load(tmp_path / "cut" / LAST)[1]
    assert (about["step"], about["best_step"]) == (5, 5)
    run(name, tmp_path / "cut", resume=True)
    run(name, tmp_path / "whole")
    assert left(tmp_path / "cut") == left(tmp_path / "whole")


def test_a_second_ctrl_c_interrupts_the_step_and_the_state_before_it_is_saved(tmp_path):
    def update(state, step):
        if step == 7:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("went on")
        return learn_online(state, step)

    with pytest.raises(KeyboardInterrupt):
        run("online", tmp_path, update=update)
    assert checkpoint.load(tmp_path / LAST)[1]["step"] == 7


def test_a_step_in_place_that_is_interrupted_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    run("optimizer", tmp_path / "whole")
    real, calls = torch.optim.Adam.step, itertools.count()

    def half_a_step(self, closure=None):
        if next(calls) == 7:
            self.param_groups[0]["params"][0].data.add_(1.0)
            raise KeyboardInterrupt
        return real(self, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", half_a_step)
    with pytest.raises(KeyboardInterrupt):
        run("optimizer", tmp_path / "cut")
    assert checkpoint.load(tmp_path / "cut" / LAST)[1]["step"] == 5
    run("optimizer", tmp_path / "cut", resume=True)
    assert left(tmp_path / "cut") == left(tmp_path / "whole")


def test_a_state_from_which_a_step_was_taken_in_place_is_refused():
    first = UPDATES["optimizer"][0]()
    second, _, _ = step_down(first, 0)
    for ask in (lambda: first.params, first.to_file, lambda: step_down(first, 0)):
        with pytest.raises(Consumed, match="use the state that the step returned"):
            ask()
    assert not torch.equal(second.params["weight"], torch.zeros(1, 3))


# What is refused, in one sentence.


@pytest.mark.parametrize("options", [{"validate_every": 8}, {"validate_every": None}, {"RECORDS": 1}])
def test_a_folder_that_is_gone_ends_the_run_in_one_sentence_and_is_not_made_anew(options, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "RECORDS", options.get("RECORDS", 1000))
    options = {name: value for name, value in options.items() if name != "RECORDS"}
    path = tmp_path / "run"

    def remove(progress):
        if progress.step == 7:
            shutil.rmtree(path)

    with pytest.raises(ValueError, match=f"the run's folder {path} is gone") as gone:
        run("online", path, progress=remove, **options)
    assert "\n" not in str(gone.value)
    assert not path.exists()


def test_a_folder_that_goes_while_a_file_is_written_is_the_same_sentence(tmp_path, monkeypatch):
    path = tmp_path / "run"
    real = checkpoint.save

    def save(file, tensors, about):
        if about["step"] == 5:
            shutil.rmtree(path)
            raise FileNotFoundError(2, "No such file or directory", str(file))
        real(file, tensors, about)

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(ValueError, match=f"the run's folder {path} is gone"):
        run("online", path)


def test_the_state_of_another_update_is_refused(tmp_path):
    run("federated", tmp_path)
    folder = RunFolder.opened(tmp_path, {"update": "federated"}, resume=True)
    with pytest.raises(ValueError, match=r"last.safetensors is no whole checkpoint .it has no 'velocity'"):
        loop.run(Online(zeros(), zeros()), learn_online, steps=STEPS, folder=folder)
    other = OptimizerState.of({"weight": torch.zeros(2, 3)}, "SGD lr=0.1")
    with pytest.raises(ValueError, match="its weights are of another net than this run's"):
        loop.run(other, step_down, steps=STEPS, folder=folder)


def test_other_settings_are_refused(tmp_path):
    run("online", tmp_path)
    with pytest.raises(ValueError, match="began with update 'online' and is to go on with 'federated'"):
        run("federated", tmp_path, resume=True)


@each
def test_a_loss_that_is_no_number_ends_the_run_in_one_sentence(name):
    usual = UPDATES[name][1]

    def update(state, step):
        new, loss, count = usual(state, step)
        return new, float("nan") if step == 3 else loss, count

    with pytest.raises(ValueError, match="the loss is nan at step 3: lower the learning rate"):
        run(name, update=update)
