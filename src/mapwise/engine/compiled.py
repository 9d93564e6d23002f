"""A function of tensors as one compiled program.

The function is traced once into its operations, derivatives of derivatives included, and torch's compiler
makes one program of them. Python's branches are decided at tracing, so a program serves only inputs of the
same form, shapes and dtypes, and the function must be pure.

Compilers have faults (decision 0037): the output of a new program is compared with that of the function.
"""

import math
import warnings
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

aten = torch.ops.aten

MOST = 8
"""Programs of one owner, such as one for every moment of a learner's schedule; each takes seconds to make."""

CAPACITY = 64
"""Programs in memory; the oldest is forgotten first."""

ROUNDING = 1e-4
"""A distance from the uncompiled output, relative to its norm, that another order of summation may cause."""


class NotCompiled(Exception):
    """Why there is no program, in one sentence."""


@dataclass(frozen=True)
class _Program:
    owner: Any
    """What decides the function, beside the inputs: a learner, an aggregate."""
    form: Any
    run: Callable[[list[Tensor]], Any] | NotCompiled
    """From the tensors of the inputs to the output, or why there is none."""


_programs: list[_Program] = []


def run_compiled(function: Callable[..., Any], owner: Any, *inputs: Any) -> Any:
    """function(*inputs) by its program for inputs of this form, which is compiled at first use.

    owner: equal owners have equal functions and share a program.

    Raises NotCompiled, at every call, when the function can't be compiled.
    """
    tensors: list[Tensor] = []
    inputs_form = _form(inputs, tensors), torch.get_num_threads()
    kin = [program for program in _programs if type(program.owner[0]) is type(owner[0]) and program.form == inputs_form]
    run = next((program.run for program in kin if program.owner == owner), None)
    if run is None:
        if len(kin) == MOST:
            raise NotCompiled(f"the learner has changed {MOST} times, and every change takes another compilation")
        run = _compile(function, inputs, tensors)
        _programs.append(_Program(owner, inputs_form, run))
        del _programs[:-CAPACITY]
    if isinstance(run, NotCompiled):
        raise run
    return run(tensors)


def form(inputs: Any) -> Hashable:
    """What inputs have in common that are mapped alike: trees, shapes, strides, dtypes, devices, threads."""
    return _form(inputs, []), torch.get_num_threads()


def _form(inputs: Any, tensors: list[Tensor]) -> Any:
    """The form of nested dicts and tuples, whose tensors are appended in their order.

    torch's pytree does the same in five times the time, a twentieth of a small program's.
    """
    if isinstance(inputs, Tensor):
        tensors.append(inputs)
        return inputs.shape, inputs.stride(), inputs.dtype, inputs.device
    if isinstance(inputs, dict):
        return tuple([(name, _form(value, tensors)) for name, value in inputs.items()])
    return tuple([_form(value, tensors) for value in inputs]) if isinstance(inputs, tuple) else inputs


def _compile(
    function: Callable[..., Any], inputs: tuple[Any, ...], tensors: list[Tensor]
) -> Callable[[list[Tensor]], Any] | NotCompiled:
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

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's, about itself
            listed = make_fx(flat, tracing_mode="real")(*tensors)
            _widen_products(listed)
            with torch.no_grad():
                # Straight to the compiler: torch.compile would trace again and check its guards at every call, a
                # tenth of the time of a small program. `run_compiled` checks the form itself.
                run = inductor.compile(listed, [*tensors])
                output = pytree.tree_unflatten(list(run(*tensors)), out_form[0])
                fault = _fault(output, function, inputs)
    except Exception as error:  # whatever the compiler, the C++ compiler under it, or a learner may raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return NotCompiled(f"the meta-gradient can't be compiled here ({reason})")
    if fault is not None:
        return NotCompiled(f"the compiled meta-gradient differs from the uncompiled one by {fault:.2g} of its norm")

    def program(tensors: list[Tensor]) -> Any:
        with torch.no_grad():
            return pytree.tree_unflatten(list(run(*tensors)), out_form[0])

    return program


def _widen_products(listed: Any) -> None:
    """Make (BA)' of every batch of products A'B' that has more rows than columns: MKL takes a seventh of the time."""
    for node in listed.graph.find_nodes(op="call_function", target=aten.bmm.default):
        left, right = (factor.meta["tensor_meta"] for factor in node.args)
        transposed = all(meta.stride[1] == 1 < meta.stride[2] for meta in (left, right))
        if not transposed or left.shape[1] <= right.shape[2]:
            continue
        with listed.graph.inserting_before(node):
            product = listed.graph.call_function(aten.bmm.default, tuple(_transposed(f) for f in reversed(node.args)))
            # As rows in memory: what follows may be a view that needs them so.
            rows = {"memory_format": torch.contiguous_format}
            product = listed.graph.call_function(aten.clone.default, (_transposed(product),), rows)
        product.meta.update(node.meta)
        node.replace_all_uses_with(product)
        listed.graph.erase_node(node)
    listed.recompile()


def _transposed(node: Any) -> Any:
    return node.graph.call_function(aten.transpose.int, (node, 1, 2))


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
