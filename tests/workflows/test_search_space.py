"""What is searched: ranges, choices, and settings that are fixed for a reason."""

from pathlib import Path

import pytest

from mapwise.catalog.learners import LEARNERS
from mapwise.runs.flags import FLAGS
from mapwise.runs.settings import RunSettings
from mapwise.workflows.errors import WrongUse
from mapwise.workflows.tuning.search_space import (
    FIXED,
    Choice,
    Range,
    by_default,
    dimensions,
    parsed,
    presently,
    settable,
)

# What a search is told.


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("inner_steps=1..5", Range("inner_steps", 1, 5, whole=True)),
        ("--inner-lr=0.01..1:log", Range("inner_lr", 0.01, 1, log=True)),
        ("tasks=4..33:4", Range("tasks", 4, 32, step=4, whole=True)),
        ("clip=0.5..2:0.5", Range("clip", 0.5, 2.0, step=0.5)),
        ("optimizer.lr=1e-4..1e-2:log", Range("optimizer.lr", 1e-4, 1e-2, log=True)),
        ("a=-1..-.5", Range("a", -1, -0.5)),
        ("net.norm=batch, support", Choice("net.norm", ("batch", "support"))),
        ("net.hidden=64,64|128", Choice("net.hidden", ("64,64", "128"))),
    ],
)
def test_ranges_and_choices_are_read(text, result):
    assert parsed(text) == result
    assert parsed(f"{result.name}={result.text}") == result


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("inner_lr", "takes NAME=RANGE and 'inner_lr' was given: write a range such as inner_lr=0.01..1:log"),
        ("inner_lr=", "takes NAME=RANGE"),
        (
            "inner_lr=0.1",
            "has one value: write a range such as 1..5, or several with commas, or fix it with --inner-lr",
        ),
        ("inner_lr=0.1-1", "write 0.1..1, or fix it"),
        ("inner_lr=1..0.1", "begins at 1 and ends at 0.1: write the lower end first"),
        ("inner_lr=1..1", "write the lower end first"),
        ("inner_lr=0..1:log", "is logarithmic and begins at 0: begin above 0"),
        ("inner_lr=0.1..1:lin", "ends in 'lin': write :log, or a step such as :2"),
        ("inner_lr=0.1..1:log:2", "more than one suffix"),
        ("inner_lr=0.1..1:2", "has the step 2: write one above 0 and at most 0.9"),
        ("inner_lr=0.1..1:0", "has the step 0"),
        ("inner_lr=a..1", "has the end 'a', which is no number"),
        ("inner_lr=1..inf", "has the end 'inf': write a number that is finite"),
        ("net.norm=batch,,layer", "has an empty choice"),
        ("net.norm=batch,batch", "names 'batch' twice"),
        # What the grammar allows and the setting doesn't.
        ("inner_lr=a,b", "--inner-lr is 'a': input should be a valid number"),
        ("inner_steps=0.5..3", "inner_steps takes whole numbers: write whole ends"),
        ("inner_rate=0.1..1", "maml has no setting 'inner_rate': did you mean --inner-lr?"),
        ("net.nrom=none,layer", "net mlp has no option 'nrom': did you mean --net.norm?"),
        ("net.norm=none,lyer", "--net.norm is 'lyer'"),
        ("optimizer.lrr=0.1..1", "torch refuses 'Adam lr=0.001 lrr=0.1'"),
        ("optimizer=Adam,Adm", "torch has no optimizer 'Adm'"),
        (
            "schedule.gamma=0.1..1",
            "is an option of the schedule and there is none: give it with --schedule",
        ),
        ("seed=0..9", "seed can't be searched: the luckiest seed says nothing of the settings"),
        ("steps=10..100", "steps can't be searched: trials are compared at the same steps, so give it one value"),
        (
            "test_shots=1..5",
            "can't be searched: it changes what judges a trial, so give it one value with --test-shots",
        ),
        ("shots=1..5", "shots is searched and judges as well: fix what judges with --test-shots"),
        ("tasks=0..4:log", "begin above 0"),
        ("learner=maml,anil", "maml has no setting 'learner'"),
    ],
)
def test_a_bad_search_is_one_sentence_of_wrong_use(cli, text, answer):
    code, out, err = cli("tune", "maml", "sinusoid", "--search", text)
    assert (code, out) == (2, "")
    assert answer in err
    assert err.startswith("mapwise: ")
    assert err.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("--inner-lr", "0.1", "--search", "inner_lr=0.1..1"), "inner_lr is searched and also fixed by --inner-lr"),
        (("--optimizer", "Adam", "--search", "optimizer=Adam,SGD"), "optimizer is searched and also fixed"),
        (("--search", "inner_lr=0.1..1", "--search", "inner_lr=1..2"), "--search names inner_lr twice"),
        (("--steps", "0", "--search", "inner_lr=0.1..1"), "trials of 0 steps are all the same"),
        (("--resume", "x"), "--resume goes on with the search's own settings: leave learner out"),
    ],
)
def test_a_search_that_contradicts_itself_is_wrong_use(cli, words, answer):
    code, _, err = cli("tune", "maml", "sinusoid", *words)
    assert code == 2
    assert answer in err


@pytest.mark.parametrize("words", [("--search", "inner_lr=0.1..1"), ("--no-prune",), ("--steps", "3"), ("--out", "y")])
def test_a_resumed_search_takes_only_another_end(cli, words):
    code, _, err = cli("tune", "--resume", "x", *words)
    assert code == 2
    assert f"leave {words[0].removeprefix('--')} out" in err


def test_every_setting_is_searched_or_fixed_for_a_reason():
    names = set(FLAGS)
    assert set(FIXED) < names
    assert not set(settable()) & set(FIXED)
    assert {"optimizer", "schedule", "clip", "tasks", "net", "augment", "aggregate", "ways"} <= set(settable())
    assert not set(settable()) & {"learner", "source", "fields", "net_options", "command", "torch"}


def test_values_go_where_their_names_say():
    base = RunSettings(
        learner="maml", source="sinusoid", fields={"inner_steps": 2}, optimizer="SGD lr=0.1 momentum=0.9"
    )
    result = base.with_values(
        {
            "optimizer.lr": 0.25,
            "schedule.gamma": 0.5,
            "schedule": "StepLR step_size=5",
            "inner_lr": 0.125,
            "first_order": "true",
            "net.hidden": "8,4",
            "tasks": 4,
            "clip": "none",
            "ways": 7,
            "augment": "flip,shift",
        }
    )
    assert result.optimizer == "SGD momentum=0.9 lr=0.25"
    assert result.schedule == "StepLR step_size=5 gamma=0.5"
    assert result.fields == {"inner_steps": 2, "inner_lr": 0.125, "first_order": True}
    assert result.net_options == {"hidden": [8, 4]}
    assert (result.tasks, result.clip, result.ways, result.augment) == (4, None, "7", ("flip", "shift"))
    assert result.put("augment", "none").augment == ()


def test_a_part_is_tried_with_every_choice_of_its_whole():
    base = RunSettings(learner="maml", source="sinusoid")
    assert len(dimensions(["optimizer.momentum=0..0.9", "optimizer=SGD,RMSprop"], base, ())) == 2
    with pytest.raises(WrongUse, match=r"torch refuses 'Adam momentum=0\.0'"):
        dimensions(["optimizer.momentum=0..0.9", "optimizer=SGD,Adam"], base, ())


def test_whole_ends_are_numbers_where_the_setting_takes_fractions():
    base = RunSettings(learner="maml", source="sinusoid", schedule="StepLR step_size=5")
    texts = ["inner_lr=0..1", "inner_steps=1..3", "optimizer.weight_decay=0..1", "schedule.step_size=1..3", "clip=1..9"]
    by_name = {dimension.name: dimension.whole for dimension in dimensions(texts, base, ())}
    assert [name for name, whole in by_name.items() if whole] == ["inner_steps", "schedule.step_size"]


@pytest.mark.parametrize("learner", list(LEARNERS))
def test_without_ranges_a_learners_rates_are_searched(learner):
    base = RunSettings(learner=learner, source="digits")
    by_name = {dimension.name: dimension for dimension in by_default(base, ())}
    assert by_name["optimizer.lr"] == Range("optimizer.lr", 1e-4, 1e-2, log=True)
    fields = LEARNERS[learner].fields.items()
    # A rate that is off, as a damping of 0 is, has no decades around it.
    preset = LEARNERS[learner].preset
    present = {name: preset.get(name, field.default) for name, field in fields}
    rates = {name for name, value in present.items() if isinstance(value, float) and value > 0}
    assert set(by_name) == {"optimizer.lr", *rates}
    assert set(presently(list(by_name.values()), base)) == set(by_name)
    fixed = {dimension.name for dimension in by_default(base, sorted(rates))}
    assert fixed == {"optimizer.lr"}


def test_settings_as_they_are_are_found_among_ranges_and_choices():
    base = RunSettings(learner="boil", source="glyphs", fields={"inner_lr": 0.2}, clip=None)
    texts = [
        "inner_lr=0.1..1",
        "inner_steps=6..9",
        "net.norm=batch,support",
        "moves=body|head",
        "clip=none,10",
        "net=mlp,conv4",
    ]
    texts += ["tasks=4..16:4", "augment=none|flip", "first_order=true,false", "optimizer.lr=0.002..1"]
    result = presently([parsed(text) for text in texts], base)
    assert result == {
        "inner_lr": 0.2,
        "net.norm": "support",
        "moves": "body",
        "clip": "none",
        "net": "conv4",
        "tasks": 16,
        "augment": "none",
        "first_order": "false",
    }
