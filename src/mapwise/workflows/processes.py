"""The processes of a training: how they begin, and which of them reports an error."""

from collections.abc import Iterator
from contextlib import contextmanager

from mapwise.engine.ranks import RaisedOnFirst, Ranks
from mapwise.workflows.errors import Untold


@contextmanager
def ranks_started() -> Iterator[Ranks]:
    """The processes that torchrun started; what the first tells of, the others don't repeat."""
    try:
        with Ranks.started() as ranks:
            yield ranks
    except RaisedOnFirst:
        raise Untold from None
