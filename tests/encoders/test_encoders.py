"""Texts, pictures and tables of words become arrays, and what can't be read is said in one sentence."""

import io

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image, ImageDraw
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

import mapwise as mw
from mapwise.catalog.encoders import ENCODERS
from mapwise.catalog.nets import NETS
from mapwise.data import inputs
from mapwise.data.omniglot import omniglot
from mapwise.encoders import bundled
from mapwise.encoders.bundled import Bundled
from mapwise.encoders.encoder import Spread
from mapwise.nets import MLP

SENTENCES = {
    "cancel": ["please cancel my order", "I want to cancel", "cancel the booking", "how do I cancel this"],
    "refund": ["give me my money back", "I want a refund", "refund my money please", "where is my refund"],
    "greet": ["hello there", "hi, good morning", "good evening to you", "hello, how are you"],
}
TEXTS = [text for texts in SENTENCES.values() for text in texts]
INTENTS = [name for name, texts in SENTENCES.items() for _ in texts]


def drawing(kind, place, size=(60, 60), paper="white", ink="black"):
    """A cross, a ring or a bar, each a little elsewhere."""
    image = Image.new("RGB", size, paper)
    pen = ImageDraw.Draw(image)
    x, y = 8 + place, 6 + place
    if kind == "cross":
        pen.line((x, y, x + 40, y + 40), ink, 4)
        pen.line((x + 40, y, x, y + 40), ink, 4)
    elif kind == "ring":
        pen.ellipse((x, y, x + 40, y + 40), outline=ink, width=4)
    else:
        pen.line((x + 20, y, x + 20, y + 42), ink, 4)
    return image


DRAWINGS = [drawing(kind, place) for kind in ("cross", "ring", "bar") for place in range(4)]
KINDS = [kind for kind in ("cross", "ring", "bar") for _ in range(4)]


@pytest.mark.parametrize(
    ("X", "y"), [(TEXTS, INTENTS), (DRAWINGS, KINDS), (np.array(TEXTS), INTENTS)], ids=["texts", "pictures", "array"]
)
@pytest.mark.parametrize("learner", ["nearest_mean", "ridge", "logistic"])
def test_texts_and_pictures_keep_the_contract_of_an_estimator(X, y, learner):
    model = mw.FewShotClassifier(learner=learner)
    assert model.fit(X, y) is model
    assert set(model.predict(X)) <= set(y)
    assert model.score(X, y) >= 0.9
    chances = model.predict_proba(X)
    np.testing.assert_allclose(chances.sum(1), 1)
    alone = np.concatenate([model.predict_proba(X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_allclose(alone, chances, atol=1e-4)
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), chances)
    later = mw.FewShotClassifier(learner=learner).partial_fit(X[:8], y[:8]).partial_fit(X[8:], y[8:])
    # Encoders of texts and pictures look at no rows, so nothing depends on which came first.
    np.testing.assert_allclose(later.predict_proba(X), chances, atol=1e-6)
    assert cross_val_score(model, X, y, cv=2).mean() > 1 / 3
    GridSearchCV(model, {"learner": ["nearest_mean", "ridge"]}, cv=2).fit(X, y)


def test_pictures_are_the_same_as_paths_images_and_arrays(tmp_path):
    paths = []
    for place, image in enumerate(DRAWINGS):
        image.save(tmp_path / f"{place}.png")
        paths.append(tmp_path / f"{place}.png")
    encoder = ENCODERS["drawings"]()
    expected = encoder(DRAWINGS)
    assert expected.shape == (12, 64)
    arrays = np.stack([np.asarray(image) for image in DRAWINGS])
    forms = [paths, [str(path) for path in paths], arrays, arrays.transpose(0, 3, 1, 2), arrays / 255, arrays[..., 0]]
    for form in forms:
        assert inputs.modality_of(form) == "pictures"
        np.testing.assert_allclose(encoder(inputs.pictures(form)), expected, atol=1e-4)


def test_light_paper_dark_paper_colours_and_shapes_are_one_drawing():
    encoder = ENCODERS["drawings"]()
    plain, dark = drawing("ring", 2), drawing("ring", 2, paper="black", ink="white")
    grey = drawing("ring", 2, paper=(200, 200, 200), ink=(90, 90, 90))
    cut_out = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    ImageDraw.Draw(cut_out).ellipse((10, 8, 50, 48), outline=(0, 0, 0, 255), width=4)
    moved = plain.convert("P")
    first = encoder([plain])
    apart = np.linalg.norm(encoder([drawing("cross", 2)]) - first)
    for other in (dark, grey, cut_out, moved, plain.convert("CMYK"), plain.convert("L"), plain.convert("LA")):
        assert np.linalg.norm(encoder([other]) - first) < 0.2 * apart, other.mode


def test_a_picture_is_laid_on_a_square_and_not_stretched():
    encoder = ENCODERS["drawings"]()
    square = Image.new("RGB", (120, 120), "white")
    square.paste(drawing("ring", 4), (30, 30))
    wide = square.crop((0, 30, 120, 90))
    np.testing.assert_allclose(encoder([wide]), encoder([square]), atol=1e-3)


def test_odd_pictures_are_read(tmp_path):
    frames = [drawing("ring", 2).convert("P"), drawing("cross", 2).convert("P")]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    turned = Image.Exif()
    turned[0x0112] = 3  # stored upside down
    drawing("bar", 8).rotate(180).save(tmp_path / "turned.jpg", exif=turned, quality=95)
    Image.new("L", (1, 1), 255).save(tmp_path / "point.png")
    drawing("ring", 2).resize((5000, 4000)).save(tmp_path / "large.jpg")
    encoder = ENCODERS["drawings"]()
    moves, turned, point, large = encoder(
        [tmp_path / name for name in ("moves.gif", "turned.jpg", "point.png", "large.jpg")]
    )
    expected = encoder([drawing("ring", 2), drawing("bar", 8)])
    apart = np.linalg.norm(expected[0] - expected[1])
    assert np.linalg.norm(moves - expected[0]) < 0.2 * apart
    assert np.linalg.norm(turned - expected[1]) < 0.2 * apart
    assert np.isfinite(point).all()
    assert np.linalg.norm(large - expected[0]) < np.linalg.norm(large - expected[1])


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"no picture", "is not an image"), (None, "is not there"), ("cut", "is damaged or cut short")],
)
def test_a_file_that_is_no_picture_is_named(tmp_path, content, words):
    path = tmp_path / "odd.png"
    if content == "cut":
        whole = io.BytesIO()
        Image.effect_noise((60, 60), 90).save(whole, "PNG")
        content = whole.getvalue()[:1000]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"odd.png {words}.*replace it or leave it out"):
        ENCODERS["drawings"]()([path])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([np.full((28, 28), np.nan)], "holds NaN"),
        ([np.full((28, 28), -3.0)], "from -3 to -3"),
        ([np.zeros((28, 28, 7))], r"shape \(28, 28, 7\)"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(rows, words):
    with pytest.raises(ValueError, match=f"picture of row 0 .*{words}"):
        ENCODERS["drawings"]()(rows)


def test_the_bundled_weights_are_small_and_say_where_they_are_from():
    from importlib.resources import files

    from safetensors import safe_open

    folder = files("mapwise").joinpath("pretrained", "drawings")
    place = folder.joinpath("weights.safetensors")
    assert len(place.read_bytes()) < 1_000_000
    with safe_open(str(place), framework="np") as file:
        about = file.metadata()
    assert "MIT" in about["data"]
    assert about["encoder"] == "drawings"
    assert folder.joinpath("card.md").read_text().startswith("# drawings")


def test_a_bundled_encoder_is_a_folder(tmp_path, monkeypatch):
    net = MLP((3, 8, 8), hidden=(5,))
    (tmp_path / "small").mkdir()
    safetensors.torch.save_file(dict(net.named_parameters()), tmp_path / "small" / "weights.safetensors")
    about = [
        'rows = "pixels"',
        "shape = [3, 8, 8]",
        'net = "mlp"',
        "net_options.hidden = [5]",
        "usual = {mean = 1, sd = 0.5}",
    ]
    (tmp_path / "small" / "net.toml").write_text("\n".join(about))
    monkeypatch.setattr(bundled, "FOLDERS", tmp_path)
    encoder = Bundled.of("small", NETS)
    rows = np.random.default_rng(0).uniform(size=(4, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.as_tensor(encoder.rows(rows)))
    np.testing.assert_allclose(encoder(rows), expected, rtol=1e-6)
    assert (encoder.name, encoder.reads, encoder.usual) == ("small", "pictures", Spread(mean=1.0, sd=0.5))


def test_every_bundled_folder_has_its_weights_and_its_card():
    folders = list(bundled.FOLDERS.iterdir())
    assert "drawings" in [folder.name for folder in folders]
    contents = {"words": {"pieces.txt", "vectors.safetensors", "card.md"}}
    for folder in folders:
        assert folder.name in ENCODERS
        usual = {"net.toml", "weights.safetensors", "card.md"}
        assert {file.name for file in folder.iterdir()} == contents.get(folder.name, usual)


@pytest.mark.slow
def test_five_characters_with_one_example_each_are_told_apart(shared_data):
    result = omniglot(shared_data)
    test = result.splits["test"]
    random = np.random.default_rng(0)
    right = []
    for _ in range(40):
        chosen = random.choice(test, 5, replace=False)
        drawn = [result.starts[c] + random.permutation(20)[:6] for c in chosen]
        support = np.concatenate([place[:1] for place in drawn])
        query = np.concatenate([place[1:] for place in drawn])
        answers = mw.FewShotClassifier().fit(result.x[support], np.arange(5))
        right.append((answers.predict(result.x[query]) == np.repeat(np.arange(5), 5)).mean())
    assert np.mean(right) >= 0.97


@pytest.mark.parametrize(
    ("text", "words"), [("", "row 1 is empty"), (" \n", "row 1 is empty"), ("a" * 10**7, "10,000,000")]
)
def test_a_text_that_says_nothing_or_too_much_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        mw.FewShotClassifier(encoder="text-hash").fit(["hello", text], ["a", "b"])


def test_an_emoji_is_a_word():
    texts = ["well 🙂", "fine 🙂", "oh 😡", "no 😡"]
    answers = mw.FewShotClassifier("words").fit(texts, ["good", "good", "bad", "bad"])
    assert list(answers.predict(["🙂", "😡"])) == ["good", "bad"]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_table_of_numbers_and_words_is_read_by_its_columns(library):
    frame = pytest.importorskip(library).DataFrame(
        {
            "age": [20, 21, 60, None, 22, 59],
            "job": ["student", "student", "retired", "retired", None, "retired"],
            "code": ["7", "8", "9", "?", "7", "9"],
        }
    )
    y = ["young", "young", "old", "old", "young", "old"]
    answers = mw.FewShotClassifier().fit(frame, y)
    assert list(answers.predict(frame)) == y
    assert list(answers.feature_names_in_) == ["age", "job", "code"]
    kinds = [column.kind for column in answers.predictor_.encoder.seen.values()]
    assert kinds == ["number", "words", "number"]
    with pytest.raises(ValueError, match="feature names"):
        answers.predict(frame[["age", "job"]])


def test_a_table_without_columns_says_so():
    import pandas as pd

    with pytest.raises(ValueError, match="0 columns: give at least one"):
        mw.FewShotClassifier().fit(pd.DataFrame(index=range(4)), list("aabb"))


def test_a_matrix_of_words_is_a_table_and_a_new_word_is_none_of_those_seen():
    X = np.array([["red", 1.0], ["red", 2.0], ["blue", 1.0], ["blue", 2.0]], dtype=object)
    answers = mw.FewShotClassifier().fit(X, ["a", "a", "b", "b"])
    assert list(answers.predict(X)) == ["a", "a", "b", "b"]
    new = np.array([["green", 1.5]], dtype=object)
    np.testing.assert_allclose(answers.predict_proba(new), 0.5)
    listed = mw.FewShotClassifier().fit(X.tolist(), ["a", "a", "b", "b"])
    np.testing.assert_allclose(listed.predict_proba(X.tolist()), answers.predict_proba(X))


def test_every_column_of_a_table_has_variance_one():
    words = np.array([f"w{i % 3}" for i in range(60)], dtype=object)
    many = np.array([f"v{min(i, 40)}" for i in range(60)], dtype=object)
    X = {"n": np.arange(60.0), "w": words, "m": many}
    weight = np.arange(60) % 4 + 1.0
    table = ENCODERS["table"]().fitted(X, weight)
    assert [column.kind for column in table.seen.values()] == ["number", "words", "frequency"]
    z = table(X)
    mean = np.average(z, axis=0, weights=weight)
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    variance = np.average(z**2, axis=0, weights=weight)
    np.testing.assert_allclose([variance[0], variance[1:4].sum(), variance[4]], 1)
    assert z[59, 4] > z[0, 4]


def test_a_table_remembers_what_it_saw():
    X = {"n": np.arange(5.0), "w": np.array(["a", "b", "a", None, "c"], dtype=object)}
    table = ENCODERS["table"]().fitted(X, np.ones(5))
    again = ENCODERS["table"]().with_state(table.state)
    np.testing.assert_array_equal(again(X), table(X))
    for damage in (
        {"n": {"kind": "number"}},
        {"n": {"kind": "odd"}},
        {"n": 3},
        {"n": {**table.state["n"], "mean": "x"}},
    ):
        with pytest.raises(ValueError, match="column 'n' is damaged"):
            ENCODERS["table"]().with_state(damage)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        ([["a", {1: 2}]], "column '1' holds of type dict"),
        ([["a", float("inf")]], "row 0 has infinity in column '1'"),
    ],
)
def test_a_cell_that_is_neither_number_nor_text_is_refused(X, words):
    with pytest.raises(ValueError, match=words):
        mw.FewShotClassifier().fit(X * 2, ["x", "y"])


def test_a_word_where_numbers_were_is_refused():
    answers = mw.FewShotClassifier().fit([["a", "1"], ["b", "2"]], ["x", "y"])
    with pytest.raises(ValueError, match="row 0 holds 'many' in column '1', which held numbers when it was fitted"):
        answers.predict([["a", "many"]])


@pytest.mark.parametrize(
    ("encoder", "X", "words"),
    [
        ("text-hash", [[1.0], [2.0]], "reads texts and the rows look like table"),
        ("table", ["a b", "c d"], "reads table and the rows look like texts"),
        ("drawings", [[1.0], [2.0]], "reads pictures and the rows look like table"),
    ],
)
def test_an_encoder_that_reads_something_else_is_refused(encoder, X, words):
    with pytest.raises(ValueError, match=words):
        mw.FewShotClassifier(encoder=encoder).fit(X, ["x", "y"])


def test_dates_are_refused():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"when": pandas.to_datetime(["2020-01-01", "2021-01-01"])})
    with pytest.raises(ValueError, match="column 'when' holds dates"):
        mw.FewShotClassifier().fit(frame, ["a", "b"])
