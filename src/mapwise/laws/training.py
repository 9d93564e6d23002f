"""Laws of training: it helps, its value is the query loss, and it measures and learns what it says."""

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mapwise.core import tree
from mapwise.core.learner import Learner
from mapwise.core.problem import Answers
from mapwise.core.scores import means
from mapwise.core.source import TaskSource
from mapwise.core.task import Task, by_token
from mapwise.core.tree import Params
from mapwise.laws.case import (
    SAME,
    Case,
    Finding,
    adapted_scores,
    as_double,
    first_tasks,
    learned_leaves,
    moments_of,
    over_tasks,
    relative_gap,
    scores_gap,
)

HELD_OUT = 200
"""Validation tasks on which law 2 compares."""
STANDARD_ERRORS = 5


def learns(case: Case) -> Finding:
    """Trained, it beats chance and its untrained self on unseen tasks by 5 standard errors."""
    trained, chance = _quality(case.learner, case.trained, case.unseen)
    metric = case.source.problem.metric
    what = f"minus the {metric.title}" if metric.lower_is_better else metric.title
    rivals = {"chance": chance}
    if learned_leaves(case.start):
        untrained = case.learner.measure(case.start, case.source)
        rivals["untrained"] = _quality(case.learner, untrained, case.unseen)[0]
    holds, parts = True, []
    for name, rival in rivals.items():
        ahead = trained - rival
        error = ahead.std() / len(ahead) ** 0.5
        holds = holds and bool(ahead.mean() > STANDARD_ERRORS * error)
        parts.append(f"{name} {float(rival.mean()):.3f} ({float(ahead.mean() / error.clamp(min=1e-12)):.1f} s.e.)")
    return holds, f"{what} {float(trained.mean()):.3f} after {case.steps} steps, ahead of {', '.join(parts)}"


def _quality(learner: Learner, params: Params, source: TaskSource) -> tuple[Tensor, Tensor]:
    """The quality of the predictions for each held-out task, higher is better, and that of a guess, [E]."""
    tasks = first_tasks(source, HELD_OUT)
    with torch.no_grad():
        scores = over_tasks(partial(adapted_scores, learner, params), tasks)
    support, query = (torch.vmap(by_token)(rows) for rows in tasks)
    problem = source.problem
    quality = torch.from_numpy(problem.episode_values(Answers.of(means(scores).double(), tasks.query, [])))
    sign = -1 if problem.metric.lower_is_better else 1
    return sign * quality, sign * problem.guess(support, query)


def query_loss(case: Case) -> Finding:
    """The value of the objective is the loss of the queries after adapting."""
    params, gap = as_double(case.path[0]), 0.0
    for task in case.tasks():
        for moment in moments_of(case.double):
            loss = moment.criterion(adapted_scores(moment, params, task), task.query).detach()
            gap = max(gap, relative_gap(moment.objective(params, task).detach(), loss))
    return gap <= SAME, f"the objective differs by {gap:.1e} from the loss of the queries after adapting to the support"


@dataclass(frozen=True)
class _OneSplit:
    """A source that refuses to give another split."""

    source: TaskSource

    def __call__(self, step: int) -> Task:
        return self.source(step)

    def split(self, name: str) -> TaskSource:
        raise ValueError(f"measure reads the split {name!r}, and only training tasks may be measured")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)


def measures(case: Case) -> Finding:
    """Measure reads the training tasks alone, repeats, and changes nothing learned."""
    params = case.path[0]
    first, second = (tree.flatten(case.learner.measure(params, _OneSplit(case.source))) for _ in range(2))
    same = first.keys() == second.keys() and all(torch.equal(first[path], second[path]) for path in first)
    if not same:
        return False, "measure gives other bits the second time"
    if any(path not in first or not torch.equal(first[path], leaf) for path, leaf in learned_leaves(params).items()):
        return False, "measure changes what is learned: it may only fill the part 'measured'"
    return True, "measure reads no other split, repeats, and leaves what is learned as it is"


def learned_in_place(case: Case) -> Finding:
    """Where a parameter starts has no effect once it is learned."""
    learner, params, moved = case.double, as_double(case.path[0]), []
    first, task = tree.flatten(learner.init(case.seed)), case.tasks()[0]
    for field in dataclasses.fields(learner):
        other = _with_another(learner, field.name)
        start = tree.flatten(other.init(case.seed)) if other is not None else first
        shapes = {path: leaf.shape for path, leaf in start.items()} == {
            path: leaf.shape for path, leaf in first.items()
        }
        if other is None or not shapes or all(torch.equal(start[path], leaf) for path, leaf in first.items()):
            continue
        moved.append(field.name)
        gap = scores_gap(adapted_scores(other, params, task), adapted_scores(learner, params, task))
        loss = relative_gap(*(one.objective(params, task).detach() for one in (other, learner)))
        if max(gap, loss) > SAME:
            return (
                False,
                f"{field.name} is where a parameter starts, and scores of learned ones change with it by {gap:.1e}",
            )
    return True, f"scores of learned parameters don't change with where they start ({', '.join(moved) or 'no field'})"


def _with_another(learner: Learner, field: str) -> Learner | None:
    """The learner with another number in this field; None where it holds no number, or refuses those nearby."""
    value = getattr(learner, field)
    if not isinstance(value, float):
        return None
    for other in (1.25 * value, 0.8 * value) if value else (0.1, -0.1):
        with suppress(ValueError):
            return dataclasses.replace(learner, **{field: other})
    return None
