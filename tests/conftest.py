"""What all tests share: one torch thread, a cache of their own, and the real data sets where they are."""

import json
import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Set before torch and matplotlib are imported, and inherited by the commands that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
# Kept between runs, so that drawn letters and font lists are built once a checkout and not once a test.
os.environ["XDG_CACHE_HOME"] = str(ROOT / ".cache")
# A data root of the user's own must not decide what a test finds.
os.environ.pop("MAPWISE_DATA", None)

import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

from mapwise.data import tensor_file  # noqa: E402
from mapwise.interfaces.cli import main  # noqa: E402

# The workers of pytest-xdist share the cores already; and one thread adds in one order, so bits repeat.
torch.set_num_threads(1)

# A shell that starts the tests in the background has Ctrl-C ignored, in them and in every command they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Deadlines fail on a busy machine, and the same commit must give the same verdict twice.
settings.register_profile("mapwise", deadline=None, derandomize=True)
settings.load_profile("mapwise")


@pytest.fixture(autouse=True)
def gradients_are_on():
    """No test leaves torch's gradients off: others in the same process would fail by it."""
    yield
    left_on = torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    assert left_on, "this test has left torch's gradients off"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, one folder each; tests that need it are skipped where it is absent."""
    named = os.environ.get("MAPWISE_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        where = f"MAPWISE_TEST_DATA names {folder}" if named else f"MAPWISE_TEST_DATA is not set and {folder}"
        pytest.skip(
            f"no real data sets: {where}, which is not a folder (one folder per set, such as omniglot, is needed)"
        )
    return folder


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> Any:
        """The one JSON object on standard output."""
        return json.loads(self.out)


def command(*words: object) -> int:
    """The command line in this process: its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def rewrite(path, change) -> None:
    """Write a file of tensors anew, with a fresh digest, after `change` of its description and its arrays by name."""
    tensors, about = tensor_file.load_tensors(path, "file", "write it again")
    arrays = {name: leaf.numpy() for name, leaf in tensors.items()}
    change(about, arrays)
    tensor_file.save_tensors(path, {name: torch.tensor(part) for name, part in arrays.items()}, about)


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """Run the command line in this process, in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words) -> Done:
        capsys.readouterr()
        code = command(*words)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """The state and the processes of a server, shared by tests; skipped without the extra."""
    pytest.importorskip("fastapi")
    from mapwise.interfaces.server.service import Service, Settings

    return Service(Settings(tmp_path_factory.mktemp("serve"), hosts=("testserver",)))


@pytest.fixture(scope="session")
def client(service):
    """A client of that server, which runs in this process."""
    from fastapi.testclient import TestClient

    from mapwise.interfaces.server.web.app import create_app

    with TestClient(create_app(service)) as client:
        yield client
