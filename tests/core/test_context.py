"""The context of a computation: one value, replaced for as long as something runs."""

import contextvars
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mapwise.core import context
from mapwise.core.context import Call, Context
from mapwise.nets import MLP


def test_fields_are_replaced_within_and_restored_after():
    plain = context.current()
    with context.within(precision="bfloat16", recomputes=True):
        with context.within(all_rows_count=True, recomputes=False):
            assert context.current() == Context(precision="bfloat16", all_rows_count=True)
        assert context.current() == Context(precision="bfloat16", recomputes=True)
    assert context.current() is plain


def test_the_context_is_restored_after_an_error():
    plain = context.current()
    with pytest.raises(ZeroDivisionError), context.within(in_products=True):
        raise ZeroDivisionError
    assert context.current() is plain


def test_a_thread_sees_the_context_it_was_given_a_copy_of():
    with ThreadPoolExecutor(1) as pool, context.within(all_rows_count=True):
        copied = pool.submit(contextvars.copy_context().run, context.current).result()
        fresh = pool.submit(context.current).result()
    assert copied.all_rows_count is True and fresh == Context()


def test_a_field_that_the_context_lacks_is_refused():
    with pytest.raises(TypeError, match="all_rows"), context.within(all_rows=True):
        pass


def test_layers_outside_of_mapwise_are_in_a_plain_call():
    assert context.current().call == Call()
    norm_net = MLP((3,), 2, hidden=(4,), norm="support")
    assert norm_net(torch.randn(5, 3)).shape == (5, 2)
