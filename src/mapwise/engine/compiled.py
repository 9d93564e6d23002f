"""A function of tensors as one compiled program.

The function is traced once into its operations, derivatives of derivatives included, and torch's compiler
makes one program of them. Python's branches are decided at tracing, so a program serves only inputs of the
same form, shapes and dtypes, and the function must be pure.

Compilers have faults (decision 0037): the output of a new program is compared with that of the function.
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
"""A distance from the uncompiled output, relative to its norm, that another order of summation may cause."""


class NotCompiled(Exception):
    """Why there is no program, in one sentence."""


@dataclass(frozen=True)
class _Program:
    owner: Any
    """What decides the function, beside the inputs: a learner, an aggregate."""
    form: Any
    run: Callable[..., Any] | NotCompiled


_programs: list[_Program] = []


def compiled(function: Callable[..., Any], owner: Any, *inputs: Any) -> Callable[..., Any]:
    """The program of this function for inputs of this form, compiled at first use.

    owner: equal owners have equal functions and share a program.

    Raises NotCompiled, at every call, when the function can't be compiled.
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
    """What inputs must have in common to share a program: trees, shapes, dtypes, devices, threads."""
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

    from torch import _inductor as inductor  # here, since it is slow to import and rarely needed

    tensors = [leaves[place] for place in places]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's, about itself
            listed = make_fx(flat, tracing_mode="real")(*tensors)
            with torch.no_grad():
                # Straight to the compiler: torch.compile would trace again and check its guards at every call, a
                # tenth of the time of a small program. `compiled` checks the form itself.
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
    """The distance of a program's output from the function's, relative to its norm; None within rounding."""
    uncompiled = function(*inputs)
    distance = relative_distance(output, uncompiled)
    if distance <= ROUNDING:
        return None
    # In bfloat16, and for ill-conditioned gradients, rounding is larger: float64 shows how large.
    exact = function(*pytree.tree_map_only(Tensor, _widest, inputs))
    return None if relative_distance(output, exact) <= 3 * relative_distance(uncompiled, exact) else distance


def _widest(leaf: Tensor) -> Tensor:
    return leaf.double() if leaf.is_floating_point() else leaf


def relative_distance(output: Any, expected: Any) -> float:
    """The distance of an output from the expected one, each part relative to its norm, combined."""

    def norm(leaves: Iterable[Tensor]) -> float:
        return math.sqrt(sum(float(leaf.detach().double().square().sum()) for leaf in leaves))

    distances = []
    for part, other in zip(output, expected, strict=True):
        pairs = zip(pytree.tree_leaves(part), pytree.tree_leaves(other), strict=True)
        away, size = norm(leaf - end for leaf, end in pairs), norm(pytree.tree_leaves(other))
        distances.append(away / size if size else away and math.inf)
    return math.hypot(*distances)  # NaN where one of them is
