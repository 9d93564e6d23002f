"""An adapted task as a thing to keep: an encoder, a learner, and the support it was taught with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.catalog import HEADS, named
from mapwise.core import tree
from mapwise.core.learner import Learner
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params
from mapwise.encoders.encoder import Encoder


@dataclass(frozen=True, eq=False)
class Predictor:
    """What a few examples of each class taught: a value, so that another example or class makes another predictor.

    encoder: raw rows -> [N, D], fitted.
    head:    the name of a row of `catalog.HEADS`, or a learner over encoded rows.
    rows:    the support's encoded rows.
    columns: the class of each row, by its place in `classes`.
    weight:  how often each row counts.
    classes: names; one without rows is never predicted.

    Rows are kept as the encoder gave them, and everything behind it is computed in float64: heads are small, and a
    query then scores the same alone as among others.
    """

    encoder: Encoder
    head: str | Learner
    rows: Float[np.ndarray, "S D"]
    columns: Int64[np.ndarray, "S"]
    weight: Float[np.ndarray, "S"]
    classes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        encoder: Encoder,
        head: str | Learner,
        X: Any,
        columns: np.ndarray,
        weight: np.ndarray,
        names: Sequence[str],
    ) -> Self:
        """Fit the encoder to these raw rows, and keep them encoded.

        Raises ValueError for a head that isn't there, and for rows that the encoder can't read.
        """
        if isinstance(head, str):
            named(HEADS, head, "head")
        fitted = encoder.fitted(X, weight)
        return cls(fitted, head, fitted(X), columns, weight, tuple(names))

    def scores(self, X: Any) -> Float[np.ndarray, "Q W"]:
        """The head's scores of raw rows; a class without support rows is out of reach."""
        return self.scores_of(self.encoder(X))

    def probabilities(self, X: Any) -> Float[np.ndarray, "Q W"]:
        """The softmax of the scores."""
        chances: np.ndarray = torch.softmax(torch.as_tensor(self.scores(X)), dim=-1).numpy()
        return chances

    def scores_of(self, rows: Float[np.ndarray, "Q D"]) -> Float[np.ndarray, "Q W"]:
        """The head's scores of rows that are encoded already."""
        x = torch.as_tensor(rows, dtype=torch.float64)
        with torch.no_grad():
            scores = self.learner.predict(self._params, self._fast, x)
        assert isinstance(scores, Tensor)
        return scores.numpy()

    def with_rows(self, X: Any, columns: np.ndarray, weight: np.ndarray) -> Self:
        """With more raw rows; the encoder stays as it was fitted, so the rows that are there need not be read again."""
        return replace(
            self,
            rows=np.concatenate([self.rows, self.encoder(X)]),
            columns=np.concatenate([self.columns, columns]),
            weight=np.concatenate([self.weight, weight]),
        )

    def with_classes(self, names: Sequence[str], places: np.ndarray) -> Self:
        """With these classes, among which those of before stand at these places."""
        return replace(self, columns=places[self.columns], classes=tuple(names))

    @cached_property
    def support(self) -> Examples:
        """The encoded support, as a learner takes it."""
        y = np.eye(len(self.classes))[self.columns]
        x, weight = (torch.as_tensor(values, dtype=torch.float64) for values in (self.rows, self.weight))
        return Examples(x, torch.as_tensor(y), weight, torch.zeros((), dtype=torch.int64))

    @cached_property
    def learner(self) -> Learner:
        """The learner behind the encoder."""
        return HEADS[self.head](self.support) if isinstance(self.head, str) else self.head

    @cached_property
    def _params(self) -> Params:
        return tree.map(Tensor.double, self.learner.init(0))

    @cached_property
    def _fast(self) -> Fast:
        return tree.detach(self.learner.adapt(self._params, self.support))
