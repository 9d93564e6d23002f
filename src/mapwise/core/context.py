"""The context of a computation: all that a layer, an inner loop or a solver may know besides its arguments.

One value in one context variable: a thread that runs in a copy of the context sees it too. Whoever knows more replaces
fields for as long as something runs:

    with context.within(precision="bfloat16"):
        ...
"""

from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack

if TYPE_CHECKING:
    from mapwise.core.execution import Precision


@dataclass(frozen=True)
class Call:
    """The call of a net that a layer is part of: the weights of its rows, and whose statistics it is to use."""

    row_weight: Tensor | None = None
    """[N], how often each row counts; None: all count once."""
    given: dict[str, Tensor] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    """Layer names by id(layer)."""
    keep: str | None = None
    """Which statistics this call collects."""
    seen: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def weight(self) -> Tensor | None:
        """[N], how often each row counts; None where all count once, which is looked at when the first layer asks."""
        return None if every_row_counts_once(self.row_weight) else self.row_weight

    def given_to(self, layer: nn.Module) -> Tensor | None:
        """The statistics this layer is to use instead of those of the rows at hand."""
        return self.given.get(self.names.get(id(layer), ""))

    def collects(self, keep_in: str | None) -> bool:
        """Whether this call collects statistics that are kept in this place."""
        return keep_in is not None and keep_in == self.keep

    def collect(self, layer: nn.Module, statistics: Tensor) -> None:
        """Record a layer's statistics of the rows at hand."""
        self.seen[self.names[id(layer)]] = statistics


@dataclass(frozen=True)
class Context:
    """What is known of the computation that is running; see `current` and `within`."""

    call: Call = Call()
    """For layers; a plain one where a module is called outside of mapwise."""
    all_rows_count: bool | None = None
    """Whether every row counts once, so that layers may take the faster unweighted statistics; None: not checked.

    It can be known only where all tasks of a batch are seen: inside vmap a weight has no value to look at.
    """
    precision: "Precision" = "full"
    """What nets compute in.

    What a learner does with their outputs (distances, solves, probabilities, losses) stays in the precision of the
    weights, and so do the statistics of normalisation: sums of many rows don't fit into 8 bits of mantissa.
    """
    recomputes: bool = False
    """Whether an inner loop keeps only the inputs of each step and recomputes the step in the backward pass.

    Memory then doesn't grow with the graphs of the steps, and each step costs one more forward and backward pass.
    """
    in_products: bool = False
    """Whether `solvers.ridge` solves by matrix products, for runtimes without an operator for linear systems."""


_NOTHING_KNOWN = Context()
_current: ContextVar[Context] = ContextVar("mapwise", default=_NOTHING_KNOWN)


def current() -> Context:
    """The context of what is running."""
    return _current.get()


def every_row_counts_once(weight: Tensor | None) -> bool:
    """Whether every row is known to count once; a weight is looked at where that is free: a plain tensor on a CPU."""
    known = _current.get().all_rows_count
    if known is None and weight is not None and weight.is_cpu and peek_interpreter_stack() is None:
        known = bool((weight == 1).all())
    return bool(known)


class within:  # read as a word
    """Within, these fields of the context have these values, and the others those they had."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._token: Token[Context] = _current.set(Context(**(vars(_current.get()) | self._fields)))

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
