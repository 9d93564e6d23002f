"""docs/laws.md lists every law, and each planted bug with a test that exists."""

import re

from conftest import ROOT
from mapwise.laws.check import LAWS
from test_exact_checks import BUGS
from test_planted_bugs import PLANTED

TEXT = (ROOT / "docs" / "laws.md").read_text(encoding="utf-8")
LAW_ROWS = re.findall(r"^\| (\d+) \| `(\w+)` \|.*\| (.*) \|$", TEXT, re.M)
BUG_ROWS = re.findall(r"^\| .* \| (.*) \| `tests/\w+/(\w+)\.py::(.*)` \|$", TEXT, re.M)


def test_the_page_lists_every_law_and_which_may_be_waived():
    assert [(int(number), name) for number, name, _ in LAW_ROWS] == [(law.number, law.name) for law in LAWS]
    assert {name for _, name, waiver in LAW_ROWS if waiver != "no"} == {law.name for law in LAWS if law.waivable}


def test_adding_a_learner_says_what_each_law_says():
    text = (ROOT / "docs" / "adding-a-learner.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \| `(\w+)` \| (.*) \|$", text, re.M) == [
        (str(law.number), law.name, law.statement) for law in LAWS
    ]


def test_every_bug_of_the_page_is_shown_to_a_test_that_exists():
    assert len(BUG_ROWS) == 24
    by_law = {(law, bug.__name__) for law, bug, _ in PLANTED}
    for caught, file, name in BUG_ROWS:
        if file == "test_exact_checks":
            assert caught == "exact check" and name in BUGS
        else:
            assert file == "test_planted_bugs" and {(law, name) for law in re.findall(r"`(\w+)`", caught)} <= by_law, (
                name
            )
