"""Laws of the capabilities: each agrees with adapting and predicting."""

from collections.abc import Callable

import torch
from torch import Tensor

from mapwise.core.capabilities import (
    Causal,
    Embeds,
    Resumes,
    TakesSteps,
    Trace,
    Traced,
    Unrolled,
    Votes,
    VoteScale,
    with_steps,
)
from mapwise.core.learner import Learner
from mapwise.core.stream import after_prefixes, scores_along
from mapwise.core.task import Task, present_classes, reweighted
from mapwise.laws.case import (
    SAME,
    Case,
    Finding,
    adapted_scores,
    as_double,
    pick_rows,
    relative_gap,
    score_rows,
    scores_gap,
    with_garbage,
    without_last_class,
)


def causal(case: Case) -> Finding:
    """Scores of a causal pass are those after adapting to the rows before, and trained on."""
    learner, params = case.double, as_double(case.trained)
    if not isinstance(learner, Causal):
        return True, "the learner has no causal pass"
    gap = loss = label = 0.0
    for task in case.tasks():
        # With padding: a row of weight 0 has scores as well, and nothing of its label may remain.
        stream = with_garbage(task.support, case.seed)
        places = [*range(0, len(stream.y), 2), *range(1, len(stream.y), 2)]
        stream = pick_rows(stream, torch.tensor(places))
        expected = after_prefixes(learner, params, stream)
        gap = max(gap, scores_gap(scores_along(learner, params, stream), expected))
        none = pick_rows(stream, torch.arange(0))
        value = learner.objective(params, Task(stream, none)).detach()
        loss = max(loss, relative_gap(value, learner.criterion(expected, stream)))
        rows = torch.arange(len(stream.y))
        for row in range(0, len(rows), max(1, len(rows) // 3)):
            later = (rows >= row).view(-1, *[1] * (stream.y.dim() - 1))
            garbled = stream._replace(y=torch.where(later, stream.y.roll(1, -1), stream.y))
            for along in (scores_along, after_prefixes):
                now, before = (score_rows(s, row, row + 1) for s in (along(learner, params, garbled), expected))
                label = max(label, scores_gap(now, before))
    seen = (
        f"scores of the causal pass differ by {gap:.1e} from those after each prefix, and the objective by {loss:.1e}; "
        f"other labels of a row and of later ones change its scores by {label:.1e}"
    )
    return max(gap, loss, label) <= SAME, seen


_COMPARED: dict[VoteScale, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    # A number that is the same for all classes is free.
    "scores": lambda sums, scores: (sums - sums.mean(1, keepdim=True), scores - scores.mean(1, keepdim=True)),
    "probabilities": lambda sums, scores: (sums, scores.softmax(1)),
}


def votes_add_up(case: Case) -> Finding:
    """The votes of the support rows add up to the scores or the probabilities."""
    learner, params = case.double, as_double(case.trained)
    if not isinstance(learner, Votes):
        return True, "the learner gives no votes"
    if case.unseen.problem.columns != "classes":
        return None, f"not applicable: {case.unseen.problem.name} has no classes to vote for"
    if case.tasks()[0].query.y.dim() > 2:
        return None, "not applicable: rows vote, and here every token has a label"
    gap = nobody = 0.0
    for task in case.tasks():
        for support in (task.support, with_garbage(without_last_class(task)[1].support, case.seed)):
            fast = learner.adapt(params, support)
            votes = learner.votes(params, fast, support, task.query.x).detach()  # [Q, S, W]
            scores = learner.predict(params, fast, task.query.x)
            assert isinstance(scores, Tensor)
            there = present_classes(support) > 0
            given = votes.sum(1)[:, there]
            gap = max(gap, relative_gap(*_COMPARED[learner.votes_add_to](given, scores.detach()[:, there])))
            nobody = max(
                nobody, *(float(part.abs().sum()) for part in (votes[:, support.weight == 0], votes[..., ~there]))
            )
    return max(gap, nobody) <= SAME, (
        f"votes and {learner.votes_add_to} differ by {gap:.1e}, and rows of weight 0 and absent classes have "
        f"{nobody:.1e} of them"
    )


def embeds(case: Case) -> Finding:
    """Over rows that are embedded once, scores and embeddings are those over raw rows."""
    learner, params = case.double, as_double(case.trained)
    if not isinstance(learner, Embeds):
        return True, "the learner embeds no rows"
    over = learner.over_embedded(params)
    if over is None:
        return True, "a row is not embedded once, since its embedding depends on others or moves with the task"
    assert isinstance(over.learner, Learner) and isinstance(over.learner, Embeds)
    scores = places = 0.0
    for task in case.tasks():
        support, x = task.support._replace(x=over.encode(task.support.x)), over.encode(task.query.x)
        fast = over.learner.adapt(over.params, support)
        scores = max(scores, scores_gap(over.learner.predict(over.params, fast, x), case.scores(task)))
        raw = learner.embed(params, learner.adapt(params, task.support), task.query.x)
        places = max(places, relative_gap(over.learner.embed(over.params, fast, x), raw))
    seen = f"over rows embedded once scores differ by {scores:.1e}, and embeddings by {places:.1e}"
    return max(scores, places) <= SAME, seen


def resumes(case: Case) -> Finding:
    """Resumed on the same support without a step, over rows that the adapted encoder embeds, the scores stay."""
    learner, params = case.double, as_double(case.trained)
    if not isinstance(learner, Resumes):
        return True, "the learner takes in no other rows from where it stands"
    gap = 0.0
    for task in case.tasks():
        fast = learner.adapt(params, task.support)
        over = learner.over_adapted(fast)
        assert isinstance(over.learner, Learner) and isinstance(over.learner, Resumes)
        support = task.support._replace(x=over.encode(task.support.x))
        resumed = over.learner.resume(over.params, over.params, support, steps=0)
        scores = over.learner.predict(over.params, resumed, over.encode(task.query.x))
        gap = max(gap, scores_gap(scores, learner.predict(params, fast, task.query.x)))
    return gap <= SAME, f"scores of a learner resumed without a step differ by {gap:.1e}"


def traced(case: Case) -> Finding:
    """The last traced state predicts as the adapted learner, and no row changes an earlier one."""
    learner, params = case.double, as_double(case.trained)
    if not isinstance(learner, Traced):
        return True, "the learner shows no trace"
    last = before = 0.0
    for task in case.tasks():
        support = with_garbage(task.support, case.seed)
        trace = learner.trace(params, support)
        scores = learner.predict(params, trace.fast, task.query.x)
        last = max(last, scores_gap(scores, case.scores(task._replace(support=support))))
        half = len(support.y) // 2
        early = reweighted(support, torch.arange(len(support.y)) < half)
        pairs = zip(_parts_by_row(learner.trace(params, early)), _parts_by_row(trace), strict=True)
        before = max(before, *(relative_gap(part[:half], whole[:half]) for part, whole in pairs))
    seen = f"scores of the last traced state differ by {last:.1e}, and the trace by {before:.1e} without the rows after"
    return max(last, before) <= SAME, seen


def _parts_by_row(trace: Trace) -> list[Tensor]:
    """All that a trace has of every row."""
    return [trace.scores, trace.reads, trace.writes, *trace.gates.values(), *trace.slots.values()]


def steps_from_start(case: Case) -> Finding:
    """After no steps, the scores are those of the start."""
    learner, params = case.double, as_double(case.trained)
    if not isinstance(learner, TakesSteps):
        return True, "the learner takes no steps"
    none, gap = with_steps(learner, 0), 0.0
    for task in case.tasks():
        start = learner.predict(params, learner.start(params, task.support), task.query.x)
        gap = max(gap, scores_gap(adapted_scores(none, params, task), start))
    return gap <= SAME, f"scores after no steps differ by {gap:.1e} from those of the start"


def unrolled(case: Case) -> Finding:
    """After all windows of an adaptation, the scores are those after adapting."""
    learner, params = case.double, as_double(case.trained)
    if not (isinstance(learner, Unrolled) and learner.unroll is not None):
        return True, "the learner isn't trained window by window"
    gap = 0.0
    for task in case.tasks():
        carry = learner.begin(params, task)
        for first in range(0, learner.inner_steps, learner.unroll):
            steps = min(learner.unroll, learner.inner_steps - first)
            _, carry = learner.window(params, task, carry, first, steps)
        fast = learner.fast_after(params, task.support, carry)
        gap = max(gap, scores_gap(learner.predict(params, fast, task.query.x), case.scores(task)))
    return gap <= SAME, f"scores after all windows differ by {gap:.1e} from those after adapting"
