"""Trackers are told of a run, and change nothing of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT
from mapwise.interfaces.progress import Bar
from mapwise.runs.settings import RunSettings
from mapwise.workflows import tracking

TINY = ("--steps", "8", "--validate-every", "4", "--validation-episodes", "4", "--tasks", "2", "--how", "vmap")
WORDS = ("train", "maml", "sinusoid", "--net.hidden", "8", "--inner-steps", "1", "--inner-lr", "0.01", *TINY)


def metrics(run="run"):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def expected(name, run="run"):
    """What metrics.jsonl holds of one number: step -> value."""
    return {record["step"]: pytest.approx(record[name], rel=1e-6) for record in metrics(run) if name in record}


def events(run="run"):
    """What TensorBoard would show of a run: name -> the (step, value) pairs in order."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = EventAccumulator(str(Path(run) / "tensorboard"))
    result.Reload()
    return {name: [(e.step, e.value) for e in result.Scalars(name)] for name in result.Tags()["scalars"]}


def history(result):
    """The rows of a run that wandb keeps for later: a log of small records behind a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, rows = result.read_bytes(), 7, []
    assert len(data) < 1 << 15, "a second block has no header"
    while place + 7 <= len(data):
        length = int.from_bytes(data[place + 4 : place + 6], "little")
        record = Record.FromString(data[place + 7 : place + 7 + length])
        if record.HasField("history"):
            rows.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item})
        place += 7 + length
    return rows


def killed(at, *words):
    """Run the command line in a process that is killed for good after so many steps."""
    code = (
        "import os, signal, sys\n"
        "from mapwise.workflows import tracking\nfrom mapwise.interfaces.cli import main\n"
        "call = tracking.Tracking.__call__\n"
        "def tell(self, progress):\n"
        "    call(self, progress)\n"
        f"    if progress.step == {at}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "tracking.Tracking.__call__ = tell\n"
        "main(sys.argv[1:])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code, *words], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


class Listener:
    """A tracker that keeps what it is told, and fails where it is asked to."""

    heard: list = []  # noqa: RUF012
    fails_at = ""

    def _hear(self, moment, what):
        if moment == type(self).fails_at:
            raise RuntimeError(f"no {moment} today\nat all")
        self.heard.append((moment, what))

    def start(self, run):
        self._hear("start", run)
        return "a key"

    def log(self, record):
        self._hear("log", dict(record))

    def finish(self, ended):
        self._hear("finish", ended)


@pytest.fixture
def tracker(monkeypatch):
    """The tracker `json` (a name whose package is always there), and what it heard."""
    monkeypatch.setattr(Listener, "heard", [])
    monkeypatch.setattr(Listener, "fails_at", "")
    monkeypatch.setitem(tracking.TRACKERS, "json", Listener)
    return Listener


def test_a_tracker_hears_every_record_and_nothing_else(cli, tracker):
    code, _, err = cli(*WORDS, "--out", "run", "--track", "json")
    assert code == 0, err
    moments = [moment for moment, _ in tracker.heard]
    assert moments == ["start", *["log"] * 8, "finish"]
    run = tracker.heard[0][1]
    assert (run.folder, run.key, run.least) == (Path("run"), None, True)
    assert (run.settings["inner_lr"], run.settings["net.hidden"], run.settings["steps"]) == (0.01, [8], 8)
    logged = [record for moment, record in tracker.heard if moment == "log"]
    best = [record.pop("best_validation", None) for record in logged]
    assert logged == metrics()
    values = [record["validation"] for record in logged if "validation" in record]
    assert [value for value in best if value is not None] == [values[0], min(values)]
    assert tracker.heard[-1][1] == "finished"
    assert RunSettings.read(Path("run")).track == ("json",)


def test_tracking_changes_no_bit_of_the_run(cli):
    assert cli(*WORDS, "--out", "plain")[0] == 0
    assert cli(*WORDS, "--out", "tracked", "--track", "tensorboard")[0] == 0
    for name in ("best.safetensors", "last.safetensors"):
        assert Path("plain", name).read_bytes() == Path("tracked", name).read_bytes()


@pytest.mark.parametrize("moment", ["log", "finish"])
def test_a_tracker_that_fails_is_one_note_and_the_training_goes_on(cli, tracker, moment):
    tracker.fails_at = moment
    code, _, err = cli(*WORDS, "--out", "run", "--track", "json,tensorboard")
    assert code == 0
    assert err == f"note: json stopped tracking (no {moment} today at all), and the training goes on without it\n"
    assert len(metrics()) == 8
    assert len(events()["loss"]) == 8


def test_a_tracker_that_cannot_begin_is_an_error_before_anything_is_written(cli, tracker):
    tracker.fails_at = "start"
    code, out, err = cli(*WORDS, "--out", "run", "--track", "json")
    assert (code, out) == (1, "")
    assert err == "mapwise: json can't begin (no start today at all): leave out --track json\n"
    assert not Path("run/run.toml").exists()
    assert cli(*WORDS, "--out", "run")[0] == 0


def test_a_missing_package_names_the_extra_that_brings_it(cli, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    code, out, err = cli(*WORDS, "--out", "run", "--track", "mlflow")
    assert (code, out) == (1, "")
    assert err == 'mapwise: mlflow is not installed: pip install "mapwise[mlflow]", or leave out --track mlflow\n'
    assert not Path("run").exists()


def test_every_tracker_has_an_extra_of_its_name():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in tracking.TRACKERS:
        assert [part.partition(">=")[0] for part in extras[name]] == [name]


def test_an_unknown_tracker_is_wrong_use(cli):
    code, _, err = cli(*WORDS, "--track", "tensorbord")
    assert code == 2
    assert err == "mapwise: --track is 'tensorbord': give tensorboard, wandb, mlflow, or several with commas\n"


def test_a_stopped_run_is_told_as_stopped_and_goes_on_under_its_key(cli, tracker, monkeypatch):
    def interrupt(bar, progress):
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Bar, "__call__", interrupt)
        assert cli(*WORDS, "--out", "run", "--track", "json")[0] == 130
    assert tracker.heard[-1] == ("finish", "stopped")
    assert cli("train", "--resume", "run")[0] == 0
    starts = [run.key for moment, run in tracker.heard if moment == "start"]
    assert starts == [None, "a key"]
    steps = [record["step"] for moment, record in tracker.heard if moment == "log"]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_run_that_fails_is_told_as_failed(cli, tracker):
    code, _, _ = cli(*WORDS, "--out", "run", "--track", "json", "--optimizer", "SGD lr=1e30")
    assert code == 1
    assert tracker.heard[-1] == ("finish", "failed")


def test_a_resumed_run_goes_on_without_a_tracker_that_is_gone(cli, tracker, monkeypatch):
    assert cli(*WORDS, "--out", "run", "--track", "json")[0] == 0
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    code, _, err = cli("train", "--resume", "run")
    assert code == 0
    assert err.startswith("note: json can't go on (json is not installed")
    assert err.count("\n") == 1


def test_tensorboard_holds_what_the_metrics_hold(cli):
    code, out, err = cli(*WORDS, "--out", "run", "--track", "tensorboard", "--json")
    assert code == 0, err
    assert json.loads(out)["run"] == "run"
    result = events()
    assert set(result) == {"loss", "lr", "seconds", "processor_seconds", "validation", "best_validation"}
    for name in ("loss", "lr", "validation"):
        assert dict(result[name]) == expected(name)


def test_tensorboard_shows_each_step_once_after_a_kill_and_a_resume(cli):
    # Killed at step 6, the run goes on from the checkpoint of step 4: steps 5 and 6 are done twice.
    killed(6, *WORDS, "--out", "run", "--track", "tensorboard")
    assert [step for step, _ in events()["loss"]] == [1, 2, 3, 4, 5, 6]
    time.sleep(1.1)  # event files are ordered by the second in their name
    assert cli("train", "--resume", "run")[0] == 0
    result = events()
    assert [step for step, _ in result["loss"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert dict(result["loss"]) == expected("loss")


@pytest.mark.filterwarnings("ignore")  # its own, of the packages it uses
def test_mlflow_holds_each_record_once_after_a_kill_and_a_resume(cli, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: an extra too large for the tests")
    where = f"sqlite:///{Path('store.db').resolve()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
    killed(6, *WORDS, "--out", "run", "--track", "mlflow")
    code, _, err = cli("train", "--resume", "run")
    assert code == 0
    assert "can't go on" not in err
    client = mlflow.MlflowClient(where)
    (run,) = client.search_runs([client.get_experiment_by_name("mapwise").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert (run.data.params["inner_lr"], run.data.params["net.hidden"]) == ("0.01", "[8]")
    for name in ("loss", "validation"):
        points = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        assert len(points) == len(dict(points))
        assert dict(points) == expected(name)


@pytest.mark.filterwarnings("ignore")  # its own, of the packages it uses
def test_wandb_keeps_a_run_in_its_folder_when_it_is_offline(cli, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed: an extra too large for the tests")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(Path.cwd()))
    code, out, err = cli(*WORDS, "--out", "run", "--track", "wandb", "--json")
    assert code == 0, err
    assert json.loads(out)["run"] == "run"
    assert "wandb sync run/wandb/offline-run-*" in err
    key = json.loads(Path("run/tracking.json").read_text())["wandb"]
    (result,) = Path("run/wandb").glob(f"offline-run-*/run-{key}.wandb")
    deadline = time.monotonic() + 30
    while len(outcome := history(result)) < 8 and time.monotonic() < deadline:
        time.sleep(0.1)  # wandb's own process writes the file, at times a little after the run has ended
    assert [row["_step"] for row in outcome] == [1, 2, 3, 4, 5, 6, 7, 8]
    for name in ("loss", "validation"):
        assert {row["_step"]: row[name] for row in outcome if name in row} == expected(name)
