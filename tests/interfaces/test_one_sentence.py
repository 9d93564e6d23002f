"""Whatever goes wrong is one sentence and an exit code; a traceback is shown to whoever asks for it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, command
from mapwise.interfaces.progress import Bar
from mapwise.runs.settings import RunSettings

TINY = ("--steps", "2", "--validation-episodes", "4", "--tasks", "2")
TRAIN = ("train", "maml", "digits", "--ways", "2", "--out", "new", *TINY)
EVAL = ("eval", "run", "--episodes", "4", "--no-baselines")
BENCH = ("bench", "glyphs", "--quick")
BEYOND = str(2**70)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert command("train", "maml", "digits", "--ways", "2", "--out", folder, *TINY) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


def sampled(cases):
    """Every eighth case is tried by `make test`, and all of them by `make test-all`."""
    return [
        pytest.param(*case, marks=[pytest.mark.slow] * (place % 8 > 0), id=" ".join(map(str, case[0]))[-40:])
        for place, case in enumerate(cases)
    ]


def is_one_sentence(done, codes=(1, 2)):
    assert done.code in codes and done.out == "", done
    assert done.err.startswith("mapwise: ") and done.err.count("\n") == 1 and len(done.err) < 1000, done.err
    assert "fault of mapwise" not in done.err, done.err


OPTIMIZERS = [
    *("Adam betas=(0.9,)", "Adam foreach=True fused=True", "Adam capturable=True", "Adam differentiable=True"),
    *("Adam lr=1e300", "Adam lr=1e400", "Adam lr=abc", "Adam lr=[1]", "Adam betas=0.9", "Adam eps=None", "Adam lr"),
    *("adam", "torch.optim.Adam", "Adam =3", "Adam params=3", "Muon", "LBFGS", "SGD nesterov=True", "SGD momentum=[]"),
    *("Adam lr=" + "(" * 5000 + ")" * 5000, "Adam lr=" + "9" * 5000, "x" * 5000, "Adam " + "x" * 5000, " "),
]
DEVICES = ("cuda:99", "quantum", "meta", "", "cpu:x", "privateuseone", "vulkan")
REFUSED = [
    *(((*TRAIN, "--optimizer", text), "") for text in OPTIMIZERS),
    *(((*words, "--device", device), "device") for words in (TRAIN, EVAL) for device in DEVICES),
    *(((*words, "--seed", seed), "seed") for words in (TRAIN, EVAL) for seed in (BEYOND, "-1", str(2**63))),
    *(((name, "run", *rest, "--seed", BEYOND), "seed") for name, *rest in (["compare", "run"], ["report"])),
    *(((*words, "--threads", n), "threads") for words in (TRAIN, EVAL, BENCH) for n in ("100000", BEYOND, "0", "x")),
]


@pytest.mark.parametrize(("words", "named"), sampled(REFUSED))
def test_what_can_not_be_meant_is_refused_in_one_sentence(cli, run, words, named):
    done = cli(*words)
    is_one_sentence(done)
    assert named in done.err
    assert not Path("new").exists()


def process(*words, cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, shell="", **changes):
    """The command line in a process of its own, its streams redirected by a shell."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **changes}
    line = f'exec "$0" -m mapwise "$@" {shell}'
    words = ["bash", "-c", line, sys.executable, *map(str, words)]
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, errors="replace", check=False)


@pytest.mark.parametrize("words", [("list", "--json"), ("--help",), ("--version",), ("eval", "--help"), TRAIN])
@pytest.mark.parametrize("shell", [">/dev/full", ">&-"])
def test_an_answer_that_can_not_be_printed_is_one_sentence(tmp_path, words, shell):
    done = process(*words, cwd=tmp_path, shell=shell)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "can't be printed" in done.stderr
    assert words is not TRAIN or RunSettings.read(tmp_path / "new").id


def test_whoever_has_read_enough_of_an_answer_is_told_nothing(tmp_path):
    done = process("list", "--json", cwd=tmp_path, shell="2>err | head -c 1 >out; sleep 0.1; cat err >&2; exit").stderr
    assert done == ""


@pytest.mark.parametrize("shell", ["2>/dev/full", "2>&-"])
def test_an_error_that_can_not_be_shown_keeps_its_code_and_answers_apart(tmp_path, shell):
    done = process("eval", "nowhere", cwd=tmp_path, shell=shell)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_without_any_stream_a_run_is_whole(tmp_path, trained):
    done = process(*TRAIN, cwd=tmp_path, shell="<&- >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    for name in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / "new" / name).exists()
    assert b"new" not in (tmp_path / "new" / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_what_an_encoding_can_not_show_is_replaced(tmp_path, run, encoding):
    done = process(*EVAL, cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert "protonet" in done.stdout or "maml" in done.stdout
    assert encoding != "ascii" or "+/-" in done.stdout


def test_the_plainest_of_locales_is_enough(tmp_path, run):
    done = process(*EVAL, cwd=tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0, done.stderr
    assert "+/-" in done.stdout


def test_json_is_whole_in_every_encoding(tmp_path):
    texts, answers = tmp_path / "t.csv", []
    texts.write_text("body,intent\ngrüße,hallo 你好\ntschüss,bye\n", encoding="utf-8")
    process("fit", texts, "--text", "body", "-o", "f.safetensors", "--learner", "nearest_mean", cwd=tmp_path)
    for encoding in ("utf-8", "ascii"):
        done = process("predict", "f.safetensors", "grüße", "--json", cwd=tmp_path, PYTHONIOENCODING=encoding)
        answers.append(json.loads(done.stdout))
    assert answers[0] == answers[1] and "hallo 你好" in str(answers)


def raises(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2"), AssertionError(), KeyError("x"), RecursionError("deep"), Exception("a\nb")]
)
def test_a_fault_of_ours_is_said_to_be_one(cli, monkeypatch, error):
    monkeypatch.setattr(Bar, "__call__", raises(error))
    done = cli(*TRAIN, "--json")
    assert done.code == 1 and json.loads(done.out)["exit"] == 1
    assert done.err.count("\n") == 1
    for words in ("a fault of mapwise", type(error).__name__, "--traceback", "report"):
        assert words in done.err


@pytest.mark.parametrize("before", [True, False])
def test_a_traceback_is_shown_on_request(cli, monkeypatch, before):
    monkeypatch.setattr(Bar, "__call__", raises(RuntimeError("mat1 and mat2")))
    words = ("--traceback", *TRAIN) if before else (*TRAIN, "--traceback")
    done = cli(*words)
    assert done.code == 1
    assert done.err.startswith("Traceback") and "in fail" in done.err
    assert done.err.splitlines()[-1].startswith("mapwise: this is a fault of mapwise")
    assert "--traceback" not in RunSettings.read(Path("new")).command
    refused = cli("eval", "nowhere", "--traceback")
    assert refused.err.startswith("Traceback") and "is not a run" in refused.err.splitlines()[-1]


def test_help_tells_of_the_traceback(cli):
    assert "--traceback" in cli("--help").out


def test_a_run_whose_folder_is_deleted_meanwhile_ends_and_says_so(cli, monkeypatch):
    def delete(bar, progress):
        shutil.rmtree("new", ignore_errors=True)

    monkeypatch.setattr(Bar, "__call__", delete)
    done = cli(*TRAIN)
    is_one_sentence(done, codes=(1,))
    assert "new is gone" in done.err
    assert not Path("new").exists()
