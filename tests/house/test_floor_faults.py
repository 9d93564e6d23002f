"""Each rule of the house is shown a text that breaks it, and the nearest text that doesn't."""

import pytest

from floors import (
    VARIANTS,
    floor_faults,
    heavy_faults,
    learner_faults,
    loaded,
    name_faults,
    public_faults,
    unsafe_faults,
)

# Each rule is shown a text that breaks it, and the nearest text that doesn't.


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("mapwise.core.tree", "import mapwise.tasks.episodes", "core imports tasks, which is above it"),
        (
            "mapwise.core.tree",
            "def f():\n    from mapwise.engine import train",
            "core imports engine, which is above it",
        ),
        ("mapwise.tasks.episodes", "from mapwise import nets", "tasks imports nets, its neighbour"),
        ("mapwise.tasks.episodes", "from ..nets.mlp import MLP", "tasks imports nets, its neighbour"),
        ("mapwise.engine.train", "from mapwise.learners.metric.protonet import ProtoNet", "learners, its neighbour"),
        (
            "mapwise.engine.train",
            "import_module('mapwise.report.html')",
            "engine imports report, which is above it",
        ),
        ("mapwise.learners.metric.protonet", "WHERE = 'mapwise.catalog:ROWS'", "learners imports catalog"),
        ("mapwise.interfaces.cli", "import mapwise as mw", "interfaces imports __init__, which is above it"),
        ("mapwise.interfaces.cli", "from mapwise import ProtoNet", "interfaces imports __init__, which is above it"),
        ("mapwise.extras.thing", "", "extras has no floor"),
        ("mapwise.extra", "", "extra has no floor"),
        ("mapwise.core.tree", "from mapwise.extras import thing", "extras has no floor"),
    ],
)
def test_an_import_that_goes_up_or_sideways_is_caught(module, source, fault):
    (result,) = floor_faults(source, module)
    assert fault in result


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mapwise.catalog", "from mapwise.learners.metric.protonet import ProtoNet"),
        ("mapwise.tasks.episodes", "from .rows import LabelledRows"),
        ("mapwise.interfaces.cli", "def main():\n    import mapwise.engine.train"),
        ("mapwise.runs.settings", "from mapwise import __version__"),
        ("mapwise.core.tree", "'call mapwise.engine.train first'"),
        ("mapwise", "from mapwise.interfaces.cli import main"),
    ],
)
def test_an_import_that_goes_down_is_no_fault(module, source):
    assert floor_faults(source, module, is_package=module == "mapwise") == []


@pytest.mark.parametrize(
    "source",
    [
        "from mapwise.learners.optimization.maml import MAML",
        "from mapwise.learners.metric import protonet",
        "from .prototypes import mean",
        "import mapwise.learners",
        "def f():\n    from ..optimization import maml",
    ],
)
def test_a_learner_that_imports_another_is_caught(source):
    assert len(learner_faults(source, "mapwise.learners.metric.matching")) == 1


def test_a_variant_may_import_only_what_it_is_a_variant_of(monkeypatch):
    monkeypatch.setitem(VARIANTS, "mapwise.learners.metric.matching", "mapwise.learners.metric.protonet")
    source = "from mapwise.learners.metric.protonet import ProtoNet"
    assert learner_faults(source, "mapwise.learners.metric.matching") == []
    assert learner_faults(source, "mapwise.learners.metric.relation") != []
    assert learner_faults(source.replace("protonet", "protonets"), "mapwise.learners.metric.matching") != []


@pytest.mark.parametrize(
    "source",
    [
        "import matplotlib.pyplot as plt",
        "from PIL import Image",
        "try:\n    import sklearn\nexcept ImportError:\n    sklearn = None",
        "class A:\n    from sklearn import metrics",
        "def f():\n    import torchvision",
        "def f():\n    return importlib.import_module('torchvision.models')",
    ],
)
def test_a_heavy_import_is_caught(source):
    assert len(heavy_faults(source, "mapwise.report.run_page")) == 1


@pytest.mark.parametrize(
    "source",
    ["def f():\n    import matplotlib", "if TYPE_CHECKING:\n    from PIL import Image", "import torch\nimport numpy"],
)
def test_a_late_import_is_no_fault(source):
    assert heavy_faults(source, "mapwise.report.run_page") == []


def test_a_licence_to_import_at_the_top_is_for_one_package():
    assert heavy_faults("from sklearn.base import BaseEstimator", "mapwise.interfaces.estimators.classifier") == []
    assert len(heavy_faults("import matplotlib", "mapwise.interfaces.estimators.classifier")) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from joblib import dump",
        "weights = torch.load(path)",
        "torch.save(weights, path)",
        "from torch import load",
        "eval(text)",
        "exec(text)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_a_way_to_run_a_file_as_code_is_caught(source):
    assert len(unsafe_faults(source, "mapwise.predictors.classes")) == 1


@pytest.mark.parametrize("source", ["net.eval()", "np.load(path, allow_pickle=False)", "safetensors.torch.load(data)"])
def test_what_only_looks_like_running_code_is_no_fault(source):
    assert unsafe_faults(source, "mapwise.predictors.classes") == []


@pytest.mark.parametrize("path", ["utils.py", "core/helpers/shape.py", "engine/train_utils.py", "nets/base.py"])
def test_a_name_that_says_nothing_is_caught(path):
    assert len(name_faults(path)) == 1


@pytest.mark.parametrize("path", ["core/tree.py", "tasks/database.py", "nets/based.py"])
def test_a_name_that_says_something_is_no_fault(path):
    assert name_faults(path) == []


def test_a_public_name_that_is_wrongly_listed_is_caught():
    assert public_faults("from .core.task import Task") == ["Task: write Task as Task"]
    assert public_faults("from .a import T as T\nfrom .b import T as T") == ["T stands there twice"]
    assert public_faults("from .core.task import Task as Task\n__version__: str") == []


def test_what_a_statement_loads_is_seen():
    assert loaded("import json, zipfile", {"json", "zipfile", "tomllib"}) == {"json", "zipfile"}
