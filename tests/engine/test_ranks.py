"""Training over many processes is training: the same gradients, the same runs, and an end when one of them dies.

The processes are real and meet over gloo on this machine. They are forked from a server that has imported
torch, each in a folder of its own, as on machines that share no disk.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from conftest import ROOT
from mapwise.core import tree
from mapwise.core.map_tasks import tasks_in
from mapwise.data.digits import digits
from mapwise.engine import checkpoint
from mapwise.engine import ranks as processes
from mapwise.engine import train as training
from mapwise.engine.evaluate import episode_values
from mapwise.engine.folder import BEST, LAST, METRICS
from mapwise.engine.gradient import meta_gradient
from mapwise.engine.ranks import ALONE, LostRank, RaisedOnFirst, Ranks, local_device
from mapwise.engine.train import train
from mapwise.interfaces.cli import main
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP
from mapwise.runs.settings import SETTINGS
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.sinusoid import Sinusoid
from mapwise.workflows import train as workflow
from mapwise.workflows.train import LOCK

TASKS = 4
STEPS = 20


def sine_net():
    return MLP((1,), 1, hidden=(8,), activation="tanh")


def digit_net():
    return MLP((1, 8, 8), None, hidden=(12,), norm="frozen", activation="tanh")


def double(result: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, result)


@dataclass(frozen=True)
class Doubled:
    """A source in float64."""

    source: Any

    def __call__(self, step):
        return double(self.source(step))

    def split(self, name):
        return Doubled(self.source.split(name))

    def __getattr__(self, name):
        return getattr(self.source, name)


def problem(name):
    if name == "maml":
        learner = MAML(net=sine_net, inner_steps=2, inner_lr=0.05, loss="squared_error")
        return learner, Sinusoid(shots=4, queries=5, tasks=TASKS)
    return ProtoNet(encoder=digit_net), Episodes(digits(), ways=3, shots=(1, 2), queries=3, tasks=TASKS)


def hardest(losses):
    """Nearly all weight on the largest loss of the batch, whoever has it."""
    return torch.softmax(5 * losses, 0)


WEIGHINGS = {"mean": "mean", "hardest": hardest}
CASES = [
    (name, weighing, how, dtype)
    for name in ("maml", "protonet")
    for weighing in WEIGHINGS
    for how in ("vmap", "loop", 3)
    for dtype in ("float32", "float64")
]


def gradient_of(case, ranks=ALONE):
    name, weighing, how, dtype = case
    learner, source = problem(name)
    params, tasks = learner.init(0), source(0)
    if dtype == "float64":
        params, tasks = double(params), double(tasks)
    gradient, loss = meta_gradient(learner, params, tasks, how=how, aggregate=WEIGHINGS[weighing], ranks=ranks)
    return {**tree.flatten(gradient), "loss": loss}


def trained(name, ranks=ALONE, *, out=None, resume=False, stop=None, steps=STEPS, aggregate="mean", kill=None):
    """A training in float64 with all that moves the weights; one rank may ask to stop after a step, or be killed."""
    learner, source = problem(name)

    def follow(progress):
        if stop is not None and (ranks.rank, progress.step) == (ranks.world - 1, stop):
            raise KeyboardInterrupt
        if kill is not None and [ranks.rank, progress.step] == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    return train(
        learner,
        Doubled(source),
        steps=steps,
        optimizer="Adam lr=0.01",
        schedule="cosine",
        clip=0.5,
        aggregate=WEIGHINGS[aggregate],
        params=double(learner.init(0)),
        validate_every=5,
        validation_episodes=10,
        how="vmap",
        out=out,
        resume=resume,
        progress=follow,
        ranks=ranks,
    )


# What the processes do: functions of their ranks and JSON-able words, run in a folder of each rank's own.


def job_gradients(ranks):
    for i, case in enumerate(CASES):
        checkpoint.save(Path(f"{i}"), gradient_of(case, ranks), {})


def job_train(ranks, name, out=None, **words):
    try:
        result = trained(name, ranks, out=None if out is None else Path(out), **words)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    about = {"step": result.step, "validation": result.validation, "losses": [r["loss"] for r in result.history]}
    checkpoint.save(Path("trained"), result.params, about)


def job_meet(ranks):
    """Every way to meet, checked where it happens."""
    own = torch.tensor([float(ranks.rank), 1.0])
    assert ranks.gather(own).tolist() == [x for rank in range(ranks.world) for x in (rank, 1.0)]
    single, double_, whole = ranks.sum([own[:1], torch.ones(2, 2, dtype=torch.float64), own])
    assert single.tolist() == [sum(range(ranks.world))]
    assert double_.dtype == torch.float64 and double_.tolist() == [[ranks.world] * 2] * 2
    assert whole.tolist() == [sum(range(ranks.world)), ranks.world]
    assert ranks.agree({"rank": ranks.rank, "word": "é"}) == {"rank": 0, "word": "é"}
    assert ranks.agree(None) is None
    names = [f"{i}" for i in range(30)]
    handed = ranks.hand_out({"b": {name: torch.full((2,), float(ranks.rank)) for name in names}, "a": own})
    assert list(handed) == ["b", "a"] and list(handed["b"]) == names
    assert handed["a"].tolist() == [0.0, 1.0] and handed["b"]["7"].tolist() == [0.0, 0.0]
    assert ranks.hand_out({}) == {}
    assert ranks.either(ranks.rank == ranks.world - 1) and not ranks.either(False)
    with ranks.alike():
        pass
    last = ranks.world - 1
    kind, words = (
        (ValueError, f"process {last} of {ranks.world}: the last") if ranks.leads else (RaisedOnFirst, "the last")
    )
    with pytest.raises(kind, match=words), ranks.alike():
        if ranks.rank == last:
            raise OSError("the last")
    kind = LookupError if ranks.leads else RaisedOnFirst
    with pytest.raises(kind, match="all"), ranks.alike():
        raise LookupError("all")
    done = []
    assert ranks.first(lambda: done.append(1) or 5) == 5
    assert done == [1] * ranks.leads
    values = episode_values(*_judged(), 10, ranks=ranks)
    assert values.tolist() == pytest.approx(episode_values(*_judged(), 10).tolist(), rel=1e-6)


def _judged():
    learner, source = problem("maml")
    return learner, learner.init(0), source.split("val")


def job_lose(ranks):
    """The last rank goes without a word, and the others hear of it."""
    ranks.either(False)  # all are here
    if ranks.rank == ranks.world - 1:
        time.sleep(0.5)  # until the others have left the meeting
        os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(LostRank, match="another process of this training is gone") as lost:
        ranks.either(False)
    assert "\n" not in str(lost.value) and len(str(lost.value)) < 200


def job_drift(ranks):
    """Ranks that begin with different params take rank 0's, and one step leaves them alike."""
    learner, source = problem("maml")
    run = train(learner, source, steps=2, seed=ranks.rank, validation_episodes=2, how="vmap", ranks=ranks)
    checkpoint.save(Path("trained"), run.params, {})


def command(words, kill=None, interrupt=None, lacks_data=None):
    """The command line as torchrun would start it; one rank kills or interrupts itself at a step, or has no data."""
    rank = int(os.environ["RANK"])
    real, calls = training.meta_gradient, [0]

    def deadly(*args, **named):
        calls[0] += 1
        if [rank, calls[0]] == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if [rank, calls[0]] == interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **named)

    def missing(settings):
        raise ValueError("there is no folder data: correct the path")

    training.meta_gradient = deadly
    if rank == lacks_data:
        workflow.source_of = missing
    main(words)


# The server, and how a test speaks to it.


def serve() -> None:
    """Fork the processes of every line that comes in, and answer with their exit codes."""
    weight = torch.zeros(1, requires_grad=True)
    weight.grad = torch.zeros(1)
    torch.optim.SGD([weight], lr=0.1).step()
    torch.vmap(torch.sin)(torch.zeros(1))
    digits()
    for line in sys.stdin:
        order = json.loads(line)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = [fork(rank, port, **order) for rank in range(order["world"])]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        sys.stdout.write(json.dumps(codes) + "\n")
        sys.stdout.flush()


def fork(rank, port, world, job, folder, words):
    child = os.fork()
    if child:
        return child
    place = Path(folder) / f"rank{rank}"
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    for number, name in ((1, "said"), (2, "complained")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    code = 1
    try:
        if job == "command":
            command(**words)
        else:
            with Ranks.started() as ranks:
                globals()[f"job_{job}"](ranks, **words)
        assert not {name for name in threads() if "gloo" in name}, "the group's threads outlived it"
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@pytest.fixture(scope="module")
def start():
    """A function that runs a job on so many ranks and returns their exit codes."""
    if not hasattr(os, "fork"):
        pytest.skip("processes can't be forked on this platform")
    line = [sys.executable, "-c", f"import {__name__} as ranks; ranks.serve()"]
    paths = os.pathsep.join([str(Path(__file__).parent), *(str(Path(path).resolve()) for path in sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:

        def run(job, world, folder, **words):
            order = {"job": job, "world": world, "folder": str(folder), "words": words}
            server.stdin.write(json.dumps(order) + "\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())

        yield run
        server.stdin.close()


def heard(folder, rank, stream="complained"):
    """What a rank wrote on a stream."""
    return (Path(folder) / f"rank{rank}" / stream).read_text()


def well(codes, folder):
    """No rank failed; what the failing ones said, if any."""
    assert codes == [0] * len(codes), "\n".join(heard(folder, rank) for rank in range(len(codes)))


def close(result, expected, tolerance):
    result, expected = tree.flatten(result), tree.flatten(expected)
    assert result.keys() == expected.keys()
    for name, leaf in expected.items():
        torch.testing.assert_close(
            result[name], leaf, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


# One meta-gradient.


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_have_the_gradient_of_one_process_and_all_the_same_bits(world, start, tmp_path):
    well(start("gradients", world, tmp_path), tmp_path)
    for i, case in enumerate(CASES):
        results = [checkpoint.load(tmp_path / f"rank{rank}" / f"{i}")[0] for rank in range(world)]
        for other in results[1:]:
            close(other, results[0], 0)
        close(results[0], gradient_of(case), 1e-5 if case[-1] == "float32" else 1e-10)


def test_weights_of_the_rank_alone_would_give_another_gradient():
    # What the gathering of losses is for: shown to matter on the very batch of the test above.
    learner, source = problem("maml")
    params, tasks = double(learner.init(0)), double(source(0))
    whole, _ = meta_gradient(learner, params, tasks, how="vmap", aggregate=hardest)
    halves = [
        meta_gradient(learner, params, Ranks(rank, 2).share(tasks), how="vmap", aggregate=hardest)[0] for rank in (0, 1)
    ]
    apart = tree.map(lambda a, b: (a + b) / 2, *halves)
    gap = max(
        float((a - b).abs().max()) for a, b in zip(*map(dict.values, map(tree.flatten, (whole, apart))), strict=True)
    )
    assert gap > 1e-3


def test_each_rank_works_on_its_own_tasks_only(monkeypatch):
    seen = []

    def objective(self, params, task):
        seen.append(task.query.y.sum().item())
        return sum(leaf.sum() for leaf in params.values()) * task.query.y.sum()

    monkeypatch.setattr(MAML, "objective", objective)
    learner, source = problem("maml")
    whole = source(0)
    for rank in (0, 1):
        seen.clear()
        meta_gradient(learner, learner.init(0), Ranks(rank, 2).share(whole), how="loop")
        assert seen == whole.query.y[2 * rank : 2 * rank + 2].sum((1, 2)).tolist()


@pytest.mark.parametrize("world", [3, 8])
def test_a_meta_batch_that_cannot_be_shared_out_is_refused_in_one_sentence(world):
    learner, source = problem("maml")
    with pytest.raises(ValueError, match=rf"4 tasks can't be shared out evenly over {world} processes.*1, 2, 4$") as no:
        meta_gradient(learner, learner.init(0), source(0), ranks=Ranks(0, world))
    assert "\n" not in str(no.value)


def test_parts_of_anything_cover_it_once():
    for world in (1, 2, 3, 7):
        for total in (0, 1, 5, 100):
            spans = [Ranks(rank, world).span(total) for rank in range(world)]
            assert [i for low, high in spans for i in range(low, high)] == list(range(total))
            assert max(high - low for low, high in spans) - min(high - low for low, high in spans) <= 1


def test_the_ways_to_meet(start, tmp_path):
    well(start("meet", 3, tmp_path), tmp_path)


def test_a_process_alone_meets_nobody():
    assert (ALONE.rank, ALONE.world, ALONE.leads) == (0, 1, True)
    batch = problem("maml")[1](0)
    assert ALONE.share(batch) is batch and tasks_in(batch) == TASKS
    values = torch.ones(2)
    assert ALONE.gather(values) is values
    assert ALONE.sum([values])[0] is values
    assert ALONE.agree(values) is values
    with pytest.raises(LookupError), ALONE.alike():
        raise LookupError
    with pytest.raises(ValueError, match="rank is 2 of 2"):
        Ranks(2, 2)


# Training.


@pytest.fixture(scope="module")
def by_one():
    """What one process comes to."""
    return {(name, aggregate): trained(name, aggregate=aggregate) for name, aggregate in TRAININGS}


TRAININGS = [("maml", "mean"), ("maml", "hardest"), ("protonet", "mean")]


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize(("name", "aggregate"), TRAININGS)
def test_twenty_steps_are_those_of_one_process(name, aggregate, world, start, by_one, tmp_path):
    well(start("train", world, tmp_path, name=name, aggregate=aggregate), tmp_path)
    expected = by_one[name, aggregate]
    for rank in range(world):
        params, about = checkpoint.load(tmp_path / f"rank{rank}" / "trained")
        close(params, expected.params, 1e-9)
        assert about["step"] == expected.step
        assert about["validation"] == pytest.approx(expected.validation, rel=1e-6)
        assert about["losses"] == pytest.approx([r["loss"] for r in expected.history], rel=1e-9)


def test_ranks_that_begin_apart_take_the_params_of_the_first(start, tmp_path):
    well(start("drift", 2, tmp_path), tmp_path)
    results = [checkpoint.load(tmp_path / f"rank{rank}" / "trained")[0] for rank in (0, 1)]
    close(results[1], results[0], 0)


@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2), (2, 4)])
def test_a_run_goes_on_in_another_number_of_processes(first, second, start, by_one, tmp_path):
    # The last rank asks to stop, after a step that is no validation: all stop there, and only rank 0 has the run.
    assert start("train", first, tmp_path, name="maml", out="run", stop=8) == [130] * first
    assert checkpoint.load(tmp_path / "rank0" / "run" / LAST)[1]["step"] == 8
    well(start("train", second, tmp_path, name="maml", out="run", resume=True), tmp_path)
    for rank in range(second):
        close(checkpoint.load(tmp_path / f"rank{rank}" / "trained")[0], by_one["maml", "mean"].params, 1e-9)
        assert (tmp_path / f"rank{rank}" / "run").exists() == (rank == 0)
    expected = by_one["maml", "mean"]
    assert checkpoint.load(tmp_path / "rank0" / "trained")[1]["step"] == expected.step
    records = [json.loads(line) for line in (tmp_path / "rank0" / "run" / METRICS).read_text().splitlines()]
    assert [r["loss"] for r in records] == pytest.approx([r["loss"] for r in expected.history], rel=1e-9)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_others_and_the_run_goes_on_to_the_same_bits(victim, start, tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    well(start("train", 2, alone, name="protonet", out="run"), alone)
    began = time.monotonic()
    codes = start("train", 2, killed, name="protonet", out="run", kill=[victim, 13])
    assert time.monotonic() - began < 15
    assert codes == [-signal.SIGKILL if rank == victim else 1 for rank in (0, 1)]
    assert "LostRank: another process of this training is gone" in heard(killed, 1 - victim)
    assert checkpoint.load(killed / "rank0" / "run" / LAST)[1]["step"] == 10
    well(start("train", 2, killed, name="protonet", out="run", resume=True), killed)
    for name in (LAST, BEST):
        assert (killed / "rank0" / "run" / name).read_bytes() == (alone / "rank0" / "run" / name).read_bytes()


def test_a_lost_rank_is_heard_of_by_all_others(start, tmp_path):
    assert start("lose", 3, tmp_path) == [0, 0, -signal.SIGKILL], heard(tmp_path, 0)


# The command line.

TINY = ["train", "protonet", "digits", "--ways", "3", "--steps", "6", "--tasks", "2", "--validation-episodes", "8"]
TINY += ["--how", "vmap", "--threads", "1", "--validate-every", "3", "--net.hidden", "8", "--net", "mlp"]


@contextmanager
def inside(folder):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def alone(words, folder):
    """The command line in this process; its exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    with inside(folder), pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


def test_the_command_trains_on_ranks_and_only_the_first_writes_and_speaks(start, tmp_path):
    assert start("command", 2, tmp_path, words=TINY) == [0, 0], heard(tmp_path, 0)
    run = tmp_path / "rank0" / "runs" / "protonet-digits"
    assert {path.name for path in run.iterdir()} == {SETTINGS, LAST, BEST, METRICS, LOCK}
    assert "next: mapwise eval" in heard(tmp_path, 0, "said")
    assert {path.name for path in (tmp_path / "rank1").iterdir()} == {"said", "complained"}
    assert heard(tmp_path, 1, "said") == heard(tmp_path, 1) == ""
    # A run says nothing of the number of processes.
    assert alone(TINY, tmp_path / "one") == 0
    assert (tmp_path / "one" / "runs" / "protonet-digits" / SETTINGS).read_bytes() == (run / SETTINGS).read_bytes()
    one, two = (checkpoint.load(folder / BEST)[0] for folder in (tmp_path / "one" / "runs" / "protonet-digits", run))
    close(two, one, 1e-4)


def test_auto_and_threads_are_those_of_the_first_rank(start, tmp_path):
    words = [word for word in TINY if word not in ("--how", "vmap", "--threads", "1")]
    words = [*words[:5], "--steps", "2", "--tasks", "2", "--json"]
    assert start("command", 2, tmp_path, words=words) == [0, 0], heard(tmp_path, 0)
    text = (tmp_path / "rank0" / "runs" / "protonet-digits" / SETTINGS).read_text()
    how = json.loads(heard(tmp_path, 0, "said"))["how"]
    assert f'how = "{how}"' in text and how in ("vmap", "loop")
    assert "threads = 1" in text


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_command_in_one_sentence_and_resume_goes_on(victim, start, tmp_path):
    codes = start("command", 2, tmp_path, words=TINY, kill=[victim, 5])
    assert codes == [-signal.SIGKILL if rank == victim else 1 for rank in (0, 1)]
    other = 1 - victim
    answer = heard(tmp_path, other)
    who = "mapwise, process 1" if other else "mapwise"
    assert re.fullmatch(
        rf"{who}: another process of this training is gone \(.+\): "
        r"go on with mapwise train --resume runs/protonet-digits, in as many processes as you like\n",
        answer,
    ), answer
    assert start("command", 2, tmp_path, words=["train", "--resume", "runs/protonet-digits"]) == [0, 0]
    assert alone(TINY, tmp_path / "one") == 0
    run, one = (place / "runs" / "protonet-digits" for place in (tmp_path / "rank0", tmp_path / "one"))
    close(checkpoint.load(run / BEST)[0], checkpoint.load(one / BEST)[0], 1e-4)


def test_ctrl_c_heard_by_one_rank_stops_all_after_the_same_step(start, tmp_path):
    assert start("command", 2, tmp_path, words=TINY, interrupt=[1, 2]) == [130, 130], heard(tmp_path, 0)
    assert heard(tmp_path, 0) == (
        "mapwise: stopped after step 2 of 6: go on with mapwise train --resume runs/protonet-digits\n"
    )
    assert heard(tmp_path, 1) == ""
    folder = tmp_path / "rank0"
    assert checkpoint.load(folder / "runs" / "protonet-digits" / LAST)[1]["step"] == 2
    # Without torchrun: in one process.
    assert alone(["train", "--resume", "runs/protonet-digits"], folder) == 0
    assert checkpoint.load(folder / "runs" / "protonet-digits" / LAST)[1]["step"] == 6


@pytest.mark.parametrize(
    ("words", "sentence", "code"),
    [
        ([*TINY, "--tasks", "3"], "a meta-batch of 3 tasks can't be shared out evenly over 2 processes", 1),
        (["train", "protonet", "no/such/folder"], "there is no file or folder no/such/folder", 2),
        (["train", "protonet", "digits", "--xyzzy", "5"], "No such option: --xyzzy", 2),
        ([*TINY, "--optimizer", "SGD lr=1e30"], "the loss is nan at step", 1),
        (["train", "--resume", "runs/none"], "runs/none is not a run", 1),
    ],
)
def test_what_all_ranks_come_to_is_said_once(words, sentence, code, start, tmp_path):
    codes = start("command", 2, tmp_path, words=words)
    assert codes[0] == code and codes[1] != 0
    answer = heard(tmp_path, 0)
    assert answer.startswith(f"mapwise: {sentence}") and answer.count("\n") == 1
    assert heard(tmp_path, 1) == heard(tmp_path, 0, "said") == ""
    if "loss" not in sentence:
        assert not (tmp_path / "rank0" / "runs").exists()


def test_what_goes_wrong_on_another_machine_is_told_by_the_first_rank(start, tmp_path):
    assert start("command", 2, tmp_path, words=TINY, lacks_data=1) == [1, 1]
    assert heard(tmp_path, 0) == "mapwise: process 1 of 2: there is no folder data: correct the path\n"
    assert heard(tmp_path, 1) == ""
    assert not (tmp_path / "rank0" / "runs").exists()


def test_torchrun_starts_the_command_unchanged_and_a_killed_rank_ends_it(tmp_path):
    words = [*TINY, "--steps", "1000000", "--validate-every", "20"]
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mapwise"]
    run = tmp_path / "runs" / "protonet-digits"
    with (tmp_path / "said").open("w") as answer:
        torchrun = subprocess.Popen(
            [*line, *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stderr=answer
        )
    try:
        until = time.monotonic() + 240
        while not ((run / METRICS).exists() and (run / METRICS).read_text().count("validation")):
            assert torchrun.poll() is None and time.monotonic() < until
            time.sleep(0.1)
        (victim,) = (pid for pid in children(torchrun.pid) if b"RANK=1" in environment_of(pid))
        os.kill(victim, signal.SIGKILL)
        assert torchrun.wait(30) == 1
    finally:
        torchrun.terminate()  # which ends its processes, too
        torchrun.wait(60)
    lines = [line for line in (tmp_path / "said").read_text().splitlines() if line.startswith("mapwise")]
    (message,) = [line for line in lines if "FAILED" not in line]
    assert "is gone" in message and "--resume runs/protonet-digits" in message
    assert checkpoint.load(run / LAST)[1]["step"] >= 20


def threads():
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def environment_of(pid):
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


# The environment.


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for environment in ({}, {"WORLD_SIZE": "4"}, {"RANK": "0", "WORLD_SIZE": "1"}):
        for name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with Ranks.started() as ranks:
            assert ranks is ALONE
        assert local_device("cuda") == "cuda"


def test_every_rank_takes_a_gpu_of_its_own(monkeypatch):
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert local_device("cuda") == local_device("cuda:0") == "cuda:1"
    assert local_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="start at most 1"):
        local_device("cuda")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ValueError, match="WORLD_SIZE is 'two'"):
        local_device("cuda")


def test_nothing_torch_imports_later_holds_on_to_the_group():
    # Its threads would run on while Python ends, which now and then ends in SIGABRT.
    code = """
import os, sys
import torch.distributed as dist
os.environ.update(RANK="0", WORLD_SIZE="2")
seen = []
def init(*args, **named):
    seen.append("torch.distributed.nn.functional" in sys.modules)
    raise RuntimeError("no further")
dist.init_process_group = init
from mapwise.engine.ranks import LostRank, Ranks
assert "torch.distributed.nn.functional" not in sys.modules
try:
    with Ranks.started():
        pass
except LostRank:
    assert seen == [True]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_network_error_is_told_without_the_places_in_torchs_source():
    gloo = (
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:542] Read error [127.0.0.1]:34693: Connection reset by "
        "peer. This is typically caused by a remote worker hanging."
    )

    def meeting():
        raise RuntimeError(gloo)

    with pytest.raises(LostRank) as lost:
        processes._meet(meeting)
    assert lost.value.reason == "Read error [127.0.0.1]:34693: Connection reset by peer"
