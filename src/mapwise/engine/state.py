"""What one update of a loop hands to the next."""

from typing import Any, Protocol, Self

from mapwise.core.tree import Params, Tree


class Consumed(RuntimeError):
    """The values of a state were read after an update had changed them in place."""


class State(Protocol):
    """What one update hands to the next.

    An update returns another state and leaves this one as it was, so one that is interrupted has not happened. An
    update that works in place consumes its state instead: all of its members then raise Consumed.
    """

    @property
    def params(self) -> Params:
        """The current params."""
        ...

    def to_file(self) -> tuple[Tree, dict[str, Any]]:
        """Tensors, and everything else as JSON."""
        ...

    def of_file(self, tensors: Tree, about: dict[str, Any]) -> Self:
        """The state that `to_file` wrote; raises ValueError, or what else content of the wrong kind leads to."""
        ...
