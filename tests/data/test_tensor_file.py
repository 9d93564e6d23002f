"""A file of tensors is the one that was written: whatever changed in it, it is refused in a sentence."""

import random
import shutil

import numpy as np
import pytest
import torch

import mapwise as mw
from conftest import command
from mapwise.engine import checkpoint
from mapwise.engine.folder import BEST, LAST
from mapwise.predictors.classes import Predictor
from mapwise.runs.run import load_params

FLAGS = ["--steps", "2", "--tasks", "2", "--validation-episodes", "2", "--threads", "1", "--how", "vmap"]


def predictor_file(path):
    mw.FewShotClassifier().fit([[1.0, 2.0], [3.0, 5.0], [4.0, 1.0]], ["a", "b", "c"]).save(path)
    return Predictor.load


def checkpoint_file(path):
    checkpoint.save(path, {"params": {"weight": torch.arange(6.0).reshape(2, 3)}}, {"step": 3, "note": "né"})
    return checkpoint.load


FILES = {"predictor": predictor_file, "checkpoint": checkpoint_file}


def unnoticed(path, load, bits):
    """The bits whose flip leaves a file that opens."""
    whole, result = path.read_bytes(), []
    for bit in bits:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            load(path)
            result.append(bit)
        except ValueError as refusal:
            assert path.name in str(refusal) and "\n" not in str(refusal)
    return result


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_noticed(tmp_path, name):
    path = tmp_path / "small.safetensors"
    load = FILES[name](path)
    bits = random.Random(0).sample(range(8 * path.stat().st_size), 400)
    assert unnoticed(path, load, bits) == []


@pytest.mark.slow
def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "small.safetensors"
    load = checkpoint_file(path)
    assert unnoticed(path, load, range(8 * path.stat().st_size)) == []


def test_a_predictor_that_is_saved_again_has_the_same_bytes(tmp_path):
    model = mw.FewShotClassifier().fit(np.eye(3), ["a", "b", "c"])
    contents = set()
    for place in range(8):
        path = tmp_path / f"{place}.safetensors"
        model.save(path)
        contents.add(path.read_bytes())
        again = tmp_path / "again.safetensors"
        mw.FewShotClassifier.load(path).save(again)
        contents.add(again.read_bytes())
    assert len(contents) == 1


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    """Two runs that differ in nothing but their seed."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        words = ["maml", "digits", "--net", "mlp", "--net.hidden", "4", "--seed", seed]
        assert command("train", *words, *FLAGS, "--out", folder / str(seed)) == 0
    return folder


@pytest.mark.parametrize("swapped", [[BEST], [BEST, LAST]])
def test_weights_of_another_run_are_refused(two_seeds, tmp_path, swapped):
    folder = tmp_path / "mixed"
    shutil.copytree(two_seeds / "0", folder)
    load_params(folder)
    for name in swapped:
        shutil.copy(two_seeds / "1" / name, folder / name)
    with pytest.raises(ValueError, match=r"best.safetensors is of another run: restore the file of this run"):
        load_params(folder)


def test_a_run_does_not_go_on_from_the_best_weights_of_another(two_seeds, tmp_path, cli):
    folder = tmp_path / "mixed"
    shutil.copytree(two_seeds / "0", folder)
    shutil.copy(two_seeds / "1" / BEST, folder / BEST)
    done = cli("train", "--resume", folder)
    assert done.code == 1 and "best.safetensors is of another run" in done.err


@pytest.mark.parametrize("cut", [2, 3, 10])
def test_settings_that_were_cut_short_are_refused(two_seeds, tmp_path, cut):
    folder = tmp_path / "cut"
    shutil.copytree(two_seeds / "0", folder)
    lines = (folder / "run.toml").read_text().splitlines(keepends=True)
    (folder / "run.toml").write_text("".join(lines[:-cut]))
    with pytest.raises(ValueError, match=r"run.toml was cut short|is of another run"):
        load_params(folder)


def test_settings_that_were_changed_are_refused(two_seeds, tmp_path):
    folder = tmp_path / "changed"
    shutil.copytree(two_seeds / "0", folder)
    text = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(text.replace("seed = 0", "seed = 1"))
    with pytest.raises(ValueError, match=r"run.toml .* changed"):
        load_params(folder)
