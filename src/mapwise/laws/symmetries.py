"""Laws of what changes nothing: the order of rows, the names of classes, padding, other queries, and weights."""

import torch

from mapwise.core import random
from mapwise.core.map_tasks import task_at
from mapwise.core.task import Examples, Task, reweighted
from mapwise.laws.case import (
    SAME,
    Case,
    Finding,
    as_double,
    pick_rows,
    relative_gap,
    score_rows,
    scores_gap,
    with_garbage,
    without_last_class,
)


def order_free(case: Case) -> Finding:
    """Shuffling the support rows changes nothing."""
    gap = 0.0
    for number, task in enumerate(case.tasks()):
        rows = task.support
        moved = random.permutation(random.fold(torch.tensor(case.seed), number), len(rows.y))
        gap = max(gap, scores_gap(case.scores(task._replace(support=pick_rows(rows, moved))), case.scores(task)))
    return gap <= SAME, f"scores change by {gap:.1e} when the support rows are shuffled"


def relabel_free(case: Case) -> Finding:
    """Permuting the classes permutes the scores."""
    if case.unseen.problem.columns != "classes":
        return None, f"not applicable: {case.unseen.problem.name} has no classes to permute"
    gap = 0.0
    for task in case.tasks():
        columns = torch.arange(task.support.y.shape[-1]).roll(1)
        permuted = task._replace(support=task.support._replace(y=task.support.y[..., columns]))
        gap = max(gap, scores_gap(case.scores(permuted), case.scores(task)[..., columns]))
    return gap <= SAME, f"scores differ by {gap:.1e} from the permuted ones when classes are permuted"


def padding_free(case: Case) -> Finding:
    """Rows of weight 0 and absent classes change nothing."""
    rows = classes = 0.0
    for task in case.tasks():
        padded = case.scores(Task(*(with_garbage(part, case.seed) for part in task)))
        rows = max(rows, scores_gap(score_rows(padded, 0, len(task.query.y)), case.scores(task)))
        if case.unseen.problem.columns == "classes":
            narrow, wide = without_last_class(task)
            scores = case.scores(wide)
            if float(scores[..., -1].max()) > torch.finfo(scores.dtype).min / 4:
                return False, "a class without a support row can be chosen: its score is not finfo.min / 2"
            classes = max(classes, scores_gap(scores[..., :-1], case.scores(narrow)))
        if task.query.y.dim() > 2:
            right, wrong = (task._replace(support=_masked(task.support, garbled=garbled)) for garbled in (False, True))
            rows = max(rows, scores_gap(case.scores(wrong), case.scores(right)))
    task = as_double(task_at(case.source(0), 0))
    loss = relative_gap(case.loss(Task(*(with_garbage(part, case.seed) for part in task))), case.loss(task))
    if task.query.y.dim() > 2:
        right, wrong = (Task(*(_masked(part, garbled=garbled) for part in task)) for garbled in (False, True))
        loss = max(loss, relative_gap(case.loss(wrong), case.loss(right)))
    seen = (
        f"scores change by {rows:.1e} with rows of weight 0 and by {classes:.1e} with an absent class, "
        f"the objective by {loss:.1e}"
    )
    return max(rows, classes, loss) <= SAME, seen


def alone(case: Case) -> Finding:
    """Predicting a query by itself equals predicting it among others."""
    gap = 0.0
    for task in case.tasks():
        together = case.scores(task)
        for row in range(min(3, len(task.query.y))):
            here = torch.tensor([row])
            alone = case.scores(task._replace(query=pick_rows(task.query, here)))
            gap = max(gap, scores_gap(alone, score_rows(together, row, row + 1)))
    return gap <= SAME, f"scores change by {gap:.1e} when a query is predicted by itself"


def weights_count(case: Case) -> Finding:
    """A row of weight 2 counts as the row twice."""
    scores = loss = 0.0
    for task in case.tasks():
        heavy, twice = _doubled(task.support)
        scores = max(scores, scores_gap(*(case.scores(task._replace(support=rows)) for rows in (heavy, twice))))
    task = as_double(task_at(case.source(0), 0))
    loss = relative_gap(*(case.loss(Task(*parts)) for parts in zip(*map(_doubled, task), strict=True)))
    seen = f"with rows of weight 2 and with the rows twice, scores differ by {scores:.1e}, the objective by {loss:.1e}"
    return max(scores, loss) <= SAME, seen


def _doubled(rows: Examples) -> tuple[Examples, Examples]:
    """The rows with every other one of weight 2, and the same with these rows twice."""
    often = torch.arange(len(rows.y)) % 2 == 0
    heavy = reweighted(rows, torch.where(often, 2, 1))
    return heavy, pick_rows(rows, torch.cat([torch.arange(len(rows.y)), often.nonzero()[:, 0]]))


def _masked(rows: Examples, *, garbled: bool) -> Examples:
    """The rows with every other token of weight 0, whose labels may be wrong in every number."""
    counts = torch.arange(rows.y.shape[-2]) % 2 == 0  # [L]
    y = torch.where(counts[:, None], rows.y, 1 - rows.y) if garbled else rows.y
    return rows._replace(y=y, weight=rows.weight * counts)
