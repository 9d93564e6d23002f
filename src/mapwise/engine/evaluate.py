"""Evaluation: how good the adapted predictors are, on episodes that anyone can make again."""

import hashlib
import itertools
import math
import statistics
import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from mapwise.core import map_tasks as mapping
from mapwise.core.execution import How
from mapwise.core.kinds import KINDS, bits_of_a_bit
from mapwise.core.learner import Learner
from mapwise.core.losses import Gaussian, Scores
from mapwise.core.map_tasks import map_tasks, tasks_in
from mapwise.core.outcome import LEVELS, SIGHTS, Calibrated, ClassFigures, Estimate, Protocol, Report
from mapwise.core.stream import answered, is_stream, scores_along
from mapwise.core.task import Examples, Kind, Task, TaskSource
from mapwise.core.tree import Params
from mapwise.engine.ranks import ALONE, Ranks

BINS = 15
"""Equal-mass bins of the calibration error."""

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

    A task without queries is a stream: each of its rows is judged by what the rows before it taught.

    params:      as `train` returned them, or `learner.measure`d.
    source:      the split to judge on; its first `episodes` tasks are used, the same for every learner.
    name:        what to call the learner in the report; by default its class.
    command:     what makes the report again, for its protocol line.
    how:         how tasks are mapped; a learner without a vmap rule is looped.
    temperature: what scores of classes are divided by for `Report.calibrated`; choose it by `fitted_temperature`, on
                 other episodes than these.

    Returns a Report: accuracy (or mean squared error, or wrong bits) per episode; for classes calibration, ROC-AUC,
    figures per real class name, and of streams accuracy by how often a class was seen; for a predictive distribution
    of targets its likelihood and coverage. Whether the learner is transductive is measured, not believed.
    """
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}: give 1 or more")
    values, nlls, covered, areas, rows, cooled = [], [], [], [], [], []
    sights: list[np.ndarray] = []
    owners: list[list[str]] = []
    left = episodes
    digest = hashlib.blake2b(digest_size=8)
    for step in itertools.count():
        tasks = source(step)
        _add_to_digest(digest, tasks, left)
        scores, how = _scores(learner, params, tasks, how)
        query = answered(tasks)
        values.append(_values(scores, query, source.kind)[:left])
        nlls.append(_nll(scores, query, source.kind)[:left])
        if isinstance(scores, Gaussian):
            covered.append(_covered(scores, query)[:left])
        if source.kind == "classification":
            probabilities = torch.softmax(_mean(scores).double(), -1).numpy()[:left]
            truth = query.y.argmax(-1).cpu().numpy()[:left]
            counted = query.weight.cpu().numpy()[:left] > 0
            names = source.names(step)[:left]
            if is_stream(tasks):
                sights.append(_by_sight(probabilities.argmax(-1) == truth, truth, counted))
            areas.append(_auc(probabilities, truth, counted))
            rows.append(_judged(probabilities, truth, counted, len(owners)))
            owners.extend(names)
            if temperature is not None:
                cooled.append(_cooled(_mean(scores).double() / temperature, query, left))
        left -= len(values[-1])
        if left == 0:
            break

    about = source.about
    tasks = source(0)
    # Of a stream: every row asked for once more, after all of them.
    tasks = tasks._replace(query=answered(tasks))
    protocol = Protocol(
        learner=name or type(learner).__name__,
        source=about.source,
        split=about.split,
        kind=source.kind,
        ways=about.ways,
        shots=about.shots,
        queries=about.queries,
        episodes=episodes,
        seed=about.seed,
        transductive=not predicts_alone(learner, params, tasks),
        command=command,
    )
    nll = float(np.concatenate(nlls).mean())
    report = Report(
        protocol,
        np.concatenate(values),
        nll=nll if np.isfinite(nll) else None,
        adapt_ms=_adapt_ms(learner, params, tasks),
        digest=digest.hexdigest(),
    )
    if source.kind == "multilabel":
        return replace(report, bits=bits_of_a_bit(nll, source.outputs), chance=0.5)
    if source.kind == "regression":
        shares = np.concatenate(covered).mean(0).tolist() if covered else []
        return replace(report, coverage=dict(zip(LEVELS, shares, strict=True)) if covered else None)
    judged = _Judged(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))
    reliability = _reliability(judged.confidence, judged.said == judged.true)
    area = np.concatenate(areas)
    calibrated = None
    # Without a likelihood, as of classes that were barred, a temperature has nothing to better.
    if temperature is not None and np.isfinite(nll):
        after, confidence = (np.concatenate(parts) for parts in zip(*cooled, strict=True))
        bins = _reliability(confidence, judged.said == judged.true)
        calibrated = Calibrated(temperature, float(after.mean()), _calibration_error(bins), bins)
    return replace(
        report,
        ece=_calibration_error(reliability),
        calibrated=calibrated,
        auc=float(np.nanmean(area)) if np.isfinite(area).any() else None,
        classes=_class_figures(judged, owners),
        reliability=reliability,
        sights=_over_streams(np.concatenate(sights)) if sights else None,
        chance=float(np.mean([1 / sum(1 for n in names if n) for names in owners])),
    )


def _add_to_digest(digest: "hashlib.blake2b", tasks: Task, count: int) -> None:
    """The first so many tasks, byte by byte."""
    for leaf in pytree.tree_leaves(tasks):
        digest.update(leaf[:count].cpu().flatten().view(torch.uint8).numpy().data)


def fitted_temperature(
    learner: Learner, params: Params, source: TaskSource, *, episodes: int = 200, how: How = "vmap"
) -> float:
    """What scores of classes are to be divided by so that their queries are likeliest, from 0.001 to 1000.

    Guo, Pleiss, Sun, Weinberger 2017, arXiv:1706.04599, section 4.2; no prediction changes, only how sure it is.

    source: validation episodes; those that judge must not be among them.

    1 where a score is not finite.
    """
    scores, truth = [], []
    left = episodes
    for step in itertools.count():
        tasks = source(step)
        found, how = _scores(learner, params, tasks, how)
        query = answered(tasks)
        counted = query.weight.cpu()[:left] > 0
        scores.append(_mean(found)[:left][counted].double())  # [R, W]
        truth.append(query.y.cpu()[:left][counted].double())
        left -= len(counted)
        if left <= 0:
            break
    s, y = torch.cat(scores), torch.cat(truth)
    if not bool(torch.isfinite(s).all()):
        return 1.0
    # The mean negative log-likelihood is convex in 1 / temperature: where its slope changes sign is its least.
    low, high = -math.log(1000), math.log(1000)
    for _ in range(50):
        middle = (low + high) / 2
        slope = ((torch.softmax(s * math.exp(middle), -1) - y) * s).sum(-1).mean()
        low, high = (low, middle) if slope > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


def episode_values(
    learner: Learner, params: Params, source: TaskSource, episodes: int, how: How = "vmap", ranks: Ranks = ALONE
) -> np.ndarray:
    """The kind's metric of each of the first `episodes` tasks, [E]; every rank gets those of all."""
    values: list[np.ndarray] = []
    left = episodes
    for step in itertools.count():
        tasks = source(step)
        total = tasks_in(tasks)
        low, high = ranks.span(total)
        found = np.zeros(total)  # what the other ranks add their own to
        if low < high:
            part = tasks if ranks.world == 1 else pytree.tree_map(lambda leaf, at=slice(low, high): leaf[at], tasks)
            scores, how = _scores(learner, params, part, how)
            found[low:high] = _values(scores, answered(part), source.kind)
        values.append(found[:left])
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
            # Absent classes and a diverged prediction say nothing about the size of a score.
            sized = among[torch.isfinite(among) & (among > torch.finfo(among.dtype).min / 4)]
            spread = sized.std().clamp(min=1e-6) if sized.numel() > 1 else torch.ones(())
            for row in range(min(3, among.shape[0])):
                alone = _mean(learner.predict(params, fast, _rows(query.x, row)))
                if bool(((alone[0] - among[row]).abs() > ALONE_TOLERANCE * spread).any()):
                    return False
    return True


def _rows(x: Any, row: int) -> Any:
    return {name: leaf[row : row + 1] for name, leaf in x.items()} if isinstance(x, dict) else x[row : row + 1]


def _mean(scores: Scores) -> Tensor:
    return scores.mean if isinstance(scores, Gaussian) else scores


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


def _values(scores: Scores, query: Examples, kind: Kind) -> np.ndarray:
    weight, y = query.weight.cpu(), query.y.cpu()
    each = KINDS[kind].judge(_mean(scores), y).to(weight.dtype)
    return ((each * weight).sum(-1) / weight.sum(-1)).double().numpy()


def _nll(scores: Scores, query: Examples, kind: Kind) -> np.ndarray:
    """Mean negative log-likelihood of each task, [T]; NaN for plain regression, which states no density."""
    weight, y = query.weight.cpu().double(), query.y.cpu().double()
    if isinstance(scores, Gaussian):
        z = (y - scores.mean) / scores.scale
        each = (0.5 * z**2 + torch.log(scores.scale.double()) + 0.5 * math.log(2 * math.pi)).sum(-1)
    elif (of_rows := KINDS[kind].nll) is None:
        return np.full(len(y), np.nan)
    else:
        each = torch.where(weight > 0, of_rows(scores, y), 0.0)
    return np.asarray((each * weight).sum(-1) / weight.sum(-1))


def _by_sight(right: np.ndarray, truth: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The share of right answers at the 1st, 2nd, ... sight of a class, in each stream, [T, len(SIGHTS)].

    All are [T, N]. NaN where no class of a stream comes so often.
    """
    mine = (truth[:, :, None] == np.arange(truth.max() + 1)) & counted[:, :, None]  # [T, N, W]
    sight = (mine.cumsum(1) * mine).sum(-1)  # [T, N]
    at = sight[:, :, None] == np.array(SIGHTS)  # [T, N, sights]
    counts = at.sum(1)
    answers = (at & right[:, :, None]).sum(1)
    found: np.ndarray = np.divide(answers, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return found


def _over_streams(shares: np.ndarray) -> dict[int, Estimate]:
    """The mean over streams, each of which counts once: the sights of one stream depend on each other."""
    columns = {sight: column[np.isfinite(column)] for sight, column in zip(SIGHTS, shares.T, strict=True)}
    return {sight: Estimate.of(column) for sight, column in columns.items() if len(column)}


def _covered(scores: Gaussian, query: Examples) -> np.ndarray:
    """The share of each task's targets that lie in the central intervals of every level, [T, 3]."""
    weight, y = query.weight.cpu().double(), query.y.cpu().double()
    far = (y - scores.mean).abs() / scores.scale  # [T, Q, W]
    reach = torch.tensor([statistics.NormalDist().inv_cdf(0.5 + float(level) / 200) for level in LEVELS])
    within = (far[..., None] <= reach).double().mean(-2)  # [T, Q, 3]
    return np.asarray((within * weight[..., None]).sum(1) / weight.sum(1, keepdim=True))


class _Judged(NamedTuple):
    """Query rows that count, of all episodes; every array is [R]."""

    episode: np.ndarray
    true: np.ndarray
    said: np.ndarray
    """Columns of the episode, of its true class and of the predicted one."""
    confidence: np.ndarray


def _judged(p: np.ndarray, y: np.ndarray, counted: np.ndarray, first: int) -> _Judged:
    episode = first + np.broadcast_to(np.arange(len(y))[:, None], y.shape)
    return _Judged(episode[counted], y[counted], p.argmax(-1)[counted], p.max(-1)[counted])


def _reliability(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Confidence, accuracy and share of rows in bins of equal mass, [B, 3]."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return np.array([[confidence[part].mean(), right[part].mean(), len(part) / len(order)] for part in parts])


def _calibration_error(bins: np.ndarray) -> float:
    return float((bins[:, 2] * np.abs(bins[:, 0] - bins[:, 1])).sum())


def _cooled(scores: Tensor, query: Examples, left: int) -> tuple[np.ndarray, np.ndarray]:
    """Of scores after a temperature: each task's negative log-likelihood, and each row's confidence."""
    counted = query.weight.cpu()[:left] > 0
    confidence = torch.softmax(scores, -1).max(-1).values[:left][counted]
    return _nll(scores, query, "classification")[:left], confidence.numpy()


def _auc(p: np.ndarray, y: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """One class against the rest within each episode, averaged over its classes, [E] (Mann and Whitney's statistic).

    p: [E, Q, W], y and counted: [E, Q]. NaN for an episode in which every query is of one class.
    """
    # Rows that don't count take the lowest ranks, which are then subtracted.
    ranks = _ranks(np.where(counted[:, :, None], p, -1.0)) - (~counted).sum(1)[:, None, None]
    mine = (y[:, :, None] == np.arange(p.shape[2])) & counted[:, :, None]  # [E, Q, W]
    positives = mine.sum(1)
    negatives = counted.sum(1)[:, None] - positives
    pairs = positives * negatives  # [E, W]
    above = (ranks * mine).sum(1) - positives * (positives + 1) / 2
    # Averaged by hand: nanmean warns of an episode without any pair.
    area = np.divide(above, pairs, out=np.zeros_like(above), where=pairs > 0).sum(1)
    classes = (pairs > 0).sum(1)
    means: np.ndarray = np.divide(area, classes, out=np.full(len(area), np.nan), where=classes > 0)
    return means


def _ranks(p: np.ndarray) -> np.ndarray:
    """Ranks from 1 along axis 1, equal values sharing the middle of theirs, [E, Q, W]."""
    order = np.argsort(p, axis=1)
    ordered = np.take_along_axis(p, order, axis=1)
    place = np.arange(p.shape[1])[None, :, None]
    new = np.ones_like(p, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    ends = np.ones_like(new)
    ends[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(ends, place, p.shape[1])[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty_like(p)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=1)
    return ranks


def _class_figures(judged: _Judged, owners: list[list[str]]) -> ClassFigures:
    names = sorted({name for task in owners for name in task if name})
    # An absent column has a place of its own, after the names: a learner that chooses it is wrong, not an error.
    place = {name: i for i, name in enumerate([*names, ""])}
    index = np.array([[place[name] for name in task] for task in owners])  # [E, W]
    true, said = index[judged.episode, judged.true], index[judged.episode, judged.said]
    rows = np.bincount(true, minlength=len(names))[: len(names)]
    claimed = np.bincount(said, minlength=len(names))[: len(names)]
    right = np.bincount(true[true == said], minlength=len(names))[: len(names)]
    # 0 where a class was never claimed, or never seen.
    precision, recall, f1 = (
        np.divide(top, under, out=np.zeros(len(names)), where=under > 0)
        for top, under in ((right, claimed), (right, rows), (2 * right, claimed + rows))
    )
    named = said < len(names)
    pairs, counts = np.unique(np.stack([true[named], said[named]], 1), axis=0, return_counts=True)
    confusions = {(names[a], names[b]): int(n) for (a, b), n in zip(pairs.tolist(), counts.tolist(), strict=True)}
    return ClassFigures(names, precision, recall, f1, rows, confusions)


def _adapt_ms(learner: Learner, params: Params, tasks: Task, repeats: int = 5) -> float:
    spans = []
    for i in range(repeats):
        support, query = mapping.task_at(tasks, i % tasks_in(tasks))
        start = time.perf_counter()
        with torch.no_grad():
            _mean(learner.predict(params, learner.adapt(params, support), query.x)).cpu()
        spans.append(time.perf_counter() - start)
    return statistics.median(spans) * 1000
