"""The laws every learner keeps, and `check`, which tests a learner against them.

Each law is a test of a learner on a source of tasks. An instance may waive some of them, by leaving
them out of `keeps`, with the reason in its docstring.
"""

import copy
import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mapwise.core import context, random, tree
from mapwise.core.capabilities import Causal, Embeds, TakesSteps, Traced, Votes, VoteScale, with_steps
from mapwise.core.execution import How
from mapwise.core.learner import WAIVABLE, Learner, nets_of
from mapwise.core.map_tasks import map_tasks, task_at, tasks_in
from mapwise.core.scores import means
from mapwise.core.stream import after_prefixes, scores_along
from mapwise.core.task import Examples, Task, TaskSource, present_classes
from mapwise.core.tree import Params

HELD_OUT = 200
"""Validation tasks on which law 2 compares."""
STANDARD_ERRORS = 5
YOUNG = 10
"""Steps after which laws 1 and 5 are tested: parts that start at zero have moved, and gradients are still large."""
SAME = 1e-8
"""Largest difference of two float64 scores, relative to the largest of them, that counts as no difference."""
ROUNDED = 1e-5
"""The same for float32."""
EARLY = (0.0, 0.5)
"""Progress of a training at which laws 1 and 5 are tested most closely."""
MAPPED = 1e-10
GRADIENT = 1e-6

Finding = tuple[bool | None, str]
"""(whether the law is kept, or None where it doesn't apply; the evidence)"""


@dataclass(frozen=True)
class Law:
    """One law: what it says, and how a learner is examined for it."""

    number: int
    name: str
    statement: str
    examine: Callable[["Case"], Finding]
    """Examines a case whether or not the learner waives the law."""

    def judge(self, case: "Case") -> Finding:
        """The finding; an error of the learner counts as one."""
        try:
            return self.examine(case)
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"

    @property
    def waivable(self) -> bool:
        """Whether an instance may waive it."""
        return self.name in WAIVABLE


class Verdict(NamedTuple):
    """Whether a learner keeps one law."""

    law: Law
    holds: bool | None
    """None: waived by the learner, or not applicable; see `detail`."""
    detail: str

    def __str__(self) -> str:
        word = {True: "kept", False: "BROKEN", None: "waived"}[self.holds]
        return f"{self.law.number:2} {self.law.name:<10} {word:<7} {self.detail}"


class BrokenLaw(AssertionError):
    """A learner breaks a law that it doesn't waive."""


class Verdicts(tuple[Verdict, ...]):
    """The verdicts of all laws, in their order; `print` shows a line for each."""

    __slots__ = ()

    @property
    def broken(self) -> tuple[Verdict, ...]:
        """The verdicts of the laws that are broken and not waived."""
        return tuple(verdict for verdict in self if verdict.holds is False)

    def raise_if_broken(self) -> None:
        """Raise BrokenLaw, naming every broken law with its statement and the evidence."""
        if self.broken:
            lines = [f"law {v.law.number} `{v.law.name}`: {v.law.statement}\n    seen: {v.detail}" for v in self.broken]
            raise BrokenLaw("the learner breaks\n" + "\n".join(lines))

    def __str__(self) -> str:
        return "\n".join(str(verdict) for verdict in self)


def check(learner: Learner, source: TaskSource, *, seed: int = 0, steps: int = 100, lr: float = 0.01) -> Verdicts:
    """Examine a learner for every law, on tasks of a source.

    source: what the learner trains on; its split "val" holds the unseen tasks. A small net on a toy family
            takes seconds.
    seed:   seed of the initial params and of the numbers that the laws draw.
    steps:  steps of the training for law 2, with Adam at the rate `lr`.

    Returns one Verdict per law; `.raise_if_broken()` turns broken ones into an error. Law 4 is tested within
    this process, on a new object with the same fields. The contents of a docs page are not tested.

    >>> mw.check(learner, source).raise_if_broken()
    """
    case = Case(learner, source, seed, steps, lr)
    return Verdicts(_judge(law, case) for law in LAWS)


def _judge(law: Law, case: "Case") -> Verdict:
    waived = law.waivable and law.name not in case.learner.keeps
    holds, detail = law.judge(case)
    if waived:
        held = {True: "it holds here", False: f"and broken here: {detail}", None: detail}[holds]
        return Verdict(law, None, f"the learner waives it; {held}")
    return Verdict(law, holds, detail)


@dataclass(frozen=True, eq=False)
class Case:
    """A learner, a source, and what several laws need of them, computed at first use."""

    learner: Learner
    source: TaskSource
    seed: int = 0
    steps: int = 100
    lr: float = 0.01

    @cached_property
    def start(self) -> Params:
        """Params before training."""
        return self.learner.init(self.seed)

    @cached_property
    def path(self) -> tuple[Params, Params]:
        """Params after the first few steps of a training, and after all of them."""
        young = last = self.start
        for step, last in enumerate(_descend(self.learner, self.start, self.source, self.steps, self.lr), start=1):
            young = last if step <= YOUNG else young
        return young, last

    @cached_property
    def trained(self) -> Params:
        """Params after training, measured."""
        return self.learner.measure(self.path[1], self.source)

    @cached_property
    def unseen(self) -> TaskSource:
        """Tasks that were not trained on."""
        return self.source.split("val")

    @cached_property
    def double(self) -> Learner:
        """The learner, the frozen weights of its nets in float64."""
        nets: dict[str, Any] = {name: copy.deepcopy(net).double() for name, net in nets_of(self.learner).items()}
        return dataclasses.replace(self.learner, **nets)

    def scores(self, task: Task) -> Any:
        """Scores of the trained learner in float64."""
        return _predict(self.double, _as_double(self.trained), task)

    def loss(self, task: Task) -> Tensor:
        """The objective of the trained learner in float64."""
        return self.double.objective(_as_double(self.trained), task).detach()

    def tasks(self) -> list[Task]:
        """Two unseen tasks, in float64."""
        batch = _as_double(_batch(self.unseen, 2))
        return [task_at(batch, i) for i in range(2)]


# 1 -------------------------------------------------------------------------------------------------------


def _map(case: Case) -> Finding:
    params = _as_double(case.path[0])
    tasks = _as_double(_batch(case.source, 5))
    unseen = _as_double(_batch(case.unseen, 5))

    def numbers_of(how: How, remat: bool) -> list[Tensor]:
        numbers = []
        for moment in _distinct(case.double.at(progress) for progress in EARLY):
            live = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
            with context.within(recomputes=remat):
                losses = map_tasks(partial(_objective, moment, live), tasks, how)
            # The gradient as one vector: a part that is zero up to rounding would have a relative difference of 1.
            gradient = [part.flatten() for part in _gradient(losses.sum(), live).values()]
            numbers += [losses.detach(), torch.cat([losses.new_zeros(0), *gradient])]
        scores = map_tasks(partial(_predict, case.double, params), unseen, how)
        return [*numbers, *pytree.tree_leaves(scores)]

    looped = numbers_of("loop", False)
    ways: dict[str, tuple[How, bool]] = {
        "vmapped": ("vmap", False),
        "chunked": (2, False),
        "looped and recomputed": ("loop", True),
        "vmapped and recomputed": ("vmap", True),
    }
    try:
        gaps = {way: max(map(_gap, numbers_of(*settings), looped)) for way, settings in ways.items()}
    except RuntimeError as error:
        return False, f"works in a loop and not under vmap: {error}"
    except ValueError as error:
        return False, f"works only while every step is kept: {error}"
    worst = max(gaps, key=lambda way: gaps[way])
    return gaps[worst] <= MAPPED, f"{worst} and looped losses, gradients and scores differ by {gaps[worst]:.1e}"


# 2 -------------------------------------------------------------------------------------------------------


def _learns(case: Case) -> Finding:
    trained, chance = _quality(case.learner, case.trained, case.unseen)
    metric = case.source.problem.metric
    what = f"minus the {metric.title}" if metric.lower_is_better else metric.title
    rivals = {"chance": chance}
    if _learned(case.start):
        untrained = case.learner.measure(case.start, case.source)
        rivals["untrained"] = _quality(case.learner, untrained, case.unseen)[0]
    holds, parts = True, []
    for name, rival in rivals.items():
        ahead = trained - rival
        error = ahead.std() / len(ahead) ** 0.5
        holds = holds and bool(ahead.mean() > STANDARD_ERRORS * error)
        parts.append(f"{name} {float(rival.mean()):.3f} ({float(ahead.mean() / error.clamp(min=1e-12)):.1f} s.e.)")
    return holds, f"{what} {float(trained.mean()):.3f} after {case.steps} steps, ahead of {', '.join(parts)}"


def _descend(learner: Learner, params: Params, source: TaskSource, steps: int, lr: float) -> Iterator[Params]:
    """Params after 1, 2, ... steps of plain meta-training; the laws stand below the engine and can't use it."""
    leaves = {path: leaf.detach().clone().requires_grad_() for path, leaf in _learned(params).items()}
    if not leaves:
        return
    rest = {name: params[name] for name in params if name == "measured"}
    optimizer = torch.optim.Adam(list(leaves.values()), lr=lr)
    for step in range(steps):
        now, live = learner.at(step / steps), {**tree.unflatten(leaves), **rest}
        loss = _mapped(partial(_objective, now, live), source(step)).mean()
        if not bool(torch.isfinite(loss)):
            raise ValueError(f"the loss is {float(loss)} at step {step} of training: lower lr, or the learner's rates")
        gradient = _gradient(loss, live)
        for path, leaf in leaves.items():
            leaf.grad = gradient[path]
        optimizer.step()
        yield {**tree.unflatten({path: leaf.detach().clone() for path, leaf in leaves.items()}), **rest}


def _quality(learner: Learner, params: Params, source: TaskSource) -> tuple[Tensor, Tensor]:
    """The quality of the predictions for each held-out task, higher is better, and that of a guess, [E]."""
    tasks = _batch(source, HELD_OUT)
    with torch.no_grad():
        scores = _mapped(partial(_predict, learner, params), tasks)
    support, query = tasks
    mean = means(scores).double()
    total = query.weight.double().sum(1)
    problem = source.problem
    quality = (problem.values(mean, query.y) * query.weight).sum(1) / total
    sign = -1 if problem.metric.lower_is_better else 1
    return sign * quality, sign * problem.guess(support, query)


# 3 -------------------------------------------------------------------------------------------------------


def _repeats(case: Case) -> Finding:
    task, unseen = task_at(case.source(0), 0), task_at(case.unseen(0), 0)

    def found() -> dict[str, list[Tensor]]:
        params = case.learner.init(case.seed)
        live = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
        fast = case.learner.adapt(params, unseen.support)
        loss = case.learner.objective(live, task)
        return {
            "init": pytree.tree_leaves(params),
            "adapt": pytree.tree_leaves(fast),
            "predict": pytree.tree_leaves(case.learner.predict(params, fast, unseen.query.x)),
            "objective": [loss, *_gradient(loss, live).values()],
        }

    before = torch.random.get_rng_state()
    first, second = found(), found()
    if not torch.equal(before, torch.random.get_rng_state()):
        return False, "torch's global generator is used: draw from mapwise.core.random and a key instead"
    for name, leaves in first.items():
        if not all(torch.equal(a, b) for a, b in zip(leaves, second[name], strict=True)):
            return False, f"{name} gives other bits the second time"
    return True, "init, adapt, predict, objective and its gradient give the same bits twice"


# 4 -------------------------------------------------------------------------------------------------------


def _travels(case: Case) -> Finding:
    for owner in type(case.learner).__mro__:
        for name, value in vars(owner).items():
            if any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value)):
                return False, f"tensors are kept on the class {owner.__name__} as {name}: they belong into params"
    one, other = (task_at(_batch(case.unseen, 2), i) for i in range(2))
    with torch.no_grad():
        fast = case.learner.adapt(case.trained, one.support)
        scores = case.learner.predict(case.trained, fast, one.query.x)
        try:
            parcels = [_packed(case.trained), _packed(fast)]
        except (TypeError, AttributeError, ValueError) as error:
            return False, f"params or fast is not a nested dict of tensors: {error}"
        # State kept on the object, and not in params and fast, is now another task's.
        case.learner.predict(case.trained, case.learner.adapt(case.trained, other.support), other.query.x)
        params, fast = map(_unpacked, parcels, (case.trained, fast))
        elsewhere = dataclasses.replace(case.learner)
        try:
            again = elsewhere.predict(params, fast, one.query.x)
        except Exception as error:  # whatever is missing elsewhere
            return False, f"a learner with the same fields can't use the saved params and fast: {error!r}"
    # Not bit for bit: a transposed tensor arrives as a plain one, and a kernel may add in another order.
    gap = _scores_gap(again, scores)
    return gap <= ROUNDED, f"scores differ by {gap:.1e} after {sum(map(len, parcels)):,} bytes were saved and loaded"


def _packed(state: tree.Tree) -> bytes:
    # Clones: safetensors refuses tensors that share memory, which views of one another do.
    return safetensors.torch.save({path: leaf.clone().contiguous() for path, leaf in tree.flatten(state).items()})


def _unpacked(parcel: bytes, like: tree.Tree) -> tree.Tree:
    # The other way round: a file doesn't keep the order of names, so nothing may depend on it.
    leaves = safetensors.torch.load(parcel)
    return tree.unflatten({path: leaves[path] for path in reversed(tree.flatten(like))})


# 5 -------------------------------------------------------------------------------------------------------


def _finite_differences(case: Case) -> Finding:
    holds, detail = _differences(case)
    if holds is not None:
        return holds, detail
    nets: dict[str, Any] = {name: _smooth(net) for name, net in nets_of(case.learner).items()}
    if not nets:
        return None, f"{detail}, and the learner has no net with a smooth variant"
    holds, detail = _differences(dataclasses.replace(case, learner=dataclasses.replace(case.learner, **nets)))
    if holds is None:
        return (
            False,
            f"{detail}, and on the smooth variant of the net too: a number may be rounded to float32 on the way",
        )
    return holds, f"{detail}, on the smooth variant of the net (tanh, average pooling)"


def _smooth(net: nn.Module) -> nn.Module:
    """The same net with tanh instead of kinks and means instead of maxima; other layers have a method `smooth`."""
    net = copy.deepcopy(net)
    for part in list(net.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, _KINKED):
                setattr(part, name, nn.Tanh())
            elif isinstance(child, nn.MaxPool2d):
                setattr(part, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
        if isinstance(part, _Smooth):
            part.smooth()
    return net


@runtime_checkable
class _Smooth(Protocol):
    def smooth(self) -> None: ...


_KINKED = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Threshold)


def _differences(case: Case) -> Finding:
    params, task = _as_double(case.path[0]), _as_double(task_at(case.source(0), 0))
    close = _distinct(case.double.at(progress) for progress in EARLY)
    worst, judged, undecided, moved = 0.0, 0, 0, set[str]()
    for moment in _moments(case.double):
        live = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
        gradient = _gradient(moment.objective(live, task), live)
        if not gradient:
            return True, "there are no params to differentiate"
        moved |= {path for path, leaf in gradient.items() if bool((leaf != 0).any())}
        ways = list(_ways(gradient, case.seed))
        # At most moments of a schedule the gradient's own direction is enough.
        errors = [_error(moment, params, task, gradient, way) for way in (ways if moment in close else ways[:1])]
        defined = [error for error in errors if error is not None]
        judged, worst = judged + len(defined), max([worst, *defined])
        undecided += 2 * len(defined) < len(errors)
    if undecided:
        return None, "the loss has kinks, so finite differences are undecided"
    if idle := [path for path in sorted(gradient.keys() - moved) if _is_idle(case.double, params, task, path)]:
        return False, f"nothing depends on the learned {', '.join(idle)}"
    return worst <= GRADIENT, f"differs from central differences by {worst:.1e} of the gradient, on {judged} directions"


def _is_idle(learner: Learner, params: Params, task: Task, path: str) -> bool:
    """Whether neither the objective nor a score depends on this leaf, not even as a constant of the gradient."""
    leaves = tree.flatten(params)
    noise = 0.01 * random.normal(torch.tensor(0), tuple(leaves[path].shape)).double()
    other = tree.unflatten({**leaves, path: leaves[path] + noise})
    numbers = [
        pytree.tree_leaves([_predict(learner, point, task), [m.objective(point, task) for m in _moments(learner)]])
        for point in (params, other)
    ]
    return all(torch.equal(a, b) for a, b in zip(*numbers, strict=True))


def _error(
    learner: Learner, params: Params, task: Task, gradient: dict[str, Tensor], way: dict[str, Tensor]
) -> float | None:
    """The relative error of the gradient along a direction; None where there is a kink close by."""
    defined, leaves = learner.surrogate(params, task), _learned(params)
    rest = {name: params[name] for name in params if name == "measured"}

    def along(h: float) -> float:
        point = {path: leaf + h * way[path] for path, leaf in leaves.items()}
        return float(defined({**tree.unflatten(point), **rest}).detach())

    def difference(h: float) -> float:
        """The directional derivative by central differences, to fourth order."""
        near, far = along(h) - along(-h), along(2 * h) - along(-2 * h)
        return (8 * near - far) / (12 * h)

    claimed = float(sum((gradient[path] * way[path]).sum() for path in gradient))
    # Along a way almost across the gradient, the derivative alone would be as small as rounding.
    scale = max(abs(claimed), 1e-2 * _length(gradient), 1e-8)
    wide, narrow = difference(1e-4), difference(5e-5)
    if not abs(claimed - narrow) <= GRADIENT * scale and abs(wide - narrow) > 0.1 * GRADIENT * scale:
        return None  # the differences don't agree among themselves
    return abs(claimed - narrow) / scale


def _length(leaves: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float((leaf**2).sum()) for leaf in leaves.values()))


def _ways(gradient: dict[str, Tensor], seed: int) -> Iterator[dict[str, Tensor]]:
    """Directions of length 1: the gradient's own, three random ones, and the steepest coordinate of three leaves."""
    if length := _length(gradient):
        yield {path: leaf / length for path, leaf in gradient.items()}
    for number in range(3):
        key = random.fold(torch.tensor(seed), number)
        drawn = {
            path: random.normal(random.fold(key, place), tuple(leaf.shape)).double()
            for place, (path, leaf) in enumerate(gradient.items())
        }
        yield {path: leaf / _length(drawn) for path, leaf in drawn.items()}
    for path in list(gradient)[:: max(1, len(gradient) // 3)][:3]:
        way = {name: torch.zeros_like(leaf) for name, leaf in gradient.items()}
        way[path].view(-1)[int(gradient[path].abs().argmax())] = 1
        yield way


# 6 -------------------------------------------------------------------------------------------------------


def _documented(case: Case) -> Finding:
    text = type(case.learner).__dict__.get("__doc__") or ""
    # A dataclass without a docstring is given its signature for one.
    if not text or text.startswith(f"{type(case.learner).__name__}("):
        return False, f"the class {type(case.learner).__name__} has no docstring"
    if not re.match(r"\s*\w", text.partition("Paper:")[0]):
        return False, "the docstring doesn't begin with a sentence that says what the learner does"
    missing = [part for part in ("Paper", "Fast", "Loss", "Differs") if not re.search(rf"^ *{part}: +\S", text, re.M)]
    if missing:
        return False, f"the docstring has no line {', '.join(f'{part}: ...' for part in missing)}"
    silent = [law for law in sorted(WAIVABLE - case.learner.keeps) if f"`{law}`" not in text]
    if silent:
        return False, f"the law `{silent[0]}` is waived and the docstring doesn't say why"
    return True, "the docstring names the paper, fast, the loss and the differences"


# 7 to 10 -------------------------------------------------------------------------------------------------


def _order(case: Case) -> Finding:
    gap = 0.0
    for number, task in enumerate(case.tasks()):
        rows = task.support
        moved = random.permutation(random.fold(torch.tensor(case.seed), number), len(rows.y))
        gap = max(gap, _scores_gap(case.scores(task._replace(support=_pick(rows, moved))), case.scores(task)))
    return gap <= SAME, f"scores change by {gap:.1e} when the support rows are shuffled"


def _relabel(case: Case) -> Finding:
    if case.unseen.problem.columns != "classes":
        return None, f"not applicable: {case.unseen.problem.name} has no classes to permute"
    gap = 0.0
    for task in case.tasks():
        columns = torch.arange(task.support.y.shape[1]).roll(1)
        permuted = task._replace(support=task.support._replace(y=task.support.y[:, columns]))
        gap = max(gap, _scores_gap(case.scores(permuted), case.scores(task)[:, columns]))
    return gap <= SAME, f"scores differ by {gap:.1e} from the permuted ones when classes are permuted"


def _padding(case: Case) -> Finding:
    rows = classes = 0.0
    for task in case.tasks():
        padded = case.scores(Task(*(_with_garbage(part, case.seed) for part in task)))
        rows = max(rows, _scores_gap(_rows(padded, 0, len(task.query.y)), case.scores(task)))
        if case.unseen.problem.columns == "classes":
            narrow, wide = _without_last_class(task)
            scores = case.scores(wide)
            if float(scores[:, -1].max()) > torch.finfo(scores.dtype).min / 4:
                return False, "a class without a support row can be chosen: its score is not finfo.min / 2"
            classes = max(classes, _scores_gap(scores[:, :-1], case.scores(narrow)))
    task = _as_double(task_at(case.source(0), 0))
    loss = _gap(case.loss(Task(*(_with_garbage(part, case.seed) for part in task))), case.loss(task))
    seen = (
        f"scores change by {rows:.1e} with rows of weight 0 and by {classes:.1e} with an absent class, "
        f"the objective by {loss:.1e}"
    )
    return max(rows, classes, loss) <= SAME, seen


def _alone(case: Case) -> Finding:
    gap = 0.0
    for task in case.tasks():
        together = case.scores(task)
        for row in range(min(3, len(task.query.y))):
            here = torch.tensor([row])
            alone = case.scores(task._replace(query=_pick(task.query, here)))
            gap = max(gap, _scores_gap(alone, _rows(together, row, row + 1)))
    return gap <= SAME, f"scores change by {gap:.1e} when a query is predicted by itself"


# 11 ------------------------------------------------------------------------------------------------------


def _causal(case: Case) -> Finding:
    learner, params = case.double, _as_double(case.trained)
    if not isinstance(learner, Causal):
        return True, "the learner has no causal pass"
    gap = loss = label = 0.0
    for task in case.tasks():
        # With padding: a row of weight 0 has scores as well, and nothing of its label may remain.
        stream = _with_garbage(task.support, case.seed)
        places = [*range(0, len(stream.y), 2), *range(1, len(stream.y), 2)]
        stream = _pick(stream, torch.tensor(places))
        expected = after_prefixes(learner, params, stream)
        gap = max(gap, _scores_gap(scores_along(learner, params, stream), expected))
        none = _pick(stream, torch.arange(0))
        value = learner.objective(params, Task(stream, none)).detach()
        loss = max(loss, _gap(value, learner.criterion(expected, stream)))
        rows = torch.arange(len(stream.y))
        for row in range(0, len(rows), max(1, len(rows) // 3)):
            garbled = stream._replace(y=torch.where((rows >= row)[:, None], stream.y.roll(1, -1), stream.y))
            for along in (scores_along, after_prefixes):
                label = max(
                    label, _scores_gap(*(_rows(s, row, row + 1) for s in (along(learner, params, garbled), expected)))
                )
    seen = (
        f"scores of the causal pass differ by {gap:.1e} from those after each prefix, and the objective by {loss:.1e}; "
        f"other labels of a row and of later ones change its scores by {label:.1e}"
    )
    return max(gap, loss, label) <= SAME, seen


# 12 ------------------------------------------------------------------------------------------------------


_COMPARED: dict[VoteScale, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    # A number that is the same for all classes is free.
    "scores": lambda sums, scores: (sums - sums.mean(1, keepdim=True), scores - scores.mean(1, keepdim=True)),
    "probabilities": lambda sums, scores: (sums, scores.softmax(1)),
}


def _votes(case: Case) -> Finding:
    learner, params = case.double, _as_double(case.trained)
    if not isinstance(learner, Votes):
        return True, "the learner gives no votes"
    if case.unseen.problem.columns != "classes":
        return None, f"not applicable: {case.unseen.problem.name} has no classes to vote for"
    gap = nobody = 0.0
    for task in case.tasks():
        for support in (task.support, _with_garbage(_without_last_class(task)[1].support, case.seed)):
            fast = learner.adapt(params, support)
            votes = learner.votes(params, fast, support, task.query.x).detach()  # [Q, S, W]
            scores = learner.predict(params, fast, task.query.x)
            assert isinstance(scores, Tensor)
            there = present_classes(support) > 0
            given = votes.sum(1)[:, there]
            gap = max(gap, _gap(*_COMPARED[learner.votes_add_to](given, scores.detach()[:, there])))
            nobody = max(
                nobody, *(float(part.abs().sum()) for part in (votes[:, support.weight == 0], votes[..., ~there]))
            )
    return max(gap, nobody) <= SAME, (
        f"votes and {learner.votes_add_to} differ by {gap:.1e}, and rows of weight 0 and absent classes have "
        f"{nobody:.1e} of them"
    )


# 13 to 15 ------------------------------------------------------------------------------------------------


def _embeds(case: Case) -> Finding:
    learner, params = case.double, _as_double(case.trained)
    if not isinstance(learner, Embeds):
        return True, "the learner embeds no rows"
    over = learner.over_embedded(params)
    if over is None:
        return True, "a row is not embedded once, since its embedding depends on others or moves with the task"
    assert isinstance(over.learner, Embeds)
    scores = places = 0.0
    for task in case.tasks():
        support, x = task.support._replace(x=over.encode(task.support.x)), over.encode(task.query.x)
        fast = over.learner.adapt(over.params, support)
        scores = max(scores, _scores_gap(over.learner.predict(over.params, fast, x), case.scores(task)))
        raw = learner.embed(params, learner.adapt(params, task.support), task.query.x)
        places = max(places, _gap(over.learner.embed(over.params, fast, x), raw))
    seen = f"over rows embedded once scores differ by {scores:.1e}, and embeddings by {places:.1e}"
    return max(scores, places) <= SAME, seen


def _traced(case: Case) -> Finding:
    learner, params = case.double, _as_double(case.trained)
    if not isinstance(learner, Traced):
        return True, "the learner shows no trace"
    last = before = 0.0
    for task in case.tasks():
        support = _with_garbage(task.support, case.seed)
        trace = learner.trace(params, support)
        scores = learner.predict(params, trace.fast, task.query.x)
        last = max(last, _scores_gap(scores, case.scores(task._replace(support=support))))
        half = len(support.y) // 2
        early = support._replace(weight=support.weight * (torch.arange(len(support.y)) < half))
        for name in ("scores", "reads", "writes"):
            whole, part = (getattr(traced, name)[:half] for traced in (trace, learner.trace(params, early)))
            before = max(before, _gap(part, whole))
    seen = f"scores of the last traced state differ by {last:.1e}, and the trace by {before:.1e} without the rows after"
    return max(last, before) <= SAME, seen


def _steps(case: Case) -> Finding:
    learner, params = case.double, _as_double(case.trained)
    if not isinstance(learner, TakesSteps):
        return True, "the learner takes no steps"
    none, gap = with_steps(learner, 0), 0.0
    for task in case.tasks():
        start = learner.predict(params, learner.start(params, task.support), task.query.x)
        gap = max(gap, _scores_gap(_predict(none, params, task), start))
    return gap <= SAME, f"scores after no steps differ by {gap:.1e} from those of the start"


# 16 to 19 ------------------------------------------------------------------------------------------------


def _query_loss(case: Case) -> Finding:
    params, gap = _as_double(case.path[0]), 0.0
    for task in case.tasks():
        for moment in _moments(case.double):
            value = moment.objective(params, task).detach()
            gap = max(gap, _gap(value, moment.criterion(_predict(moment, params, task), task.query).detach()))
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


def _measure(case: Case) -> Finding:
    params = case.path[0]
    first, second = (tree.flatten(case.learner.measure(params, _OneSplit(case.source))) for _ in range(2))
    same = first.keys() == second.keys() and all(torch.equal(first[path], second[path]) for path in first)
    if not same:
        return False, "measure gives other bits the second time"
    if any(path not in first or not torch.equal(first[path], leaf) for path, leaf in _learned(params).items()):
        return False, "measure changes what is learned: it may only fill the part 'measured'"
    return True, "measure reads no other split, repeats, and leaves what is learned as it is"


def _weights(case: Case) -> Finding:
    scores = loss = 0.0
    for task in case.tasks():
        heavy, twice = _doubled(task.support)
        scores = max(scores, _scores_gap(*(case.scores(task._replace(support=rows)) for rows in (heavy, twice))))
    task = _as_double(task_at(case.source(0), 0))
    loss = _gap(*(case.loss(Task(*parts)) for parts in zip(*map(_doubled, task), strict=True)))
    seen = f"with rows of weight 2 and with the rows twice, scores differ by {scores:.1e}, the objective by {loss:.1e}"
    return max(scores, loss) <= SAME, seen


def _doubled(rows: Examples) -> tuple[Examples, Examples]:
    """The rows with every other one of weight 2, and the same with these rows twice."""
    often = torch.arange(len(rows.y)) % 2 == 0
    heavy = rows._replace(weight=rows.weight * torch.where(often, 2, 1))
    return heavy, _pick(rows, torch.cat([torch.arange(len(rows.y)), often.nonzero()[:, 0]]))


def _learned_in_place(case: Case) -> Finding:
    learner, params, moved = case.double, _as_double(case.path[0]), []
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
        gap = _scores_gap(_predict(other, params, task), _predict(learner, params, task))
        loss = _gap(*(one.objective(params, task).detach() for one in (other, learner)))
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


LAWS: tuple[Law, ...] = (
    Law(1, "map", "vmapped, chunked, looped and recomputed losses and gradients agree to 1e-10 in float64", _map),
    Law(2, "learns", "trained, it beats chance and its untrained self on unseen tasks by 5 standard errors", _learns),
    Law(3, "repeats", "the same seed gives the same bits, and torch's global generator is left alone", _repeats),
    Law(4, "travels", "params and fast, saved and loaded without pickle, give the same scores elsewhere", _travels),
    Law(
        5,
        "gradient",
        "the meta-gradient equals finite differences of the surrogate that defines it, to 1e-6",
        _finite_differences,
    ),
    Law(6, "documented", "the docstring says what it does, with lines Paper, Fast, Loss and Differs", _documented),
    Law(7, "order", "shuffling the support rows changes nothing", _order),
    Law(8, "relabel", "permuting the classes permutes the scores", _relabel),
    Law(9, "padding", "rows of weight 0 and absent classes change nothing", _padding),
    Law(10, "alone", "predicting a query by itself equals predicting it among others", _alone),
    Law(11, "causal", "scores of a causal pass are those after adapting to the rows before, and trained on", _causal),
    Law(12, "votes", "the votes of the support rows add up to the scores or the probabilities", _votes),
    Law(13, "embeds", "over rows that are embedded once, scores and embeddings are those over raw rows", _embeds),
    Law(
        14,
        "traced",
        "the last traced state predicts as the adapted learner, and no row changes an earlier one",
        _traced,
    ),
    Law(15, "steps", "after no steps, the scores are those of the start", _steps),
    Law(16, "query_loss", "the value of the objective is the loss of the queries after adapting", _query_loss),
    Law(17, "measure", "measure reads the training tasks alone, repeats, and changes nothing learned", _measure),
    Law(18, "weights", "a row of weight 2 counts as the row twice", _weights),
    Law(19, "learned", "where a parameter starts has no effect once it is learned", _learned_in_place),
)
"""Every law, in order."""


# Helpers -------------------------------------------------------------------------------------------------


def _distinct(learners: Iterable[Learner]) -> list[Learner]:
    different: list[Learner] = []
    for learner in learners:
        if learner not in different:
            different.append(learner)
    return different


def _moments(learner: Learner) -> list[Learner]:
    """The distinct learners among those at every tenth of a training."""
    return _distinct(learner.at(tenth / 10) for tenth in range(11))


def _learned(params: Params) -> dict[str, Tensor]:
    """The leaves that training learns, by path."""
    return tree.flatten({name: leaf for name, leaf in params.items() if name != "measured"})


def _gradient(loss: Tensor, live: Params) -> dict[str, Tensor]:
    """The gradient of a loss for every learned leaf; zero where the loss doesn't depend on it."""
    leaves = _learned(live)
    if not leaves or not loss.requires_grad:
        return {path: torch.zeros_like(leaf) for path, leaf in leaves.items()}
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {
        path: torch.zeros_like(leaf) if part is None else part
        for (path, leaf), part in zip(leaves.items(), gradients, strict=True)
    }


def _objective(learner: Learner, params: Params, task: Task) -> Tensor:
    return learner.objective(params, task)


def _predict(learner: Learner, params: Params, task: Task) -> Any:
    # Detached and not under no_grad: a learner may need gradients to adapt.
    scores = learner.predict(params, learner.adapt(params, task.support), task.query.x)
    return pytree.tree_map(torch.Tensor.detach, scores)


def _mapped(function: Callable[[Task], Any], batch: Task) -> Any:
    """Over all tasks at once, or one by one if vmap fails; whether it works is tested by law 1."""
    try:
        return map_tasks(function, batch, "vmap")
    except RuntimeError:
        return map_tasks(function, batch, "loop")


def _batch(source: TaskSource, tasks: int) -> Task:
    """The first tasks of a source as one batch, whatever the size of its own."""
    pieces = [source(0)]
    while sum(map(tasks_in, pieces)) < tasks:
        pieces.append(source(len(pieces)))
    return pytree.tree_map(lambda *leaves: torch.cat(leaves)[:tasks], *pieces)  # type: ignore[no-any-return]


def _as_double(state: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, state)


def _pick(rows: Examples, places: Tensor) -> Examples:
    """These rows, in this order."""
    x = pytree.tree_map(lambda leaf: leaf[places], rows.x)
    return Examples(x, rows.y[places], rows.weight[places], rows.key)


def _with_garbage(rows: Examples, seed: int) -> Examples:
    """Three more rows of weight 0, with inputs and labels that would change any statistic they entered."""
    if not len(rows.y):
        return rows

    def more(leaf: Tensor) -> Tensor:
        extra = leaf[:1].expand(3, *leaf.shape[1:])
        if leaf.is_floating_point():
            extra = 2 + 3 * random.normal(torch.tensor(seed), tuple(extra.shape)).to(leaf)
        return torch.cat([leaf, extra])

    y = torch.cat([rows.y, rows.y[:1].expand(3, -1)])
    return Examples(pytree.tree_map(more, rows.x), y, torch.cat([rows.weight, rows.weight.new_zeros(3)]), rows.key)


def _without_last_class(task: Task) -> tuple[Task, Task]:
    """The task without its last class, and the same with that class as padding: a column, and rows of weight 0."""
    support = task.support
    last = support.y[:, -1] > 0
    narrow = _pick(support, (~last).nonzero()[:, 0])
    wide = support._replace(weight=support.weight * ~last)
    return task._replace(support=narrow._replace(y=narrow.y[:, :-1])), task._replace(support=wide)


def _rows(scores: Any, first: int, end: int) -> Any:
    return pytree.tree_map(lambda leaf: leaf[first:end], scores)


def _scores_gap(scores: Any, expected: Any) -> float:
    """The largest difference of two scores of the same kind."""
    return max(map(_gap, pytree.tree_leaves(scores), pytree.tree_leaves(expected)))


def _gap(actual: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest expected number; infinite for NaN and for unequal shapes."""
    if actual.shape != expected.shape:
        return float("inf")
    if not expected.numel():
        return 0.0
    # The score of an absent class is a huge number that would hide every difference.
    usual = expected.abs()[expected.abs() < torch.finfo(expected.dtype).max / 4]
    scale = max(float(usual.max()) if usual.numel() else 0.0, 1e-12)
    gap = float((actual - expected).detach().abs().max()) / scale
    return gap if gap == gap else float("inf")
