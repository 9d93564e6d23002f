"""Laws of the two functions as code: mapped over tasks, called again, and saved and loaded."""

import dataclasses
from functools import partial

import safetensors.torch
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from mapwise.core import context, tree
from mapwise.core.execution import How
from mapwise.core.map_tasks import map_tasks, task_at
from mapwise.laws.case import (
    EARLY,
    ROUNDED,
    Case,
    Finding,
    adapted_scores,
    as_double,
    distinct_learners,
    first_tasks,
    gradient_of,
    objective_of,
    relative_gap,
    scores_gap,
)

MAPPED = 1e-10


def mapped_alike(case: Case) -> Finding:
    """Vmapped, chunked, looped and recomputed losses and gradients agree to 1e-10 in float64."""
    params = as_double(case.path[0])
    tasks = as_double(first_tasks(case.source, 5))
    unseen = as_double(first_tasks(case.unseen, 5))

    def numbers_of(how: How, remat: bool) -> list[Tensor]:
        numbers = []
        for moment in distinct_learners(case.double.at(progress) for progress in EARLY):
            live = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
            with context.within(recomputes=remat):
                losses = map_tasks(partial(objective_of, moment, live), tasks, how)
            # The gradient as one vector: a part that is zero up to rounding would have a relative difference of 1.
            gradient = [part.flatten() for part in gradient_of(losses.sum(), live).values()]
            numbers += [losses.detach(), torch.cat([losses.new_zeros(0), *gradient])]
        scores = map_tasks(partial(adapted_scores, case.double, params), unseen, how)
        return [*numbers, *pytree.tree_leaves(scores)]

    looped = numbers_of("loop", False)
    ways: dict[str, tuple[How, bool]] = {
        "vmapped": ("vmap", False),
        "chunked": (2, False),
        "looped and recomputed": ("loop", True),
        "vmapped and recomputed": ("vmap", True),
    }
    try:
        gaps = {way: max(map(relative_gap, numbers_of(*settings), looped)) for way, settings in ways.items()}
    except RuntimeError as error:
        return False, f"works in a loop and not under vmap: {error}"
    except ValueError as error:
        return False, f"works only while every step is kept: {error}"
    worst = max(gaps, key=lambda way: gaps[way])
    return gaps[worst] <= MAPPED, f"{worst} and looped losses, gradients and scores differ by {gaps[worst]:.1e}"


def repeats(case: Case) -> Finding:
    """The same seed gives the same bits, and torch's global generator is left alone."""
    task, unseen = task_at(case.source(0), 0), task_at(case.unseen(0), 0)

    def compute() -> dict[str, list[Tensor]]:
        params = case.learner.init(case.seed)
        live = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
        fast = case.learner.adapt(params, unseen.support)
        loss = case.learner.objective(live, task)
        return {
            "init": pytree.tree_leaves(params),
            "adapt": pytree.tree_leaves(fast),
            "predict": pytree.tree_leaves(case.learner.predict(params, fast, unseen.query.x)),
            "objective": [loss, *gradient_of(loss, live).values()],
        }

    before = torch.random.get_rng_state()
    first, second = compute(), compute()
    if not torch.equal(before, torch.random.get_rng_state()):
        return False, "torch's global generator is used: draw from mapwise.core.random and a key instead"
    for name, leaves in first.items():
        if not all(torch.equal(a, b) for a, b in zip(leaves, second[name], strict=True)):
            return False, f"{name} gives other bits the second time"
    return True, "init, adapt, predict, objective and its gradient give the same bits twice"


def travels(case: Case) -> Finding:
    """Params and fast, saved and loaded without pickle, give the same scores elsewhere."""
    for owner in type(case.learner).__mro__:
        for name, value in vars(owner).items():
            if any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value)):
                return False, f"tensors are kept on the class {owner.__name__} as {name}: they belong into params"
    one, other = (task_at(first_tasks(case.unseen, 2), i) for i in range(2))
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
    gap = scores_gap(again, scores)
    return gap <= ROUNDED, f"scores differ by {gap:.1e} after {sum(map(len, parcels)):,} bytes were saved and loaded"


def _packed(state: tree.Tree) -> bytes:
    # Clones: safetensors refuses tensors that share memory, which views of one another do.
    return safetensors.torch.save({path: leaf.clone().contiguous() for path, leaf in tree.flatten(state).items()})


def _unpacked(parcel: bytes, like: tree.Tree) -> tree.Tree:
    # The other way round: a file doesn't keep the order of names, so nothing may depend on it.
    leaves = safetensors.torch.load(parcel)
    return tree.unflatten({path: leaves[path] for path in reversed(tree.flatten(like))})
