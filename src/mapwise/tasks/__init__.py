"""Sources of tasks: pure functions from (seed, step) to a batch of tasks."""
