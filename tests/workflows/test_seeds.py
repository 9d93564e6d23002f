"""mapwise train --seeds: a run of each seed, judged on the same episodes, gone on with, and compared by seeds."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from mapwise.engine.loop import Progress
from mapwise.interfaces.progress import Bar
from mapwise.runs.settings import RunSettings

TINY = ("--steps", "4", "--validation-episodes", "8", "--tasks", "2", "--net.hidden", "8", "--how", "vmap")
SEEDS = ("--seeds", "3", "--episodes", "20", "--json")


@pytest.fixture
def trained_steps(monkeypatch):
    """The steps that were taken, of all trainings."""
    taken = []
    real = Bar.__call__

    def count(self, progress: Progress) -> None:
        taken.append(progress.step)
        real(self, progress)

    monkeypatch.setattr(Bar, "__call__", count)
    return taken


def test_every_seed_is_a_run_and_the_mean_has_students_interval(cli):
    answer = cli("train", "maml", "digits", *TINY, *SEEDS).answer
    folder = Path(answer["folder"])
    assert folder == Path("runs/seeds-maml-digits")
    assert [one["run"] for one in answer["seeds"]] == [str(folder / f"seed-{seed}") for seed in (0, 1, 2)]
    for seed, one in enumerate(answer["seeds"]):
        assert RunSettings.read(folder / f"seed-{seed}").seed == seed
        alone = cli("eval", one["run"], "--episodes", "20", "--no-baselines", "--json").answer
        assert (alone["accuracy"], alone["digest"]) == (one["accuracy"], answer["digest"])
    means = [one["accuracy"] for one in answer["seeds"]]
    assert len(set(means)) > 1
    assert answer["accuracy"] == pytest.approx(np.mean(means))
    assert answer["ci95"] == pytest.approx(stats.t.ppf(0.975, 2) * np.std(means, ddof=1) / np.sqrt(3))
    assert (answer["interval"], answer["judged_classes"], answer["all_classes"]) == ("seeds", 3, 10)
    assert json.loads((folder / "seeds.json").read_text()) == answer


def test_a_run_of_a_seed_is_that_of_a_training_of_that_seed(cli):
    cli("train", "maml", "digits", *TINY, *SEEDS, "--out", "all")
    assert cli("train", "maml", "digits", *TINY, "--seed", "2", "--out", "alone").code == 0
    best = [Path(place, "best.safetensors").read_bytes() for place in ("all/seed-2", "alone")]
    assert best[0] == best[1]
    command = RunSettings.read(Path("all/seed-2")).command
    assert "--seed 2" in command and "--seeds" not in command


def test_the_same_command_goes_on_and_finished_seeds_are_not_trained_again(cli, trained_steps):
    words = ("train", "maml", "digits", *TINY, "--episodes", "20", "--json", "--out", "all")
    two = cli(*words, "--seeds", "2").answer
    assert len(trained_steps) == 8
    three = cli(*words, "--seeds", "3").answer
    assert len(trained_steps) == 12
    assert three["seeds"][:2] == two["seeds"]
    again = cli("train", "--resume", "all", "--json").answer
    assert len(trained_steps) == 12 and again == three
    other = cli(*words, "--seeds", "3", "--inner-steps", "2")
    assert other.code == 1 and "give another --out" in other.err
    assert cli("train", "maml", "digits", *TINY, "--out", "all").code == 1
    assert "one of them, such as all/seed-0" in cli("eval", "all").err


def test_ctrl_c_says_how_to_go_on_to_the_same_numbers(cli, monkeypatch):
    words = ("train", "maml", "digits", *TINY, *SEEDS)
    undisturbed = cli(*words, "--out", "whole").answer
    real = Bar.__call__
    calls = []

    def stop(self, progress: Progress) -> None:
        calls.append(progress)
        if len(calls) == 6:
            raise KeyboardInterrupt
        real(self, progress)

    monkeypatch.setattr(Bar, "__call__", stop)
    done = cli(*words, "--out", "stopped")
    assert done.code == 130 and "stopped in seed 1: go on with mapwise train --resume stopped" in done.err
    monkeypatch.setattr(Bar, "__call__", real)
    resumed = cli("train", "--resume", "stopped", "--json").answer
    values = [[one["accuracy"] for one in answer["seeds"]] for answer in (undisturbed, resumed)]
    assert values[0] == values[1]


def test_without_json_the_seeds_are_a_table(cli):
    shown = " ".join(cli("train", "maml", "digits", *TINY, "--seeds", "2", "--episodes", "20").out.split())
    assert "mean of 2 seeds" in shown and "Student's t over seeds" in shown
    assert "digits test (3 of 10 classes)" in shown and "next: mapwise compare runs/seeds-maml-digits" in shown


def test_learners_are_compared_by_seeds(cli):
    for learner in ("maml", "protonet"):
        assert cli("train", learner, "digits", *TINY, *SEEDS, "--out", learner).code == 0
    answer = cli("compare", "maml", "protonet", "--episodes", "20", "--json").answer
    differences = [one["difference"] for one in answer["seeds"]]
    each = [[one["accuracy"] for one in answer[which]["seeds"]] for which in ("first", "second")]
    np.testing.assert_allclose(differences, np.subtract(*each))
    assert answer["difference"] == pytest.approx(np.mean(differences))
    assert answer["ci95"] == pytest.approx(stats.t.ppf(0.975, 2) * np.std(differences, ddof=1) / np.sqrt(3))
    assert (answer["interval"], answer["metric"]) == ("seeds", "accuracy")
    assert answer["verdict"] in ("better", "worse", "no difference shown")
    shown = " ".join(cli("compare", "maml", "protonet", "--episodes", "20").out.split())
    assert "maml minus protonet" in shown and "mean of 3 seeds" in shown and "at least 3 seeds" in shown

    refused = cli("compare", "maml", "protonet/seed-0")
    assert refused.code == 1 and "maml holds the runs of several seeds and protonet/seed-0 doesn't" in refused.err
    one = cli("compare", "maml/seed-0", "protonet/seed-0", "--episodes", "20", "--json").answer
    assert one["interval"] == "episodes" and "One training seed of each can't show" in one["note"]
    assert one["difference"] == pytest.approx(differences[0])


def test_episodes_without_seeds_and_seeds_beside_resume_are_wrong_use(cli):
    assert cli("train", "maml", "digits", "--episodes", "10").code == 2
    assert cli("train", "--resume", "all", "--seeds", "3").code == 2
    assert cli("train", "maml", "digits", "--seeds", "1").code == 2
    wrong = cli("train", "mamll", "digits", "--seeds", "2")
    assert wrong.code == 2 and "maml" in wrong.err and not Path("runs").exists()
