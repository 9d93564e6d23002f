"""Damaged and edited runs: one sentence that names the file, whatever is wrong in it, and no traceback.

The files of tensors are written anew, so that their digests are right and what lies behind the digests is tried.
"""

import json
import math
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from conftest import command
from mapwise.data import tensor_file
from mapwise.interfaces.progress import Bar

BEST, LAST, METRICS, SETTINGS = "best.safetensors", "last.safetensors", "metrics.jsonl", "run.toml"
EVAL = ("eval", "run", "--episodes", "4", "--no-baselines")
RESUME = ("train", "--resume", "run")
REPORT = ("report", "run", "--episodes", "4", "--curve-episodes", "2")
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped at step 3 of 4, after its first validation."""

    def stop(bar, progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    folder = tmp_path_factory.mktemp("stopped") / "run"
    words = ("--steps", "4", "--validate-every", "2", "--validation-episodes", "8", "--tasks", "2", "--how", "vmap")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bar, "__call__", stop)
        assert command("train", "maml", "digits", "--ways", "2", "--schedule", "cosine", "--out", folder, *words) == 130
    return folder


@pytest.fixture
def run(stopped, tmp_path):
    return Path(shutil.copytree(stopped, tmp_path / "run"))


@pytest.fixture
def refused(cli, run):
    """Run a command that must fail, with one sentence that names this file."""

    def check(words, file):
        done = cli(*words)
        assert (done.code, done.out) == (1, ""), done
        assert done.err.startswith("mapwise: ") and file in done.err, done.err
        assert done.err.count("\n") == 1 and len(done.err) < 1000, done.err
        assert "fault of mapwise" not in done.err, done.err

    return check


def forge(path, change):
    """Write a file of tensors anew after a change of its tensors and its description."""
    tensors, about = tensor_file.load_tensors(path, "file", "write it again")
    change(tensors, about)
    tensor_file.save_tensors(path, tensors, about)


def header(name, value):
    return lambda tensors, about: about.update({name: value})


def without(name):
    return lambda tensors, about: about.pop(name)


def of_type(dtype):
    return lambda tensors, about: tensors.update({name: leaf.to(dtype) for name, leaf in tensors.items()})


def tensor(name, leaf):
    return lambda tensors, about: tensors.update({name: leaf})


def beneath_a_leaf(tensors, about):
    tensors[f"{next(name for name in tensors if name.startswith('params/'))}/more"] = torch.zeros(2)


def optimizer(change):
    return lambda tensors, about: change(about["optimizer"])


def group(name, value):
    return optimizer(lambda state: state["groups"][0].update({name: value}))


def moment(name, leaf):
    return lambda tensors, about: tensors.update({f"optimizer/0/{name}": leaf})


def no_moments(tensors, about):
    for name in [name for name in tensors if name.endswith("exp_avg")]:
        del tensors[name]


HEADERS = {
    "no step": without("step"),
    **{f"step {value!r}"[:20]: header("step", value) for value in (None, "x", [1], {}, 1.5, -4, True, 10**400)},
    **{f"run {value!r}": header("run", value) for value in (None, 3, [1], {})},
    "validation x": header("validation", "x"),
}
TENSORS = {
    **{
        dtype: of_type(getattr(torch, dtype))
        for dtype in ("float64", "float16", "bfloat16", "float8_e4m3fn", "int64", "uint8", "bool", "complex64")
    },
    "beneath a leaf": beneath_a_leaf,
    "params a leaf": tensor("params", torch.zeros(2)),
    "no name": tensor("", torch.zeros(2)),
    "a slash": tensor("/", torch.zeros(2)),
    "a weight too many": tensor("params/x", torch.zeros(2)),
    "measured a leaf": tensor("params/measured", torch.zeros(2)),
    "none at all": lambda tensors, about: tensors.clear(),
}
RAW = {
    "a list": "[1]",
    "a number": "3",
    "a text": '"x"',
    "null": "null",
    "deep": DEEP,
    "no JSON": "{",
    "a version in words": '{"version": "1"}',
    "a version that is true": '{"version": true}',
    "nothing but a version": '{"version": 1}',
    "a number of 5,000 digits": '{"version": 1, "step": ' + "9" * 5000 + "}",
}
OPTIMIZER = {
    "no optimizer": without("optimizer"),
    "no schedule": without("schedule"),
    **{f"{name} {value!r}": header(name, value) for name in ("optimizer", "schedule") for value in (None, [], "x", {})},
    "leaves too few": optimizer(lambda state: state["leaves"].pop()),
    "other leaves": optimizer(lambda state: state.update(leaves=["q"] * len(state["leaves"]))),
    "one leaf again and again": optimizer(lambda state: state.update(leaves=state["leaves"][:1] * 8)),
    "leaves a number": optimizer(lambda state: state.update(leaves=3)),
    **{
        f"{name} {value!r}": optimizer(lambda state, name=name, value=value: state.update({name: value}))
        for name in ("groups", "plain")
        for value in (None, [1], "x", {"99": {}}, {"x": {}}, {"-1": {"step": 1}}, {"0": "x"})
    },
    "no groups": optimizer(lambda state: state.pop("groups")),
    "no rate": optimizer(lambda state: state["groups"][0].pop("lr")),
    "no betas": optimizer(lambda state: state["groups"][0].pop("betas")),
    **{f"lr {value!r}": group("lr", value) for value in ("x", None, math.nan, [0.1])},
    **{f"betas {value!r}": group("betas", value) for value in ("x", [0.9], None)},
    "params of the group": group("params", [7]),
    "a moment of another shape": moment("exp_avg", torch.zeros(3, 5)),
    "a moment of NaN": moment("exp_avg", torch.full((1,), math.nan)),
    "three counters": moment("step", torch.zeros(3)),
    "a counter of NaN": moment("step", torch.tensor(math.nan)),
    "a tensor of leaf 99": tensor("optimizer/99/step", torch.zeros(1)),
    "a tensor of leaf x": tensor("optimizer/x/step", torch.zeros(1)),
    "no moments": no_moments,
}
POSITION = {
    **{f"no {name}": without(name) for name in ("step", "best", "best_step", "stale", "sum", "count", "settings")},
    **{
        f"{name} {value!r}": header(name, value)
        for name in ("step", "best", "best_step", "stale", "validation", "sum", "count", "settings", "how")
        for value in ([], "x", {"a": 1})
    },
    **{f"{name} {value!r}": header(name, value) for name in ("step", "stale", "settings") for value in (None, -1)},
    "more steps than there are": header("step", 10**9),
}
RECORDS = {
    "a list": "[1]",
    "a number": "3",
    "null": "null",
    "deep": DEEP,
    "step in words": '{"step": "x", "loss": 1, "seconds": 1}',
    "no step": '{"loss": 1, "seconds": 1}',
    "no seconds": '{"step": 1, "loss": 1}',
    "seconds in words": '{"step": 1, "loss": 1, "seconds": "x"}',
    "processor time in words": '{"step": 1, "loss": 1, "seconds": 1, "processor_seconds": "x"}',
    "loss in words": '{"step": 1, "loss": "x", "seconds": 1}',
    "no loss": '{"step": 1, "seconds": 1}',
    "validation in braces": '{"step": 1, "loss": 1, "seconds": 1, "validation": {}}',
    "a number of 5,000 digits": '{"step": ' + "9" * 5000 + "}",
    "other bytes": b"\xff\xfe\x00",
}
EDITS = {
    "learner unknown": ('learner = "maml"', 'learner = "mmal"'),
    "learner a number": ('learner = "maml"', "learner = 3"),
    "learner a table": ('learner = "maml"', "learner = {a = 1}"),
    "another learner": ('learner = "maml"', 'learner = "protonet"'),
    "source unknown": ('source = "digits"\n', 'source = "digit"\n'),
    "source of no file": ('source = "digits"\n', 'source = "/nowhere/at/all.csv"\n'),
    "source with NUL": ('source = "digits"\n', 'source = "a\\u0000b"\n'),
    "ways in words": ('ways = "2"', 'ways = "two"'),
    "ways beyond the classes": ('ways = "2"', 'ways = "4000"'),
    "ways none": ('ways = "2"', 'ways = ""'),
    "ways huge": ('ways = "2"', f'ways = "{10**30}"'),
    "shots negative": ('shots = "1"', 'shots = "-1"'),
    "shots huge": ('shots = "1"', f'shots = "{10**12}"'),
    "device unknown": ('device = "cpu"', 'device = "quantum"'),
    "device absent": ('device = "cpu"', 'device = "cuda:9"'),
    "device meta": ('device = "cpu"', 'device = "meta"'),
    "device empty": ('device = "cpu"', 'device = ""'),
    "threads none": ("threads = 1", "threads = 0"),
    "threads beyond reason": ("threads = 1", "threads = 100000"),
    "threads beyond int64": ("threads = 1", f"threads = {2**70}"),
    "seed beyond int64": ("seed = 0", f"seed = {2**70}"),
    "seed in words": ("seed = 0", 'seed = "x"'),
    "field unknown": ("fields = {}", 'fields = {"lr" = 1}'),
    "field of another type": ("fields = {}", 'fields = {"inner_lr" = "x"}'),
    "field out of range": ("fields = {}", 'fields = {"inner_steps" = -1}'),
    "field a table": ("fields = {}", 'fields = {"inner_steps" = {"a" = 1}}'),
    "fields a list": ("fields = {}", "fields = [1]"),
    "net option unknown": ("net_options = {}", 'net_options = {"norrm" = "batch"}'),
    "net option of another type": ("net_options = {}", 'net_options = {"hidden" = "x"}'),
    "net option of other weights": ("net_options = {}", 'net_options = {"hidden" = [3]}'),
    "net option negative": ("net_options = {}", 'net_options = {"hidden" = [-3]}'),
    "net option huge": ("net_options = {}", f'net_options = {{"hidden" = [{10**12}]}}'),
    "source option unknown": ("source_options = {}", 'source_options = {"noise" = 1}'),
    "trained on another shape": ("[1, 8, 8], 2", "[1, 8, 9], 2"),
    "trained on a negative shape": ("[1, 8, 8], 2", "[1, -8, 8], 2"),
    "trained on a huge shape": ("[1, 8, 8], 2", f"[1, {10**10}, 8], 2"),
    "trained on no problem": ('["classification", ', '["classing", '),
    "trained on another problem": ('["classification", ', '["regression", '),
    "trained on no source": ('{"source" = "digits"', '{"source" = "digit"'),
    "trained on no net": ('"net" = "mlp"', '"net" = "mlpp"'),
    "how in words": ('how = "vmap"', 'how = "fast"'),
    "how huge": ('how = "vmap"', f"how = {10**30}"),
    "augment unknown": ("augment = []", 'augment = ["shake"]'),
    "track unknown": ("track = []", 'track = ["tracker"]'),
    "aggregate unknown": ('aggregate = "mean"', 'aggregate = "median"'),
    "optimizer unknown": ('optimizer = "Adam lr=0.001"', 'optimizer = "Adamm"'),
    "optimizer empty": ('optimizer = "Adam lr=0.001"', 'optimizer = ""'),
    "optimizer another": ('optimizer = "Adam lr=0.001"', 'optimizer = "SGD lr=0.1"'),
    "schedule unknown": ('schedule = "cosine"', 'schedule = "cosin"'),
    "steps negative": ("steps = 4", "steps = -4"),
    "steps fewer": ("steps = 4", "steps = 1"),
    "deep": ("fields = {}", f"fields = {DEEP}"),
    "a number of 5,000 digits": ("tasks = 2", f"tasks = {'9' * 5000}"),
    "a schema in words": ("schema_version = 1", 'schema_version = "x"'),
    "a setting twice": ("tasks = 2", "tasks = 2\ntasks = 3"),
    "a table that is none": ("tasks = 2", "tasks.a = 2"),
    "a date": ("tasks = 2", "tasks = 2020-01-01"),
    "infinity": ("clip = ", "clip = inf #"),
    "command a number": ("command = ", "command = 3 #"),
    "id a number": ('id = "', 'id = 3 #"'),
}


THREE = [(EVAL, BEST), (RESUME, BEST), (RESUME, LAST)]


def sampled(table):
    """The names of a table's cases: every eighth is tried by `make test`, and all of them by `make test-all`."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (place % 8 > 0)) for place, name in enumerate(table)]


@pytest.mark.parametrize("words", [EVAL, RESUME], ids=["eval", "resume"])
@pytest.mark.parametrize("damage", sampled(HEADERS))
def test_a_header_of_the_best_weights_that_is_none_is_refused(refused, run, words, damage):
    forge(run / BEST, HEADERS[damage])
    refused(words, BEST)


@pytest.mark.parametrize(
    ("words", "file"), [(EVAL, BEST), (RESUME, BEST), (RESUME, LAST)], ids=["eval", "best", "last"]
)
@pytest.mark.parametrize("damage", sampled(TENSORS))
def test_tensors_that_are_no_weights_of_the_run_are_refused(refused, run, words, file, damage):
    forge(run / file, TENSORS[damage])
    refused(words, "run")


@pytest.mark.parametrize(("words", "file"), [(EVAL, BEST), (RESUME, LAST)], ids=["eval", "resume"])
@pytest.mark.parametrize("text", sampled(RAW))
def test_a_header_that_is_no_table_is_refused(refused, run, words, file, text):
    tensors, _ = tensor_file.load_tensors(run / file, "file", "write it again")
    (run / file).write_bytes(safetensors.torch.save(tensors, {"mapwise": RAW[text]}))
    refused(words, file)


@pytest.mark.parametrize("damage", sampled(OPTIMIZER))
def test_an_optimizer_that_is_not_of_the_run_is_refused(refused, run, damage):
    forge(run / LAST, OPTIMIZER[damage])
    refused(RESUME, LAST)


@pytest.mark.parametrize("damage", sampled(POSITION))
def test_a_position_that_no_run_can_have_is_refused(refused, run, damage):
    forge(run / LAST, POSITION[damage])
    refused(RESUME, "run")


@pytest.mark.parametrize("words", [RESUME, REPORT], ids=["resume", "report"])
@pytest.mark.parametrize("record", sampled(RECORDS))
def test_a_record_that_is_none_is_refused_with_its_line(refused, run, words, record):
    line = RECORDS[record]
    path = run / METRICS
    path.write_bytes((line if isinstance(line, bytes) else line.encode()) + b"\n" + path.read_bytes())
    refused(words, METRICS)


@pytest.mark.parametrize("words", [EVAL, RESUME], ids=["eval", "resume"])
@pytest.mark.parametrize("edit", sampled(EDITS))
def test_an_edited_setting_is_refused_or_does_no_harm(cli, run, words, edit):
    """Its digest taken out, as the error for an edited file advises."""
    text = (run / SETTINGS).read_text()
    before, after = EDITS[edit]
    edited = text[: text.index("digest = ")].replace(before, after, 1)
    (run / SETTINGS).write_text(edited)
    done = cli(*words, "--json")
    answer = json.loads(done.out)
    if done.code == 0:  # what this command has no use for, or what is said in another way
        assert "error" not in answer
        return
    assert done.code in (1, 2), done
    assert "fault of mapwise" not in answer["error"] and "Traceback" not in done.err, done.err
    assert len(answer["error"]) < 1000


@pytest.mark.parametrize("kind", ["folder", "pipe"])
@pytest.mark.parametrize("file", [SETTINGS, BEST, LAST, METRICS])
def test_a_file_of_a_run_that_is_no_file_is_refused(refused, run, kind, file):
    path = run / file
    path.unlink()
    {"folder": os.mkdir, "pipe": os.mkfifo}[kind](path)
    refused(EVAL if file == BEST else RESUME, file)
