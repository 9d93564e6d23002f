"""How long one task takes, from its support set to its predictions: ProtoNet, MAML, and heads on ready features.

python -m benchmarks.speed.latency [--threads 2] [--device cuda] [--quick] [--json FILE]
"""

import argparse
import sys
from collections.abc import Callable, Mapping

import numpy as np
import torch
from sklearn.neighbors import NearestCentroid
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import row
from benchmarks.peers import installed, plain
from benchmarks.row import Line, Row
from benchmarks.side_by_side import Run, Spread, agree, interleaved, quickest, ratio
from benchmarks.speed.maml_conv4 import ORDERS
from benchmarks.speed.sampling import made_up
from mapwise.core.learner import Learner
from mapwise.core.map_tasks import task_at
from mapwise.core.task import Task
from mapwise.core.tree import Params
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.nets.conv4 import Conv4
from mapwise.tasks.episodes import Episodes

WAYS, SHOTS, QUERIES, STEPS, RATE = 5, 1, 15, 5, 0.1

Make = Callable[[str, torch.dtype], Run]
"""(layout, dtype) -> a function that returns the scores of the queries"""


def scores(learner: Learner, params: Params, task: Task) -> Run:
    """mapwise's way from a task to its scores."""

    @torch.no_grad()
    def run() -> Tensor:
        return learner.predict(params, learner.adapt(params, task.support), task.query.x)

    return run


def cast(task: Task, dtype: torch.dtype) -> Task:
    return Task(*(part._replace(x=part.x.to(dtype), y=part.y.to(dtype), weight=part.weight.to(dtype)) for part in task))


def benchmark(options: argparse.Namespace) -> Row:
    filters = 8 if options.quick else 64
    task = task_at(Episodes(made_up(20), ways=WAYS, shots=SHOTS, queries=QUERIES, tasks=1, device=options.device)(0), 0)
    result = Row(
        "latency",
        "made-up images",
        f"time from one task's support to its predictions; {WAYS}-way {SHOTS}-shot {QUERIES} queries a class, 28x28, "
        f"Conv4-{filters} with batch statistics, float32; everyone in the layout it is fastest with",
    )
    for title, learner, others in (
        ("ProtoNet", ProtoNet(lambda: Conv4((1, 28, 28), filters=filters)), protonet(filters, task)),
        (
            f"MAML, {STEPS} steps",
            MAML(lambda: Conv4((1, 28, 28), WAYS, filters=filters), inner_steps=STEPS, inner_lr=RATE),
            maml(filters, task, result),
        ),
    ):
        params = {name: leaf.to(options.device) for name, leaf in learner.init(0).items()}
        result.tables.append((title, compared(title, learner, params, task, others, options, result)))
    result.tables.append(("heads on ready features, 64 numbers a row, 5-way 5-shot", [*heads(options, result)]))
    return result


def compared(
    title: str,
    learner: Learner,
    params: Params,
    task: Task,
    others: Mapping[str, Callable[[list[Tensor]], Make]],
    options: argparse.Namespace,
    result: Row,
) -> list[Line]:
    """The others give the same scores in float64; then everyone is timed."""
    layouts = [f"{order}, channels {place}" for order in ORDERS for place in ("first", "last")]
    layouts = layouts[:1] if options.quick else layouts
    double = {name: leaf.double() for name, leaf in params.items()}
    wanted = scores(learner, double, cast(task, torch.float64))()
    contenders: dict[str, Run] = {"mapwise": scores(learner, params, task)}
    taken = {"mapwise": ""}
    for name, bind in others.items():
        product = bind(list(params.values()))
        taken[name] = quickest(
            {layout: product(layout, torch.float32) for layout in layouts}, device=options.device, clock=options.clock
        )
        apart = agree(f"{name}, {title},", [product(taken[name], torch.float64)()], [wanted])
        result.notes.append(
            f"{title}: the float64 scores of {name} agree before timing, relative difference {apart:.0e}"
        )
        contenders[name] = product(taken[name], torch.float32)
    spans = interleaved(
        contenders,
        rounds=options.rounds,
        seconds=0.0 if options.quick else 0.2,
        device=options.device,
        clock=options.clock,
    )
    return [
        {
            "contender": name,
            "layout": taken[name],
            "ms": Spread.of(times).times(1000),
            "over mapwise": ratio(times, spans["mapwise"]),
        }
        for name, times in spans.items()
    ]


def _net(outputs: int | None, filters: int, layout: str, leaves: list[Tensor], dtype: torch.dtype) -> nn.Module:
    order, _, channels = layout.rpartition(", ")
    last = channels == "channels last"
    net = plain.conv4(1, outputs, filters=filters, features=filters, order=order, channels_last=last)
    return plain.with_weights(net, [leaf.to(dtype) for leaf in leaves])


def protonet(filters: int, task: Task) -> dict[str, Callable[[list[Tensor]], Make]]:
    def by_hand(leaves: list[Tensor]) -> Make:
        def make(layout: str, dtype: torch.dtype) -> Run:
            net = _net(None, filters, layout, leaves, dtype)
            x, y, query_x = task.support.x.to(dtype), task.support.y.argmax(-1), task.query.x.to(dtype)

            @torch.no_grad()
            def run() -> Tensor:
                return plain.protonet_scores(net(x), y, net(query_x))

            return run

        return make

    return {"plain PyTorch": by_hand}


def maml(filters: int, task: Task, result: Row) -> dict[str, Callable[[list[Tensor]], Make]]:
    """Plain PyTorch on a copy of the net, and the peers in their ways that keep no graph of the steps."""
    modules, absent = installed()
    result.notes += [f"{name} is left out: {reason}" for name, reason in absent.items()]

    def bound(adapted: Callable[[nn.Module, Tensor, Tensor], Callable[[Tensor], Tensor]]):
        def bind(leaves: list[Tensor]) -> Make:
            def make(layout: str, dtype: torch.dtype) -> Run:
                net = _net(WAYS, filters, layout, leaves, dtype)
                x, y, query_x = task.support.x.to(dtype), task.support.y.argmax(-1), task.query.x.to(dtype)

                def run() -> Tensor:
                    predictor = adapted(net, x, y)
                    with torch.no_grad():
                        return predictor(query_x)

                return run

            return make

        return bind

    def with_higher(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        import higher

        inner = torch.optim.SGD(net.parameters(), lr=RATE)
        with higher.innerloop_ctx(net, inner, track_higher_grads=False) as (fast, step):
            for _ in range(STEPS):
                step.step(F.cross_entropy(fast(x), y))
        return fast

    def with_learn2learn(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        learner = modules["learn2learn"].learn2learn.algorithms.MAML(net, lr=RATE, first_order=True).clone()
        for _ in range(STEPS):
            learner.adapt(F.cross_entropy(learner(x), y))
        return learner

    ways = {"plain PyTorch": lambda net, x, y: plain.adapted(net, x, y, steps=STEPS, lr=RATE)}
    ways |= {name: way for name, way in (("higher", with_higher), ("learn2learn", with_learn2learn)) if name in modules}
    return {name: bound(way) for name, way in ways.items()}


def heads(options: argparse.Namespace, result: Row) -> list[Line]:
    """The nearest class mean, here and in scikit-learn, on the same features."""
    features = made_up(20).x.reshape(400, -1)[:, :64].astype(np.float32) / 255
    labels = np.repeat(np.arange(WAYS), 20)
    each = np.arange(WAYS * 20).reshape(WAYS, 20)
    chosen, judged = each[:, :5].reshape(-1), each[:, 5:].reshape(-1)
    one_hot = torch.eye(WAYS)[torch.from_numpy(labels)]
    rows = torch.from_numpy(features[: WAYS * 20])
    weight, key = torch.ones(WAYS * 20), torch.zeros((), dtype=torch.int64)
    from mapwise.core.task import Examples

    support, query = (Examples(rows[i], one_hot[i], weight[i], key) for i in (chosen, judged))
    mine = scores(ProtoNet(nn.Flatten), {}, Task(support, query))
    x, y, query_x = features[chosen], labels[chosen], features[judged]

    def theirs() -> np.ndarray:
        return NearestCentroid().fit(x, y).predict(query_x)

    if not np.array_equal(mine().argmax(-1).numpy(), theirs()):
        raise RuntimeError("scikit-learn's nearest centroid predicts other classes than mapwise's nearest mean")
    result.notes.append("heads: both predict the same classes")
    contenders = {"mapwise nearest_mean": mine, "scikit-learn NearestCentroid": theirs}
    spans = interleaved(contenders, rounds=options.rounds, seconds=0.0 if options.quick else 0.2, clock=options.clock)
    return [
        {
            "contender": name,
            "ms": Spread.of(times).times(1000),
            "over mapwise": ratio(times, spans["mapwise nearest_mean"]),
        }
        for name, times in spans.items()
    ]


def main(words: list[str]) -> int:
    return row.run(row.parser(__doc__), benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
