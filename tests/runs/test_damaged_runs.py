"""Damaged runs: one sentence that names the file, whatever is wrong in it, and no traceback.

The files of tensors are written anew, so that their digests are right and what lies behind the digests is tried.
"""

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


@pytest.mark.parametrize("kind", ["folder", "pipe"])
@pytest.mark.parametrize("file", [SETTINGS, BEST, LAST, METRICS])
def test_a_file_of_a_run_that_is_no_file_is_refused(refused, run, kind, file):
    path = run / file
    path.unlink()
    {"folder": os.mkdir, "pipe": os.mkfifo}[kind](path)
    refused(EVAL if file == BEST else RESUME, file)
