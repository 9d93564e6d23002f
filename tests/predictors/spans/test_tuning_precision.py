"""Tuning computes in bfloat16 where torch says that the processor has it, and in full precision elsewhere."""

import pytest
import torch

from mapwise.core import context
from mapwise.predictors.spans.predictor import _quick


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"avx512_bf16": True}, "bfloat16"), ({"avx512_bf16": False}, "full"), ({"neon": True}, "full"), (None, "full")],
)
def test_nets_are_tuned_in_what_the_processor_has(monkeypatch, capabilities, precision):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)  # as of an earlier torch
    if capabilities is not None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    with _quick():
        assert context.current().precision == precision
