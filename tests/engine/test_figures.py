"""What a memory did is recorded and drawn: only the slots that were touched, wrong bits crossed out."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mapwise.engine.figures import memory_use
from mapwise.engine.results import Findings, MemoryUse, Protocol, Report
from mapwise.interfaces.cli import main
from mapwise.learners.memory.dnc import DNC
from mapwise.learners.memory.ntm import NTM
from mapwise.problems import PROBLEMS
from mapwise.report import plots
from mapwise.report.plots.style import WRONG
from mapwise.report.run_page import run_page
from mapwise.tasks.sequences import Copy

SLOTS = 12


def used(places, rows=5):
    """Weightings that move over these slots, one a row."""
    weights = np.full((rows, 1, SLOTS), 0.001)
    weights[np.arange(rows), 0, places] = 1
    return weights


def use(**changes):
    due = np.array([[np.nan] * 2] * 3 + [[0.0, 1.0], [1.0, 1.0]])
    answer = np.array([[0.5, 0.5]] * 3 + [[0.1, 0.9], [0.8, 0.7]])
    result = MemoryUse(np.eye(5, 3), due, answer, used([3, 3, 3, 4, 5]), used([4, 5, 6, 6, 6]))
    return replace(result, **changes)


def test_the_slots_that_were_touched_are_found_around_the_ring():
    assert plots.slots_used(use()).tolist() == [3, 4, 5, 6]
    across = use(reads=used([11, 0, 1, 1, 1]), writes=used([10, 10, 11, 0, 0]))
    assert plots.slots_used(across).tolist() == [10, 11, 0, 1]
    assert plots.slots_used(use(reads=used([7] * 5), writes=used([7] * 5))).tolist() == [7]
    faint = np.full((5, 1, SLOTS), 1 / SLOTS)
    assert len(plots.slots_used(use(reads=faint, writes=faint))) == SLOTS


def own():
    about = Protocol("ntm", "copy", "test", PROBLEMS["multilabel"], "", "2", 2, 3, 0, False)
    return Report(about, np.zeros(3), {"bits": 0.1})


def crosses(svg):
    """Marks of a scatter: what is used where a path is defined once."""
    return len(re.findall(r"<use [^>]*#d55e00|<use [^>]*" + WRONG, svg))


def test_a_page_draws_what_the_memory_did_and_crosses_out_wrong_bits():
    right = run_page(Findings("copying", [own()], memory=use()))
    assert "What its memory did" in right and "0 of 4 bits are wrong" in right and "(crosses)" not in right
    assert "4 of 12 slots" in right
    answer = np.array([[0.5, 0.5]] * 3 + [[0.6, 0.9], [0.8, 0.7]])
    wrong = run_page(Findings("copying", [own()], memory=use(outputs=answer)))
    assert "1 of 4 bits is wrong (crosses)" in wrong
    assert crosses(plots.memory_map(use())) == 0 and crosses(plots.memory_map(use(outputs=answer))) == 1
    assert "What its memory did" not in run_page(Findings("copying", [own()]))


def test_every_head_has_a_panel_of_its_own():
    one, two = plots.memory_map(use()), plots.memory_map(use(writes=np.repeat(use().writes, 2, 1)))
    assert one.count("<image") == 5 and two.count("<image") == 6
    assert one == plots.memory_map(use())


def test_what_only_some_memories_have_is_drawn_by_its_name():
    usage = np.linspace(0, 1, 5 * SLOTS).reshape(5, SLOTS)
    links = np.eye(SLOTS, k=-1)
    more = use(gates={"write gate": np.linspace(0, 1, 5)}, slots={"usage": usage}, links={"written after": links})
    drawn = plots.memory_map(more)
    assert drawn.count("<image") == 7 and "write gate" in drawn and "usage" in drawn
    square = plots.memory_links(more, "written after")
    assert square.count("<image") == 1 and "slot written after it" in square
    other = plots.memory_links(replace(more, links={"written after": links.T}), "written after")
    assert square != other and square == plots.memory_links(more, "written after")
    page = run_page(Findings("copying", [own()], memory=more))
    assert "the write gate, the usage, where each head wrote" in page and "Which slot was written after which" in page
    assert "Which slot" not in run_page(Findings("copying", [own()], memory=use()))


def test_gates_usage_and_links_of_a_computer_are_recorded():
    source = Copy(length="2-4", width=2, tasks=20)
    learner = DNC(4, 2, units=5, slots=SLOTS, width=3, reads=2)
    result = memory_use(learner, learner.init(0), source)
    assert result.gates.keys() == {"allocation gate", "write gate"} and result.slots["usage"].shape == (9, SLOTS)
    assert all(values.shape == (9,) and (values > 0).all() for values in result.gates.values())
    links = result.links["written after"]
    assert links.shape == (SLOTS, SLOTS) and not links.diagonal().any() and links[1, 0] > links[0, 1]


def test_the_longest_sequence_of_a_batch_is_recorded_without_its_padding():
    source = Copy(length="2-4", width=2, tasks=20)
    learner = NTM(4, 2, units=5, slots=SLOTS, width=3, reads=2)
    params = learner.init(0)
    result = memory_use(learner, params, source)
    assert (
        result.inputs.shape == (9, 3) and result.reads.shape == (9, 2, SLOTS) and result.writes.shape == (9, 1, SLOTS)
    )
    assert np.array_equal(result.targets[5:], result.inputs[:4, :2]) and np.isnan(result.targets[:5]).all()
    batch = source(0)
    longest = int(batch.support.weight.sum(1).argmax())
    rows = type(batch.support)(*(part[longest] for part in batch.support))
    wanted = learner.trace(params, rows).scores[rows.weight > 0].sigmoid()
    torch.testing.assert_close(torch.from_numpy(result.outputs), wanted)
    assert memory_use(object(), params, source) is None


def test_a_report_of_a_machine_shows_its_memory(tmp_path: Path, capsys):
    run = tmp_path / "run"
    words = ["--source.length", "1-2", "--source.width", "2", "--units", "5", "--slots", "6", "--width", "3"]
    for command in (
        ["train", "ntm", "copy", *words, "--steps", "1", "--validation-episodes", "2", "--out", str(run)],
        ["report", str(run), "--episodes", "4"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 0, capsys.readouterr().err
    assert "What its memory did" in (run / "report.html").read_text(encoding="utf-8")
