"""A trained run behind a predictor: it needs a few pictures and no training data, and its file needs no run."""

import json
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone

import mapwise as mw
from conftest import ROOT, command, rewrite
from mapwise.catalog.sources import SOURCES
from mapwise.core import tree
from mapwise.core.families.embedding import learned_features
from mapwise.data.glyphs import glyphs
from mapwise.data.images import images
from mapwise.encoders.pixels import Ink, Pixels
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.novelty import unknown
from mapwise.predictors.heads.trained_learner import TrainedLearner
from mapwise.runs.run import load_params

SHORT = ["--steps", "3", "--tasks", "2", "--validation-episodes", "2", "--threads", "1"]


def trained(folder, learner, *words):
    assert command("train", learner, *words, *SHORT, "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def protonet(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "protonet", "protonet", "glyphs", "--net.filters", "8")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Six drawings of each of five letters as files, ink on paper, and the rows of the source they are of."""
    rows, folder = glyphs(), tmp_path_factory.mktemp("drawn")
    paths, labels, places = [], [], []
    for column in rows.splits["test"][:5]:
        for place in range(6):
            row = int(rows.starts[column]) + place
            path = folder / f"{column}-{place}.png"
            Image.fromarray(255 - rows.x[row, 0]).save(path)
            paths.append(path)
            labels.append(f"letter {column}")
            places.append(row)
    return paths, labels, rows.x[places].astype(np.float32) / 255


def test_it_answers_as_the_run_does_on_rows_of_its_source(protonet, drawn):
    paths, labels, x = drawn
    x = x / x.max((1, 2, 3), keepdims=True)  # the strongest ink of a picture counts as 1
    support, names = mw.examples(x, labels)
    learner = TrainedLearner.of_run(protonet).learner
    params, _ = load_params(protonet)
    scores = learner.predict(params, learner.adapt(params, support), torch.as_tensor(x)).detach()
    model = mw.FewShotClassifier(learner=str(protonet)).fit(paths, labels)
    expected = (scores / model.predictor_.temperature).softmax(1)
    assert model.classes_.tolist() == names
    assert model.predictor_.encoder.name == "ink" and model.predictor_.rows.shape == (len(x), 8)
    np.testing.assert_allclose(model.predict_proba(paths), expected, atol=0.02)
    assert model.report_.accuracy is not None and model.report_.rows == len(paths)
    assert model.predict(paths, unknown=True)[1].mean() < 0.4
    assert model.explain(paths[:1])[0].label == model.predict(paths[:1])[0]
    assert model.which_next(paths, 2)[0].row in range(len(paths))


def test_the_support_is_kept_and_compared_in_the_learned_space(protonet, drawn):
    result = mw.FewShotClassifier(learner=str(protonet)).fit(*drawn[:2]).predictor_
    x = drawn[2] / drawn[2].max((1, 2, 3), keepdims=True)
    whole = TrainedLearner.of_run(protonet)
    embedded = whole.learner.encode(whole.params, torch.as_tensor(x)).detach()
    np.testing.assert_allclose(result.rows, embedded, atol=0.05)
    known = torch.as_tensor(result.rows, dtype=torch.float64)
    assert torch.equal(learned_features(result.learner, result.params, result.fast, known), known)
    far = known[:1] + 100
    assert unknown(result, far.numpy(), 0.05).all()


def test_its_file_opens_elsewhere_without_run_or_data(tmp_path, protonet, drawn):
    paths, labels, _ = drawn
    run = shutil.copytree(protonet, tmp_path / "run")
    model = mw.FewShotClassifier(learner=str(run)).fit(paths, labels)
    file = tmp_path / "letters.safetensors"
    model.save(file)
    shutil.rmtree(run)
    code = (
        "import sys, json, mapwise as mw\n"
        "found = mw.FewShotClassifier.load(sys.argv[1])\n"
        "print(json.dumps(found.predict_proba(sys.argv[2:]).tolist()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": str(tmp_path / "none")}
    words = [sys.executable, "-c", code, str(file), *map(str, paths[:3])]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    np.testing.assert_allclose(json.loads(done.stdout), model.predict_proba(paths[:3]), rtol=1e-12)
    again = mw.FewShotClassifier.load(file)
    again.add_class("upside down", [Image.open(path).rotate(180) for path in paths[:3]])
    assert "upside down" in again.classes_


def test_pictures_of_a_folder_are_read_as_in_training(tmp_path):
    draw = np.random.Generator(np.random.Philox(0))
    for name in ("ape", "bat", "cat", "dog", "eel", "fox", "gnu", "hen", "newt", "owl"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for place in range(4):
            pixels = draw.integers(0, 256, (20, 17 + place, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{place}.png")
    folder = tmp_path / "photos"
    rows = images(folder)
    files = [folder / name / f"{place}.png" for name in rows.names for place in range(4)]
    np.testing.assert_array_equal(Pixels().of_shape(rows.x.shape[1:])(files), rows.x.astype(np.float32) / 255)
    words = ["--net.filters", "4", "--ways", "2", "--queries", "1"]
    run = trained(tmp_path / "run", "protonet", folder, *words)
    folder.rename(tmp_path / "moved")  # the training data need not be there any more
    files = [tmp_path / "moved" / file.relative_to(folder) for file in files]
    model = mw.FewShotClassifier(learner=str(run)).fit(files[:8], ["ape"] * 4 + ["bat"] * 4)
    assert model.predictor_.encoder.state == {"shape": [3, 20, 20]}
    assert len(model.predict(files[:2])) == 2


def test_the_graph_of_it_reads_pictures(tmp_path, protonet, drawn):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    paths, labels, _ = drawn
    model = mw.FewShotClassifier(learner=str(protonet)).fit(paths[:20], labels[:20])
    model.export_onnx(tmp_path / "letters.onnx")
    x = Ink()(paths)
    names, columns = np.unique(labels[:20], return_inverse=True)
    given = {
        "support": x[:20],
        "labels": np.eye(len(names), dtype=np.float32)[columns],
        "weight": np.ones(20, np.float32),
        "query": x,
    }
    answer = onnxruntime.InferenceSession(str(tmp_path / "letters.onnx")).run(["probabilities"], given)[0]
    np.testing.assert_allclose(answer, model.predict_proba(paths), atol=1e-5)


def test_a_drawing_is_the_row_its_source_would_make_of_it(drawn):
    paths, _, x = drawn
    strongest = x.max((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(Ink()(paths), x / strongest, atol=0.03)


def test_every_source_of_pictures_has_an_encoder_of_its_rows():
    assert {name for name, row in SOURCES.items() if row.encoder is None and row.net == "conv4"} == set()
    for row in SOURCES.values():
        if row.encoder is not None:
            assert row.encoder((1, 9, 9))([np.zeros((20, 20))]).shape == (1, 1, 9, 9)


def test_the_command_line_takes_a_run(cli, tmp_path, protonet, drawn):
    paths, labels, _ = drawn
    for path, label in zip(paths, labels, strict=True):
        (tmp_path / "letters" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "letters" / label)
    done = cli("fit", "letters", "-o", "letters.safetensors", "--learner", protonet, "--json")
    assert done.code == 0, done.out
    assert (done.code, done.answer["learner"], done.answer["encoder"]) == (0, "protonet, trained", "ink")
    assert cli("predict", "letters.safetensors", paths[0], "--json").answer["predictions"][0]["label"] in labels
    done = cli("fit", "letters", "-o", "x.safetensors", "--learner", "runs/none")
    assert done.code != 0 and "runs/none is not a run" in done.err and "Traceback" not in done.err


def test_a_fixed_head_takes_no_more_classes_than_it_has(tmp_path, drawn):
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    paths, labels, _ = drawn
    run = trained(tmp_path / "maml", "maml", "glyphs", "--net.filters", "4", "--ways", "3", "--inner-steps", "1")
    with pytest.raises(ValueError, match="the head has 3 columns and the task has 5 classes"):
        mw.FewShotClassifier(learner=str(run)).fit(paths, labels)
    model = mw.FewShotClassifier(learner=str(run)).fit(paths[:18], labels[:18])
    assert model.predictor_.rows.shape == (18, 1, 28, 28)  # its network moves, so that pixels are what it takes
    assert model.explain(paths[:1])[0].label == model.predict(paths[:1])[0]
    assert model.which_next(paths, 1)[0].row in range(len(paths))
    assert model.predict(paths, unknown=True)[1].shape == (30,)
    with pytest.raises(ValueError, match="can't be exported"):
        model.export_onnx(tmp_path / "maml.onnx")
    model.save(tmp_path / "maml.safetensors")
    again = mw.FewShotClassifier.load(tmp_path / "maml.safetensors")
    before = model.predict_proba(paths)
    np.testing.assert_allclose(again.predict_proba(paths), before, rtol=1e-12)
    # Another name stands elsewhere among the sorted classes, and its column of the head stays its own.
    first = again.classes_[0]
    again.rename_class(first, "zebra")
    assert again.classes_.tolist() == [*model.classes_[1:], "zebra"]
    np.testing.assert_allclose(again.predict_proba(paths), before[:, [1, 2, 0]], rtol=1e-12)
    again.save(tmp_path / "zebra.safetensors")
    opened = mw.FewShotClassifier.load(tmp_path / "zebra.safetensors")
    np.testing.assert_allclose(opened.predict_proba(paths), before[:, [1, 2, 0]], rtol=1e-12)
    with pytest.raises(ValueError, match="the head has 3 columns and the task has 4 classes"):
        model.add_class("one more", paths[18:24])
    assert len(model.classes_) == 3
    np.testing.assert_array_equal(model.predict_proba(paths), before)  # what was there still works


def test_what_cannot_stand_behind_a_predictor_is_refused_with_the_reason(tmp_path, drawn):
    paths, labels, _ = drawn
    batch = trained(tmp_path / "batch", "protonet", "glyphs", "--net.filters", "4", "--net.norm", "batch")
    with pytest.raises(ValueError, match="answers a row by the rows that are asked beside it"):
        mw.FewShotClassifier(learner=str(batch)).fit(paths, labels)
    with pytest.raises(ValueError, match="is not a run"):
        mw.FewShotClassifier(learner=str(tmp_path)).fit(paths, labels)
    with pytest.raises(ValueError, match="did you mean 'ridge'"):
        mw.FewShotClassifier(learner="rigde").fit(paths, labels)
    curves = trained(tmp_path / "curves", "maml", "sinusoid", "--net.hidden", "8")
    with pytest.raises(ValueError, match="trained for regression and classification is needed"):
        mw.FewShotClassifier(learner=str(curves)).fit(paths, labels)
    x, y = np.linspace(-5, 5, 9)[:, None], np.sin(np.linspace(-5, 5, 9))
    for encoder in ("auto", "table"):  # whose columns are brought to variance 1, as those of the training were not
        with pytest.raises(ValueError, match="takes inputs that can't be made from table as in its training"):
            mw.FewShotRegressor(encoder=encoder, learner=str(curves)).fit(x, y)
    stream = trained(tmp_path / "stream", "mann", "glyphs_stream", "--source.length", "10", "--net.filters", "4")
    with pytest.raises(ValueError, match="mann reads its examples one after another"):
        mw.FewShotClassifier(learner=str(stream)).fit(paths, labels)


def test_a_run_of_before_says_what_it_was_trained_on_when_it_is_resumed(tmp_path, protonet, drawn):
    paths, labels, _ = drawn
    run = shutil.copytree(protonet, tmp_path / "old")
    lines = (run / "run.toml").read_text(encoding="utf-8").splitlines()
    (run / "run.toml").write_text("\n".join(line for line in lines if not line.startswith(("trained_on", "digest"))))
    with pytest.raises(ValueError, match=r"mapwise train --resume .*old writes that down"):
        mw.FewShotClassifier(learner=run).fit(paths, labels)
    assert command("train", "--resume", run) == 0
    assert mw.FewShotClassifier(learner=run).fit(paths, labels).predictor_.head.name == "protonet, trained"


def test_an_estimator_of_a_file_can_be_fitted_again(tmp_path, protonet, drawn):
    paths, labels, _ = drawn
    model = mw.FewShotClassifier(learner=str(protonet)).fit(paths, labels)
    model.save(tmp_path / "letters.safetensors")
    again = clone(mw.FewShotClassifier.load(tmp_path / "letters.safetensors")).fit(paths, labels)
    np.testing.assert_array_equal(again.predict_proba(paths), model.predict_proba(paths))


def test_a_fit_that_fails_leaves_what_was_fitted(protonet, drawn):
    paths, labels, _ = drawn
    model = mw.FewShotClassifier(learner=str(protonet)).fit(paths, labels)
    before = model.predict_proba(paths)
    with pytest.raises(ValueError, match="of one class"):
        model.set_params(learner="auto").fit(np.eye(3), ["a", "a", "a"])
    np.testing.assert_array_equal(model.predict_proba(paths), before)


def test_large_settings_that_take_no_memory_come_back(tmp_path, drawn):
    paths, labels, _ = drawn
    run = trained(tmp_path / "r2d2", "r2d2", "glyphs", "--net.filters", "4", "--ridge", "5000")
    model = mw.FewShotClassifier(learner=str(run)).fit(paths, labels)
    model.save(tmp_path / "letters.safetensors")
    assert mw.FewShotClassifier.load(tmp_path / "letters.safetensors").predictor_.learner.ridge == 5000


def test_an_encoder_of_other_rows_or_other_data_is_refused(protonet, drawn):
    paths, labels, _ = drawn
    with pytest.raises(ValueError, match="trained on rows of the encoder ink and drawings is asked for"):
        mw.FewShotClassifier(encoder="drawings", learner=str(protonet)).fit(paths, labels)
    with pytest.raises(ValueError, match="the encoder ink reads pictures and the rows look like table"):
        mw.FewShotClassifier(learner=str(protonet)).fit(np.eye(6), labels[:6])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda about, tensors: about["head"].update(learner="odd"), "there is no learner 'odd'"),
        (lambda about, tensors: about["head"].update(net="odd"), "there is no net 'odd'"),
        (lambda about, tensors: about["head"].update(code="x"), "Extra inputs are not permitted"),
        (lambda about, tensors: about["head"]["net_options"].update(filters=10**9), "no whole predictor"),
        (lambda about, tensors: about["head"]["net_options"].update(filters="1e9"), "unable to parse"),
        (lambda about, tensors: about["head"]["net_options"].update(filters="6_000"), "weights are not those"),
        (lambda about, tensors: about["head"].update(fields={"distance": "odd"}), "--distance is 'odd'"),
        (lambda about, tensors: about["head"].update(net="mlp", net_options={"hidden": [4096] * 30}), "not those of"),
        (lambda about, tensors: about["head"].update(learner="versa", fields={"units": 10**9}), "above 4096"),
        (lambda about, tensors: about["head"].update(learner="r2d2", fields={"ridge": math.nan}), "is NaN"),
        (lambda about, tensors: tensors.pop(measured(tensors)), "no statistics of layer"),
        (lambda about, tensors: tensors.update({measured(tensors): np.ones((3, 7), np.float32)}), "no means and"),
        (lambda about, tensors: tensors.update({measured(tensors): -np.ones((2, 8), np.float32)}), "no means and"),
        (lambda about, tensors: tensors.update({measured(tensors): np.ones((2, 5), np.float32)}), "no means and"),
        (lambda about, tensors: tensors.update({measured(tensors): np.ones((2, 8))}), "no numbers of 32 bits"),
        (lambda about, tensors: about["head"]["net_options"].update(norm="batch"), "by the rows that are asked beside"),
        (lambda about, tensors: about["head"]["net_options"].update(filters=9), "weights are not those of protonet"),
        (lambda about, tensors: about["head"].update(shape=["classification", [1, 60, 60], 5]), "takes rows of shape"),
        (
            lambda about, tensors: about["head"].update(shape=["classification", [1, 10**6, 10**6], 5]),
            "takes rows of shape",
        ),
        (
            lambda about, tensors: about["head"].update(shape=["regression", [1, 28, 28], 5]),
            "protonet is for classification",
        ),
        (lambda about, tensors: about.update(head={}), "no whole predictor"),
        (lambda about, tensors: tensors.update({next(n for n in tensors if n[:8] == "learner/"): NAN}), "hold NaN"),
        (
            lambda about, tensors: tensors.pop(next(n for n in tensors if n.endswith(".weight"))),
            "weights are not those",
        ),
    ],
)
def test_a_learner_that_an_enemy_wrote_is_refused(tmp_path, protonet, drawn, change, words):
    file = tmp_path / "letters.safetensors"
    mw.FewShotClassifier(learner=str(protonet)).fit(*drawn[:2]).save(file)
    rewrite(file, change)
    with pytest.raises(ValueError, match=words) as refused:
        Predictor.load(file)
    assert "letters.safetensors" in str(refused.value)


NAN = np.full((2, 2), np.nan, np.float32)


def measured(tensors):
    return next(name for name in tensors if name.startswith("learner/measured/"))


def test_params_are_the_runs_own(protonet):
    result = tree.flatten(TrainedLearner.of_run(protonet).params)
    remainder = tree.flatten(load_params(protonet)[0])
    assert result.keys() == remainder.keys() and all(torch.equal(result[path], remainder[path]) for path in remainder)
