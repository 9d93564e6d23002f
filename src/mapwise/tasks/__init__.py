"""Sources of tasks: pure functions from (seed, step) to a batch of tasks."""

from mapwise.core import renamed as _renamed  # noqa: F401 (it finds the modules that were here)
