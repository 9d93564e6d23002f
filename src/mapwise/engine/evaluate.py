"""Evaluation: how good the adapted predictors are, on reproducible episodes."""

import hashlib
import itertools
import math
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from mapwise.core import map_tasks as mapping
from mapwise.core.execution import How
from mapwise.core.fields import check_arguments, check_whole
from mapwise.core.learner import Learner, check_loss, check_params, check_tasks
from mapwise.core.map_tasks import map_tasks, tasks_in
from mapwise.core.older_source import with_problem
from mapwise.core.problem import Answers
from mapwise.core.scores import Gaussian, Scores
from mapwise.core.source import TaskSource
from mapwise.core.stream import is_stream, scored_rows, scores_along
from mapwise.core.task import Task, rows_at
from mapwise.core.tree import Params
from mapwise.engine.ranks import ALONE, Ranks
from mapwise.engine.results import Protocol, Report

ALONE_TOLERANCE = 1e-3
"""Largest change of a score, relative to the scores' spread, that counts as the same prediction."""


def evaluate(
    learner: Learner,
    params: Params,
    source: TaskSource,
    *,
    episodes: int = 1000,
    name: str = "",
    command: str = "",
    how: How = "vmap",
    temperature: float | None = None,
) -> Report:
    """Adapt to every episode of the source's split and judge the predictions on its queries.

    A task without queries is a stream: each of its rows is predicted from the rows before it.

    params:      as `train` returned them, or `learner.measure`d.
    source:      the split to judge on; its first `episodes` tasks are used, the same for every learner.
    name:        what to call the learner in the report; by default its class.
    command:     the command that reproduces the report, for its protocol line.
    how:         how tasks are mapped; a learner without a vmap rule is looped.
    temperature: class scores are divided by it for `Report.calibrated`; fit it by `fitted_temperature`, on other
                 episodes than these.

    Returns a Report: accuracy (or mean squared error, or wrong bits) per episode; for classes calibration, ROC-AUC,
    figures per real class name, and for streams accuracy by instance of a class; for a predictive distribution of
    targets its likelihood and coverage. Whether the learner is transductive is measured.

    Raises ValueError for params of another learner, for episodes or a temperature that can't be, and for an episode
    whose scores are NaN or infinite, unless its value shows it: a regression counts it as diverged.
    """
    check_arguments(evaluate, locals())
    check_whole("episodes", episodes, 1)
    if temperature is not None and not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}: give a number above 0, or None")
    check_params(learner, params)
    source = with_problem(source)
    check_tasks(learner, source(0))
    check_loss(learner, source.problem)
    problem = source.problem
    values, tallies = [], []
    left = episodes
    digest = hashlib.blake2b(digest_size=8)
    for step in itertools.count():
        tasks = source(step)
        _add_to_digest(digest, tasks, left)
        scores, how = _scores(learner, params, tasks, how)
        answers = _answers(scores, tasks, source.names(step)).first(left)
        values.append(problem.episode_values(answers))
        _check_finite(answers, values[-1], episodes - left)
        tallies.append(problem.tally(answers, temperature))
        left -= len(values[-1])
        if left == 0:
            break

    about = source.about
    tasks = source(0)
    # For a stream: every row predicted once more, after all of them.
    tasks = tasks._replace(query=scored_rows(tasks))
    judged, total = getattr(source, "class_counts", None) or (None, None)  # a source of a user's own has none
    protocol = Protocol(
        learner=name or type(learner).__name__,
        source=about.source,
        split=about.split,
        problem=problem,
        ways=about.ways,
        shots=about.shots,
        queries=about.queries,
        episodes=episodes,
        seed=about.seed,
        transductive=not predicts_alone(learner, params, tasks),
        command=command,
        judged_classes=judged,
        all_classes=total,
    )
    milliseconds = _adapt_ms(learner, params, tasks)
    return Report(protocol, np.concatenate(values), problem.figures(tallies), milliseconds, digest.hexdigest())


def _add_to_digest(digest: "hashlib.blake2b", tasks: Task, count: int) -> None:
    """The first so many tasks, byte by byte."""
    for leaf in pytree.tree_leaves(tasks):
        digest.update(leaf[:count].cpu().flatten().view(torch.uint8).numpy().data)


def fitted_temperature(
    learner: Learner, params: Params, source: TaskSource, *, episodes: int = 200, how: How = "vmap"
) -> float:
    """The temperature, from 0.001 to 1000, that maximises the likelihood of the queries.

    Guo, Pleiss, Sun, Weinberger 2017, arXiv:1706.04599, section 4.2; it changes the confidence, not the predictions.

    source: validation episodes, none of them used in the evaluation.

    Returns 1 where a score is not finite.
    """
    scores, truth = [], []
    left = episodes
    for step in itertools.count():
        tasks = source(step)
        scores_of_tasks, how = _scores(learner, params, tasks, how)
        query = scored_rows(tasks)
        counted = query.weight.cpu()[:left] > 0
        scores.append(_mean(scores_of_tasks)[:left][counted].double())  # [R, W]
        truth.append(query.y.cpu()[:left][counted].double())
        left -= len(counted)
        if left <= 0:
            break
    s, y = torch.cat(scores), torch.cat(truth)
    if not bool(torch.isfinite(s).all()):
        return 1.0
    # The mean negative log-likelihood is convex in 1 / temperature: its minimum is where the derivative changes sign.
    low, high = -math.log(1000), math.log(1000)
    for _ in range(50):
        middle = (low + high) / 2
        derivative = ((torch.softmax(s * math.exp(middle), -1) - y) * s).sum(-1).mean()
        low, high = (low, middle) if derivative > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


def episode_values(
    learner: Learner, params: Params, source: TaskSource, episodes: int, how: How = "vmap", ranks: Ranks = ALONE
) -> np.ndarray:
    """The problem's metric of each of the first `episodes` tasks, [E]; every rank gets those of all."""
    values: list[np.ndarray] = []
    left = episodes
    for step in itertools.count():
        tasks = source(step)
        total = tasks_in(tasks)
        low, high = ranks.span(total)
        batch_values = np.zeros(total)  # what the other ranks add their own to
        if low < high:
            part = tasks if ranks.world == 1 else pytree.tree_map(lambda leaf, at=slice(low, high): leaf[at], tasks)
            scores, how = _scores(learner, params, part, how)
            answers = _answers(scores, part, [])
            batch_values[low:high] = source.problem.episode_values(answers)
        values.append(batch_values[:left])
        left -= len(values[-1])
        if left <= 0:
            break
    (together,) = ranks.sum([torch.from_numpy(np.concatenate(values))])
    judged: np.ndarray = together.numpy()
    return judged


def predicts_alone(learner: Learner, params: Params, tasks: Task, checked: int = 3) -> bool:
    """Whether predicting a query by itself gives the scores it has among its neighbours."""
    for i in range(min(checked, tasks_in(tasks))):
        support, query = mapping.task_at(tasks, i)
        with torch.no_grad():
            fast = learner.adapt(params, support)
            among = _mean(learner.predict(params, fast, query.x))
            # Absent classes and diverged predictions don't show the usual size of a score.
            sized = among[torch.isfinite(among) & (among > torch.finfo(among.dtype).min / 4)]
            spread = sized.std().clamp(min=1e-6) if sized.numel() > 1 else torch.ones(())
            for row in range(min(3, among.shape[0])):
                alone = _mean(learner.predict(params, fast, rows_at(query.x, slice(row, row + 1))))
                if bool(((alone[0] - among[row]).abs() > ALONE_TOLERANCE * spread).any()):
                    return False
    return True


def _mean(scores: Scores) -> Tensor:
    return scores.mean if isinstance(scores, Gaussian) else scores


def _answers(scores: Scores, tasks: Task, names: list[list[str]]) -> Answers:
    judged = scored_rows(tasks)
    return Answers.of(scores, judged, names, is_stream(tasks))


def _scores(learner: Learner, params: Params, tasks: Task, how: How) -> tuple[Scores, How]:
    """Scores of the judged rows of all tasks, [T, Q, W], on the CPU; and how the next batch is to be mapped."""

    def one(task: Task) -> Any:
        if is_stream(task):
            return scores_along(learner, params, task.support)
        return learner.predict(params, learner.adapt(params, task.support), task.query.x)

    with torch.no_grad():
        try:
            scores = map_tasks(one, tasks, how)
        except RuntimeError:
            # An operation without a rule under vmap; a fault of the learner itself is raised by the loop as well.
            if how == "loop":
                raise
            how = "loop"
            scores = map_tasks(one, tasks, how)
    return (Gaussian(scores.mean.cpu(), scores.scale.cpu()) if isinstance(scores, Gaussian) else scores.cpu()), how


def _check_finite(answers: Answers, values: np.ndarray, first: int) -> None:
    """Raises ValueError for a row whose largest score isn't finite, where the value of its episode, [E], hides that.

    Some class would still be its answer. A score of -inf beside others bars a class.
    """
    rows = ~_mean(answers.scores).amax(-1).isfinite() & (answers.weight > 0)
    lost = np.flatnonzero(rows.any(-1).numpy() & np.isfinite(values))
    if len(lost):
        raise ValueError(
            f"the scores of episode {first + lost[0]} are NaN or infinite: the weights are damaged or the training "
            "diverged; train again with a lower learning rate or with clip"
        )


def _adapt_ms(learner: Learner, params: Params, tasks: Task, repeats: int = 5) -> float:
    spans = []
    for i in range(repeats):
        support, query = mapping.task_at(tasks, i % tasks_in(tasks))
        start = time.perf_counter()
        with torch.no_grad():
            _mean(learner.predict(params, learner.adapt(params, support), query.x)).cpu()
        spans.append(time.perf_counter() - start)
    return statistics.median(spans) * 1000
