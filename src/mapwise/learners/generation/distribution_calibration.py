"""Distribution calibration: rows drawn near each support row, as the base classes beside it vary."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.core import random
from mapwise.core.families.logistic_head import logistic_head, mean_square
from mapwise.core.geometry import squared_distances
from mapwise.core.source import TaskSource
from mapwise.core.task import Examples, counted_inputs, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.pretraining.linear_probe import LinearProbe
from mapwise.learners.row import encoder_row

MEANS, ROOTS = "base_means", "base_roots"
"""What the statistics of the base classes are called among the measured ones, whose other names are those of layers."""


@dataclass(frozen=True)
class DistributionCalibration(LinearProbe):
    """Draw further rows around each support row, by mean and covariance of the base classes nearest to it.

    Paper:   Yang, Liu, Xu 2021, arXiv:2101.06395, eq. 3-7.
    Fast:    {"head": [D + 1, W], "present": [W]}; with norm "support" also {"statistics": ...}.
    Loss:    pretraining as `supervised`.
    Differs: features below zero keep their sign under the power, where the paper's have none. Every support row draws
             `samples` rows, which together weigh as the paper's share of them. The penalty of the head is that of
             `linear_probe`, in units of the support's features.

    samples:   what the drawn rows of a class weigh beside its support rows, and how many each support row draws; 0:
               none, and the power transform alone is left.
    power:     what features of support and queries are raised to; 1 leaves them as they are.
    nearest:   base classes that a support row takes its mean and its covariance from.
    alpha:     what is added to every entry of the covariance.
    base_rows: rows of each base class, on average, that its statistics are of.

    Measured: "base_means" [B, D] and "base_roots" [B, R, D] of the features as they are, root' root the covariance of a
    class and R the smaller of its rows and D. Base classes of fewer than two rows are left out. Until it is measured
    nothing is drawn. With power 1 and no samples it is `linear_probe`.

    Breaks `query_loss`: training asks for base classes. Rows are drawn by the task's key and the bits of the support
    row, which breaks `embeds` unless `samples` is 0. A net with norm "batch" breaks `alone`, `padding` and `weights`.

    Raises ValueError for a power that isn't positive, a negative alpha, and fewer base classes than `nearest`.

    >>> params = learner.measure(params, source)
    >>> params["measured"]["base_roots"].shape
    torch.Size([64, 20, 64])
    """

    samples: int = 750
    power: float = 0.5
    nearest: int = 2
    alpha: float = 0.21
    base_rows: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.power > 0:
            raise ValueError(
                f"power is {self.power}: give a number above 0, such as 0.5, or 1 for features as they are"
            )
        if not self.alpha >= 0:
            raise ValueError(f"alpha is {self.alpha} and a variance grows by it: give 0 or a positive number")
        if self.nearest < 1 or self.base_rows < 2:
            raise ValueError(
                f"nearest is {self.nearest} and base_rows {self.base_rows}: give at least one base class, of two rows"
            )

    @property
    def keeps(self) -> frozenset[str]:
        """As `linear_probe`, and without `embeds` where rows are drawn."""
        return super().keeps - ({"embeds"} if self.samples else frozenset())

    def adapt(self, params: Params, support: Examples) -> Fast:
        """The head with the least penalised cross-entropy of the support and of the rows drawn around it (eq. 7)."""
        measured = params.get("measured", {})
        if not self.samples or MEANS not in measured:
            return super().adapt(params, support)
        z, seen = self.embed_support(params, support)
        mean, root = calibrate(z, measured[MEANS], measured[ROOTS], self.nearest, self.alpha)
        drawn = mean[:, None] + _noise(support, self.samples, root.shape[1]).to(z) @ root  # [S, samples, D]
        strength = self.strength * mean_square(z, support.weight)
        share = support.weight / _of_class(support)  # [S]
        head = logistic_head(
            torch.cat([z, drawn.flatten(0, 1)]),
            torch.cat([support.y, support.y.repeat_interleave(self.samples, 0)]),
            torch.cat([support.weight, share.repeat_interleave(self.samples)]),
            strength,
            self.solver_steps,
        )
        return {"head": head, "present": present_classes(support), **seen}

    def embed_support(self, params: Params, support: Examples) -> tuple[Float[Tensor, "S D"], Params]:
        """The support's features to the power."""
        z, seen = super().embed_support(params, support)
        return self._raised(z), seen

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """The features to the power (eq. 3)."""
        return self._raised(super().embed(params, fast, x))

    def _raised(self, z: Tensor) -> Tensor:
        return z if self.power == 1 else z.sign() * z.abs() ** self.power

    def measure(self, params: Params, source: TaskSource) -> Params:
        """Mean and covariance of every base class; before them, the statistics of a frozen norm (eq. 4-5)."""
        params = super().measure(params, source)
        if not self.samples:
            return params
        features, labels, step, rows = [], [], 0, 0
        with torch.no_grad():
            while rows < self.base_rows * source.outputs:
                query = source(step).query
                features.append(super().embed(params, {}, counted_inputs(query)))
                labels.append(query.y.flatten(0, 1)[query.weight.flatten() > 0].argmax(1))
                step, rows = step + 1, rows + len(labels[-1])
        means, roots = class_statistics(torch.cat(features), torch.cat(labels))
        _check_enough(means, self.nearest)
        return {**params, "measured": {**params.get("measured", {}), MEANS: means, ROOTS: roots}}


def class_statistics(
    z: Float[Tensor, "N D"], labels: Int64[Tensor, "N"]
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B R D"]]:
    """The mean of each class of two rows or more, and a root of its covariance: root' root, by rows minus one."""
    counts = torch.bincount(labels)
    order = torch.argsort(labels, stable=True)
    first = counts.cumsum(0) - counts
    places = torch.arange(len(z), device=z.device) - first[labels[order]]
    grid = z.new_zeros((len(counts), int(counts.max()), z.shape[1]), dtype=torch.float64)
    grid[labels[order], places] = z[order].double()
    there = grid.new_zeros(grid.shape[:2])
    there[labels[order], places] = 1
    grid, there, counts = (part[counts > 1] for part in (grid, there, counts))
    counts = counts.double()[:, None]
    means = grid.sum(1) / counts
    roots = (grid - means[:, None]) * (there / (counts - 1).sqrt())[:, :, None]
    if roots.shape[1] > roots.shape[2]:
        # As short as a covariance allows. No Cholesky factor of it: fewer rows than D leave it without full rank.
        roots = torch.linalg.qr(roots, mode="r").R
    return means.to(z), roots.to(z)


def calibrate(
    z: Float[Tensor, "S D"], means: Float[Tensor, "B D"], roots: Float[Tensor, "B R D"], nearest: int, alpha: float
) -> tuple[Float[Tensor, "S D"], Float[Tensor, "S K D"]]:
    """The mean around every row, and a root of the covariance: root' root (eq. 4-6).

    The mean is that of the nearest base means and the row; the covariance that of those classes, plus alpha everywhere.
    """
    _check_enough(means, nearest)
    places = squared_distances(z, means).topk(nearest, largest=False).indices  # [S, nearest]
    mean = (means[places].sum(1) + z) / (nearest + 1)
    spread = roots[places].flatten(1, 2) / nearest**0.5  # [S, nearest * R, D]
    # alpha on every entry is alpha times a column of ones with itself.
    return mean, torch.cat([spread, torch.full_like(z, alpha**0.5)[:, None]], 1)


def _noise(support: Examples, samples: int, width: int) -> Float[Tensor, "S samples width"]:
    """Standard normal numbers for every row, by its own bits and the task's key."""
    keys = random.fold(support.key, random.digest(support.x))  # [S]
    return torch.vmap(lambda key: random.normal(key, (samples, width)))(keys)


def _of_class(support: Examples) -> Float[Tensor, "S"]:
    """What the rows of each row's class weigh together."""
    whole = support.y @ (support.y * support.weight[:, None]).sum(0)
    return torch.where(whole > 0, whole, torch.ones_like(whole))


def _check_enough(means: Tensor, nearest: int) -> None:
    if len(means) < nearest:
        raise ValueError(
            f"{len(means)} base classes have statistics and nearest is {nearest}: lower nearest, or measure on "
            "training tasks of more classes with two rows or more"
        )


ROWS = {
    "distribution_calibration": encoder_row(
        DistributionCalibration,
        "Yang 2021",
        "logistic regression on a classifier's features and on rows drawn as the nearest base classes vary",
        pretraining=True,
        tuned={"optimizer.lr": (0.001, 0.003), "alpha": (0.05, 0.21)},
    ),
}
