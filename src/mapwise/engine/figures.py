"""What a report shows beside its numbers: curves, the embedding of an unseen task, and an episode."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapwise.core import map_tasks as mapping
from mapwise.core.capabilities import Embeds, Traced
from mapwise.core.estimate import Estimate
from mapwise.core.execution import How
from mapwise.core.learner import Learner
from mapwise.core.problem import Problem
from mapwise.core.scores import Gaussian, Scores
from mapwise.core.source import TaskSource, inputs_of
from mapwise.core.spec import Spec
from mapwise.core.stream import is_stream
from mapwise.core.task import Task
from mapwise.core.tree import Params
from mapwise.engine.evaluate import episode_values
from mapwise.engine.results import Curve, EmbeddingMap, Episode, FunctionFit, MemoryUse


def training_curves(records: Sequence[dict[str, Any]], problem: Problem) -> list[Curve]:
    """The lines of a run's metrics: the loss of every record, and validation where there was one."""
    lines = [("training loss", "loss"), (f"validation {problem.metric.name}", "validation")]
    curves = []
    for label, name in lines:
        points = [(r["step"], r[name]) for r in records if r.get(name) is not None]
        if points:
            curves.append(Curve(label, np.array([x for x, _ in points]), np.array([y for _, y in points], float)))
    return curves


def measured_curve(
    label: str,
    points: Sequence[tuple[float, Learner, TaskSource]],
    params: Params,
    *,
    episodes: int,
    how: How = "vmap",
) -> Curve:
    """The problem's metric with its interval, for every (x, learner, source) of a line."""
    estimates = [Estimate.of(episode_values(learner, params, source, episodes, how)) for _, learner, source in points]
    return Curve(
        label,
        np.array([x for x, _, _ in points]),
        np.array([estimate.mean for estimate in estimates]),
        np.array([estimate.ci95 for estimate in estimates]),
    )


def drawn_episode(learner: Learner, params: Params, source: TaskSource) -> Episode | None:
    """The source's first task with the learner's predictions; None without classes, for streams, and for tokens.

    Rows that are integers or dicts are nothing to draw: None.
    """
    tasks = source(0)
    if source.problem.columns != "classes" or is_stream(tasks):
        return None
    names = source.names(0)[0]
    support, query = mapping.task_at(tasks, 0)
    if isinstance(query.x, dict) or not query.x.is_floating_point() or query.y.dim() > 2:
        return None
    with torch.no_grad():
        scores = _mean(learner.predict(params, learner.adapt(params, support), query.x))
    confidence, column = torch.softmax(scores, -1).max(-1)
    rows, counted_queries = support.weight > 0, query.weight > 0
    return Episode(
        _array(support.x[rows]),
        [names[i] for i in support.y[rows].argmax(-1).tolist()],
        _array(query.x[counted_queries]),
        [names[i] for i in query.y[counted_queries].argmax(-1).tolist()],
        [names[i] for i in column[counted_queries].tolist()],
        _array(confidence[counted_queries]),
    )


def function_fits(learner: Learner, params: Params, source: TaskSource, count: int = 3) -> list[FunctionFit]:
    """The source's first functions and their predictions; [] unless inputs and targets are single numbers."""
    if source.problem.columns != "targets" or inputs_of(source) != Spec((1,)) or source.outputs != 1:
        return []
    batches = itertools.chain.from_iterable(
        (mapping.task_at(batch, i) for i in range(mapping.tasks_in(batch))) for batch in map(source, itertools.count())
    )
    return [_function_fit(learner, params, task) for task in itertools.islice(batches, count)]


def _function_fit(learner: Learner, params: Params, task: Task) -> FunctionFit:
    support, query = task
    with torch.no_grad():
        scores = learner.predict(params, learner.adapt(params, support), query.x)
    order, rows = query.x[:, 0].argsort(), support.weight > 0
    return FunctionFit(
        _array(support.x[rows, 0]),
        _array(support.y[rows, 0]),
        _array(query.x[order, 0]),
        _array(query.y[order, 0]),
        _array(_mean(scores)[order, 0]),
        _array(scores.scale[order, 0]) if isinstance(scores, Gaussian) else None,
    )


def embedding_map(learner: Learner, params: Params, source: TaskSource) -> EmbeddingMap | None:
    """The embedded rows of the source's first task in their first two principal components.

    None when the learner embeds no rows, or the source has no classes.
    """
    if not isinstance(learner, Embeds) or source.problem.columns != "classes":
        return None
    names = source.names(0)[0]
    support, query = mapping.task_at(source(0), 0)
    with torch.no_grad():
        fast = learner.adapt(params, support)
        parts = [(rows, rows.weight > 0) for rows in (support, query) if len(rows.y)]
        z = torch.cat([learner.embed(params, fast, rows.x)[counted] for rows, counted in parts])  # [N, D]
    columns = torch.cat([rows.y[counted].argmax(-1) for rows, counted in parts]).tolist()
    count = int(parts[0][1].sum())
    return EmbeddingMap(_plane(_array(z)), [names[i] for i in columns], np.arange(len(columns)) < count)


def memory_use(learner: Learner, params: Params, source: TaskSource) -> MemoryUse | None:
    """What the learner's heads did in the longest sequence of the source's first batch.

    None when the learner is not `Traced`, or the source has no sequences of bits.
    """
    if not isinstance(learner, Traced) or source.problem.columns != "bits":
        return None
    batch = source(0)
    support, query = mapping.task_at(batch, int(batch.support.weight.sum(1).argmax()))
    counted = support.weight > 0
    with torch.no_grad():
        trace = learner.trace(params, support)
    matches = (support.x[:, -1, None] == query.x[:, -1]) & (query.weight > 0)  # [L, Q]
    due = torch.where(matches.any(1, keepdim=True), matches.to(query.y.dtype) @ query.y, torch.nan)

    def by_row(part: Tensor) -> np.ndarray:
        return _array(part[counted])

    return MemoryUse(
        by_row(support.x[:, :-1]),
        by_row(due),
        by_row(trace.scores.sigmoid()),
        by_row(trace.reads),
        by_row(trace.writes),
        gates={name: by_row(part) for name, part in trace.gates.items()},
        slots={name: by_row(part) for name, part in trace.slots.items()},
        links={name: _array(part) for name, part in trace.links.items()},
    )


def _plane(z: np.ndarray) -> np.ndarray:
    """Rows in their first two principal components, [N, D] -> [N, 2]."""
    centred = z.astype(np.float64) - z.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(z), 2))
    components = (left * sizes)[:, :2]
    plane[:, : components.shape[1]] = components
    return plane


def _mean(scores: Scores) -> Tensor:
    return scores.mean if isinstance(scores, Gaussian) else scores


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array
