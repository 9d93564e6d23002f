"""A compiled program: what is changed in the list of operations before torch's compiler sees it."""

import pytest
import torch

from mapwise.engine import compiled
from mapwise.engine.compiled import run_compiled
from small_tasks import drawn


@pytest.mark.parametrize(("rows", "columns"), [(9, 4), (4, 9), (4, 4)])
def test_a_product_of_two_transposes_is_computed_in_the_wider_order(rows, columns, monkeypatch):
    firsts = []

    def uncompiled(listed, inputs):
        (product,) = listed.graph.find_nodes(op="call_function", target=torch.ops.aten.bmm.default)
        factor = product.args[0]
        while factor.op != "placeholder":
            factor = factor.args[0]
        firsts.append(listed.graph.find_nodes(op="placeholder").index(factor))
        return listed

    monkeypatch.setattr("torch._inductor.compile", uncompiled)
    monkeypatch.setattr(compiled, "_programs", [])

    def function(a, b):
        product = torch.bmm(a.mT, b.mT)
        return product.view(-1).sin().sum(), product

    a, b = drawn(3, 7, rows), drawn(3, columns, 7, seed=1)
    total, product = run_compiled(function, ("owner",), a, b)
    torch.testing.assert_close((total, product), function(a, b), rtol=1e-12, atol=1e-12)
    assert product.is_contiguous()
    assert firsts == [1 if rows > columns else 0]
