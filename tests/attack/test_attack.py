"""Hostile files and calls end in a right answer or in one sentence, and the count of outcomes sees whatever doesn't."""

import time
from pathlib import Path

import pytest

import hostile_calls
import hostile_files
import hostile_runs
import mapwise as mw
from outcomes import HANG, RIGHT, SENTENCE, TRACEBACK, WRONG, Case, Refusal, counts, table, total, tried

TABLES = hostile_files.TABLES | hostile_runs.TABLES | hostile_calls.TABLES


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"])
def test_no_hostile_case_ends_in_anything_else(name, every, tmp_path, monkeypatch):
    make, count, some = TABLES[name]
    monkeypatch.chdir(tmp_path)
    cases = make(tmp_path, count)
    cases = cases if every else cases[:: len(cases) // some]
    outcomes, faults = counts(cases)
    assert faults == [] and total(outcomes) == len(cases)
    assert outcomes[SENTENCE] > 0


def refused(line):
    raise Refusal(line)


@pytest.mark.parametrize(
    ("door", "outcome"),
    [
        (lambda: 1, RIGHT),
        (lambda: 2, WRONG),
        (lambda: mw.Spec((-1,)), SENTENCE),
        (lambda: int("x"), TRACEBACK),
        (lambda: Path("nowhere").read_text(), SENTENCE),
        (lambda: refused("mapwise: no\n"), SENTENCE),
        (lambda: refused("mapwise: no\nmapwise: twice\n"), TRACEBACK),
        (lambda: refused("mapwise: this is a fault of mapwise (KeyError: x): report it"), TRACEBACK),
        (lambda: refused("Traceback"), TRACEBACK),
        (lambda: {}["x"], TRACEBACK),
        (lambda: time.sleep(5), HANG),
    ],
)
def test_every_outcome_is_seen(door, outcome):
    case = Case("a case", door, lambda answer: answer == 1)
    assert tried(case, 0.5)[0] == outcome
    if outcome != HANG:
        counted, faults = counts([case])
        assert counted == {outcome: 1} and bool(faults) == (outcome not in (RIGHT, SENTENCE))
        assert f"| x | 1 | {int(outcome == RIGHT)} |" in table({"x": counted})
