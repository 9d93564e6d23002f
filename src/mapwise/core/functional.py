"""Run a module with given weights and statistics, and make its initial weights.

A module is a blueprint: it says what is computed, never with which weights. Weights are a flat dict
by the module's own parameter names; two names in it are reserved and hold, by module name, the
statistics that normalisation layers use instead of those of the rows at hand:

    "statistics"   made from one support set, kept in fast     (norm "support")
    "measured"     made from many training tasks               (norm "frozen")
"""

import copy
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils import _pytree as pytree

from mapwise.core import context, tree
from mapwise.core.context import Call
from mapwise.core.fields import quote
from mapwise.core.seeds import check_seed
from mapwise.core.task import row_weight
from mapwise.core.tree import Fast, Params

Net: TypeAlias = nn.Module | Callable[[], nn.Module]
"""A built module, which starts from the weights it has, or what builds one under a seed, such as `lambda: Net()`."""

RESERVED = ("statistics", "measured")


def blueprint(net: Net) -> nn.Module:
    """The module that gives the structure; only its names, shapes and frozen weights are used.

    Raises ValueError for a module that changes or draws random numbers when it runs.
    """
    module = net if isinstance(net, nn.Module) else _built(net)
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and part.track_running_stats and part.training:
            raise ValueError(
                f"layer {name!r} ({type(part).__name__}) updates running statistics while it runs: build it with "
                "track_running_stats=False, freeze it with .eval(), or use mapwise.nets.Norm"
            )
        if isinstance(part, _DropoutNd) and part.p > 0 and part.training:
            raise ValueError(
                f"layer {name!r} ({type(part).__name__}) draws random numbers of its own: switch it off with .eval(), "
                "since every random number of a task comes from the task's key"
            )
    return module


# What is derived from a net is kept as long as the net itself; a net can't be built inside vmap.
_blueprints: WeakKeyDictionary[Callable[[], nn.Module], nn.Module] = WeakKeyDictionary()
_names: WeakKeyDictionary[nn.Module, dict[int, str]] = WeakKeyDictionary()
_bodies: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()
_tied: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _built(build: Callable[[], nn.Module]) -> nn.Module:
    if not callable(build):
        raise ValueError(f"the net is {quote(build)}: give a module, or a function without arguments that builds one")
    if build not in _blueprints:
        _blueprints[build] = _build(build, seed=0)
    return _blueprints[build]


def _build(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _check_builds(build)
        module = build()
    if not isinstance(module, nn.Module):
        raise ValueError(f"what builds the net gave {quote(module)}: let it return a torch.nn.Module")
    return module


def _check_builds(build: Callable[[], nn.Module]) -> None:
    """Raises ValueError for a callable that can't be called without arguments."""
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        name = getattr(build, "__name__", type(build).__name__)
        raise ValueError(f"{name} can't build the net without arguments ({error}): use functools.partial") from None
    except ValueError:  # of no known signature
        return


def initial_weights(net: Net, seed: int | Int64[Tensor, ""]) -> Params:
    """The trainable weights a net starts with: a copy of a built module's, or new ones from the seed.

    seed: of a learner, or a key that was folded from one.

    Raises ValueError for what can't be a seed.
    """
    if not (isinstance(seed, Tensor) and seed.dtype == torch.int64 and seed.dim() == 0):
        check_seed(seed)
    module = blueprint(net) if isinstance(net, nn.Module) else _build(net, int(seed))
    weights = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}
    reserved = [name for name in weights if name in RESERVED]
    if reserved:
        raise ValueError(f"the module has a parameter named {reserved[0]!r}, a reserved name: rename it")
    return weights


def apply(net: Net, weights: Params, x: Any, weight: Tensor | None = None) -> Tensor:
    """The net's output for rows x, [N, *input] -> [N, *output], with these weights and statistics."""
    return observe(net, weights, x, weight, keep=None)[0]


def observe(
    net: Net, weights: Params, x: Any, weight: Tensor | None = None, keep: str | None = "statistics"
) -> tuple[Tensor, Params]:
    """The net's output, and {keep: statistics by layer} of these rows, or {} when no layer keeps any.

    Merge the statistics into the weights of a later call to normalise by these rows there.
    """
    module = _of_this_thread(blueprint(net))
    counted = None if weight is None else row_weight(weight)
    call = Call(counted, names=_layer_names(module), keep=keep)
    for place in RESERVED:
        call.given.update(weights.get(place, {}))
    own = {name: leaf for name, leaf in weights.items() if name not in RESERVED}
    with context.within(call=call), _autocast(x):
        try:
            # Whether weights are tied is known: torch would compare all of them at every call.
            out = torch.func.functional_call(module, own, (x,), tie_weights=_ties(module)) if own else module(x)
        except RuntimeError as error:
            raise _misfit(error, module, x) or error from None
    return widened(out), ({keep: call.seen} if keep is not None and call.seen else {})


def _misfit(error: RuntimeError, module: nn.Module, x: Any) -> ValueError | None:
    """What torch says of rows for which a net has no place, as a sentence; None for any other error."""
    reason = " ".join(str(error).split())
    if not any(sign in reason for sign in _OF_SHAPES):
        return None
    leaves = pytree.tree_leaves(x)
    shapes = " and ".join(str(tuple(leaf.shape[1:])) for leaf in leaves if isinstance(leaf, Tensor))
    return ValueError(
        f"the net ({type(module).__name__}) can't read rows of shape {shapes} ({reason[:200]}): build it for such rows"
    )


_OF_SHAPES = (
    "shapes cannot be multiplied",
    "must match the size of tensor",
    "channels, but got",
    "Expected input to be",
    "Given normalized_shape",
    "Expected 3D",
    "Expected 4D",
    "larger than input size",
    "Kernel size can't be greater",
    "is invalid for input of size",
    "should be the same as the running_mean",
)
"""Of torch's words for rows that a layer can't take."""


def _autocast(x: Any) -> AbstractContextManager[Any]:
    if context.current().precision == "full":
        return _AS_IT_IS
    device = next(leaf.device.type for leaf in pytree.tree_leaves(x) if isinstance(leaf, Tensor))
    # Without its cache of casted weights, which can't tell one inner step's weights from another's.
    return torch.autocast(device, torch.bfloat16, cache_enabled=False)


_AS_IT_IS = nullcontext()


def widened(x: Tensor) -> Tensor:
    """Half-precision numbers in single precision; others as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


_copies = threading.local()


def _of_this_thread(module: nn.Module) -> nn.Module:
    """The module, or for other threads than the first a copy that shares its tensors.

    A call puts its weights into the module for as long as it runs, so threads can't share one.
    """
    if threading.current_thread() is threading.main_thread():
        return module
    if not hasattr(_copies, "by_module"):
        _copies.by_module = WeakKeyDictionary()
    if module not in _copies.by_module:
        shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
        _copies.by_module[module] = copy.deepcopy(module, shared)
    mine: nn.Module = _copies.by_module[module]
    return mine


def _layer_names(module: nn.Module) -> dict[int, str]:
    if module not in _names:
        _names[module] = {id(part): name for name, part in module.named_modules()}
    return _names[module]


def _ties(module: nn.Module) -> bool:
    """Whether the module holds one tensor under several names."""
    if module not in _tied:
        tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
        _tied[module] = len({id(tensor) for _, tensor in tensors}) < len(tensors)
    return _tied[module]


def statistics_kept(net: Net) -> frozenset[str]:
    """Whose statistics the net's layers use: a subset of {"rows", "statistics", "measured"}.

    "rows" means the rows at hand, always: predictions then depend on their neighbours.
    """
    kinds = set()
    for part in blueprint(net).modules():
        if isinstance(part, _BatchNorm) and not part.track_running_stats:
            kinds.add("rows")
        elif hasattr(part, "keep_in"):
            kinds.add(str(part.keep_in or "rows"))
    return frozenset(kinds)


def population(net: Net, weights: Params, batches: Iterable[Any]) -> Params:
    """Statistics of the frozen layers over many batches of rows: {} when there are no such layers.

    The mean of the batches' means, and the variance of all their rows around it.
    """
    if "measured" not in statistics_kept(net):
        return {}
    plain = {name: leaf for name, leaf in weights.items() if name not in RESERVED}
    with torch.no_grad():
        statistics = [observe(net, plain, x, keep="measured")[1]["measured"] for x in batches]
    return tree.map(_pooled, *statistics)


def _pooled(*batches: Tensor) -> Tensor:
    mean, variance = torch.stack(batches).unbind(1)  # each [batches, C]
    centre = mean.mean(0)
    return torch.stack([centre, (variance + (mean - centre) ** 2).mean(0)])


def split_weights(net: Net, weights: Params, patterns: tuple[str, ...]) -> tuple[Params, Params]:
    """Split a net's weights into those whose names match a glob pattern, and the rest.

    "head" stands for the last module with parameters, and "body" for all the others.

    Raises ValueError for a pattern that matches nothing.
    """
    own = [name for name in weights if name not in RESERVED]
    # The last by the net's own order: weights that come from a file come in any.
    head = _head(blueprint(net)) if own else set()
    chosen: set[str] = set()
    for pattern in patterns:
        if pattern == "head":
            matching = head
        elif pattern == "body":
            matching = set(own) - head
        else:
            matching = {name for name in own if fnmatchcase(name, pattern)}
        if not matching:
            raise ValueError(f"the pattern {pattern!r} matches none of the parameters {', '.join(own)}: correct it")
        chosen |= matching
    moved = {name: weights[name] for name in own if name in chosen}
    return moved, {name: weights[name] for name in own if name not in chosen}


def part(params: Params, name: str, fast: Fast | None = None) -> Params:
    """The weights of the net that this part of params belongs to, with the statistics kept in params and in fast.

    For params in parts, such as {"encoder": {...}, "scale": ...}, where only one net normalises by kept statistics.

    name: of the part; "" when all params are of that net.
    """
    merged = {**params, **(fast or {})}
    # A net without weights is an empty part, and those are not in a saved file.
    own = params.get(name, {}) if name else params
    return {**own, **{place: merged[place] for place in RESERVED if place in merged}}


def headless(net: Net) -> nn.Module:
    """The blueprint without its last module with parameters; its outputs are the features before the head."""
    return _headless(blueprint(net))


def _headless(module: nn.Module) -> nn.Module:
    if module not in _bodies:
        head = next(iter(_head(module))).rpartition(".")[0]
        if not head:
            raise ValueError("the module is a single layer, without features before its head: use a deeper one")
        body = copy.deepcopy(module)
        body.set_submodule(head, nn.Identity())
        _bodies[module] = body
    return _bodies[module]


def head_alone(net: Net, weights: Params) -> tuple[nn.Module, Params]:
    """The last module with parameters as a net over the flattened outputs of `headless`, and its weights."""
    head, _ = split_weights(net, weights, ("head",))
    name = next(iter(head)).rpartition(".")[0]
    alone = nn.Sequential(OrderedDict(head=copy.deepcopy(blueprint(net).get_submodule(name))))
    return alone, {f"head{path.removeprefix(name)}": leaf for path, leaf in head.items()}


def output_shape(net: Net) -> tuple[int, ...]:
    """The shape of the net's output for one row, from which a learner sizes parts of its own.

    Raises ValueError for a net without the attribute `output_shape`.
    """
    module = blueprint(net)
    shape = getattr(module, "output_shape", None)
    if not isinstance(shape, tuple):
        raise ValueError(
            f"the net ({type(module).__name__}) has no output_shape, from which a part of the learner is sized: "
            "set it, such as net.output_shape = (64,)"
        )
    return shape


def body_weights(net: Net, weights: Params) -> Params:
    """The weights that a `headless` blueprint runs with, statistics included."""
    _, body = split_weights(net, weights, ("head",))
    return body | {name: weights[name] for name in RESERVED if name in weights}


def _head(module: nn.Module) -> set[str]:
    """The trainable parameters of the last module that holds some."""
    own = [name for name, p in module.named_parameters() if p.requires_grad]
    last = own[-1].rpartition(".")[0]
    return {name for name in own if name.rpartition(".")[0] == last}
