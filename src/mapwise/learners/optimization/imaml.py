"""Implicit MAML."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mapwise.core import tree
from mapwise.core.families.fixed_head import FixedHeadLearner
from mapwise.core.inner_loop import SGD, curvature, gradient
from mapwise.core.solvers import conjugate_gradient
from mapwise.core.task import Examples, Task
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import gradient_row


@dataclass(frozen=True)
class IMAML(FixedHeadLearner):
    """Adapt under a pull back to the start, and differentiate where that ends instead of how it got there.

    Paper:   Rajeswaran, Finn, Kakade, Levine 2019, arXiv:1909.04630, eq. 3 and 6, algorithm 2.
    Fast:    the moved weights by name; with norm "support" also {"statistics": ...}; with the
             cross-entropy also {"present": [W]}.
    Loss:    value of the query loss; the implicit gradient at the adapted weights, which are a constant.
    Differs: the published code pulls once, after all steps, and solves (2 I + H / (pull + 10)) v = g; here the pull
             is part of every step, and the system is the paper's.

    net:         [N, *input] -> [N, W]; its head is fixed in ways.
    pull:        lambda, the weight of |phi - params|^2 / 2 beside the support loss. It must outweigh the most negative
                 curvature of that loss, or the adapted weights are no minimum and have no implicit gradient.
    inner_steps: K, gradient steps of an adaptation, enough to come near the minimum.
    inner_lr:    their rate, below 2 / (pull + the largest curvature).
    cg_steps:    steps of conjugate gradient at most; each costs about two gradients of the support loss.
    damping:     makes the system ((1 + damping) I + H / pull) v = g: a shorter v, safer where curvature is negative.
    loss:        "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.

    Breaks `relabel`: each column of a learned head has its own start. A net whose norm uses the rows
    at hand also breaks `alone`, `padding` and `weights` (unless its rows are the support's).

    Raises ValueError for a task with more classes than the head has columns, for a pull that isn't positive, for
    a negative damping, and for no step of conjugate gradient.
    """

    pull: float = 2.0
    inner_steps: int = 16
    inner_lr: float = 0.1
    cg_steps: int = 5
    damping: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pull > 0:
            raise ValueError(f"pull is {self.pull}: give a positive number, or take maml, which has none")
        if self.cg_steps < 1:
            raise ValueError(f"cg_steps is {self.cg_steps}: give at least one step, or nothing is learned")
        if self.damping < 0:
            raise ValueError(f"damping is {self.damping}: give 0 for none, or a positive number")

    def adapt(self, params: Params, support: Examples) -> Fast:
        """phi = argmin L_support(phi) + pull / 2 |phi - params|^2 (eq. 3), by K gradient steps."""
        return self.near(params, support, pull=self.pull, rule=SGD(self.inner_lr), steps=self.inner_steps)

    def objective(self, params: Params, task: Task) -> Float[Tensor, ""]:
        """In value the query loss, in gradient (I + H / pull)^-1 g."""
        constant = tree.detach(params)
        fast = self.adapt(constant, task.support)
        loss = self.criterion(self.predict(constant, fast, task.query.x), task.query).detach()
        along = self._along(self._implicit_gradient(constant, fast, task), params)
        return loss + (along - along.detach())

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """The linear function whose gradient is the implicit gradient at these params."""
        constant = tree.detach(params)
        gradient = self._implicit_gradient(constant, self.adapt(constant, task.support), task)
        return lambda point: self._along(gradient, point)

    def _implicit_gradient(self, params: Params, fast: Fast, task: Task) -> Params:
        """v in (I + H / pull) v = g (eq. 6); H is of the support loss and g of the query loss, both at phi."""
        phi, present = {name: fast[name] for name in self.weights_of(params)}, self.present_in(task.support)

        def query_loss(phi: Params) -> Tensor:
            return self.criterion(self.predict(params, self.fast_of(phi, task.support), task.query.x), task.query)

        def support_loss(phi: Params, support: Examples, present: Params) -> Tensor:
            return self.loss_of(phi, support, present)

        def product(v: Params) -> Params:
            bent = curvature(support_loss, phi, v, given=(task.support, present))
            return tree.map(lambda i_v, h_v: i_v + h_v / self.pull, v, bent)

        g = gradient(query_loss, phi, first_order=True)
        return tree.detach(conjugate_gradient(product, g, steps=self.cg_steps, damping=self.damping))

    def _along(self, gradient: Params, params: Params) -> Tensor:
        return tree.dot(gradient, self.weights_of(params))


ROWS = {
    "imaml": gradient_row(
        IMAML,
        "Rajeswaran 2019",
        "the gradient of where a pulled adaptation ends, not of its steps",
        # How far a task may move is the pull's to say: at 2 it is half a gradient.
        tuned={"optimizer.lr": (0.003,), "inner_lr": (0.1, 0.4), "pull": (0.1, 2.0)},
    ),
}
