"""An answer about a text imports torch and NumPy, and nothing else that takes long."""

import os
import subprocess
import sys

import pytest

import mapwise as mw
from conftest import ROOT

HEAVY = {
    "IPython",
    "matplotlib",
    "narwhals",
    "onnx",
    "onnxruntime",
    "optuna",
    "pandas",
    "peft",
    "PIL",
    "polars",
    "rich.console",
    "scipy",
    "sentence_transformers",
    "sklearn",
    "torch._dynamo",
    "torch._inductor",
    "transformers",
    "mapwise.catalog.learners",
    "mapwise.catalog.sources",
    "mapwise.engine.train",
    "mapwise.report",
}
CODE = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from mapwise.interfaces.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module", params=["words", "text-hash"])
def file(request, tmp_path_factory):
    """A predictor of texts, one of which is there twice."""
    texts = ["cancel my order", "stop it now", "annul the booking", "where is it", "when does it come", "has it left"]
    few = mw.FewShotClassifier(encoder=request.param, learner="ridge")
    few.fit([*texts, texts[0]], ["cancel"] * 3 + ["status"] * 3 + ["cancel"])
    path = tmp_path_factory.mktemp("cold") / "few.safetensors"
    few.save(path)
    return path


@pytest.mark.parametrize("flags", [[], ["--json"], ["--csv"]])
def test_a_text_is_answered_without_what_only_other_commands_need(file, flags):
    done = subprocess.run(
        [sys.executable, "-c", CODE, "predict", str(file), "please cancel it", *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cancel" in done.stdout
    modules = set(done.stderr.splitlines()[-1].split())
    assert {"torch", "numpy", "mapwise.encoders.text_hash"} <= modules, "no list of modules"
    assert not HEAVY & modules
