"""The weights of a dense layer that a learner makes itself."""

import torch
from torch import Tensor

from mapwise.core import random
from mapwise.core.tree import Params


def linear_weights(key: Tensor, inputs: int, outputs: int) -> Params:
    """{"weight": [outputs, inputs], "bias": [outputs]}: uniform up to 1 / sqrt(inputs), as torch's, and zero."""
    weight = (2 * random.uniform(key, (outputs, inputs)) - 1) * inputs**-0.5
    return {"weight": weight, "bias": torch.zeros(outputs)}
