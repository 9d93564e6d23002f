"""What a newcomer does wrong in the first hour is answered by what was given and what to do instead."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, TensorDataset

import mapwise as mw
from mapwise.workflows.errors import line_and_code

ROWS = mw.LabelledRows.of(np.random.default_rng(0).normal(size=(120, 4)), np.repeat(np.arange(12), 10))
TASKS = mw.Episodes(ROWS, ways=2, shots=2, queries=2, tasks=2)
NET = torch.nn.Linear(4, 2)
LEARNER = mw.MAML(NET)
ONE = pytree.tree_map(lambda leaf: leaf[0], TASKS(0))
TEXTS = ["where is my card", math.nan, "cancel the order", "where is it"]
train = partial(mw.train, steps=1)


def misfit(net):
    learner = mw.MAML(net)
    return mw.meta_gradient(learner, learner.init(0), TASKS(0), how="loop")


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda: mw.FewShotClassifier().fit(TEXTS, list("abab")), r"row 1 of X is missing \(nan\).*fill it or drop"),
        (lambda: train(LEARNER, DataLoader(TensorDataset(torch.zeros(2, 4)))), "source is of type DataLoader.*source"),
        (lambda: mw.Episodes(DataLoader(TensorDataset(torch.zeros(2, 4)))), r"DataLoader.*LabelledRows\.of"),
        (lambda: train(LEARNER, ROWS), r"LabelledRows.*mapwise\.Episodes\(rows\)"),
        (
            lambda: mw.meta_gradient(LEARNER, LEARNER.init(0), ONE),
            "one task, and a batch with a leading axis is needed",
        ),
        (lambda: misfit(torch.nn.Linear(7, 2)), r"the net \(Linear\) can't read rows of shape \(4,\)"),
        (lambda: misfit(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3))), r"can't read rows of shape \(4,\)"),
        (lambda: train(LEARNER, TASKS, optimizer=torch.optim.Adam), "the class Adam: give a text, such as 'Adam lr="),
        (lambda: train(LEARNER, TASKS, optimizer=torch.optim.Adam(NET.parameters())), "such as 'Adam lr=0.001'"),
        (lambda: train(mw.MAML(torch.nn.Linear(1, 1)), mw.Sinusoid()), "give it loss='squared_error'"),
        (
            lambda: train(mw.MAML(torch.nn.Linear(1, 5), loss="squared_error"), mw.Sinusoid()),
            "the scores have shape .*build the net for 1 target",
        ),
    ],
)
def test_a_call_that_can_not_be_meant_is_answered_in_a_sentence(call, answer):
    with pytest.raises(ValueError, match=answer) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_tensors_of_torch_are_rows_and_pictures():
    labels = torch.tensor([0, 1] * 6)
    assert len(mw.FewShotClassifier().fit(torch.randn(12, 4), labels).predict(torch.randn(3, 4))) == 3
    assert len(mw.FewShotClassifier().fit(torch.rand(12, 1, 9, 9), labels).predict(torch.rand(3, 1, 9, 9))) == 3


def test_a_string_is_a_folder_to_train_into(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(LEARNER, TASKS, out="run", validation_episodes=2)
    assert (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(("command", "answer"), [("train", "--tasks"), ("eval", "--tasks"), ("fit", "fewer rows")])
def test_too_little_memory_names_what_the_command_can_do(command, answer):
    line, code = line_and_code(MemoryError(), command)
    assert answer in line and code == 1 and ("--tasks" in line) == (command != "fit")


@pytest.mark.parametrize(
    ("content", "words", "answer"),
    [
        ("text,label\nhello there,a\n,b\n", ["fit", "{}", "--text", "text", "-o", "p.safetensors"], "line 3 of"),
        (
            "text,label\nhello there,a\nyou,b\n",
            ["fit", "{}", "--text", "text", "-o", "p.safetensors", "--encoder", "/path/model"],
            "a pretrained model in a folder is hf:/path/model",
        ),
    ],
)
def test_a_command_that_can_not_be_meant_is_answered_in_a_sentence(cli, tmp_path, monkeypatch, content, words, answer):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(content)
    done = cli(*(word.format(tmp_path / "t.csv") for word in words))
    assert answer in done.err and done.err.count("\n") == 1 and done.code != 0


def test_a_link_in_a_circle_is_answered_in_a_short_sentence(cli, tmp_path):
    for name in "ab":
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "back").symlink_to(".")
        (tmp_path / "in" / name / "self").symlink_to("self")
    done = cli("fit", str(tmp_path / "in"), "-o", str(tmp_path / "p.safetensors"))
    assert "hold no pictures" in done.err and len(done.err) < 300 + 2 * len(str(tmp_path))
