"""Every setting has one address: what is put there is read there, written to run.toml, and asked for by one command."""

import dataclasses
import shlex

import pytest

from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.nets import NETS, net_options
from mapwise.catalog.sources import SOURCES
from mapwise.engine.settings import Execution, Training
from mapwise.runs.flags import FLAGS, RunFlags
from mapwise.runs.settings import STAMPS, RunSettings
from mapwise.runs.words import field_meanings

PUT = {
    "steps": ("7", 7),
    "clip": ("none", None),
    "how": ("4", 4),
    "precision": ("bfloat16", "bfloat16"),
    "augment": ("flip,shift", ("flip", "shift")),
    "ways": (7, "7"),
    "net": ("mlp", "mlp"),
    "inner_lr": ("0.25", 0.25),
    "inner-steps": ("3", 3),
    "first_order": ("true", True),
    "moves": ("head", ("head",)),
    "net.norm": ("batch", "batch"),
    "source.noise": ("0.5", 0.5),
    "optimizer.lr": ("0.01", 0.01),
    "optimizer.amsgrad": (True, True),
}


@pytest.mark.parametrize("address", PUT)
def test_what_is_put_is_what_is_had_and_nothing_else_changes(address):
    settings = RunSettings.of("maml", "sinusoid")
    text, value = PUT[address]
    changed = settings.put(address, text)
    assert changed.get(address) in (value, list(value) if isinstance(value, tuple) else value)
    for other in PUT.keys() - {address}:
        if not (address == "net" and other.startswith("net.")):
            assert changed.get(other) == settings.get(other), other


def test_settings_hold_training_and_execution_flat():
    names = {field.name for part in (Training, Execution) for field in dataclasses.fields(part)}
    assert names < FLAGS.keys()
    settings = RunSettings.of("maml", "sinusoid", {"steps": 3, "compile": True})
    assert (settings.steps, settings.compile) == (3, True)
    assert settings.to_file()["steps"] == 3


def test_every_flag_has_one_meaning():
    meanings = field_meanings(RunFlags)
    assert FLAGS.keys() <= meanings.keys()
    for name in FLAGS:
        owners = [part for part in (RunFlags, Training, Execution) if name in described_here(part)]
        assert len(owners) == 1, f"{name} is documented by {owners}"


def described_here(part):
    alone = type("Alone", (), {"__doc__": part.__doc__})
    return field_meanings(alone)


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_defaults_are_what_the_learner_is_made_with(learner):
    settings = RunSettings.of(learner, "digits")
    row = LEARNERS[learner]
    for name in row.fields:
        assert settings.get(name) == row.preset.get(name, row.fields[name].default)
    assert settings.given().keys() <= {*row.recipe, "ways", "shots"}


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("source", ["digits", "sinusoid"])
def test_the_words_make_the_settings_again(learner, source):
    values = {"steps": 20, "warmup": 3, "skip_bad": True, "schedule": "none", "how": 2}
    settings = RunSettings.of(learner, source, values)
    words = iter(settings.words()[4:])
    given = {}
    for word in words:
        name = word.removeprefix("--")
        given[name] = True if name == "skip-bad" else next(words)
    assert RunSettings.of(learner, source, given) == settings


def test_words_of_booleans_are_flags():
    settings = RunSettings.of("fomaml", "glyphs", {"first_order": "false", "compile": True})
    assert shlex.join(settings.words()) == "mapwise train fomaml glyphs --compile --no-first-order"


def test_run_toml_is_flat_and_says_what_was_learned_first(tmp_path):
    settings = RunSettings.of("maml", "sinusoid", {"how": 4, "source.noise": 0.5}).stamped(
        "mapwise train maml sinusoid"
    )
    settings.write(tmp_path)
    lines = (tmp_path / "run.toml").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["schema_version = 1", 'learner = "maml"', 'source = "sinusoid"']
    assert {'how = "4"', "steps = 1000", 'source_options = {"noise" = 0.5}'} <= set(lines)
    assert RunSettings.read(tmp_path) == settings
    assert RunSettings.of_file(settings.to_file()) == settings


def test_settings_that_depend_on_one_another_are_put_in_together():
    settings = RunSettings.of("maml", "sinusoid", {"steps": 10})
    assert settings.with_values({"warmup": 50, "steps": 100}).warmup == 50
    with pytest.raises(ValueError, match="warmup is 50 and steps is 10"):
        settings.put("warmup", 50)


@pytest.mark.parametrize(
    ("address", "value", "answer"),
    [
        ("inner_lrr", 1, "maml has no setting 'inner_lrr': did you mean --inner-lr?"),
        ("step", 1, "maml has no setting 'step': did you mean --steps?"),
        ("net.nrm", 1, "net mlp has no option 'nrm': did you mean --net.norm?"),
        ("source.nois", 1, "source sinusoid has no option 'nois': did you mean --source.noise?"),
        ("inner_lr", "fast", "--inner-lr is 'fast': input should be a valid number"),
        ("how", "fast", "--how is 'fast': input should be 'vmap' or 'loop', or input should be a valid integer"),
        ("steps", -1, "steps is -1: give 0 or more"),
        ("tasks", 0, "tasks is 0: give 1 or more"),
        ("schedule.gamma", 0.1, "schedule.gamma is an option of the schedule and there is none"),
        *((stamp, "x", f"maml has no setting '{stamp}'") for stamp in STAMPS),
    ],
)
def test_an_address_or_a_value_that_cannot_be_is_one_sentence(address, value, answer):
    with pytest.raises(ValueError) as refused:
        RunSettings.of("maml", "sinusoid").put(address, value)
    assert answer in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_field_of_a_learner_hides_a_flag():
    for learner, row in LEARNERS.items():
        assert not row.fields.keys() & {*FLAGS, "learner", "source", "out", "resume", "json"}, learner


def test_a_name_is_a_switch_for_all_that_have_it_or_for_none():
    kinds = {}
    for row in LEARNERS.values():
        for name in row.fields:
            kinds.setdefault(name, set()).add(row.types[name] is bool)
    for net in NETS:
        for name, option in net_options(net).items():
            kinds.setdefault(f"net.{name}", set()).add(option.annotation is bool)
    for row in SOURCES.values():
        for name, option in row.options.items():
            kinds.setdefault(f"source.{name}", set()).add(option.annotation is bool)
    assert not [name for name, result in kinds.items() if len(result) > 1]
