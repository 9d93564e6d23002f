"""A search finds better settings, survives being stopped or killed, and never looks at the test split."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, command
from mapwise.engine.results import Search, Trial
from mapwise.interfaces.progress import Bar
from mapwise.runs.run import load_params
from mapwise.runs.settings import RunSettings
from mapwise.tasks.sinusoid import Sinusoid
from mapwise.workflows import tracking
from mapwise.workflows.tuning import study, tune

TINY = ("--steps", "10", "--validate-every", "2", "--validation-episodes", "10", "--tasks", "2", "--how", "vmap")
WORDS = ("maml", "sinusoid", "--net.hidden", "8", "--inner-steps", "1", "--shots", "5", *TINY)
SPACE = ("--search", "inner_lr=0.001..0.1:log", "--search", "optimizer.lr=1e-6..0.1:log")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search that nobody disturbed, several of its trials pruned."""
    folder = tmp_path_factory.mktemp("searched") / "search"
    assert command("tune", *WORDS, *SPACE, "--trials", "9", "--out", folder, "--json") == 0
    return folder


def trials(folder):
    """What the folder's database says of every trial, by another road than mapwise's own."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(folder / "search.sqlite3")) as store:
        rows = store.execute("select number, trial_id, state from trials order by number").fetchall()
        tried = {
            number: dict(
                store.execute(
                    "select param_name, param_value from trial_params where trial_id = ? order by param_name", (key,)
                ).fetchall()
            )
            for number, key, _ in rows
        }
        values = {
            number: store.execute("select value from trial_values where trial_id = ?", (key,)).fetchall()
            for number, key, _ in rows
        }
    return [(state, tried[number], values[number]) for number, _, state in rows]


def metrics(run):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


# What a search finds.


def test_a_search_finds_the_better_of_two_obviously_different_rates(cli):
    code, out, err = cli("tune", *WORDS, "--search", "optimizer.lr=1e-7,0.02", "--trials", "5", "--json")
    assert code == 0, err
    data = json.loads(out)
    assert data["best"]["values"] == {"optimizer.lr": "0.02"}
    assert {trial["values"]["optimizer.lr"] for trial in data["trials"]} == {"1e-7", "0.02"}
    worst = max(trial["validation"] for trial in data["trials"] if trial["values"]["optimizer.lr"] == "1e-7")
    assert data["best"]["validation"] < worst


def test_an_accuracy_is_raised_and_an_error_lowered():
    rows = [Trial(0, {}, "complete", 0.5, 9), Trial(1, {}, "pruned", 0.1, 3), Trial(2, {}, "complete", 0.7, 9)]
    rows.append(Trial(3, {}, "failed", None, 0))
    search = {"title": "", "protocol": "", "steps": 9, "ranges": {}, "logarithmic": frozenset(), "trials": rows}
    assert [trial.number for trial in Search(metric="accuracy", **search).ranked] == [2, 0, 1, 3]
    assert [trial.number for trial in Search(metric="mse", **search).ranked] == [0, 2, 1, 3]
    assert Search(metric="mse", **{**search, "trials": rows[1:2] + rows[3:]}).best is None


def test_the_first_trial_has_the_settings_as_they_are(searched):
    # maml's own inner_lr is 0.4, outside of what is searched; the optimizer's is inside.
    assert RunSettings.read(searched / "trial-000").optimizer == "Adam lr=0.001"
    assert 0.001 <= RunSettings.read(searched / "trial-000").fields["inner_lr"] <= 0.1


def test_every_trial_is_a_run_of_its_own_with_the_values_it_tried(searched):
    for number, (_, tried, _) in enumerate(trials(searched)):
        settings = RunSettings.read(searched / f"trial-{number:03d}")
        assert settings.fields["inner_lr"] == tried["inner_lr"]
        assert settings.optimizer == f"Adam lr={tried['optimizer.lr']}"
        assert settings.fields["inner_steps"] == 1


def test_pruned_trials_leave_whole_runs(searched, cli):
    pruned = [number for number, (state, _, _) in enumerate(trials(searched)) if state == "PRUNED"]
    assert pruned
    for number in pruned:
        run = searched / f"trial-{number:03d}"
        records = metrics(run)
        assert 2 <= records[-1]["step"] < 10
        assert "validation" in records[-1]
        assert load_params(run)[1] <= records[-1]["step"]
        assert {path.name for path in run.iterdir()} == {
            "run.toml",
            "metrics.jsonl",
            "last.safetensors",
            "best.safetensors",
            ".train.lock",
        }
    assert cli("eval", searched / f"trial-{pruned[0]:03d}", "--episodes", "5", "--json")[0] == 0


def test_a_search_that_does_not_prune_takes_every_step(cli):
    words = ("--search", "optimizer.lr=1e-7,0.02", "--trials", "8", "--no-prune", "--json")
    data = json.loads(cli("tune", *WORDS, *words)[1])
    assert [trial["step"] for trial in data["trials"]] == [10] * 8


def test_the_validation_of_a_trial_is_that_of_its_run(searched):
    for number, (state, _, values) in enumerate(trials(searched)):
        best = min(r["validation"] for r in metrics(searched / f"trial-{number:03d}") if "validation" in r)
        if state == "COMPLETE":
            assert values == [(pytest.approx(best),)]


def test_the_command_of_the_best_trains_its_run_again_to_the_bit(searched, cli):
    number = next(n for n, (state, _, _) in enumerate(trials(searched)) if state == "COMPLETE" and n)
    run = searched / f"trial-{number:03d}"
    words = shlex.split(RunSettings.read(run).command)
    assert words[:2] == ["mapwise", "train"]
    assert cli(*words[1:], "--out", "again")[0] == 0
    for name in ("best.safetensors", "last.safetensors"):
        assert Path("again", name).read_bytes() == (run / name).read_bytes()


def test_a_search_never_opens_the_test_split(cli, monkeypatch):
    from mapwise.tasks.episodes import Episodes

    names = set()
    for kind in (Sinusoid, Episodes):
        draw = kind.__call__

        def drawn(source, step, draw=draw):
            names.add(source.part)
            return draw(source, step)

        monkeypatch.setattr(kind, "__call__", drawn)
    assert cli("tune", *WORDS, "--search", "inner_lr=0.001..0.1:log", "--trials", "2")[0] == 0
    words = ("--search", "optimizer.lr=0.001,0.01", "--trials", "2", "--net.hidden", "8", *TINY)
    assert cli("tune", "protonet", "digits", *words)[0] == 0
    assert names == {"train", "val"}


# What a search says.


def test_the_answer_is_a_table_best_first_and_what_to_do_next(searched, cli):
    code, out, err = cli("tune", "--resume", searched)
    assert (code, err) == (0, "")
    data = json.loads(cli("tune", "--resume", searched, "--json")[1])
    rows = [line.split() for line in out.splitlines() if line.split()[-1:] in (["complete"], ["pruned"])]
    assert [int(row[0]) for row in rows] == [trial["number"] for trial in data["trials"]]
    complete = [trial["validation"] for trial in data["trials"] if trial["state"] == "complete"]
    assert complete == sorted(complete)
    for word in ("inner_lr", "optimizer.lr", "mse", "steps", "state", "sinusoid val, 5-shot, 10 episodes, seed 0"):
        assert word in out
    assert f"next: mapwise eval {searched}/trial-" in out
    assert data["best"] == {**data["trials"][0], "command": data["best"]["command"]}
    assert data["searched"] == {"inner_lr": "0.001..0.1:log", "optimizer.lr": "1e-06..0.1:log"}
    assert sum(data["importances"].values()) == pytest.approx(1)


def test_the_page_shows_the_search_and_needs_nothing_else(searched):
    page = (searched / "search.html").read_text()
    assert page.count("<svg") == 4  # the history, the importances, and a slice for each setting
    for text in ("The best of 9 trials", "optimizer.lr", "pruned", "mapwise train maml sinusoid", "on the test split"):
        assert text in page
    assert "http://" not in page
    assert "<script" not in page


# Stopped, killed, and gone on with.


def test_a_search_resumed_in_a_fresh_process_counts_on_and_asks_what_it_would_have_asked(searched, cli):
    assert cli("tune", *WORDS, *SPACE, "--trials", "3", "--out", "parts")[0] == 0
    before = trials(Path("parts"))
    assert len(before) == 3
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    words = [sys.executable, "-m", "mapwise", "tune", "--resume", "parts", "--trials", "9", "--json"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["trials"]) == 9
    assert trials(Path("parts"))[:3] == before
    assert trials(Path("parts")) == trials(searched)


def test_a_trial_that_ctrl_c_stopped_goes_on_to_the_same_bits(searched, cli, monkeypatch):
    def interrupt(bar, progress):
        if progress.step == 5 and bar.title.startswith("trial 2 "):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Bar, "__call__", interrupt)
        code, _, err = cli("tune", *WORDS, *SPACE, "--trials", "5", "--out", "parts")
    assert code == 130
    assert err.splitlines()[-1] == "mapwise: stopped after 2 of 5 trials: go on with mapwise tune --resume parts"
    assert trials(Path("parts"))[2][0] == "RUNNING"
    assert cli("tune", "--resume", "parts")[0] == 0
    assert trials(Path("parts")) == trials(searched)[:5]
    for number in range(5):
        name = Path(f"trial-{number:03d}", "last.safetensors")
        assert (Path("parts") / name).read_bytes() == (searched / name).read_bytes()


def killed(*words):
    """A search whose second trial is killed at step 5."""
    code = (
        "import os, signal, sys\n"
        "from mapwise.interfaces.cli import main\nfrom mapwise.interfaces.progress import Bar\n"
        "def kill(bar, progress):\n"
        "    if progress.step == 5 and bar.title.startswith('trial 1 '): os.kill(os.getpid(), signal.SIGKILL)\n"
        "Bar.__call__ = kill\n"
        "main(sys.argv[1:])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    words = [sys.executable, "-c", code, "tune", *map(str, words)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_trial_goes_on_to_the_same_bytes(searched, cli):
    killed(*WORDS, *SPACE, "--trials", "4", "--out", "run")
    assert cli("tune", "--resume", "run")[0] == 0
    assert trials(Path("run")) == trials(searched)[:4]
    for number in range(4):
        name = Path(f"trial-{number:03d}", "last.safetensors")
        assert (Path("run") / name).read_bytes() == (searched / name).read_bytes()


def test_a_trial_that_is_killed_three_times_at_one_step_is_recorded_as_failed_and_the_search_goes_on(cli):
    killed(*WORDS, *SPACE, "--trials", "4", "--out", "run")
    killed("--resume", "run")
    killed("--resume", "run")
    code, out, err = cli("tune", "--resume", "run", "--json")
    assert code == 0, err
    data = json.loads(out)
    states = {trial["number"]: trial["state"] for trial in data["trials"]}
    assert states == {0: "complete", 1: "failed", 2: "complete", 3: "complete"}
    (failed,) = (trial for trial in data["trials"] if trial["state"] == "failed")
    assert failed["failure"] == "its process was killed 3 times at step 5"
    assert failed["step"] == 5


def test_a_trial_whose_settings_fail_is_recorded_with_its_sentence_and_the_search_goes_on(cli):
    code, out, err = cli("tune", *WORDS, "--search", "inner_lr=1e30,0.01", "--trials", "4", "--json")
    assert code == 0, err
    data = json.loads(out)
    failed = [trial for trial in data["trials"] if trial["state"] == "failed"]
    assert failed
    assert all(trial["failure"].startswith("the loss is ") for trial in failed)
    assert data["best"]["values"] == {"inner_lr": "0.01"}


def test_when_all_trials_fail_the_exit_code_says_so(cli):
    words = ("tune", *WORDS, "--search", "inner_lr=1e30,1e31", "--trials", "2", "--out", "run")
    code, out, _ = cli(*words)
    assert code == 1
    assert "no trial was completed, the first one failed: the loss is " in out
    code, out, _ = cli("tune", "--resume", "run", "--json")
    assert code == 1
    assert json.loads(out)["best"] is None
    assert json.loads(out)["error"].startswith("no trial was completed")


def test_a_fault_of_ours_ends_the_search_and_is_said_to_be_one(cli, monkeypatch):
    def broken(*words, **more):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(tune, "train_run", broken)
    code, _, err = cli("tune", *WORDS, *SPACE, "--trials", "2", "--out", "run")
    assert code == 1 and "a fault of mapwise (RuntimeError: shapes differ)" in err
    assert [state for state, _, _ in trials(Path("run"))] == ["FAIL"]


def test_the_minutes_begin_no_trial_after_their_end(cli):
    code, out, _ = cli("tune", *WORDS, *SPACE, "--minutes", "0.0001", "--json")
    assert code == 1
    assert json.loads(out)["trials"] == []


def test_two_processes_are_not_at_work_in_one_search(searched, cli):
    with tune._alone(searched):
        code, _, err = cli("tune", "--resume", searched, "--trials", "13")
    assert code == 1
    assert err == f"mapwise: another mapwise tune is at work in {searched}: wait for it, or stop it first\n"


def test_a_folder_that_holds_a_search_or_a_run_is_left_as_it_is(searched, cli):
    code, _, err = cli("tune", *WORDS, *SPACE, "--out", searched)
    assert code == 1
    assert "holds a search already: go on with it by mapwise tune --resume" in err
    code, _, err = cli("tune", *WORDS, *SPACE, "--out", searched / "trial-000")
    assert code == 1
    assert "holds a run already: give another --out" in err


def test_a_folder_may_have_any_name(cli):
    odd = Path("what? 100%20 #1 ü")
    assert cli("tune", *WORDS, *SPACE, "--trials", "1", "--out", odd)[0] == 0
    assert [state for state, _, _ in trials(odd)] == ["COMPLETE"]
    assert [path.name for path in Path().iterdir()] == [odd.name]


def test_a_pruned_trial_is_tracked_as_stopped(cli, monkeypatch):
    ends = []

    class Listener:
        def start(self, run):
            return run.folder.name

        def log(self, record):
            pass

        def finish(self, ended):
            ends.append(ended)

    monkeypatch.setitem(tracking.TRACKERS, "json", Listener)
    data = json.loads(cli("tune", *WORDS, *SPACE, "--trials", "9", "--track", "json", "--json")[1])
    states = [trial["state"] for trial in sorted(data["trials"], key=lambda trial: trial["number"])]
    assert ends == [{"complete": "finished", "pruned": "stopped"}[state] for state in states]
    assert set(ends) == {"finished", "stopped"}


def test_a_folder_that_is_no_search_is_refused(cli):
    code, _, err = cli("tune", "--resume", "nowhere")
    assert code == 1
    assert "nowhere is not a search (it has no tune.toml)" in err


def test_a_damaged_search_is_one_sentence(cli):
    assert cli("tune", *WORDS, *SPACE, "--trials", "1", "--out", "run")[0] == 0
    Path("run/search.sqlite3").write_bytes(b"no database at all, and long enough to be read as one" * 99)
    code, _, err = cli("tune", "--resume", "run")
    assert code == 1
    assert err.count("\n") == 1
    assert "search.sqlite3 can't be used" in err
    Path("run/tune.toml").write_text("schema_version = 9")
    assert "schema version 9" in cli("tune", "--resume", "run")[2]


def test_without_optuna_the_extra_is_named(cli, monkeypatch):
    monkeypatch.setattr(study.importlib.util, "find_spec", lambda name: None)
    code, _, err = cli("tune", *WORDS, *SPACE)
    assert code == 1
    assert err == 'mapwise: a search needs Optuna, which is not installed: pip install "mapwise[tune]"\n'


def test_a_learner_with_nothing_to_train_cannot_be_searched(cli):
    code, out, _ = cli("tune", "nearest_mean", "digits", *TINY, "--trials", "2")
    assert code == 1
    assert "it has nothing to train" in out
