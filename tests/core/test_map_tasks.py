"""A function of one task over many, however they are mapped."""

import pytest
import torch

from mapwise.core.map_tasks import map_tasks, task_at, tasks_in
from mapwise.core.task import Examples, Task
from small_tasks import drawn


def batch_of(tasks: int, rows: int = 3) -> Task:
    parts = [
        Examples(
            drawn(tasks, rows, 2, seed=seed),
            drawn(tasks, rows, 1, seed=seed + 1),
            torch.ones(tasks, rows, dtype=torch.float64),
            torch.arange(tasks),
        )
        for seed in (0, 5)
    ]
    return Task(*parts)


@pytest.mark.parametrize("how", ["vmap", "loop", 1, 2, 3, 5, 9])
def test_tasks_are_mapped_alike_however_they_are_mapped(how):
    batch = batch_of(5)

    def function(task: Task) -> dict[str, torch.Tensor]:
        return {"mean": task.support.x.mean(0), "loss": (task.query.x.sum(-1) * task.query.weight).sum()}

    result = map_tasks(function, batch, how)
    assert result["mean"].shape == (5, 2) and result["loss"].shape == (5,)
    for i in range(5):
        alone = function(task_at(batch, i))
        assert all(torch.allclose(result[name][i], alone[name]) for name in alone)
    assert tasks_in(batch) == 5


@pytest.mark.parametrize("how", ["fast", 0, -1, 1.5])
def test_an_unknown_way_of_mapping_is_refused(how):
    with pytest.raises(ValueError, match="give 'vmap', 'loop', or the number of tasks"):
        map_tasks(lambda task: task.query.y.sum(), batch_of(2), how)
