"""What an error suggests instead of a name that isn't there."""

import time

from mapwise.core.spelling import suggestion


def test_a_name_spelled_much_like_it_is_suggested():
    assert suggestion("mmal", ["maml", "protonet"]) == "did you mean 'maml'?"
    assert suggestion("nrm", ["norm", "width"], lambda name: f"--net.{name}") == "did you mean --net.norm?"


def test_the_choice_is_shown_when_none_is_spelled_like_it():
    assert suggestion("junk", ["Adam", "SGD"]) == "choose from 'Adam', 'SGD'"
    assert suggestion("junk", []) == "there is none yet"
    assert suggestion("", [f"c{i}" for i in range(30)]).endswith("'c19' and 10 more")


def test_many_long_names_take_no_time():
    start = time.perf_counter()
    suggestion("x" * 10_000_000, (f"{i}" + "y" * 10_000 for i in range(100_000)))
    assert time.perf_counter() - start < 5
