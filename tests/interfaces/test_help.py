"""Help and lists come fast, without torch, and explain every flag."""

import os
import subprocess
import sys

import pytest

from conftest import ROOT
from mapwise.interfaces.cli.flags import COMMANDS, JUDGING
from mapwise.runs.flags import FLAGS
from mapwise.runs.words import flag


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["tune", "--help"], ["eval", "--help"], ["--version"]]
)
def test_help_comes_without_torch(words):
    code = (
        "import sys\nfrom mapwise.interfaces.cli import main\n"
        f"try: main({words!r})\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'sklearn', 'PIL'} & sys.modules.keys()\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_takes_less_than_half_a_second(tmp_path):
    # Processor time and the best of several: another process on the machine must not fail this.
    code = (
        "import sys, time\nfrom mapwise.interfaces.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(time.process_time(), file=sys.stderr)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    best = min(
        float(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stderr)
        for _ in range(3)
    )
    assert best < 0.5


def test_the_imports_of_all_commands_take_little_beside_those_of_torch():
    names = [f"workflows.{name}" for name in ("train", "tuning.tune", "evaluate", "report", "comparison.bench", "demo")]
    names += ["workflows.doctor", "workflows.listing", *(f"interfaces.{name}" for name in ("listing", "shown", "cli"))]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}

    def seconds(imports):
        code = f"import sys, time; {imports}; print(time.process_time())"
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        return float(done.stdout)

    ours = "; ".join(f"import mapwise.{name}" for name in names)
    best = 9.0
    for _ in range(3):
        best = min(best, seconds(ours) - seconds("import torch"))
        if best < 1.5:
            break
    assert best < 1.5


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "list",
        "train",
        "tune",
        "eval",
        "compare",
        "report",
        "average",
        "bench",
        "fit",
        "predict",
        "add-class",
        "doctor",
    ],
)
def test_every_command_explains_itself_with_an_example(cli, command):
    done = cli(command, "--help")
    assert done.code == 0
    assert "Example" in done.out
    assert f"mapwise {command}" in done.out
    assert "--json" in done.out


def test_no_words_at_all_show_the_help(cli):
    done = cli()
    assert done.code == 0
    assert "doctor" in done.out


def test_help_of_train_with_a_learner_shows_its_fields(cli):
    done = cli("train", "maml", "--help")
    assert done.code == 0
    for word in ("--optimizer", "--inner-lr", "0.4", "gradient steps of an adaptation", "--net.norm"):
        assert word in done.out


def test_list_shows_the_whole_catalog(cli):
    from mapwise.catalog.learners import LEARNERS
    from mapwise.catalog.nets import NETS
    from mapwise.catalog.sources import SOURCES

    result = cli("list", "--json").answer
    for what, table in (("learners", LEARNERS), ("nets", NETS), ("sources", SOURCES)):
        assert [row["name"] for row in result[what]] == list(table)
    shown = cli("list").out
    assert all(name in shown for name in (*LEARNERS, *NETS, *SOURCES))


@pytest.mark.parametrize("learner", list(__import__("mapwise.catalog.learners", fromlist=["LEARNERS"]).LEARNERS))
def test_every_field_of_a_learner_is_listed_with_its_meaning(cli, learner):
    result = cli("list", learner, "--json").answer
    for field in [*result["fields"], *(option for net in result["nets"].values() for option in net)]:
        assert field["meaning"], field
        assert field["type"], field


@pytest.mark.parametrize("command", ["train", "tune"])
def test_every_setting_is_a_flag_with_its_meaning_and_its_default(cli, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    words = " ".join(cli(command, "--help").out.replace("│", " ").split())
    for name in FLAGS:
        assert flag(name) in words
    for phrase in ("Tasks of one step. [16]", "Compile the meta-gradient", "[full]", "[Adam lr=0.001]"):
        assert phrase in words


def test_tune_takes_every_flag_of_train_but_for_several_seeds():
    flags = {name: set(signature.parameters) for name, (_, signature) in COMMANDS.items()}
    assert flags["train"] - flags["tune"] == {"seeds", "episodes"}
    for name in ("eval", "compare", "report"):
        assert flags[name] & FLAGS.keys() == {*JUDGING, "seed"}
