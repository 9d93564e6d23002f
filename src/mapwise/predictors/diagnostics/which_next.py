"""Active learning: which unlabelled rows are most worth a label."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.diagnostic import Diagnostic
from mapwise.predictors.evidence import label_next as rule
from mapwise.predictors.evidence.label_next import Suggestion


def which_next(
    predictor: Predictor, X: Any, n: int | None = 1, *, names: Sequence[Any] | None = None
) -> list[Suggestion]:
    """Suggest which rows to label next, the best first, and why.

    n:     number of suggestions; None: 5, or as many as there are rows, as the command shows.
    names: of the classes, where they are called otherwise.

    Raises ValueError for no rows, an n that they don't allow, rows that can't be read, and a support of one class.
    """
    predictor.check_two_classes()
    rows = predictor.encoded(X)
    known, new = (
        predictor.placed(torch.as_tensor(part, dtype=torch.float64)).numpy() for part in (predictor.known_rows, rows)
    )
    named = predictor.classes if names is None else names
    count = min(5, len(rows)) if n is None else n
    return rule.best_to_label(new, predictor.scores_of(rows), np.asarray(known), named, count)


DIAGNOSTIC = Diagnostic(which_next, key="next")
