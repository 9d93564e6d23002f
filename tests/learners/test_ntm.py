"""The neural Turing machine does what the paper's equations say, row by row, and answers are looked up by number."""

import dataclasses
import json
from functools import partial

import pytest
import torch

from benchmarks.peers.plain_ntm import PlainNTM, with_params
from mapwise.core import tree
from mapwise.core.map_tasks import map_tasks, task_at
from mapwise.core.task import Examples, Task
from mapwise.interfaces.cli import main
from mapwise.learners.memory.ntm import NTM
from mapwise.tasks.sequences import AssociativeRecall, Copy

SIZES = {"units": 7, "slots": 6, "width": 4}


def double(state):
    return tree.map(torch.Tensor.double, state)


def doubled(rows):
    return Examples(rows.x.double(), rows.y.double(), rows.weight.double(), rows.key)


def machine(source, **fields):
    learner = NTM(source.inputs.shape[0], source.outputs, **{**SIZES, **fields})
    # Heads that go further than those of a machine that has just been made.
    return learner, tree.map(lambda leaf: 2 * leaf, double(learner.init(3)))


def task_of(source, step=0, place=0):
    return Task(*(doubled(rows) for rows in task_at(source(step), place)))


def answers(learner, params, task):
    return learner.predict(params, learner.adapt(params, task.support), task.query.x)


@pytest.mark.parametrize("fields", [{}, {"reads": 2, "writes": 3}, {"reach": 2}])
def test_it_is_the_machine_of_the_paper(fields):
    source = Copy(length="4", width=3, tasks=3)
    learner, params = machine(source, **fields)
    net = PlainNTM(
        4, 3, **SIZES, reads=learner.reads, writes=learner.writes, reach=learner.reach
    ).double()  # fmt: skip
    with_params(net, params, learner.width, learner.reach)
    batch = source(0)
    batch = Task(*(doubled(rows) for rows in batch))
    answer = map_tasks(lambda task: learner.trace(params, task.support).scores, batch)
    torch.testing.assert_close(answer, net(batch.support.x[..., :-1]), atol=1e-11, rtol=1e-9)
    assert float(answer.std(0).min()) > 1e-3  # what was read matters


def test_a_row_of_weight_zero_is_passed_over_wherever_it_stands():
    source = Copy(length="3", width=2, tasks=1)
    learner, params = machine(source)
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
    learner, params = machine(source)
    batch = Task(*(doubled(rows) for rows in source(0)))
    together = map_tasks(partial(answers, learner, params), batch)
    for i in range(6):
        task = task_at(batch, i)
        there = task.support.weight > 0
        alone = Examples(*(part[there] for part in task.support[:3]), task.support.key)
        torch.testing.assert_close(answers(learner, params, task._replace(support=alone)), together[i])


def test_an_answer_is_looked_up_by_its_number():
    source = Copy(length="4", width=2, tasks=1)
    learner, params = machine(source)
    task = task_of(source)
    fast = learner.adapt(params, task.support)
    answer = learner.trace(params, task.support).scores[5:]  # after four vectors and the mark
    backwards = task.query.x.flip(0)
    assert torch.equal(learner.predict(params, fast, backwards), answer.flip(0))
    nobody = backwards.clone()
    nobody[:, -1] = torch.tensor([0.0, 5.0, -1.0, 2.5])  # a row that is read, and numbers of no answer
    assert torch.equal(learner.predict(params, fast, nobody), torch.zeros(4, 2).double())


def test_the_machine_is_not_shown_the_number_of_an_answer():
    source = Copy(length="3", width=2, tasks=1)
    learner, params = machine(source)
    task = task_of(source)
    support, query = task.support.x.clone(), task.query.x.clone()
    support[4:, -1] *= 7
    query[:, -1] *= 7
    other = Task(task.support._replace(x=support), task.query._replace(x=query))
    assert torch.equal(answers(learner, params, other), answers(learner, params, task))


def test_no_later_row_changes_what_was_said():
    source = Copy(length="5", width=2, tasks=1)
    learner, params = machine(source)
    rows = task_of(source).support
    answer = learner.trace(params, rows).scores
    changed = rows.x.clone()
    changed[4:, 0] += 3
    after = learner.trace(params, rows._replace(x=changed)).scores
    assert torch.equal(after[:4], answer[:4]) and not torch.equal(after[4:], answer[4:])


def test_heads_start_at_slot_zero_and_weightings_sum_to_one():
    source = Copy(length="3", width=2, tasks=1)
    learner, params = machine(source, reads=2)
    steps = learner.trace(params, task_of(source).support)
    assert steps.reads.shape == (7, 2, 6) and steps.writes.shape == (7, 1, 6)
    for weights in (steps.reads, steps.writes):
        assert bool((weights >= 0).all())
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
        # One row away from slot 0, most weight is on it or beside it.
        assert bool((weights[0][:, [0, 1, 5]].sum(-1) > 0.5).all())


def test_more_slots_need_no_more_weights():
    source = Copy(length="3", width=2, tasks=1)
    learner, params = machine(source)
    larger = dataclasses.replace(learner, slots=50)
    assert [leaf.shape for leaf in tree.flatten(larger.init(3)).values()] == [
        leaf.shape for leaf in tree.flatten(params).values()
    ]
    assert answers(larger, params, task_of(source)).shape == (3, 2)


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"units": 0}, "units is 0"),
        ({"slots": 0}, "slots is 0"),
        ({"reads": 0}, "reads is 0"),
        ({"writes": 0}, "writes is 0"),
        ({"width": 0}, "width is 0"),
        ({"reach": -1}, "reach is -1"),
        ({"reach": 3}, "a ring of 6 slots is shorter"),
    ],
)
def test_a_wrong_setting_is_a_one_line_error(fields, answer):
    with pytest.raises(ValueError, match=answer) as caught:
        NTM(4, 2, **{**SIZES, **fields})
    assert "\n" not in str(caught.value)


def ran(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_a_machine_trained_on_short_sequences_is_judged_on_longer_ones(tmp_path, capsys):
    run = str(tmp_path / "run")
    words = ["--source.length", "1-2", "--source.width", "3", "--units", "8", "--slots", "8", "--width", "4"]
    code, result = ran(
        capsys, "train", "ntm", "copy", *words, "--steps", "3", "--validation-episodes", "5", "--out", run
    )
    assert code == 0 and 0 < result["validation"] < 1
    code, result = ran(capsys, "eval", run, "--episodes", "7", "--source.length", "6", "--slots", "12")
    assert code == 0 and (result["shots"], result["queries"], result["episodes"]) == ("6", 6, 7)
    assert 0 < result["wrong_bits"] < 1 and result["bits"] == pytest.approx(1, abs=0.2) and not result["transductive"]


def test_a_learner_of_sequences_says_so_where_there_are_none(capsys, tmp_path):
    code, result = ran(capsys, "train", "ntm", "digits", "--steps", "1", "--out", str(tmp_path / "run"))
    assert code == 1 and "ntm is for multilabel and the source is of classification" in result["error"]
