"""The command line: every command says what it should, in the form it was asked for, with the right exit code."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import ROOT
from mapwise.core import tree
from mapwise.engine import checkpoint
from mapwise.engine.compiled import NotCompiled
from mapwise.interfaces.cli import main
from mapwise.interfaces.progress import Bar
from mapwise.runs.run import load_params
from mapwise.runs.settings import RunSettings
from mapwise.runs.sources import judging, source_of
from mapwise.workflows.errors import line_and_code

TINY = ("--steps", "4", "--validation-episodes", "8", "--tasks", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two tiny runs that several tests read: maml and protonet on digits."""
    folder = tmp_path_factory.mktemp("trained")
    for learner in ("maml", "protonet"):
        with pytest.raises(SystemExit) as ended:
            main(["train", learner, "digits", "--out", str(folder / learner), *TINY])
        assert ended.value.code == 0
    return folder


def test_a_run_is_trained_judged_compared_and_reported(cli):
    done = cli("train", "maml", "digits", *TINY, "--inner-lr", "0.2", "--first-order", "--net.hidden", "16,8", "--json")
    assert done.code == 0, done.err
    run = Path(done.answer["run"])
    assert run == Path("runs/maml-digits")
    assert done.answer["step"] <= 4
    assert 0 <= done.answer["validation"] <= 1
    settings = RunSettings.read(run)
    assert settings.fields == {"inner_lr": 0.2, "first_order": True}
    assert settings.net_options == {"hidden": [16, 8]}
    assert settings.ways == "3"
    assert settings.how in ("vmap", "loop", 4)
    assert "--inner-lr 0.2 --first-order" in settings.command
    assert {leaf.shape[0] for name, leaf in load_params(run)[0].items() if name.endswith("weight")} == {16, 8, 3}

    other = cli("train", "protonet", "digits", *TINY, "--json").answer["run"]
    compared = cli("compare", run, other, "--episodes", "12", "--json").answer
    values = [compared[which]["accuracy"] for which in ("first", "second")]
    assert compared["difference"] == pytest.approx(values[0] - values[1])
    assert compared["episodes"] == 12
    assert compared["verdict"] in ("better", "worse", "no difference shown")

    done = cli("report", run, "--episodes", "10", "--curve-episodes", "4", "--json")
    assert done.code == 0, done.err
    page = Path(done.answer["page"]).read_text()
    for title in ("How it learned", "against inner steps", "against shots", "Where it goes wrong", "nearest_mean"):
        assert title in page
    numbers = json.loads((run / "report.json").read_text())
    assert numbers["reports"][0]["accuracy"] == done.answer["accuracy"]
    assert [len(curve["x"]) for curve in numbers["against_steps"]] == [6]
    assert len(numbers["against_shots"]) == 2


def test_without_json_the_answer_is_for_a_person(cli, trained):
    done = cli("eval", trained / "protonet", "--episodes", "10")
    assert done.code == 0
    assert done.err == ""
    for word in ("protonet", "nearest_mean", "chance", "33.3 %", "10 episodes", "inductive", "mapwise eval"):
        assert word in done.out


def test_eval_gives_the_same_number_again(cli, trained):
    words = ("eval", trained / "protonet", "--episodes", "20", "--seed", "3", "--json")
    first, again = cli(*words), cli(*words)
    result, repeated = first.answer, again.answer
    for part in (result, repeated, *result["beside"], *repeated["beside"]):
        part.pop("adapt_ms")  # a time
    assert result == repeated
    assert {"accuracy", "ci95", "episodes", "ways", "shots", "queries", "transductive", "seed"} <= result.keys()
    assert (result["ways"], result["shots"], result["episodes"], result["seed"]) == ("3", "1", 20, 3)
    assert result["transductive"] is False
    other = cli("eval", trained / "protonet", "--episodes", "20", "--seed", "4", "--json").answer
    assert other["accuracy"] != result["accuracy"]


def test_eval_takes_other_tasks_than_the_run_was_trained_on(cli, trained):
    words = ("eval", trained / "protonet", "--episodes", "10", "--json", "--no-baselines")
    result = cli(*words, "--shots", "5", "--queries", "4", "--ways", "2", "--split", "val").answer
    assert (result["ways"], result["shots"], result["queries"], result["split"]) == ("2", "5", 4, "val")
    assert "beside" not in result or result["beside"] == []


def test_eval_takes_other_fields_than_the_run_was_trained_with(cli, trained):
    words = ("eval", trained / "maml", "--episodes", "10", "--json", "--no-baselines")
    unmoved = cli(*words, "--inner-steps", "0").answer
    assert unmoved["accuracy"] != cli(*words).answer["accuracy"]
    assert "--inner-steps 0" in unmoved["command"]


def test_eval_with_another_norm_is_seen_to_be_transductive(cli):
    run = cli("train", "protonet", "digits", *TINY, "--net.norm", "frozen", "--json").answer["run"]
    words = ("eval", run, "--episodes", "10", "--json", "--no-baselines")
    assert "measured" in load_params(Path(run))[0]
    assert cli(*words).answer["transductive"] is False
    assert cli(*words, "--net.norm", "batch").answer["transductive"] is True
    assert cli(*words, "--net.norm", "support").answer["transductive"] is False


def test_a_regression_is_judged_by_its_error(cli):
    done = cli("train", "maml", "sinusoid", *TINY, "--shots", "5", "--inner-lr", "0.01", "--net.hidden", "8")
    assert done.code == 0, done.err
    assert "mean squared error" in done.out
    result = cli("eval", "runs/maml-sinusoid", "--episodes", "30", "--json").answer
    assert {"mse", "median", "diverged", "ci95", "episodes"} <= result.keys()
    done = cli("report", "runs/maml-sinusoid", "--episodes", "10", "--curve-episodes", "4")
    assert done.code == 0, done.err
    assert "Some tasks, drawn out" in Path("runs/maml-sinusoid/report.html").read_text()


def test_pretraining_leads_to_fine_tuning(cli):
    done = cli("train", "supervised", "digits", *TINY, "--json")
    assert done.code == 0, done.err
    done = cli("train", "finetune", "digits", "--steps", "0", "--init", done.answer["run"], "--json")
    assert done.code == 0, done.err
    first, second = (load_params(Path(f"runs/{name}-digits"))[0] for name in ("supervised", "finetune"))
    assert all(torch.equal(leaf, second[name]) for name, leaf in first.items())


def test_a_learner_with_nothing_to_train_takes_no_steps(cli):
    done = cli("train", "nearest_mean", "digits", "--warmup", "5", "--json")
    assert done.code == 0, done.err
    assert done.answer["steps"] == 0
    assert "nothing to train" in done.err
    assert cli("eval", done.answer["run"], "--episodes", "5", "--json").code == 0


def test_a_second_run_gets_a_folder_of_its_own(cli):
    runs = [cli("train", "protonet", "digits", *TINY, "--json").answer["run"] for _ in range(2)]
    assert runs == ["runs/protonet-digits", "runs/protonet-digits-2"]


def test_a_stopped_run_goes_on_to_the_same_bits(cli, monkeypatch):
    words = ("train", "protonet", "digits", "--steps", "6", "--validate-every", "4", "--validation-episodes", "8")
    words += ("--warmup", "4", "--schedule", "cosine", "--optimizer", "Adam lr=0.008")
    words += ("--how", "vmap")  # measured anew, another way might win, and another way is another run
    assert cli(*words, "--out", "whole").code == 0

    def interrupt(bar, progress):
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Bar, "__call__", interrupt)
        done = cli(*words, "--out", "parts")
    assert done.code == 130
    assert done.err == "mapwise: stopped after step 3 of 6: go on with mapwise train --resume parts\n"
    assert checkpoint.load(Path("parts/last.safetensors"))[1]["step"] == 3
    done = cli("train", "--resume", "parts", "--json")
    assert done.code == 0, done.err
    for name in ("last.safetensors", "best.safetensors"):
        whole, parts = (tree.flatten(checkpoint.load(Path(run) / name)[0]) for run in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(leaf, parts[path]) for path, leaf in whole.items())
    for run in ("whole", "parts"):
        records = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
        assert [record["lr"] for record in records] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.008, 0.004])


def test_ctrl_c_in_a_process_of_its_own_is_one_line(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    words = ["train", "protonet", "digits", "--steps", "9000", "--validate-every", "9000", "--out", "run"]
    started = subprocess.Popen(
        [sys.executable, "-m", "mapwise", *words],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        metrics = tmp_path / "run" / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while not metrics.exists() or not metrics.stat().st_size:
            assert time.monotonic() < deadline, "the training doesn't begin"
            assert started.poll() is None, started.communicate()
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=60)
    finally:
        started.kill()
    assert (started.returncode, out) == (130, "")
    assert err.startswith("mapwise: stopped after step ")
    assert err.count("\n") == 1


def test_json_failures_are_one_object_too(cli):
    done = cli("eval", "nowhere", "--json")
    assert done.code == 1
    assert done.answer["exit"] == 1
    assert done.err == f"mapwise: {done.answer['error']}\n"


def judged_settings(cli, *words):
    done = cli("train", *words, "--steps", "0", "--out", "asked", "--json")
    assert done.code == 0, done.err
    return RunSettings.read(Path("asked"))


@pytest.mark.parametrize(
    ("words", "fields", "net_options"),
    [
        ("--inner-lr 0.4 maml digits", {"inner_lr": 0.4}, {}),
        ("maml --inner-lr=0.4 digits", {"inner_lr": 0.4}, {}),
        ("--first-order maml digits", {"first_order": True}, {}),
        ("fomaml --no-first-order digits", {"first_order": False}, {}),
        ("maml --net mlp --net.norm support digits", {}, {"norm": "support"}),
        ("finetune digits --body-lr 0.5", {"body_lr": 0.5}, {}),
        ("maml digits --set inner_lr=0.4 --set net.hidden=4,4", {"inner_lr": 0.4}, {"hidden": [4, 4]}),
    ],
)
def test_fields_of_the_learner_and_options_of_the_net_are_flags(cli, words, fields, net_options):
    settings = judged_settings(cli, *words.split())
    assert (settings.fields, settings.net_options) == (fields, net_options)


def test_lists_are_given_with_commas_or_again_and_paths_from_anywhere(cli):
    Path("sets").mkdir()
    settings = judged_settings(
        cli, "protonet", "glyphs", "--augment", "flip,shift", "--augment", "crop", "--data", "sets"
    )
    assert settings.augment == ("flip", "shift", "crop")
    assert settings.data == str(Path("sets").resolve())


def test_what_judges_is_the_same_for_every_run():
    settings = RunSettings(learner="maml", source="digits", ways="3", tasks=2, seed=1)
    other = replace(settings, tasks=7, seed=5, learner="protonet")
    first, second = (judging(s, "test", seed=0, training=source_of(s)) for s in (settings, other))
    reopened = judging(settings, "test", seed=0)
    for source in (second, reopened):
        assert torch.equal(first(0).support.x, source(0).support.x)
        assert first.names(3) == source.names(3)


def test_settings_survive_the_file(tmp_path):
    settings = RunSettings(
        learner="maml",
        source='a "quoted" \\ name ü',
        fields={"moves": ["head", "*"], "inner_lr": 0.25, "first_order": True, "train_steps": "none"},
        net_options={"hidden": [3, 4]},
        clip=10.0,
    ).stamped("mapwise train")
    settings.write(tmp_path)
    assert RunSettings.read(tmp_path) == settings


def test_settings_of_before_there_was_a_warm_up_are_read(tmp_path):
    settings = RunSettings(learner="maml", source="digits", steps=7)
    settings.write(tmp_path)
    path = tmp_path / "run.toml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    assert "warmup = 0\n" in lines
    earlier = [line for line in lines if not line.startswith(("warmup = ", "digest = "))]
    path.write_text("".join(earlier), encoding="utf-8")
    assert RunSettings.read(tmp_path) == settings


def test_a_bug_keeps_its_traceback():
    assert line_and_code(AssertionError("ours")) is None
    assert line_and_code(RuntimeError("shapes differ")) is None
    assert line_and_code(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"))[1] == 1
    assert line_and_code(MemoryError())[1] == 1


def test_another_run_is_judged_beside_it_on_the_same_episodes(cli, trained):
    words = ("eval", trained / "maml", "--episodes", 20, "--beside", trained / "protonet", "--json")
    text = json.loads(cli(*words).out)
    assert [other["learner"] for other in text["beside"]] == ["nearest_mean", "protonet"]
    alone = json.loads(cli("eval", trained / "protonet", "--episodes", 20, "--json").out)
    assert text["beside"][1]["accuracy"] == alone["accuracy"]
    assert text["beside"][1]["difference"] == pytest.approx(text["accuracy"] - alone["accuracy"], abs=1e-12)


def test_shuffled_labels_give_chance_and_say_so(cli, trained):
    text = json.loads(cli("eval", trained / "protonet", "--episodes", 300, "--shuffle-labels", "--json").out)
    assert abs(text["accuracy"] - text["chance"]) < 2 * text["ci95"]
    assert text["source"] == "digits with shuffled labels"


def test_shuffled_labels_are_refused_where_there_are_none(cli, tmp_path):
    assert cli("train", "maml", "sinusoid", "--steps", 1, "--out", tmp_path / "sine").code == 0
    done = cli("eval", tmp_path / "sine", "--shuffle-labels")
    assert done.code == 2 and "no class labels to shuffle" in done.err


@pytest.mark.slow
def test_compiling_says_what_it_takes_and_is_part_of_the_run(cli):
    words = ("train", "maml", "sinusoid", "--net.hidden", "4", "--inner-steps", "1", "--tasks", "2", "--queries", "5")
    words += ("--steps", "4", "--validation-episodes", "2", "--how", "vmap", "--out", "run", "--compile", "--remat")
    done = cli(*words)
    assert done.code == 0
    assert re.search(
        r"compiled in \d+ s; a meta-gradient takes [\d.]+ ms instead of [\d.]+, which pays after", done.err
    )
    settings = RunSettings.read(Path("run"))
    assert settings.compile and settings.remat
    assert cli("train", "--resume", "run").code == 0


def test_what_cannot_be_compiled_is_said_and_trained_uncompiled(cli, monkeypatch):
    monkeypatch.setattr("mapwise.engine.gradient.run_compiled", raises(NotCompiled("there is no compiler")))
    words = ("train", "maml", "sinusoid", "--net.hidden", "4", "--steps", "2", "--validation-episodes", "2")
    done = cli(*words, "--how", "vmap", "--out", "run", "--compile")
    assert done.code == 0
    assert done.err.count("there is no compiler, so it runs uncompiled") == 1
    assert not RunSettings.read(Path("run")).compile


def test_the_precision_is_part_of_the_run(cli):
    words = ("train", "maml", "sinusoid", "--net.hidden", "4", "--steps", "2", "--validation-episodes", "2")
    assert cli(*words, "--how", "vmap", "--out", "full").code == 0
    assert cli(*words, "--how", "vmap", "--out", "rounded", "--precision", "bfloat16").code == 0
    assert RunSettings.read(Path("rounded")).precision == "bfloat16"
    full, rounded = (load_params(Path(name))[0] for name in ("full", "rounded"))
    assert any(not torch.equal(leaf, rounded[name]) for name, leaf in full.items())
    done = cli(*words, "--precision", "float8")
    assert done.code == 2 and "bfloat16" in done.err and "Traceback" not in done.err


def raises(error):
    """A function that does nothing but fail."""

    def fail(*_):
        raise error

    return fail


def test_the_validation_split_and_not_the_test_split_chooses_a_temperature(cli):
    run = cli("train", "protonet", "digits", *TINY, "--net.hidden", "8", "--json").answer["run"]
    first = cli("eval", run, "--episodes", "10", "--json").answer["calibrated"]
    other = cli("eval", run, "--episodes", "30", "--seed", "5", "--no-baselines", "--json").answer["calibrated"]
    assert first.keys() == {"temperature", "nll", "ece"}
    assert first["temperature"] == other["temperature"] > 0 and first["nll"] != other["nll"]
    assert "calibrated" not in cli("eval", run, "--episodes", "10", "--split", "val", "--json").answer
    assert "calibrated" not in cli("eval", run, "--episodes", "10", "--shuffle-labels", "--json").answer
    assert "chosen by validation episodes" in cli("eval", run, "--episodes", "10").out


def test_a_source_has_flags_of_its_own_and_a_run_keeps_them(cli):
    words = ("train", "maml", "sinusoid", *TINY, "--shots", "5", "--net.hidden", "4", "--inner-lr", "0.01")
    run = cli(*words, "--source.noise", "0.5", "--json").answer["run"]
    assert RunSettings.read(Path(run)).source_options == {"noise": 0.5}
    noisy = cli("eval", run, "--episodes", "30", "--json").answer["mse"]
    clean = cli("eval", run, "--episodes", "30", "--source.noise", "0", "--json").answer["mse"]
    assert clean != noisy
    assert "--source.noise" in cli("train", "maml", "sinusoid", "--help").out


def test_a_setting_that_a_source_lacks_is_wrong_use(cli):
    assert "noise" in cli("train", "maml", "sinusoid", "--source.nois", "1").err
    done = cli("train", "maml", "digits", "--source.noise", "1")
    assert done.code == 2 and "source digits has no settings of its own" in done.err
