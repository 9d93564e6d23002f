"""Conditional Neural Processes."""

from dataclasses import dataclass
from typing import Any

from mapwise.core.families.neural_process import NeuralProcess
from mapwise.core.functional import Net
from mapwise.core.scores import Gaussian, Scores, without_absent
from mapwise.core.task import Examples, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import FIXED, LearnerRow
from mapwise.nets.mlp import stack


@dataclass(frozen=True)
class CNP(NeuralProcess):
    """The support rows are encoded and averaged, and a decoder predicts any query from the mean, with its uncertainty.

    Paper:   Garnelo, Rosenbaum, Maddison, Ramalho, Saxton, Shanahan, Teh, Rezende, Eslami 2018, arXiv:1807.01613,
             eq. 3-5 and section 4.
    Fast:    {"r": [R]} for targets; {"r": [W, D], "present": [W]} for classes; with norm "support" also
             {"statistics": ...}.
    Loss:    negative log-likelihood of the queries, a normal density or the cross-entropy.
    Differs: with classes, the decoder scores one class at a time, from that class's r. The paper's decoder reads all
             of them side by side, so its answer depends on their order and their number is fixed. Only queries
             are judged; the paper's targets include the support rows.

    encoder:        [N, *input] -> [N, D], with its attribute `output_shape`; the features of x, in support and query.
    loss:           "gaussian" for targets, "cross_entropy" for classes.
    targets:        numbers in a row's y; without effect on classes.
    width:          units of every layer of h and g, and the length of r for targets.
    layers:         of h, which makes r of a support row's features and targets; without effect on classes.
    decoder_layers: of g, which reads a query's features and r.
    least_scale:    the smallest standard deviation it can predict, in the unit of y.

    Without support rows r is 0, and the prediction is the prior learned from all tasks.

    With "gaussian", columns are targets with weights of their own and not classes, so `relabel` isn't kept. A net
    with norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    Raises ValueError for another loss, counts and scales that are too small, an encoder without `output_shape`, and
    tasks with another number of targets.

    >>> fast = learner.adapt(params, support)
    >>> mean, scale = learner.predict(params, fast, query.x)
    """

    def nets(self) -> dict[str, Net]:
        """g, and for targets h, shaped for the encoder's features."""
        if not self.of_targets:
            return {"g": stack(2 * self.features, self.decoder_layers, self.width, 1)}
        return {
            "h": stack(self.features + self.targets, self.layers, self.width, self.width),
            "g": stack(self.features + self.width, self.decoder_layers, self.width, 2 * self.targets),
        }

    def adapt(self, params: Params, support: Examples) -> Fast:
        """r = the mean of r_i = h(x_i, y_i) over the support rows, or of x_i over those of each class (eq. 3-4)."""
        z, seen = self.embed_support(params, support)
        fast = {"r": self.mean_row(params, z, support), **seen}
        return fast if self.of_targets else {**fast, "present": present_classes(support)}

    def predict(self, params: Params, fast: Fast, x: Any) -> Scores:
        """g(x, r): the mean and scale of every target, or the score of every class (eq. 5)."""
        scores = self.decode(params, self.embed(params, fast, x), fast["r"])
        return scores if isinstance(scores, Gaussian) else without_absent(scores, fast["present"])


ROWS = {
    "cnp": LearnerRow(
        CNP,
        "Garnelo 2018",
        "the mean of encoded support rows tells a decoder what to say of a query, and how surely",
        nets=FIXED,
        of_columns={"targets": {"loss": "gaussian"}},
        columns=("classes", "targets"),
    ),
}
