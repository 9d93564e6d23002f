"""The benchmarks run, compare before they time, and say what is missing; their figures are not judged here."""

import importlib.util
import json
import os
import shlex
import subprocess
import sys
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mapwise as mw
from conftest import ROOT, command
from mapwise.runs.settings import RunSettings


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """As when a command is given in the folder of the repository."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))


def load(name):
    return importlib.import_module(f"benchmarks.{name}")


def script(name, *words):
    return [sys.executable, "-m", f"benchmarks.{name}", *words]


def cells(row):
    return [value for table in row["result"]["tables"] for line in table["lines"] for value in line.values()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "maml_sinusoid",
        "maml_conv4",
        "protonet_training",
        "ntm_copy",
        "plainly",
        "sampling",
        "latency",
        "growth",
        "cold_start",
    ],
)
def test_every_benchmark_runs_and_fills_its_row(name, tmp_path):
    path = tmp_path / f"{name}.json"
    results = ["--quick", *(["--no-compile"] if name.startswith("maml") else [])]
    # A process of its own, as by hand: a benchmark sets the allocator's thresholds for the whole process.
    command = script(f"speed.{name}", *results, "--json", str(path))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    row = json.loads(path.read_text(encoding="utf-8"))
    for table in row["result"]["tables"]:
        assert table["title"] in ran.stdout and table["lines"]
    spreads = [value for value in cells(row) if isinstance(value, dict)]
    assert spreads and all(0 < value["low"] <= value["median"] <= value["high"] for value in spreads)
    assert row["machine"] in ran.stdout
    assert row["eval_command"] == shlex.join(["python", "-m", f"benchmarks.speed.{name}", *results])
    assert "no GPU is at hand" in ran.stdout or torch.cuda.is_available()
    assert row["result"]["quick"] is True


@pytest.mark.slow
def test_the_packages_of_each_extra_are_counted(tmp_path):
    path = tmp_path / "installed.json"
    command = script("speed.installed", "--quick", "--json", str(path))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    without, core, *extras = json.loads(path.read_text(encoding="utf-8"))["result"]["tables"][0]["lines"]
    assert core["packages"] == without["packages"] > 10
    assert without["mapwise itself, MB"] < core["mapwise itself, MB"] < 12
    assert len(extras) == 3 and all(extra["packages"] and extra["of them, MB"] > 1 for extra in extras)


@pytest.mark.slow
def test_functions_are_judged_beside_the_exact_posterior_by_kernel_and_context(tmp_path):
    path = tmp_path / "functions.json"
    results = ["--quick", "--kernel", "rbf", "--kernel", "matern52", "--runs", str(tmp_path)]
    command = script("accuracy.functions", *results, "--json", str(path))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    row = json.loads(path.read_text(encoding="utf-8"))
    titles = [table["title"].partition(":")[0] for table in row["result"]["tables"]]
    assert titles == ["rbf", "matern52"]
    for table in row["result"]["tables"]:
        assert [line["context"] for line in table["lines"]] == ["1", "2"]
        for line in table["lines"]:
            assert float(line["cnp minus exact"].split()[0]) < 0  # four steps of training, beside the best there is
    assert len(row["result"]["targets"]) == 6


@pytest.mark.slow
def test_curves_end_on_the_same_episodes_and_stand_in_one_figure(tmp_path):
    path = tmp_path / "curves.json"
    results = ["--quick", "--source", "glyphs", "--only", "anil", "--runs", str(tmp_path / "runs"), "--json", str(path)]
    ran = subprocess.run(script("accuracy.curves", *results), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    ends, curves = json.loads(path.read_text(encoding="utf-8"))["result"]["tables"]
    maml, anil = ends["lines"]
    assert (maml["learner"], anil["learner"]) == ("maml", "anil") and maml["inductive, points"] is None
    own, other = (float(line["inductive, %"].split()[0]) for line in (anil, maml))
    assert float(anil["inductive, points"].split()[0]) == pytest.approx(own - other, abs=0.11)
    assert [len(line) for line in curves["lines"]] == [6, 6]
    assert "anil" in path.with_suffix(".svg").read_text(encoding="utf-8")


@pytest.mark.slow
def test_progress_ends_where_the_training_did(tmp_path):
    run, path = tmp_path / "run", tmp_path / "progress.json"
    words = [
        "protonet",
        "digits",
        "--steps",
        "6",
        "--validate-every",
        "2",
        "--validation-episodes",
        "3",
        "--tasks",
        "2",
    ]
    assert command("train", *words, "--out", run) == 0
    question = script("accuracy.progress", str(run), "--lines", "2", "--json", str(path))
    ran = subprocess.run(question, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (table,) = json.loads(path.read_text(encoding="utf-8"))["result"]["tables"]
    assert [line["step"] for line in table["lines"]] == ["2", "6"]
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [record for record in records if record.get("validation") is not None][-1]
    assert table["lines"][-1]["validation accuracy, %"] == pytest.approx(100 * last["validation"], abs=0.051)


@pytest.mark.slow
def test_a_weighing_of_tasks_is_judged_beside_the_mean_on_the_same_episodes(tmp_path):
    path = tmp_path / "weighing.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.accuracy.weighing",
        "--quick",
        "--runs",
        str(tmp_path),
        "--json",
        str(path),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (table,) = json.loads(path.read_text(encoding="utf-8"))["result"]["tables"]
    *seeds, together = [
        {name: float(cell.split()[0]) for name, cell in line.items() if name != "seed"} for line in table["lines"]
    ]
    for line in seeds:
        assert line["pyramid, %"] - line["mean, %"] == pytest.approx(line["difference, points"], abs=0.011)
    mean = sum(line["difference, points"] for line in seeds) / len(seeds)
    assert len(seeds) == 2 and together["difference, points"] == pytest.approx(mean, abs=0.011)
    weights = [(tmp_path / f"protonet-{name}-0" / "best.safetensors").read_bytes() for name in ("mean", "pyramid")]
    assert weights[0] != weights[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "novelty",
        "honesty",
        "calibration",
        "tabular",
        "drawings",
        "photographs",
        "minilm",
        "words",
        "names",
        "encoders",
        "zero_shot",
        "relations",
        "entities",
        "news_and_tweets",
        "entity_questions",
    ],
)
def test_every_benchmark_of_a_few_examples_runs_and_fills_its_row(name, tmp_path, shared_data):
    path = tmp_path / f"{name}.json"
    command = [
        sys.executable,
        "-m",
        f"benchmarks.few_examples.{name}",
        "--data",
        str(shared_data),
        "--quick",
        "--json",
        str(path),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    row = json.loads(path.read_text(encoding="utf-8"))
    assert row["eval_command"] == f"python -m benchmarks.few_examples.{name} --data DATA --quick"
    assert row["result"]["targets"] and all(table["lines"] for table in row["result"]["tables"])
    assert all(np.isfinite(target["value"]) for target in row["result"]["targets"])


@pytest.mark.slow
def test_heads_behind_an_encoder_of_texts_are_judged_on_the_same_draws(tmp_path):
    for name in ("banking77", "financial-phrasebank"):
        (tmp_path / name).mkdir()
    texts = [(f"{word} number {i}", word) for word in ("card", "cash", "loan", "rate") for i in range(20)]
    for part in ("train", "test"):
        lines = ["text,category", *(f"{part} {text},{label}" for text, label in texts)]
        (tmp_path / "banking77" / f"{part}.csv").write_text("\n".join(lines), encoding="utf-8")
    sentences = "\r\n".join(f"{text} @ home @{label}" for text, label in texts)
    (tmp_path / "financial-phrasebank" / "Sentences_50Agree.txt").write_text(sentences, encoding="utf-8-sig")
    path = tmp_path / "texts.json"
    results = ["--data", str(tmp_path), "--encoder", "text-hash", "--quick", "--heads", "ridge", "nearest_mean"]
    command = script("few_examples.texts", *results, "--json", str(path))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    row = json.loads(path.read_text(encoding="utf-8"))
    assert "--data DATA" in row["eval_command"] and str(tmp_path) not in row["eval_command"]
    banking, sentiments = row["result"]["tables"]
    assert "3 classes, 60 texts" in banking["title"] and "3 classes, 30 texts" in sentiments["title"]
    for table, shots in ((banking, "1"), (sentiments, "8")):
        (line,) = table["lines"]
        assert line["examples a class"] == shots
        ours, theirs, ahead = (
            float(line[name].split()[0]) for name in ("nearest_mean, %", "ridge, %", "nearest_mean minus ridge")
        )
        assert ours > 60 and ours - theirs == pytest.approx(ahead, abs=0.11)


@pytest.mark.slow
def test_a_tuned_encoder_is_judged_beside_frozen_ones_on_the_same_draws(tmp_path):
    (tmp_path / "financial-phrasebank").mkdir()
    texts = [(f"{word} number {i}", word) for word in ("card", "cash", "loan") for i in range(20)]
    sentences = "\n".join(f"{text}@{label}" for text, label in texts)
    (tmp_path / "financial-phrasebank" / "Sentences_50Agree.txt").write_text(sentences, encoding="utf-8")
    path = tmp_path / "lora.json"
    results = ["financial-phrasebank", "--data", str(tmp_path), "--quick", "--crossed", "--json", str(path)]
    command = script("few_examples.lora", *results)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    contenders, message = json.loads(path.read_text(encoding="utf-8"))["result"]["tables"]
    (line,), (answer,) = contenders["lines"], message["lines"]
    mine, auto, ahead = (float(line[name].split()[0]) for name in ("lora, %", "auto, %", "lora minus auto"))
    assert mine > 60 and mine - auto == pytest.approx(ahead, abs=0.11)
    assert line["auto, all, %"] and float(answer["the truth, %"].split()[0]) == mine
    assert float(line["seconds of lora"].split()[0]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["loop", "vmap"])
@pytest.mark.parametrize("name", ["maml", "protonet"])
def test_the_compiler_rewrites_a_gradient_into_the_same_one(name, how):
    compiled = load("speed.compiled_gradients")
    assert compiled.distance(*compiled.problem(name), how) < 1e-5


@pytest.mark.slow
def test_a_sum_that_the_compiler_gets_wrong_is_seen(monkeypatch):
    compiled, inner_loop = (
        load("speed.compiled_gradients"),
        importlib.import_module("mapwise.core.inner_loop"),
    )

    def step(point, direction, rate):
        return inner_loop.tree.map(lambda p, d: torch.add(p, d, alpha=-rate), point, direction)

    monkeypatch.setattr(inner_loop, "_step_along", step)
    assert "differs from the uncompiled one" in compiled.distance(*compiled.problem("maml"), "loop")


def test_texts_are_drawn_from_one_part_and_asked_of_the_other():
    texts = load("few_examples.texts")
    pairs = [(f"text {i}", "ab"[i % 2]) for i in range(40)]
    apart = texts.Texts.of(pairs[:30], pairs[30:], False)
    assert apart.free.tolist() == [True] * 30 + [False] * 10 and apart.queries.tolist() == (~apart.free).tolist()
    one = texts.Texts.of(pairs, [], False)
    assert one.free.all() and one.queries.all()
    # A row that says its class is known only where it was drawn: what is asked of must be the others.
    rows = np.eye(40)
    (share,) = texts.accuracies(None, one, rows, ["ridge"], 8, 0)
    assert share < 0.9


@pytest.mark.slow
def test_a_memory_is_judged_at_lengths_it_was_not_trained_with(tmp_path):
    path = tmp_path / "copy.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.accuracy.sequences",
        "associative_recall",
        "--quick",
        "--runs",
        str(tmp_path),
    ]
    ran = subprocess.run([*command, "--json", str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    row = json.loads(path.read_text(encoding="utf-8"))
    (table,) = row["result"]["tables"]
    assert [(line["seed"], line["items"]) for line in table["lines"]] == [
        ("0", "2"),
        ("0", "3"),
        ("1", "2"),
        ("1", "3"),
    ]
    assert all(float(line["bits a bit"]) == pytest.approx(1, abs=0.3) for line in table["lines"])
    assert len(row["result"]["targets"]) == 2
    weights = [(tmp_path / f"ntm-associative_recall-{seed}" / "best.safetensors").read_bytes() for seed in (0, 1)]
    assert weights[0] != weights[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "sizes"),
    [
        ("repeat_copy", [{"length": "2", "repeats": "2", "slots": 4}, {"length": "3", "repeats": "2", "slots": 6}]),
        ("priority_sort", [{"items": "2", "highest": "2", "slots": 4}, {"items": "3", "highest": "2", "slots": 6}]),
    ],
)
def test_a_memory_is_trained_for_minutes_of_the_processor(tmp_path, source, sizes):
    path = tmp_path / "row.json"
    words = ["--learner", "dnc", "--minutes", "0.001", "--quick", "--runs", str(tmp_path), "--json", str(path)]
    for _ in range(2):  # the second time nothing is trained again, and as many updates are reported
        ran = subprocess.run(script("accuracy.sequences", source, *words), capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        row = json.loads(path.read_text(encoding="utf-8"))
        (table,) = row["result"]["tables"]
        names = sizes[0].keys()
        assert [{name: line[name] for name in names} for line in table["lines"]] == sizes * 2
        steps = [RunSettings.read(tmp_path / f"dnc-{source}-0.001min-{seed}").steps for seed in (0, 1)]
        assert steps[0] == steps[1] >= 2 and f"for {steps[0]:,} updates of 32 sequences" in row["protocol"]
        assert "as many as fill 0.001 processor minutes" in row["protocol"]
    assert len(row["result"]["targets"]) == (2 if source == "repeat_copy" else 0)


@pytest.mark.slow
def test_a_memory_of_bounded_size_is_judged_by_instances_and_by_the_time_of_a_row(tmp_path):
    path = tmp_path / "lifelong.json"
    command = script("accuracy.lifelong", "--quick", "--runs", str(tmp_path), "--json", str(path))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    row = json.loads(path.read_text(encoding="utf-8"))
    accuracies, times = (table["lines"] for table in row["result"]["tables"])
    assert [line["slots"] for line in accuracies] == [line["slots"] for line in times] == ["40", "80"]
    assert all(line["instance 1"].startswith("0.0") for line in accuracies)  # a class that never came isn't known
    assert all(line["once full, ms"] > 0 and line["at the end, ms"] > 0 for line in times)


@pytest.mark.slow
def test_writing_weights_is_judged_beside_copying_them_on_the_same_episodes(tmp_path):
    path = tmp_path / "hypernet.json"
    command = script("accuracy.hypernet", "--quick", "--json", str(path))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    lines, sinusoid, glyphs = (
        table["lines"] for table in json.loads(path.read_text(encoding="utf-8"))["result"]["tables"]
    )
    assert [line["prediction"] for line in lines] == ["as it is written", "after 200 steps of 0.03"]
    for line, sign in [*((line, -1) for line in sinusoid), *((line, 1) for line in glyphs)]:
        ours, theirs, ahead = (float(line[name].split()[0]) for name in ("hypernet", "transfer", "ahead of transfer"))
        assert sign * (ours - theirs) == pytest.approx(ahead, rel=0.01, abs=0.02 * max(ours, theirs))
    assert len(sinusoid) == len(glyphs) == 2 and all("finetune" in line for line in glyphs)


@pytest.mark.slow
def test_the_probabilities_of_two_learners_are_judged_on_the_same_episodes(tmp_path):
    path = tmp_path / "calibration.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.accuracy.calibration",
        "--quick",
        "--runs",
        str(tmp_path),
        "--json",
        str(path),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    seeds, differences = json.loads(path.read_text(encoding="utf-8"))["result"]["tables"]
    assert [line["learner"] for line in seeds["lines"]] == ["abml", "maml"] * 2
    columns = [("accuracy, points", "accuracy, %"), ("NLL, nats", "NLL, nats")]
    columns.append(("calibration error, points", "calibration error, %"))
    for line, (what, column) in zip(differences["lines"], columns, strict=True):
        abml, maml = ([float(one[column].split()[0]) for one in seeds["lines"][place::2]] for place in (0, 1))
        expected = sum(a - b for a, b in zip(abml, maml, strict=True)) / 2
        assert line["what"] == what and float(line["mean difference"].split()[0]) == pytest.approx(expected, abs=0.011)


@pytest.mark.slow
def test_cosine_heads_are_judged_beside_fine_tuning_on_the_same_episodes(tmp_path, shared_data):
    path = tmp_path / "cosine.json"
    words = ["--quick", "--data", str(shared_data), "--runs", str(tmp_path), "--json", str(path)]
    ran = subprocess.run(script("accuracy.cosine_heads", *words), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    seeds, differences = json.loads(path.read_text(encoding="utf-8"))["result"]["tables"]
    own = {(line["shots"], line["learner"]): float(line["accuracy, %"].split()[0]) for line in seeds["lines"]}
    for line in differences["lines"]:
        expected = own[line["shots"], "baseline_pp"] - own[line["shots"], line["baseline_pp minus"]]
        assert float(line["points"].split()[0]) == pytest.approx(expected, abs=0.011)
    assert len(own) == 6 and len(differences["lines"]) == 4


@pytest.mark.slow
def test_drawn_rows_are_judged_beside_heads_without_them_on_the_same_episodes(tmp_path, shared_data):
    path = tmp_path / "drawn.json"
    words = ["--quick", "--data", str(shared_data), "--runs", str(tmp_path), "--json", str(path)]
    command = script("accuracy.drawn_rows", *words)
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    seeds, differences = json.loads(path.read_text(encoding="utf-8"))["result"]["tables"]
    own = {(line["shots"], line["head"]): float(line["accuracy, %"].split()[0]) for line in seeds["lines"]}
    for line in differences["lines"]:
        expected = own[line["shots"], line["head"]] - own[line["shots"], line["minus"]]
        assert float(line["points"].split()[0]) == pytest.approx(expected, abs=0.011)
    assert len(own) == 6 and len(differences["lines"]) == 6
    features = (tmp_path / "supervised-0" / "features.npy").stat().st_mtime_ns
    again = subprocess.run(command, capture_output=True, text=True, check=False)  # nothing is made twice
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "supervised-0" / "features.npy").stat().st_mtime_ns == features


@pytest.mark.slow
def test_a_region_is_judged_beside_others_of_its_size(tmp_path):
    path = tmp_path / "regions.json"
    command = script("few_examples.regions", "--quick", "--json", str(path))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (table,) = json.loads(path.read_text(encoding="utf-8"))["result"]["tables"]
    assert [line["what falls"] for line in table["lines"]] == ["the winner's score", "its lead over the next"]
    for line in table["lines"]:
        region, *others = (float(line[name].split()[0]) for name in ("the region hidden", "10 anywhere"))
        assert float(line["more than 10 anywhere"].split()[0]) == pytest.approx(region - others[0], abs=0.011)


@pytest.mark.slow
def test_the_server_is_measured_beside_its_encoder(tmp_path):
    path = tmp_path / "serve.json"
    ran = subprocess.run(
        script("serve.load", "--quick", "--json", str(path)), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads(path.read_text(encoding="utf-8"))["result"]
    predictions, additions, residents = (table["lines"] for table in result["tables"])
    columns = ("pictures a request", "pictures as", "clients")
    assert [tuple(line[column] for column in columns) for line in predictions] == [
        (pictures, way, clients) for pictures in (1, 16) for way in ("files", "array") for clients in (1, 8)
    ]
    assert all(line["pictures/s"] > 0 and line["of the encoder"] > 0 for line in predictions)
    assert additions[0]["p99, ms"] > 0 and residents[0]["predictors"] == 20 and len(result["targets"]) == 6


@pytest.mark.slow
def test_scaling_is_measured_in_processes_of_their_own(tmp_path):
    path = tmp_path / "scaling.json"
    command = script("few_examples.scaling", "--quick", "--json", str(path))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    examples, classes = json.loads(path.read_text(encoding="utf-8"))["result"]["tables"]
    assert [line["learner"] for line in examples["lines"]] == ["nearest_mean", "ridge", "logistic"]
    assert [line["learner"] for line in classes["lines"]] == ["nearest_mean", "cosine"]
    assert all(line["fit, s"] > 0 and line["report, s"] > 0 for line in (*examples["lines"], *classes["lines"]))


@pytest.mark.slow
def test_the_walks_of_the_first_hour_are_timed_and_end_with_the_right_names(tmp_path):
    path = tmp_path / "first-hour.json"
    command = script("few_examples.first_hour", "--quick", "--clock", "processor", "--json", str(path))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    result = json.loads(path.read_text(encoding="utf-8"))["result"]
    commands, loops = (table["lines"] for table in result["tables"])
    assert [line["walk"] for line in commands] == ["photographs", "table"]
    assert all(line["fit, s"]["median"] > 0 and line["predict, s"]["median"] > 0 for line in commands)
    assert len(loops) == 2 and all(line["over vmap"]["median"] > 0 for line in loops)
    assert len(result["targets"]) == 4


@pytest.mark.slow
def test_choosing_labels_is_judged_beside_random_choice_on_the_same_tasks(tmp_path):
    path = tmp_path / "which-next.json"
    command = script("few_examples.which_next", "--quick", "--json", str(path))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    mean, way = json.loads(path.read_text(encoding="utf-8"))["result"]["tables"]
    assert [line["at once"] for line in mean["lines"]] == ["1", "5"]
    assert [line["rule"] for line in way["lines"]] == ["random", "which_next"] * 2
    for place, line in enumerate(mean["lines"]):
        ours, theirs = (
            [float(one[f"+{at}"]) for at in (5, 10, 15, 20)] for one in way["lines"][2 * place + 1 :: -1][:2]
        )
        assert 50 < min(*ours, *theirs) <= max(*ours, *theirs) <= 100
        assert float(line["random, %"].split()[0]) == pytest.approx(sum(theirs) / 4, abs=5)
        assert float(line["which_next, points"].split()[0]) > 0


def test_contenders_take_turns_and_each_round_has_a_figure():
    timer = load("side_by_side")
    calls = []
    spans = timer.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, seconds=0.0)
    assert {name: len(rounds) for name, rounds in spans.items()} == {"a": 3, "b": 3}
    assert "".join(calls[4:]) == "abbaab"  # after two calls each to warm up, another begins every round


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    timer = load("side_by_side")
    assert timer.ratio([2.0, 9.0, 6.0], [1.0, 3.0, 3.0]) == (2.0, 2.0, 3.0)


def problem():
    meta = load("speed.meta_gradients")
    shape = load("speed.maml_sinusoid").shape(2, 3, "cpu")
    return meta, shape


def by_hand(problem, *, first_order=False, rate=1.0):
    """MAML by hand, right unless told otherwise."""

    def run():
        leaves = list(problem.net.parameters())
        names = [name for name, _ in problem.net.named_parameters()]
        total = 0
        for x, y, query_x, query_y in problem.tasks:
            fast = leaves
            for _ in range(problem.inner_steps):
                out = torch.func.functional_call(problem.net, dict(zip(names, fast, strict=True)), (x,))
                slopes = torch.autograd.grad(problem.loss(out, y), fast, create_graph=not first_order)
                fast = [p - rate * problem.inner_lr * g for p, g in zip(fast, slopes, strict=True)]
            out = torch.func.functional_call(problem.net, dict(zip(names, fast, strict=True)), (query_x,))
            total = total + problem.loss(out, query_y) / len(problem.tasks)
        return list(torch.autograd.grad(total, leaves)), total.detach()

    return run


def test_a_peer_that_is_right_is_taken():
    meta, shape = problem()
    row = load("row").Row("x", "y", "z")
    meta.compare(shape, {"by hand": (by_hand, "plain")}, row)
    assert "by hand" in row.notes[0]


@pytest.mark.parametrize("fault", [{"first_order": True}, {"rate": 1.001}])
def test_a_peer_that_computes_something_else_stops_the_benchmark(fault):
    meta, shape = problem()
    row = load("row").Row("x", "y", "z")
    with pytest.raises(RuntimeError, match="wrong computes something else"):
        meta.compare(shape, {"wrong": (lambda given: by_hand(given, **fault), "plain")}, row)


def test_in_first_order_only_the_first_order_gradient_is_taken():
    meta, shape = problem()
    shape = replace(shape, learner=replace(shape.learner, first_order=True))
    row = load("row").Row("x", "y", "z")
    meta.compare(shape, {"by hand": (lambda given: by_hand(given, first_order=True), "plain")}, row)
    with pytest.raises(RuntimeError, match="wrong computes something else"):
        meta.compare(shape, {"wrong": (by_hand, "plain")}, row)


@pytest.mark.parametrize("name", ["higher", "torchopt", "learn2learn"])
@pytest.mark.parametrize("first_order", [False, True])
def test_every_peer_computes_the_same_meta_gradient(name, first_order):
    peers = load("peers")
    result, absent = peers.installed()
    if name in absent:
        pytest.skip(absent[name])
    meta, shape = problem()
    shape = replace(shape, learner=replace(shape.learner, first_order=first_order))
    meta.compare(shape, {name: (result[name].meta_gradient, "plain")}, load("row").Row("x", "y", "z"))


def engine(monkeypatch, meta_gradient):
    """The scripts with another engine."""
    monkeypatch.setattr(load("speed.ours"), "mw", SimpleNamespace(meta_gradient=meta_gradient))
    monkeypatch.setattr(load("peers"), "PEERS", {})
    return SimpleNamespace(device="cpu", clock="wall", rounds=1, quick=True)


def test_a_benchmark_fails_when_compile_fell_back(monkeypatch):
    meta, shape = problem()

    def falls_back(learner, params, tasks, *, how, compile=False):
        if compile:
            warnings.warn("no compiler is at hand, so it runs uncompiled", RuntimeWarning, stacklevel=2)
        return mw.meta_gradient(learner, params, tasks, how=how)

    question = engine(monkeypatch, falls_back)
    with pytest.raises(RuntimeError, match="compile fell back"):
        meta.measure(shape, question, load("row").Row("x", "y", "z"), compiled=True)


def test_a_compiled_gradient_that_is_another_one_stops_the_benchmark(monkeypatch):
    meta, shape = problem()

    def wrong(learner, params, tasks, *, how, compile=False):
        gradients, loss = mw.meta_gradient(learner, params, tasks, how=how)
        return ({name: 1.1 * leaf for name, leaf in gradients.items()} if compile else gradients), loss

    question = engine(monkeypatch, wrong)
    with pytest.raises(RuntimeError, match="compiled computes something else"):
        meta.measure(shape, question, load("row").Row("x", "y", "z"), compiled=True)


def test_a_compiled_gradient_is_a_contender_of_its_own(monkeypatch):
    meta, shape = problem()

    def right(learner, params, tasks, *, how, compile=False):
        return mw.meta_gradient(learner, params, tasks, how=how)

    question, row = engine(monkeypatch, right), load("row").Row("x", "y", "z")
    measured = meta.measure(shape, question, row, compiled=True)
    assert measured.mine == ["mapwise", "mapwise, compiled"] and any("compiling took" in note for note in row.notes)


def test_an_absent_peer_is_left_out_with_its_reason(monkeypatch):
    peers = load("peers")
    monkeypatch.setattr(peers, "PEERS", {"nobody": "nobody_maml"})
    result, absent = peers.installed()
    assert not result and "not installed" in absent["nobody"]
    monkeypatch.setattr(peers, "PEERS", {"json": "broken_maml"})  # the library is there, and can't be used
    assert "broken_maml" in peers.installed()[1]["json"]


def test_the_floor_sees_the_support_once_a_step_and_the_query_once():
    _, shape = problem()
    plain = load("peers.plain")
    given = shape.problem("plain")
    assert plain.rows_of(given) == 3 * (2 * 10 + 10)
    seen = []
    given.net.register_forward_hook(lambda module, inputs, out: seen.append(len(inputs[0])))
    plain.floor(given)()
    assert seen == [3 * (2 * 10 + 10)]


def test_a_missed_target_is_a_failure_and_an_unmeasured_one_is_not():
    row = load("row")
    assert row.Target("speed", 2.0, 1.7).met is True
    assert row.Target("speed", 1.6, 1.7).met is False
    assert row.Target("time", 1.6, 1.7, at_least=False).met is True
    unmeasured = row.Target("time", None, 1.7, because="no peer is installed")
    assert unmeasured.met is None
    assert (
        load("tables").describe_target(unmeasured.to_json()) == "time: at least 1.7; not measured: no peer is installed"
    )


def test_ranks_are_timed_after_the_warm_up_alone(tmp_path, monkeypatch):
    ranks = load("speed.ranks")

    def training(command, **_):
        out = tmp_path / "run"
        out.mkdir()
        records = [{"step": s, "loss": 1.0 / s, "seconds": 100 + 0.5 * s} for s in range(1, 9)]
        (out / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        assert command[-2:] == ["--out", str(out)] and "2" in command
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(ranks.subprocess, "run", training)
    rate, losses = ranks.trained(2, ["train"], tmp_path / "run", tasks=16, warm=4)
    assert rate == pytest.approx(16 / 0.5) and losses == [1.0 / s for s in range(1, 9)]


def test_ranks_that_train_apart_are_no_measurement(monkeypatch):
    ranks = load("speed.ranks")
    steps = {1: [1.6, 1.5, 1.2], 2: [1.6, 1.52, 1.1]}
    monkeypatch.setattr(ranks, "trained", lambda ranks, *_: (10.0 * ranks, steps[ranks]))
    question = SimpleNamespace(quick=False, rounds=2, device="cpu")
    with pytest.raises(RuntimeError, match="not one training"):
        ranks.benchmark(question)
    steps[2] = [1.6, 1.5, 1.1]  # rounding grows with the steps
    assert ranks.benchmark(question).targets[0].value == pytest.approx(2.0)


def test_the_runner_knows_scripts_that_exist():
    for script, *flags in load("run").BENCHMARKS.values():
        assert importlib.util.find_spec(f"benchmarks.{script}"), script
        assert all(flag.startswith("--") or flag.isdigit() for flag in flags)


@pytest.mark.slow
def test_averages_are_judged_beside_the_best_member_on_the_same_episodes(tmp_path):
    path = tmp_path / "averaging.json"
    command = script("accuracy.averaging", "--source", "glyphs", "--quick", "--json", str(path))
    ran = subprocess.run([*command, "--runs", str(tmp_path / "runs")], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    barriers, episodes = (table["lines"] for table in json.loads(path.read_text(encoding="utf-8"))["result"]["tables"])
    assert [line["members"] for line in barriers] == ["five seeds", "five fine-tunings"]
    best = next(line for line in episodes if line["what"] == "best member")
    assert best["minus the best member, points"] == "0.00 ± 0.00"
    assert {"predictions averaged", "best member"} <= {line["what"] for line in episodes}


@pytest.mark.slow
@pytest.mark.parametrize("source", ["quadratics", "small_mlps"])
def test_a_learned_optimizer_is_judged_beside_tuned_ones_on_the_same_problems(tmp_path, source):
    path, runs = tmp_path / "optimizers.json", tmp_path / "runs"
    command = script("accuracy.learned_optimizers", source, "--quick", "--json", str(path), "--runs", str(runs))
    tables = []
    for _ in range(2):  # the second finds all curves finished
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        tables.append(json.loads(path.read_text(encoding="utf-8"))["result"]["tables"])
    assert tables[0] == tables[1]
    horizons, curves = (table["lines"] for table in tables[0])
    assert [line["rule"] for line in horizons] == ["learned", "SGD", "momentum", "Adam"] * 2
    starts = {value for name, value in curves[0].items() if name != "step"}
    assert len(starts) == 1  # all begin at the same starts
