"""The numbers on the pages are those of the result files, and every one says how it was made."""

import contextlib
import importlib.util
import json
import sys

import pytest

from conftest import ROOT
from mapwise.catalog.learners import LEARNERS
from mapwise.runs.settings import RunSettings


@contextlib.contextmanager
def script(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up while it is made.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]


@pytest.fixture(scope="module")
def tables():
    with script("tables") as module:
        yield module


@pytest.fixture(scope="module")
def record():
    with script("record") as module:
        yield module


CLASSIFIED = {
    "row": "protonet-omniglot",
    "learner": "protonet",
    "source": "omniglot",
    "protocol": "trained 60-way 1-shot, judged 5-way",
    "train_command": "mapwise train protonet omniglot --ways 60 --test-ways 5 --out runs/p",
    "train_seconds": 912.4,
    "train_processor_seconds": 1580.2,
    "threads": 2,
    "eval_command": "mapwise eval runs/p --episodes 1000 --json",
    "target": "98.3",
    "machine": "2 CPU cores",
    "result": {
        "learner": "protonet",
        "source": "omniglot",
        "split": "test",
        "accuracy": 0.98412,
        "ci95": 0.00151,
        "episodes": 1000,
        "ways": "5",
        "shots": "1",
        "queries": 15,
        "transductive": False,
        "seed": 0,
        "beside": [
            {
                "learner": "nearest_mean",
                "accuracy": 0.45,
                "ci95": 0.005,
                "difference": 0.53412,
                "difference_ci95": 0.0062,
            }
        ],
    },
}
REGRESSED = {
    "row": "maml-sinusoid-5",
    "learner": "maml",
    "train_seconds": 61,
    "eval_command": "mapwise eval runs/s --episodes 10000 --inner-steps 5 --json",
    "target": "0.38",
    "result": {
        "learner": "maml",
        "source": "sinusoid",
        "split": "test",
        "mse": 0.4213,
        "ci95": 0.012,
        "episodes": 10000,
        "ways": "",
        "shots": "5",
        "queries": 10,
        "transductive": True,
        "seed": 0,
        "median": 0.2104,
        "diverged": 0.0021,
    },
}
UNKNOWN = {"row": "sampling", "learner": "none of ours", "result": {"episodes_per_minute": 512345.6}}


SPEED = {
    "row": "maml-speed",
    "learner": "none: speed",
    "protocol": "time of one meta-gradient",
    "eval_command": "python benchmarks/maml.py --data /home/me/sets",
    "threads": 2,
    "machine": "2 CPU cores",
    "result": {
        "rounds": 7,
        "load_before": 0.1,
        "device": "CPU (no GPU is at hand)",
        "tables": [
            {
                "title": "5 steps",
                "lines": [
                    {"contender": "mapwise", "ms": {"median": 5.812, "low": 5.7, "high": 1234.5}},
                    {"contender": "a peer", "ms": None},
                ],
            }
        ],
        "targets": [
            {"what": "speed", "value": 6.25, "goal": 6, "at_least": True, "met": True, "because": ""},
            {"what": "memory", "value": 1.4, "goal": 1.3, "at_least": False, "met": False, "because": ""},
            {"what": "ranks", "value": None, "goal": 1.7, "at_least": True, "met": None, "because": "one core"},
        ],
        "notes": ["a peer is left out: not installed"],
    },
}


def benched(learner, right, by_rows):
    """A row of the comparison on glyphs, of three episodes."""
    values = [int(number) / 75 for number in right.split()]
    result = {**CLASSIFIED["result"], "learner": learner, "source": "glyphs", "episodes": 3, "nll": 0.5, "ece": 0.02}
    result |= {"accuracy": sum(values) / 3, "ci95": 0.01, "adapt_ms": 7.25}
    del result["beside"]
    rest = {"seconds": 90.4, "processor_seconds": 89.9, "peak_mb": 61.2, "adapted": 160, "chosen": {"inner_lr": 0.1}}
    return {
        "row": f"glyphs-{learner}",
        "learner": learner,
        "protocol": "conv4 (filters 32), 5-way 1-shot",
        "train_command": f"mapwise train {learner} glyphs",
        "eval_command": f"mapwise eval runs/bench-glyphs/{learner}/full",
        "threads": 1,
        "machine": "2 CPU cores",
        "result": result,
        "bench": {
            "name": "glyphs",
            "command": f"mapwise bench glyphs --only {learner}",
            "tuning": [{"values": {"inner_lr": 0.1}}, {"values": {"inner_lr": 0.4}}],
            **rest,
            "right": right,
            "by_rows": None if by_rows is None else {**result, "transductive": True, "right": by_rows},
        },
    }


@pytest.fixture
def compared(tables, tmp_path):
    """Two rows of a comparison beside a row that is in none."""
    (tmp_path / "glyphs").mkdir()
    results = [benched("protonet", "60 66 63", "66 66 60"), benched("maml", "57 60 57", None)]
    for row in results:
        (tmp_path / "glyphs" / f"{row['learner']}.json").write_text(json.dumps(row), encoding="utf-8")
    (tmp_path / "protonet-omniglot.json").write_text(json.dumps(CLASSIFIED), encoding="utf-8")
    return tables.read_rows(tmp_path)


def test_a_comparison_is_one_table_with_its_figure_and_commands(tables, compared, tmp_path):
    page = tables.rendered(block("glyphs"), compared)
    for answer in (
        "Conv4 (filters 32), 5-way 1-shot.",
        "Each row with 1 thread, 2 CPU cores.",
        "| protonet | 84.0 ± 9.9 % | 85.3 ± 11.5 % | – | 0.500 | 2.0 % | 90 s | 90 s | 7.2 ms | 61 MB | 160 | inner_lr",
        "| maml | 77.3 ± 5.7 % | the same | −6.7 ± 5.7 |",
        "glyphs test, 5-way 1-shot, 15 queries a class, 3 episodes",
        "![accuracy against training time](../results/glyphs/figure.svg)",
        "mapwise bench glyphs --only maml\n",
    ):
        assert answer in page
    assert page.index("| protonet") < page.index("| maml")
    assert tables.figures(compared, tmp_path) == [tmp_path / "glyphs" / "figure.svg"]
    assert ">maml<" in (tmp_path / "glyphs" / "figure.svg").read_text("utf-8")
    assert "Not measured yet." in tables.rendered(block("glyphs"), [])
    assert tables.figures([], tmp_path) == []


def test_a_row_of_a_comparison_is_on_its_learners_page_and_in_the_summary(tables, compared):
    page = tables.rendered(block("maml"), compared)
    for answer in (
        "**`glyphs-maml`: 77.3 ± 1.0 %** (glyphs test,",
        "Transductive: the same.",
        "Chosen on the validation split, of 2: inner_lr 0.1.",
        "7.2 ms to adapt and predict, 160 numbers that a task changes, 61 MB at the peak of training",
        "On the same episodes, −6.7 ± 5.7 points to `protonet` (paired).",
        "mapwise bench glyphs --only maml\nmapwise train maml glyphs\nmapwise eval runs/bench-glyphs/maml/full\n",
    ):
        assert answer in page
    assert (
        "paired" not in tables.rendered(block("protonet"), compared).partition("glyphs-protonet")[2].partition("sh")[0]
    )
    summary = tables.rendered(block("summary"), compared)
    assert "`mapwise bench glyphs --only protonet`" in summary and "98.4 ± 0.2 %" in summary
    everything = tables.rendered(block("all"), compared)
    assert "98.4 ± 0.2 %" in everything and "glyphs-" not in everything


def test_a_smoke_test_of_a_comparison_is_no_row(tables, tmp_path):
    (tmp_path / "glyphs").mkdir()
    row = benched("maml", "57 60 57", None)
    row["result"]["quick"] = True
    (tmp_path / "glyphs" / "maml.json").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(ValueError, match=r"'glyphs-maml'.* smoke test"):
        tables.read_rows(tmp_path)


@pytest.fixture
def rows(tables, tmp_path):
    for row in (CLASSIFIED, REGRESSED, UNKNOWN):
        (tmp_path / f"{row['row']}.json").write_text(json.dumps(row), encoding="utf-8")
    return tables.read_rows(tmp_path)


def block(name, body="old"):
    return f"above\n<!-- numbers:{name} -->\n{body}\n<!-- /numbers -->\nbelow\n"


def test_every_page_shows_the_numbers_of_the_result_files(tables):
    stale = [str(page.relative_to(ROOT)) for page, _ in tables.stale(tables.read_rows())]
    assert not stale, f"run python -m benchmarks.tables: the numbers in {', '.join(stale)} are not current"


def test_every_page_that_should_show_numbers_has_its_block(tables):
    experiments = sorted((ROOT / "benchmarks" / "pages").glob("*.md"))
    assert all("<!-- numbers:" in page.read_text("utf-8") for page in experiments)
    index = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert all(f"](pages/{page.name})" in index for page in experiments)
    assert "<!-- numbers:speed -->" in (ROOT / "benchmarks" / "pages" / "speed.md").read_text("utf-8")
    assert "<!-- numbers:peers -->" in (ROOT / "README.md").read_text("utf-8")
    wanted = {ROOT / "README.md": "families", ROOT / "benchmarks" / "README.md": "all"}
    wanted |= {ROOT / "docs" / "learners" / "README.md": "summary"}
    wanted |= {ROOT / "docs" / "learners" / f"{row.page}.md": row.page for row in LEARNERS.values()}
    missing = [str(page) for page, name in wanted.items() if f"<!-- numbers:{name} -->" not in page.read_text("utf-8")]
    assert not missing
    assert {*wanted, *experiments} == set(tables.pages())


def test_every_result_file_is_shown_on_a_page(tables):
    text = "".join(page.read_text(encoding="utf-8") for page in tables.pages())
    assert [row.row for row in tables.read_rows() if row.row not in text] == []


def test_times_of_the_processor_are_named_so_with_rounds_and_without(tables):
    def page(rounds):
        result = {**SPEED["result"], "clock": "processor", "rounds": rounds}
        return tables.rendered(block("speed"), [tables.Row(**{**SPEED, "result": result})])

    assert "7 interleaved rounds: median (lowest..highest), of processor time. 2 threads" in page(7)
    assert "Processor time, timed once. 2 threads" in page(0)


def test_every_learner_page_has_the_same_headings():
    headings = ["Idea", "Equations", "When to use it, and when not", "Cost", "Measured", "Options", "Citation"]
    for page in sorted(set((ROOT / "docs" / "learners").glob("*.md")) - {ROOT / "docs" / "learners" / "README.md"}):
        text = [line[3:] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("## ")]
        assert text == headings, page.name


def test_every_option_of_a_learner_is_on_its_page():
    for key, row in LEARNERS.items():
        text = (ROOT / "docs" / "learners" / f"{row.page}.md").read_text(encoding="utf-8")
        options = text.partition("## Options")[2].partition("## Citation")[0]
        shown = set(row.fields) - set(row.preset if key == row.page else ())
        missing = [name for name in shown if f"`{name}`" not in options]
        assert not missing, f"{key}: docs/learners/{row.page}.md doesn't explain {', '.join(missing)}"


def test_a_number_comes_with_interval_protocol_and_commands(tables, rows):
    page = tables.rendered(block("protonet"), rows)
    for answer in (
        "98.4 ± 0.2 %",
        "omniglot test, 5-way 1-shot, 15 queries a class, 1,000 episodes, inductive, seed 0",
        "at least 98.3 %",
        "Trained in 15 min (26 min of processor time), 2 threads, 2 CPU cores",
        CLASSIFIED["protocol"][1:],
        "`nearest_mean` has 45.0 ± 0.5 %, so +53.4 ± 0.6 points (paired)",
        CLASSIFIED["train_command"],
        CLASSIFIED["eval_command"],
    ):
        assert answer in page
    assert "missed" not in page and "maml" not in page and "old" not in page


def test_a_row_without_processor_time_says_only_the_clock(tables, rows):
    page = tables.rendered(block("maml"), rows)
    assert "Trained in 61 s." in page and "processor" not in page


def trained(folder, records, init=None):
    """A run that left these records."""
    folder.mkdir()
    RunSettings(learner="maml", source="digits", init=None if init is None else str(init)).write(folder)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return folder


def test_times_are_those_of_the_whole_lineage(record, tmp_path):
    counted = [{"seconds": 3.0, "processor_seconds": 2.0}, {"seconds": 10.26, "processor_seconds": 8.5}]
    first = trained(tmp_path / "first", counted)
    second = trained(tmp_path / "second", [{"seconds": 5.0, "processor_seconds": 4.26}], first)
    third = trained(tmp_path / "third", [], second)
    assert [record.spent(run, "seconds") for run in (first, second, third)] == [10.3, 15.3, 15.3]
    assert [record.spent(run, "processor_seconds") for run in (first, second, third)] == [8.5, 12.8, 12.8]


def test_processor_time_that_one_run_of_a_lineage_did_not_count_is_not_said(record, tmp_path):
    first = trained(tmp_path / "first", [{"seconds": 10.0}])
    second = trained(tmp_path / "second", [{"seconds": 5.0, "processor_seconds": 4.0}], first)
    assert record.spent(second, "seconds") == 15.0
    assert record.spent(second, "processor_seconds") is None


def test_a_regression_says_after_how_many_steps_and_what_diverged(tables, rows):
    page = tables.rendered(block("maml"), rows)
    for answer in (
        "MSE 0.421 ± 0.012",
        "after 5 inner steps",
        "10,000 episodes, transductive",
        "Median 0.210",
        "0.2 %",
    ):
        assert answer in page
    assert "at most 0.38, missed" in page


def test_bits_are_shown_as_a_share_of_wrong_ones_and_their_cross_entropy(tables):
    about = {"source": "copy", "split": "test", "episodes": 1000, "ways": "", "shots": "40", "queries": 40}
    by_name = {**about, "transductive": False, "seed": 0, "wrong_bits": 0.0123, "ci95": 0.002, "bits": 0.0456}
    row = tables.Row("ntm-copy-40", "ntm", eval_command="mapwise eval runs/ntm", target="1", result=by_name)
    assert (row.headline, row.wanted) == ("1.2 ± 0.2 % wrong bits, 0.046 bits a bit", "at most 1 %, missed")
    assert row.task == "copy, length 40"
    assert "copy test, length 40, at most 40 answers, 1,000 episodes" in tables.rendered(block("ntm"), [row])


def test_a_page_without_results_says_so(tables, rows):
    assert "Not measured yet." in tables.rendered(block("finetune"), rows)
    for name in ("all", "maml"):
        assert tables.rendered(block(name), []) == block(name, "Not measured yet.")


def test_the_summary_names_every_learner_once(tables, rows):
    page = tables.rendered(block("summary"), rows)
    for key in LEARNERS:
        assert page.count(f"[`{key}`]") == 1
    lines = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| [")}
    assert "98.4 ± 0.2 %" in lines["protonet"] and CLASSIFIED["eval_command"] in lines["protonet"]
    assert "not measured yet" in lines["finetune"] and "not measured yet" not in lines["maml"]


def test_a_family_shows_all_its_learners_and_its_best_row_once(tables, rows, compared):
    page = tables.rendered(block("families"), rows)
    for key, row in LEARNERS.items():
        assert page.count(f"[`{key}`](docs/learners/{row.page}.md)") == 1
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in page.splitlines()}
    # Omniglot is shown before glyphs, and errors of regression are no accuracy.
    assert "[98.4 ± 0.2 %](benchmarks/README.md#protonet-omniglot), `protonet` | omniglot |" in lines["metric"]
    assert "not measured yet" in lines["optimization"] and "not measured yet" in lines["memory"]
    page = tables.rendered(block("families"), compared)
    assert "[77.3 ± 1.0 %](benchmarks/pages/all-learners-under-one-budget.md), `maml` | glyphs |" in page
    worse = json.loads(json.dumps(CLASSIFIED))
    worse |= {"row": "matching-omniglot", "learner": "matching"}
    worse["result"]["accuracy"] = 0.97
    assert "98.4 ± 0.2 %" in tables.rendered(block("families"), [*rows, tables.Row(**worse)])
    best = json.loads(json.dumps(worse))
    best["result"]["accuracy"] = 0.99
    assert "99.0 ± 0.2 %" in tables.rendered(block("families"), [*rows, tables.Row(**best)])


def test_peers_stand_beside_each_other_without_the_floor(tables):
    lines = [{"contender": "mapwise", "ms": {"median": 5.812, "low": 5.7, "high": 7}}, {"contender": "a peer", "ms": 9}]
    floor = {"contender": "plain floor, 500 rows", "ms": 1}

    def row(name, lines):
        return tables.Row(name, "none: speed", {"tables": [{"title": "5 steps", "lines": lines}], "targets": []})

    rows = [row("maml-sinusoid-speed", [*lines, floor]), row("maml-conv4-speed", [lines[0], floor])]
    page = tables.rendered(block("peers"), rows)
    assert "| mapwise | 5.81 (5.7..7) | 5.81 (5.7..7) |" in page and "| a peer | 9 | not measured |" in page
    assert "floor" not in page and "benchmarks/pages/speed.md#maml-sinusoid-speed" in page
    assert tables.rendered(block("peers"), rows[:1]) == block("peers", "Not measured yet.")


def test_a_row_of_no_learner_is_listed_with_all_the_others(tables, rows):
    page = tables.rendered(block("all"), rows)
    assert page.index("### maml") < page.index("### protonet") < page.index("### none of ours")
    assert "episodes per minute 512,346" in page
    assert all(f"**`{row['row']}`" in page for row in (CLASSIFIED, REGRESSED, UNKNOWN))
    assert '<a id="protonet-omniglot"></a>' in page


def test_no_folder_of_the_machine_is_shown(tables, tmp_path):
    commands = {
        "train_command": "mapwise train protonet omniglot --data /home/me/sets --out /home/me/runs/p --init=/tmp/q",
        "eval_command": "mapwise eval runs/p --data=../sets --seed 0",
    }
    (tmp_path / "row.json").write_text(json.dumps({**CLASSIFIED, **commands}), encoding="utf-8")
    page = tables.rendered(block("protonet"), tables.read_rows(tmp_path))
    assert "mapwise train protonet omniglot --data DATA --out runs/p --init=runs/q\n" in page
    assert "mapwise eval runs/p --data=DATA --seed 0\n" in page


def test_a_control_is_told_from_a_bad_result(tables, tmp_path):
    command = CLASSIFIED["train_command"] + " --shuffle-labels"
    (tmp_path / "row.json").write_text(json.dumps({**CLASSIFIED, "train_command": command}), encoding="utf-8")
    assert "omniglot, 5-way 1-shot, shuffled labels |" in tables.rendered(block("summary"), tables.read_rows(tmp_path))


def test_a_row_trained_in_half_precision_says_so(tables, tmp_path):
    command = CLASSIFIED["train_command"] + " --precision bfloat16"
    (tmp_path / "row.json").write_text(json.dumps({**CLASSIFIED, "train_command": command}), encoding="utf-8")
    assert "omniglot, 5-way 1-shot, trained in bfloat16 |" in tables.rendered(
        block("summary"), tables.read_rows(tmp_path)
    )


def test_writing_again_changes_nothing(tables, rows):
    once = tables.rendered(block("all") + block("summary"), rows)
    assert tables.rendered(once, rows) == once
    assert once.startswith("above\n<!-- numbers:all -->\n| Row") and once.endswith("<!-- /numbers -->\nbelow\n")


def test_a_page_that_is_not_current_is_caught(tables, rows, tmp_path):
    for folder in ("benchmarks", "docs/learners"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "README.md").write_text(tables.rendered(block("summary"), rows), encoding="utf-8")
    (tmp_path / "benchmarks" / "README.md").write_text("no block\n", encoding="utf-8")
    page = tmp_path / "docs" / "learners" / "protonet.md"
    page.write_text(tables.rendered(block("protonet"), rows).replace("98.4", "99.9"), encoding="utf-8")
    assert [result for result, _ in tables.stale(rows, tmp_path)] == [page]


def test_a_benchmark_shows_its_tables_its_targets_and_its_command(tables, tmp_path):
    (tmp_path / "maml-speed.json").write_text(json.dumps(SPEED), encoding="utf-8")
    page = tables.rendered(block("speed"), tables.read_rows(tmp_path))
    for answer in (
        "| `maml-speed` | speed | 6.25 | ≥ 6 | met |",
        "| `maml-speed` | memory | 1.4 | ≤ 1.3 | missed |",
        "| `maml-speed` | ranks | not measured | ≥ 1.7 | one core |",
        "### maml-speed",
        "7 interleaved rounds: median (lowest..highest). 2 threads, 2 CPU cores; device: CPU (no GPU is at hand)",
        "| contender | ms |",
        "| mapwise | 5.81 (5.7..1,234) |",
        "| a peer |  |",
        "- A peer is left out: not installed.",
        "python benchmarks/maml.py --data DATA\n",
    ):
        assert answer in page
    assert tables.rendered(block("all"), tables.read_rows(tmp_path)) == block("all", "Not measured yet.")


def test_a_smoke_test_is_no_row(tables, tmp_path):
    quick = {**SPEED, "result": {**SPEED["result"], "quick": True}}
    (tmp_path / "maml-speed.json").write_text(json.dumps(quick), encoding="utf-8")
    with pytest.raises(ValueError, match=r"'maml-speed'.* smoke test"):
        tables.read_rows(tmp_path)


@pytest.mark.parametrize(
    ("page", "fault"),
    [(block("no-such"), "no numbers called 'no-such'"), ("<!-- numbers:maml -->\nnever closed", "never closed")],
)
def test_a_block_that_cannot_be_filled_is_an_error(tables, rows, page, fault):
    with pytest.raises(ValueError, match=fault):
        tables.rendered(page, rows)


@pytest.mark.parametrize(
    ("text", "fault"),
    [("{", "is not JSON"), ('{"row": "x"}', "no object named result"), ("[]", "no object named result")],
)
def test_a_damaged_result_file_is_named(tables, tmp_path, text, fault):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"x\.json.*{fault}"):
        tables.read_rows(tmp_path)


def test_two_rows_of_one_name_are_an_error(tables, tmp_path):
    for file in ("a", "b"):
        (tmp_path / f"{file}.json").write_text(json.dumps(CLASSIFIED), encoding="utf-8")
    with pytest.raises(ValueError, match="rename one"):
        tables.read_rows(tmp_path)


def test_a_row_that_was_made_again_after_its_test_number_says_so(tables):
    rows = {row.row: row for row in tables.read_rows()}
    remade = ["glyphs-imaml", "glyphs-prox", "relation-omniglot-5w1s", "siamese-omniglot-5w1s"]
    assert [name for name, row in rows.items() if row.remade] == sorted(remade, key=list(rows).index)
    page = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "benchmarks").rglob("*.md"))
    for name in remade:
        assert rows[name].remade in page
