"""mapwise average: what is averaged, what is refused, and that the result is a run like any other."""

import json

import pytest
import torch

from mapwise.core import tree
from mapwise.engine.folder import RunFolder
from mapwise.interfaces.cli import main
from mapwise.predictors.heads.trained_learner import TrainedLearner
from mapwise.runs.run import Run, load_params
from mapwise.runs.settings import RunSettings
from mapwise.workflows.average import Averaging, average_runs
from mapwise.workflows.train import begin_run, settings_of
from permuted_units import permuted

FEW = {"steps": 12, "tasks": 4, "validation_episodes": 8, "net.hidden": "16,16", "threads": 1, "how": "vmap"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")

    def trained(name, learner="protonet", **values):
        path = folder / name
        begin_run(lambda: settings_of(learner, "digits", {**FEW, "optimizer.lr": 0.01, **values}), path, "")
        return path

    first = trained("first", steps=20)
    near = {"init": str(first), "optimizer.lr": 0.0005}
    second, (params, step) = trained("second", steps=0, seed=1), load_params(first)
    layers = [name for name in Run.open(first).learner.init(0) if name.endswith("weight")]
    RunFolder(second, run=RunSettings.read(second).id).save_best(permuted(params, layers), step, 0.5)
    return {
        "first": first,
        "second": second,
        "tuned": [trained(f"tuned-{seed}", seed=seed, **near) for seed in (2, 3)],
        "matching": trained("matching", "matching"),
        "wide": trained("wide", **{"net.hidden": "24"}),
    }


def ended(*words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_predictions_of_other_learners_average_into_a_run_like_any_other(runs, tmp_path, capsys):
    out = tmp_path / "average"
    words = (runs["first"], runs["second"], runs["matching"], "--predictions", "--episodes", 20, "--out", out)
    assert ended("average", *words, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["run"] == str(out) and len(answer["members"]) == 3 and "barriers" not in answer
    assert ended("eval", out, "--episodes", 10, "--no-baselines", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["learner"] == "model_averaging" and 0 < report["accuracy"] <= 1
    assert ended("report", out, "--episodes", 4, "--curve-episodes", 2, "--json") == 0
    capsys.readouterr()
    average, first, last = (Run.open(path) for path in (out, runs["first"], runs["matching"]))
    task = average.judging()(0)
    support, query = (torch.utils._pytree.tree_map(lambda leaf: leaf[0], part) for part in task)

    def probabilities(run):
        return torch.softmax(run.learner.predict(run.params, run.learner.adapt(run.params, support), query.x), -1)

    others = [probabilities(Run.open(path)) for path in (runs["first"], runs["second"], runs["matching"])]
    torch.testing.assert_close(probabilities(average), torch.stack(others).mean(0))
    assert not torch.allclose(probabilities(first), probabilities(last))
    assert ended("train", "--resume", out) == 1
    assert "is an average of runs and has no training to go on with" in capsys.readouterr().err


def test_an_average_of_predictions_stands_behind_a_predictor_and_in_its_file(runs, tmp_path):
    out = tmp_path / "average"
    average_runs([runs["first"], runs["matching"]], Averaging("predictions", episodes=8), out, "")
    head = TrainedLearner.of_run(out)
    about, tensors = head.to_file()
    again = TrainedLearner.of_file(
        json.loads(json.dumps(about)), {**tensors, "rows": torch.zeros(2, 1, 8, 8).numpy()}, head.encoder
    )
    assert again.learner.members == again.learner.members and again.settings == head.settings
    torch.testing.assert_close(tree.flatten(again.params), tree.flatten(head.params))
    alone, _ = TrainedLearner.of_run(runs["first"]).to_file()
    assert "members" not in alone  # as earlier versions read it
    changed = json.loads(json.dumps(about))
    changed["members"][0]["net_options"]["hidden"] = [99]
    with pytest.raises(ValueError, match="its weights are not those of protonet"):
        TrainedLearner.of_file(changed, tensors, head.encoder)
    with pytest.raises(ValueError, match="is made of trained runs, and not of an average"):
        TrainedLearner.of_file({**about, "members": [about]}, tensors, head.encoder)


def test_weights_of_runs_from_one_start_are_averaged_and_measured_again(runs, tmp_path):
    out = tmp_path / "soup"
    members = [runs["first"], *runs["tuned"]]
    folder, answer = average_runs(members, Averaging("weights", episodes=40), out, "mapwise average")
    assert len(answer["barriers"]) == 3 and all(one["barrier"] < 0.02 for one in answer["barriers"])
    settings = RunSettings.read(folder)
    assert settings.learner == "protonet" and len(settings.average_of) == 3
    assert settings.id not in {RunSettings.read(path).id for path in members}
    params, each = load_params(folder)[0], [load_params(path)[0] for path in members]
    for path, leaf in tree.flatten(params).items():
        mean = torch.stack([tree.flatten(one)[path] for one in each]).mean(0)
        torch.testing.assert_close(leaf, mean, rtol=1e-5, atol=1e-6)


def test_a_greedy_soup_names_its_runs(runs, tmp_path, capsys):
    words = ("average", runs["first"], *runs["tuned"], "--weights", "--greedy", "--episodes", 20)
    assert ended(*words, "--out", tmp_path / "soup", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    best = max(one["validation"] for one in answer["members"])
    assert answer["averaged"] and answer["validation"] >= best
    assert ended(*words, "--out", tmp_path / "again") == 0
    assert "highest barrier: " in capsys.readouterr().out


def test_weights_over_a_barrier_are_refused_with_its_height(runs, tmp_path, capsys):
    out = tmp_path / "mean"
    words = ("average", runs["first"], runs["second"], "--weights", "--episodes", 40, "--out", out)
    assert ended(*words) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "above the line between theirs, and 0.02 is allowed" in line and "take --predictions" in line
    assert not out.exists()
    assert ended(*words, "--barrier", "100") == 0


REFUSED = [
    (("first", "matching"), "weights", "has learner protonet and .* matching: weights are averaged of runs with"),
    (("first", "wide"), "weights", "has net_options .* so take --predictions"),
    (("first",), "predictions", "an average is of two runs or more and 1 is given"),
    (("first", "first"), "predictions", "a run is given twice: give each once"),
]


def test_a_folder_of_seeds_is_its_runs_in_their_order(runs, tmp_path):
    (tmp_path / "seeds.toml").touch()
    for seed, name in ((10, "matching"), (9, "first")):
        (tmp_path / f"seed-{seed}").symlink_to(runs[name])
    _, answer = average_runs([tmp_path], Averaging("predictions", episodes=4), tmp_path / "out", "")
    assert [one["learner"] for one in answer["members"]] == ["protonet", "matching"]


@pytest.mark.parametrize(("names", "of", "sentence"), REFUSED)
def test_what_cannot_be_averaged_is_refused_in_a_sentence(runs, tmp_path, names, of, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        average_runs([runs[name] for name in names], Averaging(of), tmp_path / "out", "")
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()


def test_runs_of_other_data_and_averages_are_no_members(runs, tmp_path):
    glyphs = tmp_path / "glyphs"
    begin_run(lambda: settings_of("maml", "sinusoid", {**FEW, "steps": 0}), glyphs, "")
    with pytest.raises(ValueError, match="differ in their problem: give runs that were trained on the same data"):
        average_runs([runs["first"], glyphs], Averaging("predictions"), None, "")
    average = tmp_path / "average"
    average_runs([runs["first"], runs["matching"]], Averaging("predictions", episodes=4), average, "")
    with pytest.raises(ValueError, match="is an average of runs itself: give the runs that it was made of"):
        average_runs([average, runs["first"]], Averaging("predictions"), None, "")


def test_functions_are_averaged_by_their_values(tmp_path):
    places = [tmp_path / str(seed) for seed in (0, 1)]
    for seed, place in enumerate(places):
        begin_run(lambda seed=seed: settings_of("maml", "sinusoid", {**FEW, "seed": seed, "steps": 2}), place, "")
    folder, answer = average_runs(places, Averaging("predictions", episodes=6), tmp_path / "mean", "")
    assert Run.open(folder).learner.averages == "values" and answer["metric"] == "mse"


@pytest.mark.parametrize("words", [("--predictions", "--weights"), (), ("--predictions", "--greedy")])
def test_what_is_averaged_is_one_of_two(runs, words, capsys):
    assert ended("average", runs["first"], runs["second"], *words) == 2


def test_an_average_is_not_trained(capsys):
    assert ended("train", "model_averaging", "digits") == 2
    assert "is made of trained runs: train each, then mapwise average" in capsys.readouterr().err
