"""A function of tensors as one compiled program.

The function is run once and every operation it comes down to is written down, derivatives of derivatives
included; torch's compiler then makes one program of the list. Whatever Python decides on the way is decided
for good, so a program serves inputs of the same form, shapes and kinds alone, and the function must be pure.

Compilers have faults (decision 0037): what a new program gives is compared with what the function gives.
"""

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

MOST = 8
"""Programs of one owner, such as one for every moment of a learner's schedule; each takes seconds to make."""

ROUNDING = 1e-4
"""A distance from the uncompiled output, relative to its norm, that another order of sums may make anywhere."""


class NotCompiled(Exception):
    """Why there is no program, in one sentence."""


@dataclass(frozen=True)
class _Program:
    owner: Any
    """What decides the function, beside the inputs: a learner, a weighing."""
    form: Any
    run: Callable[..., Any] | NotCompiled


_programs: list[_Program] = []


def compiled(function: Callable[..., Any], owner: Any, *inputs: Any) -> Callable[..., Any]:
    """The program of this function for inputs of this form, made when first asked for.

    owner: equal owners have equal functions; the program of one is then taken for the other.

    Raises NotCompiled, every time it is asked for, when none can be made.
    """
    kind = form(inputs)
    kin = [program for program in _programs if type(program.owner[0]) is type(owner[0]) and program.form == kind]
    run = next((program.run for program in kin if program.owner == owner), None)
    if run is None:
        if len(kin) < MOST:
            run = _compile(function, inputs)
        else:
            run = NotCompiled(f"the learner has changed {MOST} times, and every change takes another compilation")
        _programs.append(_Program(owner, kind, run))
    if isinstance(run, NotCompiled):
        raise run
    return run


def form(inputs: Any) -> Any:
    """What inputs must have in common for a program to serve them: trees, shapes, kinds, devices, threads."""
    leaves, tree = pytree.tree_flatten(inputs)
    kinds = ((tuple(leaf.shape), leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else leaf for leaf in leaves)
    return tuple(kinds), tree, torch.get_num_threads()


def _compile(function: Callable[..., Any], inputs: tuple[Any, ...]) -> Callable[..., Any] | NotCompiled:
    leaves, spec = pytree.tree_flatten(inputs)
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    out_form: list[Any] = []

    def flat(*tensors: Tensor) -> list[Tensor]:
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        out_leaves, own_form = pytree.tree_flatten(function(*pytree.tree_unflatten(filled, spec)))
        out_form[:] = [own_form]
        return out_leaves

    from torch import _inductor as inductor  # here, since it takes long to import and most trainings go without

    tensors = [leaves[place] for place in places]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler, about itself
            listed = make_fx(flat, tracing_mode="real")(*tensors)
            with torch.no_grad():
                # The list goes to the compiler itself: torch.compile would read it again, and at every call ask
                # anew whether it may serve, which is a tenth of the time of a small program. `compiled` knows that.
                run = inductor.compile(listed, tensors)
                output = pytree.tree_unflatten(list(run(*tensors)), out_form[0])
                fault = _fault(output, function, inputs)
    except Exception as error:  # whatever the compiler, the C++ compiler under it, or a learner may raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return NotCompiled(f"the meta-gradient can't be compiled here ({reason})")
    if fault is not None:
        return NotCompiled(f"the compiled meta-gradient differs from the uncompiled one by {fault:.2g} of its norm")

    def program(*inputs: Any) -> Any:
        leaves = pytree.tree_leaves(inputs)
        with torch.no_grad():
            out_leaves = run(*(leaves[place] for place in places))
        return pytree.tree_unflatten(list(out_leaves), out_form[0])

    return program


def _fault(output: Any, function: Callable[..., Any], inputs: tuple[Any, ...]) -> float | None:
    """How far a program's output is from the function's, relative to its norm; None where that is rounding."""
    uncompiled = function(*inputs)
    distance = relative_distance(output, uncompiled)
    if distance <= ROUNDING:
        return None
    # In bfloat16, and where a gradient is ill-conditioned, rounding is more: float64 says by how much.
    exact = function(*pytree.tree_map_only(Tensor, _widest, inputs))
    return None if relative_distance(output, exact) <= 3 * relative_distance(uncompiled, exact) else distance


def _widest(leaf: Tensor) -> Tensor:
    return leaf.double() if leaf.is_floating_point() else leaf


def relative_distance(output: Any, expected: Any) -> float:
    """The distance of an output from the expected one: of each of its parts, relative to that part's norm, together."""

    def norm(leaves: Iterable[Tensor]) -> float:
        return math.sqrt(sum(float(leaf.detach().double().square().sum()) for leaf in leaves))

    distances = []
    for part, other in zip(output, expected, strict=True):
        pairs = zip(pytree.tree_leaves(part), pytree.tree_leaves(other), strict=True)
        away, size = norm(leaf - end for leaf, end in pairs), norm(pytree.tree_leaves(other))
        distances.append(away / size if size else away and math.inf)
    return math.hypot(*distances)  # NaN where one of them is
