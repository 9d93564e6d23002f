"""The differentiable neural computer does what the paper's equations say, written again with loops in numpy."""

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import torch

from mapwise.core import tree
from mapwise.core.map_tasks import map_tasks, task_at
from mapwise.core.task import Examples, Task
from mapwise.interfaces.cli import main
from mapwise.learners.memory.dnc import DNC
from mapwise.nets import memory
from mapwise.tasks.sequences import AssociativeRecall, Copy

SIZES = {"units": 7, "slots": 6, "width": 4, "reads": 2}


def doubled(rows):
    return Examples(rows.x.double(), rows.y.double(), rows.weight.double(), rows.key)


def computer(source, **fields):
    learner = DNC(source.inputs.shape[0], source.outputs, **{**SIZES, **fields})
    # Heads and gates that are more decided than those of a computer that has just been made.
    return learner, tree.map(lambda leaf: 3 * leaf.double(), learner.init(3))


def task_of(source, step=0, place=0):
    return Task(*(doubled(rows) for rows in task_at(source(step), place)))


def answers(learner, params, task):
    return learner.predict(params, learner.adapt(params, task.support), task.query.x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def oneplus(x):
    return 1 + np.log(1 + np.exp(x))


def content(memory, key, strength):
    """C(M, k, beta): the cosine of no vector is 0."""
    cosines = [slot @ key / np.sqrt((slot @ slot + memory_eps) * (key @ key + memory_eps)) for slot in memory]
    return softmax(strength * np.array(cosines))


memory_eps = memory.EPS


def by_the_paper(learner, params, x):
    """Scores of every row, [L, W], by the Methods of the paper, one number after another."""
    p = {name: leaf.numpy() for name, leaf in tree.flatten(params).items()}
    units, slots, width, reads = learner.units, learner.slots, learner.width, learner.reads
    h, c, seen = np.zeros(units), np.zeros(units), np.zeros((reads, width))
    memory, usage, precedence = np.zeros((slots, width)), np.zeros(slots), np.zeros(slots)
    links, write, read = np.zeros((slots, slots)), np.zeros(slots), np.zeros((reads, slots))
    results = []
    for row in x.numpy():
        gates = p["lstm/input"] @ np.append(row, seen.ravel()) + p["lstm/recurrent"] @ h + p["lstm/bias"]
        enter, forget, candidate, leave = gates.reshape(4, units)
        c = sigmoid(forget) * c + sigmoid(enter) * np.tanh(candidate)
        h = sigmoid(leave) * np.tanh(c)
        c = np.clip(c, -learner.bound, learner.bound)
        interface = list(p["heads/weight"] @ h + p["heads/bias"])

        def take(*shape, interface=interface):
            count = int(np.prod(shape, dtype=int))
            values = [interface.pop(0) for _ in range(count)]
            return np.array(values).reshape(shape)

        read_keys, read_strengths = take(reads, width), oneplus(take(reads))
        write_key, write_strength = take(width), oneplus(take())
        erase, vector, free = sigmoid(take(width)), take(width), sigmoid(take(reads))
        allocation_gate, write_gate = sigmoid(take(2))
        modes = [softmax(mode) for mode in take(reads, 3)]
        assert not interface

        retention = np.array([np.prod([1 - free[r] * read[r, i] for r in range(reads)]) for i in range(slots)])
        usage = (usage + write - usage * write) * retention
        order, allocation, product = np.argsort(usage, kind="stable"), np.zeros(slots), 1.0
        for i in order:
            allocation[i] = (1 - usage[i]) * product
            product *= usage[i]
        looked_up = content(memory, write_key, write_strength)
        write = write_gate * (allocation_gate * allocation + (1 - allocation_gate) * looked_up)
        memory = memory * (1 - np.outer(write, erase)) + np.outer(write, vector)

        new = np.zeros_like(links)
        for i in range(slots):
            for j in range(slots):
                if i != j:
                    new[i, j] = (1 - write[i] - write[j]) * links[i, j] + write[i] * precedence[j]
        links = new
        precedence = (1 - write.sum()) * precedence + write

        read = np.array(
            [
                modes[r][0] * (links.T @ read[r])
                + modes[r][1] * content(memory, read_keys[r], read_strengths[r])
                + modes[r][2] * (links @ read[r])
                for r in range(reads)
            ]
        )
        seen = read @ memory
        scores = p["out/weight"] @ np.append(h, seen.ravel()) + p["out/bias"]
        results.append(np.clip(scores, -learner.bound, learner.bound))
    return np.array(results)


def gap_to_the_paper(**fields):
    source = Copy(length="6", width=3, tasks=1)
    learner, params = computer(source, **fields)
    rows = task_of(source).support
    expected = by_the_paper(learner, params, rows.x[:, :-1])
    assert expected.std(0).min() > 1e-2
    return np.abs(learner.trace(params, rows).scores.numpy() - expected).max()


@pytest.mark.parametrize("fields", [{}, {"reads": 1}, {"reads": 3, "slots": 5}, {"slots": 1}, {"bound": 0.3}])
def test_it_is_the_computer_of_the_paper(fields):
    assert gap_to_the_paper(**fields) < 1e-11


def left_in_order(usage):
    ascending = usage.sort(-1).values
    return (1 - ascending) * memory.products_before(ascending)


FAULTS = {
    "a transposed link": ("follow", lambda links, reads: (reads @ links.mT, reads @ links)),
    "an allocation that is not put back": ("allocation", left_in_order),
    "usage without what was freed": ("usage_after", lambda usage, write, reads, free: usage + write * (1 - usage)),
    "usage that is the sum": (
        "usage_after",
        lambda usage, write, reads, free: (usage + write) * (1 - free[:, None] * reads).prod(0),
    ),
    "links of a slot to itself": (
        "links_after",
        lambda links, precedence, write: (
            links * (1 - write[:, None] - write) + write[:, None] * precedence
        ),
    ),
    "precedence that lasts": ("precedence_after", lambda precedence, write: precedence + write),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_step_is_not_the_computer_of_the_paper(fault, monkeypatch):
    name, wrong = FAULTS[fault]
    monkeypatch.setattr(memory, name, wrong)
    assert gap_to_the_paper() > 1e-6


@dataclasses.dataclass(frozen=True)
class UpdatesUsageAfterAllocation(DNC):
    """A slot is allocated by the usage of the row before."""

    def step(self, params, state, x, live):
        after = super().step(params, state, x, live)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory, "usage_after", lambda *_: state.usage)
            return super().step(params, state, x, live)._replace(usage=after.usage)


@dataclasses.dataclass(frozen=True)
class LinksAfterPrecedence(DNC):
    """A slot is linked to what is written now instead of before."""

    def step(self, params, state, x, live):
        after = super().step(params, state, x, live)
        return super().step(params, state._replace(precedence=after.precedence), x, live)


@pytest.mark.parametrize("fault", [UpdatesUsageAfterAllocation, LinksAfterPrecedence])
def test_steps_in_another_order_are_not_the_computer_of_the_paper(fault):
    source = Copy(length="6", width=3, tasks=1)
    learner, params = computer(source)
    rows = task_of(source).support
    expected = by_the_paper(learner, params, rows.x[:, :-1])
    wrong = fault(learner.inputs, learner.outputs, **SIZES).trace(params, rows).scores.numpy()
    assert np.abs(wrong - expected).max() > 1e-6


def test_a_row_of_weight_zero_is_passed_over_wherever_it_stands():
    source = Copy(length="3", width=2, tasks=1)
    learner, params = computer(source)
    task = task_of(source)
    wanted = answers(learner, params, task)
    for places in ([0], [2], [3, 3], [5], [7]):
        rows = task.support
        for place in places:
            garbage = torch.full((1, rows.x.shape[1]), 5.0).double()
            rows = Examples(
                torch.cat([rows.x[:place], garbage, rows.x[place:]]),
                torch.cat([rows.y[:place], rows.y[:1], rows.y[place:]]),
                torch.cat([rows.weight[:place], torch.zeros(1).double(), rows.weight[place:]]),
                rows.key,
            )
        torch.testing.assert_close(answers(learner, params, task._replace(support=rows)), wanted, atol=0, rtol=1e-12)


def test_a_shorter_sequence_of_a_batch_is_answered_as_by_itself():
    source = AssociativeRecall(items="2-4", vectors=2, width=3, tasks=6)
    learner, params = computer(source)
    batch = Task(*(doubled(rows) for rows in source(0)))
    together = map_tasks(partial(answers, learner, params), batch)
    for i in range(6):
        task = task_at(batch, i)
        there = task.support.weight > 0
        alone = Examples(*(part[there] for part in task.support[:3]), task.support.key)
        torch.testing.assert_close(answers(learner, params, task._replace(support=alone)), together[i])


def test_weightings_are_never_negative_and_sum_to_one_at_most():
    source = Copy(length="6", width=2, tasks=1)
    learner, params = computer(source)
    trace = learner.trace(params, task_of(source).support)
    assert trace.reads.shape == (13, 2, 6) and trace.writes.shape == (13, 1, 6)
    for weights in (trace.reads, trace.writes):
        assert bool((weights >= 0).all()) and float(weights.sum(-1).max()) <= 1 + 1e-12


def test_more_slots_need_no_more_weights():
    source = Copy(length="3", width=2, tasks=1)
    learner, params = computer(source)
    larger = dataclasses.replace(learner, slots=50)
    assert tree.forms(larger.init(3)) == tree.forms(learner.init(3))
    assert answers(larger, params, task_of(source)).shape == (3, 2)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_slope_is_nan_however_long_the_sequence_and_hard_the_gates(seed):
    # Slots fill up, are all free, or are all alike at the start: usages of 0 and 1, cosines of nothing.
    source = Copy(length="9", width=3, tasks=2)
    learner = DNC(source.inputs.shape[0], source.outputs, **SIZES)
    batch = source(seed)
    for scale in (0.0, 100.0):
        params = tree.map(lambda leaf, scale=scale: scale * leaf, learner.init(seed))
        slopes = torch.func.grad(lambda p: map_tasks(partial(learner.objective, p), batch).sum())(params)
        assert all(bool(torch.isfinite(leaf).all()) for leaf in tree.flatten(slopes).values())


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"units": 0}, "units is 0"),
        ({"slots": 0}, "slots is 0"),
        ({"reads": 0}, "reads is 0"),
        ({"width": 0}, "width is 0"),
        ({"bound": 0.0}, r"bound is 0\.0"),
        ({"bound": float("nan")}, "bound is nan"),
    ],
)
def test_a_wrong_setting_is_a_one_line_error(fields, answer):
    with pytest.raises(ValueError, match=answer) as caught:
        DNC(4, 2, **{**SIZES, **fields})
    assert "\n" not in str(caught.value)


def ran(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_a_computer_trained_on_short_sequences_is_judged_on_longer_ones(tmp_path, capsys):
    run = str(tmp_path / "run")
    words = ["--source.length", "1-2", "--source.width", "3", "--units", "8", "--slots", "4", "--width", "4"]
    code, result = ran(
        capsys, "train", "dnc", "copy", *words, "--steps", "3", "--validation-episodes", "5", "--out", run
    )
    assert code == 0 and 0 < result["validation"] < 1
    code, result = ran(capsys, "eval", run, "--episodes", "7", "--source.length", "6", "--slots", "12")
    assert code == 0 and (result["shots"], result["queries"], result["episodes"]) == ("6", 6, 7)
    assert 0 < result["wrong_bits"] < 1 and result["bits"] == pytest.approx(1, abs=0.3) and not result["transductive"]
