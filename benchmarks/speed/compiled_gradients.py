"""The compiled meta-gradient of every learner of the catalog beside the uncompiled one, in every way of mapping.

    python -m benchmarks.speed.compiled_gradients [LEARNER ...] [--programs] [--json FILE]

The compiler rewrites the list of operations, and then writes a C++ program of it. By default the rewritten list is run,
which takes seconds for each; `--programs` writes and runs the programs, which takes minutes for each.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import torch

import mapwise as mw
from benchmarks import row
from benchmarks.row import Line, Row, Target
from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.sources import training_source
from mapwise.core.execution import How
from mapwise.core.learner import Learner
from mapwise.core.source import TaskSource
from mapwise.core.task import Task
from mapwise.data.digits import digits
from mapwise.engine.compiled import ROUNDING, relative_distance
from mapwise.engine.gradient import meta_gradient
from mapwise.learners.row import BLUEPRINTS
from mapwise.nets import MLP
from mapwise.tasks.sequences import Copy

WAYS: tuple[How, ...] = ("vmap", "loop", 2)
SMALL = {"inner_steps": 2, "train_steps": 2, "units": 8, "hidden": 8, "width": 8, "slots": 4, "context_steps": 2}
"""So that a list of operations is short: as many of these as a learner has."""


def problem(name: str) -> tuple[Learner, Task]:
    """The learner as training begins with it, and three tasks that it is for."""
    line = LEARNERS[name]
    functions = ("cnp", "hypernet")
    if not line.takes("classification"):
        source: TaskSource = Copy(length="2", width=2, tasks=3)
    elif name in functions:
        source = mw.Sinusoid(shots=5, queries=4, tasks=3)
    else:
        source = training_source(line, mw.Episodes(digits(), ways=3, shots=2, queries=3, tasks=3))
    fields: dict[str, Any] = {key: value for key, value in SMALL.items() if key in line.fields}
    if name in functions:
        fields["loss"] = {"cnp": "gaussian", "hypernet": "squared_error"}[name]
    fields |= line.sizes(source)
    outputs = source.outputs if line.blueprint and BLUEPRINTS[line.blueprint] else None
    net = partial(MLP, source.inputs.shape, outputs, hidden=(8,), activation="tanh")
    return line.build(net if line.blueprint else None, fields).at(0.0), source(0)


def rewritten(listed: Any, inputs: list[Any]) -> Callable[..., Any]:
    """The list of operations as the compiler rewrites it, run one after another: all but the C++ program."""
    from torch._inductor import compile_fx
    from torch._inductor.fx_passes.post_grad import post_grad_passes, view_to_reshape
    from torch._inductor.virtualized import V

    def run(graph: Any, inputs: Any, **settings: Any) -> Callable[..., Any]:
        view_to_reshape(graph)
        with V.set_fake_mode(compile_fx.fake_tensor_prop(graph, inputs)):
            post_grad_passes(graph, is_inference=settings.get("is_inference", False))
        forward: Callable[..., Any] = graph.forward
        return forward

    compiled: Callable[..., Any] = compile_fx.compile_fx(listed, inputs, inner_compile=run)
    return compiled


def distance(learner: Learner, tasks: Task, how: How, *, programs: bool = False) -> float | str:
    """How far the compiled gradient and loss are from the uncompiled ones; why there is none, where that is so."""
    params = learner.init(0)
    with warnings.catch_warnings(), mock.patch("mapwise.engine.compiled._programs", []):
        warnings.filterwarnings("error", message=".*uncompiled")
        try:
            if programs:
                gradient = meta_gradient(learner, params, tasks, how=how, compile=True)
            else:
                # Lists of operations are safe to run where a program isn't.
                lists = mock.patch("torch._inductor.compile", rewritten)
                with lists, mock.patch.object(type(learner), "uncompiled", ""):
                    gradient = meta_gradient(learner, params, tasks, how=how, compile=True)
        except RuntimeWarning as reason:
            return str(reason)
    return relative_distance(gradient, meta_gradient(learner, params, tasks, how=how))


def measured(settings: argparse.Namespace) -> Row:
    """The table of all learners."""
    settings.rounds = None  # nothing is timed
    names = settings.learners or (
        ["maml", "protonet"] if settings.quick else [name for name, row in LEARNERS.items() if not row.of_runs]
    )
    lines: list[Line] = []
    distances: list[float] = []
    refused = []
    for name in names:
        learner, tasks = problem(name)
        line: Line = {"learner": name}
        for how in WAYS:
            value = distance(learner, tasks, how, programs=settings.programs)
            line[how if isinstance(how, str) else f"{how} tasks at a time"] = (
                value if isinstance(value, float) else "not compiled"
            )
            if isinstance(value, float):
                distances.append(value)
            else:
                refused.append(f"{name}, {how}: {value}")
        lines.append(line)
        print(*line.values(), file=sys.stderr, flush=True)
    what = "C++ programs" if settings.programs else "lists of operations as the compiler rewrites them"
    return Row(
        "compiled-gradients",
        "digits, sinusoid, copy",
        f"relative distance of the compiled meta-gradient and loss from the uncompiled ones; {what}; float32; "
        f"torch {torch.__version__}",
        [("relative distance", lines)],
        [Target("largest relative distance", max(distances, default=None), ROUNDING, at_least=False)],
        notes=refused,
    )


def main(words: list[str]) -> int:
    """Compare, show and write."""
    parser = row.parser(__doc__)
    parser.add_argument("learners", nargs="*", help="of the catalog (default: all)")
    parser.add_argument("--programs", action="store_true", help="write and run the C++ programs")
    return row.run(parser, measured, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
