"""A task of numbers as a thing to keep: an encoder, a learner, and the support it was fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float, Int64

from mapwise.core.renamed import renamed
from mapwise.data.digests import digests
from mapwise.encoders.encoder import Encoder
from mapwise.predictors.heads.head import Head
from mapwise.predictors.predictor import FittedPredictor


@renamed
@dataclass(frozen=True, eq=False)
class TargetPredictor(FittedPredictor):
    """A regressor fitted to a few examples: a value, so that another example makes another predictor.

    encoder: raw rows -> [N, D], fitted.
    head:    what stands behind it.
    rows:    the support's encoded rows.
    targets: the numbers of each row, one or several.
    weight:  how often each row counts.
    """

    problem: ClassVar[str] = "regression"

    encoder: Encoder
    head: Head
    rows: Float[np.ndarray, "S *D"]
    targets: Float[np.ndarray, "S"] | Float[np.ndarray, "S W"]
    weight: Float[np.ndarray, "S"]
    note: str = ""
    """What whoever made it wants to find again, such as the column that holds the texts."""
    sources: tuple[str, ...] = ()
    """Where each row came from, such as a file; empty where unknown."""
    digests: Int64[np.ndarray, "S"] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of each raw row's content, see `data.digests`; 0 or empty where unknown."""

    @classmethod
    def of(cls, encoder: Encoder, head: Head, X: Any, targets: np.ndarray, weight: np.ndarray) -> Self:
        """Fit the encoder to these raw rows, and keep them encoded.

        Raises ValueError for rows that the encoder or the head can't read.
        """
        fitted, rows = cls._encoded_by(encoder, head, X, weight)
        return cls(fitted, head, rows, targets, weight, digests=digests(encoder.reads, X))

    def answers(self, X: Any) -> Float[np.ndarray, "Q"] | Float[np.ndarray, "Q W"]:
        """The numbers of raw rows, one or several each as in the targets."""
        return self.scores(X).reshape(-1, *self.targets.shape[1:])

    def with_rows(self, X: Any, targets: np.ndarray, weight: np.ndarray, sources: Sequence[str] = ()) -> Self:
        """With more raw rows; the encoder stays as it was fitted, so the rows that are there need not be read again."""
        rows = self.encoded(X)
        return replace(
            self,
            rows=np.concatenate([self.rows, rows]),
            targets=np.concatenate([self.targets, targets]),
            weight=np.concatenate([self.weight, weight]),
            sources=self.sources_with(len(rows), sources),
            digests=self.digests_with(digests(self.encoder.reads, X)),
        )

    @property
    def labels(self) -> Float[np.ndarray, "S W"]:
        """The targets, one column each."""
        return self.targets.reshape(len(self.rows), -1)

    def _kept_labels(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {"targets": self.targets.astype(np.float64)}

    @classmethod
    def _label_fault(cls, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
        targets, rows = tensors["targets"], tensors["rows"]
        if targets.ndim not in (1, 2) or len(targets) != len(rows) or 0 in targets.shape:
            return f"there are {len(rows)} rows, and targets of shape {targets.shape}"
        if targets.dtype.kind != "f" or not np.isfinite(targets).all():
            return f"its targets are {targets.dtype}, or hold NaN"
        return ""

    @classmethod
    def _of_file(
        cls, encoder: Encoder, head: Head, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
    ) -> Self:
        rows, targets, weight = (tensors[name] for name in ("rows", "targets", "weight"))
        known = (about["reads"], tuple(about["sources"]), tensors["digests"])
        return cls(encoder, head, rows, targets, weight, *known)
