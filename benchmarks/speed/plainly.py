"""A meta-gradient of the memory and generation families beside the same networks written plainly, all tasks as a batch.

    python -m benchmarks.speed.plainly [--quick] [--json FILE]

What is compared is the price of two functions that are written for one task. The neural Turing machine has a row of its
own.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

import mapwise as mw
from benchmarks import row
from benchmarks.peers.plain_bayes import abml_loss, versa_loss
from benchmarks.peers.plain_generators import cnp_loss, hypernet_loss
from benchmarks.peers.plain_mann import mann_loss
from benchmarks.peers.plain_meta_networks import meta_networks_loss
from benchmarks.row import Line, Row, Target
from benchmarks.side_by_side import Spread, agree, interleaved, ratio
from benchmarks.speed.ours import chosen, ours
from mapwise.core import random, tree
from mapwise.core.families.class_noise import noise_by_class
from mapwise.core.learner import Learner
from mapwise.core.stream import is_stream
from mapwise.core.task import Task
from mapwise.core.tree import Params
from mapwise.data.glyphs import glyphs
from mapwise.learners.generation.abml import RATE
from mapwise.nets import MLP

SLOWEST = 3.0


def plain(loss: Callable[..., Tensor], params: Params, tasks: Task) -> Callable[[], list[Tensor]]:
    """The gradients of the loss with regard to the same weights, in their order."""
    flat = {name: leaf.detach().requires_grad_() for name, leaf in tree.flatten(params).items()}
    queries = () if is_stream(tasks) else (tasks.query.x, tasks.query.y)
    given = (tasks.support.x, tasks.support.y, *queries)

    def run() -> list[Tensor]:
        return list(
            torch.autograd.grad(loss(tree.unflatten(flat), *given), list(flat.values()), materialize_grads=True)
        )

    return run


@dataclass(frozen=True)
class Contest:
    """A learner, the loss that a person would write for its network, and a batch of tasks."""

    what: str
    learner: Learner
    loss: Callable[..., Tensor]
    tasks: Task
    noise: Callable[[Task, Params], dict[str, Tensor]] | None = None
    """What the learner draws for one task, so that the gradients of both can be compared; None: nothing."""


def contests(tasks: int, width: int, *, quick: bool) -> dict[str, Contest]:
    """By the learner's name."""
    pictures = glyphs(size=20)
    episodes = mw.Episodes(pictures, ways=5, shots=1, queries=15, tasks=tasks)(0)
    features = partial(MLP, (1, 20, 20), None, hidden=(width,))
    functions = mw.Sinusoid(shots=5, queries=10, tasks=tasks)(0)
    streams = mw.Stream(pictures, ways=5, tasks=tasks, length=10 if quick else 50)

    cnp = mw.CNP(partial(MLP, (1,), None, hidden=(width,)), loss="gaussian", width=width)
    hypernet = mw.HyperNet(partial(MLP, (1,), 1, hidden=(40, 40)), hidden=width, passes=2, loss="squared_error")
    mann = mw.MANN(features, **({"units": 8, "slots": 8} if quick else {}))
    machine = partial(mann_loss, heads=mann.heads, slots=mann.slots, width=mann.width, decay=mann.decay)
    networks = mw.MetaNetworks(features)
    versa = mw.VERSA(features)
    abml = mw.ABML(partial(MLP, (1,), 1, hidden=(40, 40)), inner_lr=0.01, loss="squared_error").at(1.0)
    bound = partial(
        abml_loss,
        steps=abml.inner_steps,
        lr=abml.inner_lr,
        draws=abml.inner_samples,
        samples=abml.samples,
        inner_kl=abml.inner_kl,
        outer_kl=abml.outer_kl,
        hyper_prior=abml.hyper_prior,
        rate=RATE,
    )

    def heads(task: Task, params: Params) -> dict[str, Tensor]:
        width = params["inference"]["head.weight"].shape[0] // 2
        return {"noise": noise_by_class(task.support, versa.samples, width)}

    def weights(task: Task, params: Params) -> dict[str, Tensor]:
        size = sum(leaf.numel() for leaf in params["mean"].values())
        step, prediction = (random.fold(task.support.key, place) for place in (0, 1))
        return {
            "within": random.normal(step, (abml.inner_steps, abml.inner_samples, size)),
            "after": random.normal(prediction, (abml.samples, size)),
        }

    return {
        "cnp": Contest(
            f"{width} units, 10 points of functions",
            cnp,
            partial(cnp_loss, least=cnp.least_scale),
            mw.GaussianProcess(shots=10, tasks=tasks)(0),
        ),
        "hypernet": Contest(
            "writes the head of a 40-40 MLP in two passes from 5 points",
            hypernet,
            partial(hypernet_loss, passes=2),
            functions,
        ),
        "abml": Contest(
            f"the posterior of a 40-40 MLP by {abml.inner_steps} steps on 5 points", abml, bound, functions, weights
        ),
        "versa": Contest(
            f"an MLP of {width} units, glyphs, 5 ways, 1 shot",
            versa,
            partial(versa_loss, samples=versa.samples, log_variance=versa.log_variance),
            episodes,
            heads,
        ),
        "meta_networks": Contest(
            f"an MLP of {width} units, glyphs, 5 ways, 1 shot",
            networks,
            partial(meta_networks_loss, chunks=networks.chunks),
            episodes,
        ),
        "mann": Contest(f"an MLP of {width} units, streams of {streams.length} rows", mann, machine, streams(0)),
    }


def benchmark(options: argparse.Namespace) -> Row:
    tasks, width = (2, 8) if options.quick else (16, 128)
    result = Row("plainly", "gp, sinusoid, glyphs", f"time of one meta-gradient of {tasks} tasks; float32")
    lines: list[Line] = []
    for name, contest in contests(tasks, width, quick=options.quick).items():
        learner, loss, batch = contest.learner, contest.loss, contest.tasks
        params = learner.init(0)
        if name == "hypernet":  # it begins by writing nothing, of which gradients say little
            params["writes"]["last"] = tree.map(lambda leaf: 0.1 * torch.randn_like(leaf), params["writes"]["last"])
        double = tree.map(Tensor.double, params)
        few = Task(
            *(rows._replace(x=rows.x.double(), y=rows.y.double(), weight=rows.weight.double()) for rows in batch)
        )
        same = partial(loss, **_every(contest.noise, few, double)) if contest.noise else loss
        apart = agree(name, plain(same, double, few)(), ours(learner, double, few, how="vmap")()[0])
        how = chosen(learner, params, batch, clock=options.clock)
        contenders = {"mapwise": ours(learner, params, batch, how=how), "plain": plain(loss, params, batch)}
        spans = interleaved(
            contenders,
            rounds=options.rounds,
            seconds=0.0 if options.quick else 0.3,
            device=options.device,
            clock=options.clock,
        )
        over = ratio(spans["mapwise"], spans["plain"])
        lines.append(
            {
                "learner": name,
                "what": contest.what,
                "mapwise, ms": Spread.of(spans["mapwise"]).times(1000),
                "plainly, ms": Spread.of(spans["plain"]).times(1000),
                "over the plain one": over,
            }
        )
        result.targets.append(Target(f"time of {name} over the plain one's", over.median, SLOWEST, at_least=False))
        result.notes.append(f"{name}: float64 gradients agree before timing, relative difference {apart:.0e}")
    result.tables.append(("one meta-gradient", lines))
    return result


def _every(noise: Callable[[Task, Params], dict[str, Tensor]], tasks: Task, params: Params) -> dict[str, Tensor]:
    """What is drawn for every task, in float64."""
    drawn: dict[str, Tensor] = torch.vmap(lambda task: noise(task, params))(tasks)
    return {name: numbers.double() for name, numbers in drawn.items()}


if __name__ == "__main__":
    sys.exit(row.run(row.parser(__doc__), benchmark, sys.argv[1:]))
