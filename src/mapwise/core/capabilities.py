"""What a learner may be able to do besides adapting and predicting.

Ask with `isinstance(learner, Embeds)`, and in no other way: a learner that has the methods has the capability,
whatever it extends. Each capability has a law that says what its methods must agree with.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from mapwise.core.inner_loop import Carry
from mapwise.core.scores import Scores
from mapwise.core.task import Examples, Task
from mapwise.core.tree import Fast, Params

L = TypeVar("L")
S = TypeVar("S", bound="TakesSteps")

VoteScale: TypeAlias = Literal["scores", "probabilities"]
"""What the votes of the support rows add up to: a class's score, or its probability, the softmax of the scores."""


class OverEmbedded(NamedTuple, Generic[L]):
    """A learner over embedded rows, so that each row is embedded only once."""

    encode: Callable[[Any], Any]
    """Embeds raw rows, each by itself: [N, D], or of texts what the learner takes instead."""
    learner: L
    """Takes embedded rows instead of raw ones."""
    params: Params
    """The params of that learner."""


@runtime_checkable
class Embeds(Protocol):
    """A learner that compares rows in a learned space. The law `embeds` holds it to this."""

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """Rows where the adapted learner compares them."""
        ...

    def over_embedded(self, params: Params) -> OverEmbedded[Any] | None:
        """The same learner over embedded rows; None where the embedding of a row depends on other rows."""
        ...


@runtime_checkable
class Resumes(Protocol):
    """A learner that takes in other rows from where it stands, in a moment. The law `resumes` holds it to this."""

    def over_adapted(self, fast: Fast) -> OverEmbedded[Any]:
        """The same learner over rows embedded by the encoder as it was adapted; its params are such a fast, too."""
        ...

    def resume(self, params: Params, fast: Fast, support: Examples, steps: int) -> Fast:
        """Learn this support, which may have further classes, by that many cheap steps from an adapted learner.

        Without steps, and on the support that it was adapted to, nothing changes.
        """
        ...


@runtime_checkable
class Votes(Protocol):
    """A learner whose answer is a sum over the support rows. The law `votes` holds it to this."""

    votes_add_to: ClassVar[VoteScale]

    def votes(self, params: Params, fast: Fast, support: Examples, x: Any) -> Float[Tensor, "Q S W"]:
        """What every support row contributes to every class of every query.

        Summed over the support rows, the votes are the probabilities of the classes that are present, or their
        scores up to a number that is the same for all classes of a query and changes no answer. A row of weight 0
        contributes to no class, and no row contributes to an absent class.
        """
        ...


@runtime_checkable
class Causal(Protocol):
    """A learner that reads a stream in one pass, in training too. The law `causal` holds it to this."""

    def causal(self, params: Params, rows: Examples) -> Scores:
        """Scores of every row before its label is seen, [N, W]."""
        ...


class Trace(NamedTuple):
    """What a learner with a memory did at every row of a support; L counts rows."""

    fast: Fast
    """After the last row, as `adapt` returns it."""
    scores: Float[Tensor, "L W"]
    """Its output at every row."""
    reads: Float[Tensor, "L R N"]
    """Where each head read."""
    writes: Float[Tensor, "L H N"]
    """Where each head wrote."""
    gates: dict[str, Float[Tensor, "L"]] = {}  # noqa: RUF012 (never changed)
    """What else a row had one number for, 0..1, by name."""
    slots: dict[str, Float[Tensor, "L N"]] = {}  # noqa: RUF012
    """What else a row had a number for every slot for, 0..1, by name."""
    links: dict[str, Float[Tensor, "N N"]] = {}  # noqa: RUF012
    """How far slot i stands after slot j at the end, [i, j], 0..1, by name."""


@runtime_checkable
class Traced(Protocol):
    """A learner that shows what it did at every row of its support. The law `traced` holds it to this."""

    def trace(self, params: Params, support: Examples) -> Trace:
        """What it did at the rows of the support, in their order."""
        ...


@runtime_checkable
class TakesSteps(Protocol):
    """A learner that adapts by `inner_steps` steps from a start. The law `steps` holds it to this."""

    @property
    def inner_steps(self) -> int | None:
        """Steps of an adaptation; None: as many as in training."""
        ...

    def start(self, params: Params, support: Examples) -> Fast:
        """What the steps start from, as `adapt` without any step returns it."""
        ...


@runtime_checkable
class Unrolled(Protocol):
    """A learner that is trained on its adaptation window by window. The law `unrolled` holds it to this."""

    @property
    def inner_steps(self) -> int:
        """Steps of an adaptation."""
        ...

    @property
    def unroll(self) -> int | None:
        """Steps of a window, of which the last one may have fewer; None: it isn't trained by windows."""
        ...

    def begin(self, params: Params, task: Task) -> Carry:
        """Where an adaptation stands before its first window."""
        ...

    def window(self, params: Params, task: Task, carry: Carry, first: int, steps: int) -> tuple[Tensor, Carry]:
        """The loss of so many steps from step `first` on, and where they lead."""
        ...

    def fast_after(self, params: Params, support: Examples, carry: Carry) -> Fast:
        """The state adapted to the support, when an adaptation ends here."""
        ...


def with_steps(learner: S, steps: int) -> S:
    """The same learner with another number of steps of an adaptation."""
    return cast(S, replace(cast(Any, learner), inner_steps=steps))
