"""A training that is stopped, at whatever moment, ends in the same bytes as one that was left alone."""

import functools
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch

from mapwise.data import tensor_file
from mapwise.data.digits import digits
from mapwise.engine import checkpoint, loop
from mapwise.engine import train as training
from mapwise.engine.folder import BEST, LAST, METRICS
from mapwise.engine.train import train
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.sinusoid import Sinusoid

RECORDS = 3
ROWS = functools.cache(digits)


def sine_net():
    return MLP((1,), 1, hidden=(8,), activation="tanh")


def digit_net():
    return MLP((1, 8, 8), None, hidden=(16,), norm="frozen")


@dataclass(frozen=True)
class Setting:
    """One training, small enough to be run hundreds of times."""

    source: str
    optimizer: str
    schedule: str | None
    steps: int
    validate_every: int
    warmup: int = 0
    clip: float | None = None
    patience: int | None = None
    select: str = "best"
    how: object = "vmap"
    seed: int = 0

    def run(self, out: Path | None, resume: bool = False, progress=None):
        if self.source == "sinusoid":
            learner = MAML(net=sine_net, inner_steps=1, inner_lr=0.05, loss="squared_error")
            source = Sinusoid(shots=5, queries=5, tasks=4)
        else:
            learner = ProtoNet(encoder=digit_net)
            source = Episodes(ROWS(), ways=3, shots=1, queries=4, tasks=2)
        return train(
            learner,
            source,
            steps=self.steps,
            optimizer=self.optimizer,
            schedule=self.schedule,
            warmup=self.warmup,
            clip=self.clip,
            seed=self.seed,
            validate_every=self.validate_every,
            validation_episodes=6,
            patience=self.patience,
            select=self.select,
            how=self.how,
            out=out,
            resume=resume,
            progress=progress,
        )


ADAM = Setting("sinusoid", "Adam lr=0.01", "cosine", steps=24, validate_every=5, clip=1.0)
MOMENTUM = Setting(
    "digits", "SGD lr=0.1 momentum=0.9", "StepLR step_size=4 gamma=0.5", steps=24, validate_every=4, patience=4
)
WHOLE = replace(ADAM, steps=45, validate_every=4, warmup=8, patience=3)
LAST_ONE = replace(ADAM, optimizer="AdamW lr=0.01 amsgrad=True", schedule="OneCycleLR max_lr=0.05 total_steps=24")
SETTINGS = {"adam": ADAM, "whole": WHOLE, "momentum": MOMENTUM, "last": replace(LAST_ONE, select="last")}


def left(out: Path):
    """What a run leaves, without the times: bytes of both checkpoints, and the metrics."""
    records = [json.loads(line) for line in (out / METRICS).read_text().splitlines()]
    for record in records:
        assert record.pop("seconds") >= 0
        assert record.pop("processor_seconds") >= 0
    assert sorted(path.name for path in out.iterdir()) == sorted([LAST, BEST, METRICS])
    return (out / LAST).read_bytes(), (out / BEST).read_bytes(), records


@pytest.fixture(scope="module", autouse=True)
def windows():
    """Records every 8 steps, so that stops fall between them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "RECORDS", RECORDS)
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What each setting leaves when nobody stops it."""
    by_name = {}
    for name, setting in SETTINGS.items():
        out = tmp_path_factory.mktemp(name)
        setting.run(out)
        by_name[name] = left(out)
    return by_name


class AtCall:
    """Acts at the count-th function call or return, of Python or of C, and counts them all."""

    def __init__(self, count, act) -> None:
        self.left, self.act = count, act
        self.calls = 0

    def __call__(self, frame, event, arg) -> None:
        self.calls += 1
        self.left -= 1
        if self.left == 0:
            sys.setprofile(None)
            self.act()

    def during(self, run):
        sys.setprofile(self)
        try:
            return run()
        finally:
            sys.setprofile(None)


# Real processes, killed for good. They are forked from a server that has imported torch, and has not used it.


@dataclass(frozen=True)
class Life:
    """One process that resumes a run, and how it is to end."""

    name: str
    out: str
    save_seconds: float = 1e9
    kill_after: float | None = None
    """Seconds after which another process kills it."""
    die: tuple[str, int] | None = None
    """A function "call", or one of MOMENTS, and at which such moment to die."""
    after: int = 0
    """Moments are counted from the first step of this life that is so far in the run; 0: from its beginning."""


def live(life: Life) -> None:
    torch.set_num_threads(1)
    loop.SAVE_SECONDS, loop.RECORDS = life.save_seconds, RECORDS
    armed = []

    def arm(step):
        if life.die is not None and step >= life.after and not armed:
            armed.append(step)
            die_at(*life.die)

    arm(0)
    SETTINGS[life.name].run(Path(life.out), resume=True, progress=lambda progress: arm(progress.step))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(real, *args) -> None:
    die()


def after(real, *args) -> None:
    real(*args)
    die()


def halfway(real, path, writer, **settings) -> None:
    """Write half of a file, as a process does that is killed meanwhile."""

    def half(file):
        whole = io.BytesIO()
        writer(whole)
        file.write(whole.getvalue()[: whole.tell() // 2])
        file.flush()
        die()

    real(path, half, **settings)


MOMENTS = {
    "fsync before": (os, "fsync", before),
    "fsync after": (os, "fsync", after),
    "replace before": (os, "replace", before),
    "replace after": (os, "replace", after),
    "write halfway": (tensor_file, "write_atomically", halfway),
}


def die_at(moment: str, count: int) -> None:
    """Kill this process at the count-th such moment."""
    if moment == "call":
        sys.setprofile(AtCall(count, die))
        return
    place, name, end = MOMENTS[moment]
    real = getattr(place, name)
    coming = [count]

    def deadly(*args, **settings):
        coming[0] -= 1
        if coming[0] == 0:
            end(real, *args, **settings)
        return real(*args, **settings)

    setattr(place, name, deadly)


def serve() -> None:
    """Fork a process for every line that comes in, and answer with its exit code."""
    # What torch imports at its first use is imported once; a backward pass, which may start threads, is left out.
    weight = torch.zeros(1, requires_grad=True)
    weight.grad = torch.zeros(1)
    torch.optim.SGD([weight], lr=0.1).step()
    torch.vmap(torch.sin)(torch.zeros(1))
    ROWS()
    for line in sys.stdin:
        life = Life(**json.loads(line))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                live(life)
                code = 0
            finally:
                os._exit(code)
        if life.kill_after is not None:
            time.sleep(life.kill_after)
            os.kill(child, signal.SIGKILL)  # a process that has ended stays killable until it is waited for
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


@pytest.fixture(scope="module")
def process():
    """A function that lives one Life and returns its exit code."""
    if not hasattr(os, "fork"):
        pytest.skip("processes can't be forked on this platform")
    command = [sys.executable, "-c", f"import {__name__} as lives; lives.serve()"]
    paths = os.pathsep.join([str(Path(__file__).parent), *(str(Path(path).resolve()) for path in sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:

        def run(life: Life) -> int:
            server.stdin.write(json.dumps(asdict(life)) + "\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        yield run
        server.stdin.close()


@pytest.mark.parametrize("name", ["momentum", "last"])
def test_a_run_killed_from_outside_at_random_moments_ends_in_the_same_bytes(name, alone, process, tmp_path):
    moments = random.Random(name)
    killed = 0
    for attempt in range(15):
        # Some write a checkpoint at every step, others only at validations.
        save_seconds = (0.0, 1e9)[attempt % 2]
        code = process(Life(name, str(tmp_path), save_seconds, kill_after=moments.uniform(0.01, 0.2)))
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
    assert process(Life(name, str(tmp_path))) == 0
    assert killed > 0
    assert left(tmp_path) == alone[name]


def ten_lives(out, end):
    """Lives that are killed at moments all over the run "whole", which has so many steps; none reaches its last."""
    moments = random.Random("whole")
    counter = AtCall(-1, die)
    counter.during(lambda: WHOLE.run(None))
    lives = [
        Life(
            "whole",
            str(out),
            save_seconds=moments.choice((0.0, 1e9)),
            die=("call", moments.randint(1, counter.calls // end)),
            after=1 + int((end - 5) * (number + moments.random()) / 10),
        )
        for number in range(10)
    ]
    # One is killed before its first step, and one while it writes the checkpoint of a validation without a best.
    lives[4] = replace(lives[4], after=0)
    lives[8] = replace(lives[8], die=("write halfway", 1), after=end - 2 * WHOLE.validate_every - 1, save_seconds=1e9)
    return lives


def test_adam_warm_up_cosine_clipping_and_early_stopping_survive_ten_kills(alone, process, tmp_path):
    end = alone["whole"][2][-1]["step"]
    assert end < WHOLE.steps  # it lost its patience
    results = []
    for life in ten_lives(tmp_path, end):
        assert process(life) == -signal.SIGKILL
        about = checkpoint.load(tmp_path / LAST)[1]
        recorded = [json.loads(line)["step"] for line in (tmp_path / METRICS).read_text().splitlines()]
        results.append((about, max([0, *recorded])))
        assert list(tmp_path.glob(f".{LAST}.*.part")) or life.die[0] != "write halfway"
    # So there was something to lose: a rate half-way up, a count of validations, a record of steps to be taken again.
    assert any(0 < about["step"] < WHOLE.warmup for about, _ in results)
    assert any(about["stale"] > 0 for about, _ in results)
    assert any(recorded > about["step"] for about, recorded in results)
    assert process(Life("whole", str(tmp_path))) == 0
    assert left(tmp_path) == alone["whole"]


@pytest.mark.parametrize("moment", ["fsync before", "fsync after", "replace before", "replace after"])
@pytest.mark.parametrize("name", ["adam", "momentum"])
def test_a_kill_between_write_and_rename_or_between_best_and_last_changes_nothing(
    name, moment, alone, process, tmp_path
):
    # The first write is the checkpoint before the first step; the next ones are around a best and its last.
    codes = [process(Life(name, str(tmp_path), die=(moment, count))) for count in (1, 2, 3, 4, 5)]
    assert codes.count(-signal.SIGKILL) >= 3
    assert process(Life(name, str(tmp_path))) == 0
    assert left(tmp_path) == alone[name]


def test_a_kill_between_best_and_last_leaves_a_best_that_is_newer_than_last(process, tmp_path):
    # Renames: last before the first step, best of the first validation, last of it.
    assert process(Life("adam", str(tmp_path), die=("replace after", 2))) == -signal.SIGKILL
    assert checkpoint.load(tmp_path / LAST)[1]["step"] == 0
    assert checkpoint.load(tmp_path / BEST)[1]["step"] == ADAM.validate_every


# Ctrl-C, thrown at every kind of moment: between any two calls of a Python function.


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("optimizer", ["Adam lr=0.01", "SGD lr=0.1 momentum=0.9"])
def test_ctrl_c_at_any_moment_changes_nothing(optimizer, tmp_path):
    # Tasks are looped: an interrupt inside torch's vmap leaves its stack of transforms in disorder.
    setting = replace(MOMENTUM, optimizer=optimizer, how="loop")
    setting.run(None)  # what is imported and built at the first use is not to be counted
    counter = AtCall(-1, interrupt)
    counter.during(lambda: setting.run(tmp_path / "alone"))
    moments = random.Random(optimizer)
    out = tmp_path / "stopped"
    stopped = 0
    for _ in range(30):
        stop = AtCall(moments.randint(1, counter.calls // 4), interrupt)
        try:
            stop.during(lambda: setting.run(out, resume=True))
        except KeyboardInterrupt:
            stopped += 1
    setting.run(out, resume=True)
    assert stopped >= 5
    assert left(out) == left(tmp_path / "alone")


def test_ctrl_c_inside_the_optimizer_leaves_the_checkpoint_of_the_step_before(alone, tmp_path, monkeypatch):
    real = torch.optim.Adam.step
    calls = [0]

    def half_a_step(self, closure=None):
        calls[0] += 1
        if calls[0] == 8:
            with torch.no_grad():
                self.param_groups[0]["params"][0].add_(1.0)
            raise KeyboardInterrupt
        return real(self, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", half_a_step)
    with pytest.raises(KeyboardInterrupt):
        ADAM.run(tmp_path)
    assert checkpoint.load(tmp_path / LAST)[1]["step"] == 5
    monkeypatch.setattr(torch.optim.Adam, "step", real)
    ADAM.run(tmp_path, resume=True)
    assert left(tmp_path) == alone["adam"]


def test_ctrl_c_between_steps_loses_none(alone, tmp_path):
    def stop(progress):
        if progress.step == 8:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        ADAM.run(tmp_path, progress=stop)
    assert checkpoint.load(tmp_path / LAST)[1]["step"] == 8
    ADAM.run(tmp_path, resume=True)
    assert left(tmp_path) == alone["adam"]


def test_a_checkpoint_is_written_after_so_many_seconds_between_validations(tmp_path, monkeypatch):
    seen = []

    def look(progress):
        seen.append(checkpoint.load(tmp_path / LAST)[1]["step"])

    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    replace(ADAM, steps=4, validate_every=4, schedule=None).run(tmp_path, progress=look)
    assert seen == [1, 2, 3, 4]


# What a checkpoint must hold beside the weights.


def test_a_window_of_losses_that_was_cut_in_two_has_the_mean_of_both_parts(alone, tmp_path):
    def stop(progress):
        if progress.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ADAM.run(tmp_path, progress=stop)
    # Records are at steps 5 (a validation) and 8: the stop fell between them.
    assert checkpoint.load(tmp_path / LAST)[1]["count"] == 2
    record = ADAM.run(tmp_path, resume=True).history[1]
    assert record["step"] == 8
    assert record["loss"] == alone["adam"][2][1]["loss"]


@pytest.mark.parametrize("schedule", [None, "cosine", "OneCycleLR max_lr=0.05 total_steps=4"])
def test_a_warm_up_and_its_schedule_go_on_where_they_stopped(schedule, tmp_path):
    setting = replace(ADAM, schedule=schedule, warmup=3, steps=6, validate_every=1)
    setting.run(tmp_path / "alone")
    stops = iter([1, 2, 3, 4, 5])  # within the warm-up, at its end, and after it

    def stop(progress):
        assert progress.step == next(stops)
        raise KeyboardInterrupt

    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            setting.run(tmp_path / "stopped", resume=True, progress=stop)
    setting.run(tmp_path / "stopped", resume=True)
    assert left(tmp_path / "stopped") == left(tmp_path / "alone")


def test_a_run_begun_before_there_was_a_warm_up_goes_on(alone, tmp_path):
    def stop(progress):
        if progress.step == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ADAM.run(tmp_path, progress=stop)
    tensors, about = checkpoint.load(tmp_path / LAST)
    assert about["settings"].pop("warmup") == 0
    checkpoint.save(tmp_path / LAST, tensors, about)
    with pytest.raises(ValueError, match="warmup 0 and is to go on with 3"):
        replace(ADAM, warmup=3).run(tmp_path, resume=True)
    ADAM.run(tmp_path, resume=True)
    assert left(tmp_path) == alone["adam"]


def test_metrics_after_the_checkpoint_are_cut_off_and_written_again(alone, tmp_path):
    def stop(progress):
        if progress.step == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ADAM.run(tmp_path, progress=stop)
    whole = (tmp_path / METRICS).read_text()
    later = json.dumps({"step": 13, "loss": 99.0, "lr": 1.0, "seconds": 1.0, "processor_seconds": 1.0})
    (tmp_path / METRICS).write_text(whole + later + "\n" + later[:11])
    ADAM.run(tmp_path, resume=True)
    assert left(tmp_path) == alone["adam"]


def work(seconds):
    """Keep the processor busy for so long."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_seconds_go_on_where_they_stopped(tmp_path):
    def stop(progress):
        time.sleep(0.02)
        work(0.01)
        if progress.step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ADAM.run(tmp_path, progress=stop)
    result = ADAM.run(tmp_path, resume=True).history
    seconds = [record["seconds"] for record in result]
    assert seconds == sorted(seconds)
    assert seconds[-1] > 0.27
    worked = [record["processor_seconds"] for record in result]
    assert worked == sorted(worked)
    assert 0.09 < worked[-1] < seconds[-1] - 0.17  # who sleeps doesn't work


def test_seconds_count_the_validation_they_stand_beside(tmp_path, monkeypatch):
    real = training.episode_values

    def slow(*args):
        work(0.05)
        return real(*args)

    monkeypatch.setattr(training, "episode_values", slow)
    record = replace(ADAM, steps=1).run(None).history[-1]
    assert record["seconds"] >= 0.05
    assert record["processor_seconds"] >= 0.05


def test_a_run_begun_without_processor_seconds_goes_on_without_them(tmp_path):
    def stop(progress):
        if progress.step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ADAM.run(tmp_path, progress=stop)
    records = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert all(record.pop("processor_seconds") >= 0 for record in records)
    (tmp_path / METRICS).write_text("".join(json.dumps(record) + "\n" for record in records))
    result = ADAM.run(tmp_path, resume=True).history
    assert len(result) > len(records)
    assert not any("processor_seconds" in record for record in result)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_finished_run_that_is_resumed_does_nothing(name, tmp_path):
    setting = SETTINGS[name]
    first = setting.run(tmp_path)
    before = left(tmp_path)
    steps = []
    again = setting.run(tmp_path, resume=True, progress=steps.append)
    assert steps == []
    assert left(tmp_path) == before
    assert (again.step, again.validation, again.history) == (first.step, first.validation, first.history)
    torch.testing.assert_close(again.params, first.params, rtol=0, atol=0)


def test_a_run_that_lost_its_patience_stays_stopped_and_returns_its_best(tmp_path):
    setting = replace(MOMENTUM, optimizer="SGD lr=0.0", schedule=None, patience=2)
    first = setting.run(tmp_path)
    assert first.history[-1]["step"] == 3 * setting.validate_every < setting.steps
    steps = []
    again = setting.run(tmp_path, resume=True, progress=steps.append)
    assert steps == []
    assert again.step == first.step == setting.validate_every


def test_patience_counts_on_over_a_stop(tmp_path):
    setting = replace(MOMENTUM, optimizer="SGD lr=0.0", schedule=None, patience=3)

    def stop(progress):
        if progress.step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        setting.run(tmp_path, progress=stop)
    assert checkpoint.load(tmp_path / LAST)[1]["stale"] == 1
    assert setting.run(tmp_path, resume=True).history[-1]["step"] == 4 * setting.validate_every


def test_auto_is_measured_once_and_kept(tmp_path, monkeypatch):
    setting = replace(ADAM, how="auto")
    monkeypatch.setattr(training, "fastest", lambda *args, **kwargs: 2)

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        setting.run(tmp_path, progress=stop)
    monkeypatch.setattr(training, "fastest", lambda *args, **kwargs: "loop")
    assert setting.run(tmp_path, resume=True).how == 2


def test_auto_is_written_down_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "fastest", lambda *args, **kwargs: 2)

    def crash(*args, **kwargs):
        raise RuntimeError("the first step")

    monkeypatch.setattr(training, "meta_gradient", crash)
    with pytest.raises(RuntimeError, match="the first step"):
        replace(ADAM, how="auto").run(tmp_path)
    assert checkpoint.load(tmp_path / LAST)[1]["how"] == 2


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (replace(ADAM, optimizer="Adam lr=0.02"), "optimizer 'Adam lr=0.01'"),
        (replace(ADAM, steps=48), "steps 24"),
        (replace(ADAM, clip=None), "clip 1.0"),
        (replace(ADAM, warmup=3), "warmup 0 and is to go on with 3"),
        (replace(ADAM, how="loop"), "how 'vmap'"),
        (replace(ADAM, seed=1), "seed 0"),
        (replace(ADAM, source="digits"), "learner 'MAML'|inner_lr"),
    ],
)
def test_other_settings_are_refused_in_one_sentence_and_touch_nothing(changed, named, tmp_path):
    ADAM.run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=named) as refused:
        changed.run(tmp_path, resume=True)
    assert "\n" not in str(refused.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_refused_in_one_sentence(share, tmp_path):
    ADAM.run(tmp_path)
    whole = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="is no whole checkpoint") as refused:
        ADAM.run(tmp_path, resume=True)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_training_checkpoint_is_refused(tmp_path):
    ADAM.run(tmp_path)
    (tmp_path / LAST).write_bytes((tmp_path / BEST).read_bytes())
    with pytest.raises(ValueError, match="doesn't say with which settings"):
        ADAM.run(tmp_path, resume=True)


def test_a_checkpoint_of_a_later_format_is_refused(tmp_path):
    checkpoint.save(tmp_path / "later", {"x": torch.ones(1)}, {"version": tensor_file.VERSION + 1})
    with pytest.raises(ValueError, match="upgrade mapwise"):
        checkpoint.load(tmp_path / "later")


def test_a_best_from_another_moment_than_the_last_is_refused(tmp_path):
    ADAM.run(tmp_path)
    tensors, about = checkpoint.load(tmp_path / BEST)
    checkpoint.save(tmp_path / BEST, tensors, {**about, "step": 1})
    with pytest.raises(ValueError, match="is of step 1"):
        ADAM.run(tmp_path, resume=True)


def test_a_run_goes_on_though_its_params_come_in_another_order(tmp_path):
    # As safetensors gives them back: equal shapes, so that moments on the wrong leaf would go unnoticed.
    def trained(out, params, steps_here=None):
        def stop(progress):
            if progress.step == steps_here:
                raise KeyboardInterrupt

        learner = MAML(
            net=lambda: MLP((1,), 1, hidden=(4, 4, 4, 4)), inner_steps=1, inner_lr=0.05, loss="squared_error"
        )
        source = Sinusoid(shots=5, queries=5, tasks=4)
        start = learner.init(0) if params is None else params(learner.init(0))
        return train(learner, source, steps=8, params=start, how="vmap", out=out, resume=True, progress=stop).params

    def backwards(params):
        return dict(reversed(params.items()))

    whole = trained(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", None, steps_here=5)
    again = trained(tmp_path / "cut", backwards)
    assert all(torch.equal(again[name], leaf) for name, leaf in whole.items())


def test_resuming_where_nothing_is_begins(alone, tmp_path):
    ADAM.run(tmp_path / "new", resume=True)
    assert left(tmp_path / "new") == alone["adam"]


def test_a_new_run_in_an_old_folder_takes_nothing_of_the_old(alone, tmp_path):
    replace(ADAM, optimizer="Adam lr=0.1").run(tmp_path)
    begun = []

    def look(progress):
        begun.append((tmp_path / BEST).exists())

    ADAM.run(tmp_path, progress=look)
    assert begun[0] is False
    assert left(tmp_path) == alone["adam"]


def test_bad_settings_leave_an_old_run_as_it_was(tmp_path):
    ADAM.run(tmp_path)
    before = left(tmp_path)
    with pytest.raises(ValueError, match="did you mean"):
        replace(ADAM, optimizer="Adamm lr=0.1").run(tmp_path)
    assert left(tmp_path) == before


@pytest.mark.parametrize("step", [4, 7])
def test_a_folder_that_is_deleted_ends_the_run_in_one_sentence_and_is_not_made_anew(step, tmp_path):
    out = tmp_path / "run"

    def delete(progress):
        if progress.step == step:
            shutil.rmtree(out)

    with pytest.raises(ValueError, match=f"the run's folder {out} is gone") as gone:
        ADAM.run(out, progress=delete)
    assert "\n" not in str(gone.value)
    assert not out.exists()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "kept", {"x": torch.ones(2)}, {"n": 1})

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path / "kept", {"x": torch.zeros(2)}, {"n": 2})
    tensors, about = checkpoint.load(tmp_path / "kept")
    assert about["n"] == 1
    assert tensors["x"].tolist() == [1.0, 1.0]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_loaded_tensors_do_not_change_when_the_file_does(tmp_path):
    checkpoint.save(tmp_path / "file", {"x": torch.ones(1000)}, {})
    tensors, _ = checkpoint.load(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"")
    assert tensors["x"].sum() == 1000
